# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks for tests, that behaves as it is told to: well, badly, or not at all."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

CHUNK = b"x" * 65536


@dataclass(frozen=True)
class Got:
    """One delivery, as it came."""

    headers: dict[str, str]
    body: bytes
    path: str = "/"

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return json.loads(self.body)["data"]

    @property
    def name(self) -> str:
        """What the event is about, shortly."""
        return f"{self.event['type']} {self.event['resource_id']}"

    def is_signed_with(self, secret: str) -> bool:
        with suppress(Exception):
            return bool(Webhook(secret).verify(self.body, self.headers))
        return False


class Receiver:
    """Listens on the loopback address until `stop`. `behave` says for each delivery what becomes of it: a status, or
    `hang`, `close`, `endless`, `drip`, `redirect`."""

    def __init__(self, behave: Callable[[Got], int | str] = lambda _: 204) -> None:
        self.behave = behave
        self.got: list[Got] = []
        """Everything that came."""
        self.accepted: list[Got] = []
        """What was answered with 2xx."""
        self.elsewhere = "http://127.0.0.1:1/"
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?token=t"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def ids(self) -> list[str]:
        return [got.id for got in self.accepted]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got = Got({name.lower(): value for name, value in self.headers.items()}, body, self.path)
                receiver.got.append(got)
                told = receiver.behave(got)
                with suppress(OSError):
                    self._act(got, told)

            def _act(self, got: Got, told: int | str) -> None:
                if told in ("hang", "close"):
                    receiver._stopping.wait(60 if told == "hang" else 0)
                    self.close_connection = True
                    return
                if told in ("endless", "drip"):
                    receiver.accepted.append(got)
                    self.send_response(200)
                    self.end_headers()
                    while not receiver._stopping.wait(0.05 if told == "drip" else 0):
                        self.wfile.write(CHUNK if told == "endless" else b"x")
                    return
                status = 302 if told == "redirect" else int(told)
                if status < 300:
                    receiver.accepted.append(got)
                self.send_response(status)
                if told == "redirect":
                    self.send_header("Location", receiver.elsewhere)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
