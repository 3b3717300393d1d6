# SPDX-License-Identifier: Apache-2.0
"""OCSP responders are asked where a certificate says, within limits, and only in public."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from caryatid.drivers.responder import ANSWER_BYTES_MAX, ResponderError, ask


@pytest.fixture
def server():
    """A function: the URL of a server that answers so, and what it was asked."""
    started = []

    def start(status=200, content=b"answer", headers=()):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append((self.path, self.headers["Host"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        listening = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        started.append(listening)
        return f"http://localhost:{listening.server_port}/a?b=c", asked

    yield start
    for listening in started:
        listening.shutdown()
        listening.server_close()


def test_the_responder_is_asked_under_its_name(server):
    url, asked = server()
    assert ask(url, b"question", private=True) == b"answer"
    port = url.split(":")[2].split("/")[0]
    assert asked == [("/a?b=c", f"localhost:{port}", b"question")]


def test_what_is_not_public_is_not_asked(server):
    url, asked = server()
    with pytest.raises(ResponderError, match="public address"):
        ask(url, b"question")
    assert asked == []


def test_a_redirection_is_not_followed(server):
    elsewhere, asked = server()
    url, _ = server(status=302, headers=[("Location", elsewhere)])
    with pytest.raises(ResponderError, match="answers 302"):
        ask(url, b"question", private=True)
    assert asked == []


def test_an_answer_has_a_limit(server):
    url, _ = server(content=b"x" * (ANSWER_BYTES_MAX + 1))
    with pytest.raises(ResponderError, match="too much"):
        ask(url, b"question", private=True)


@pytest.mark.parametrize(
    "url",
    ["", "ldap://x/", "file:///etc/passwd", "http://", "http://a:b@127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1",
     "http://127.0.0.1:1/", f"http://{'a' * 300}/", "http://\u0130.invalid/", "https://127.0.0.1:1/"],
)  # fmt: skip
def test_whatever_a_certificate_says_there_is_an_answer_or_a_sentence(url):
    with pytest.raises(ResponderError):
        ask(url, b"question", private=True)
