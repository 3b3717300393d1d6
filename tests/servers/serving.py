# SPDX-License-Identifier: Apache-2.0
"""A WSGI application on loopback, until it is ended."""

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        """Says nothing."""


def serve(application, port):
    """Says `ready` when it can be asked."""
    with make_server("127.0.0.1", port, application, Threads, Quiet) as server:
        print("ready", flush=True)
        server.serve_forever()
