# SPDX-License-Identifier: Apache-2.0
"""One request to a RAPI and its answer.

A Ganeti's RAPI answers one request a connection, which is closed by whoever has read the answer: to wait for its own
end costs a second.
"""

import base64
import io
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from typing_extensions import Buffer, override

from .line import PIECE_BYTES, Line, Untrusted, trusts

ANSWER_BYTES_MAX = 16 << 20
HEAD_BYTES_MAX = 1 << 16
HTTPS_PORT = 443
LOOKUPS_AT_ONCE = 4


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Lost:
    """No answer, or not all of it."""

    why: str
    asked: bool
    """The request was on its way: it may have been carried out."""


class Exchange:
    """Asks one RAPI. Any thread may; nothing is kept between requests."""

    def __init__(self, url: str, user: str, password: str, ca_pem: str = "") -> None:
        """`ca_pem` as `trusts` has it. Raises ValueError when it or `url` cannot be read."""
        place = urlsplit(url)
        if place.scheme != "https" or not place.hostname:
            raise ValueError("The address of a RAPI begins with https://.")
        self.place = place.netloc
        self._host, self._port = place.hostname, place.port or HTTPS_PORT
        self._authorization = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._trusts = trusts(ca_pem)
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="rapi-lookup")

    def ask(self, method: str, path: str, body: bytes | None, deadline: float) -> Answer | Lost:
        """The answer, whatever its status. `deadline`: of `time.monotonic`, for all of it."""
        line, asked = Line(deadline), False
        try:
            with line:
                self._connect(line)
                asked = True
                line.write(self._request(method, path, body))
                return _read(line, method)
        except TimeoutError:
            return Lost("there was no answer in time", asked)
        except ssl.SSLCertVerificationError as error:
            return Lost(f"its certificate is not trusted ({error.verify_message})", asked)
        except Untrusted as error:
            return Lost(f"its certificate is not trusted ({error})", asked)
        except (OSError, HTTPException, ValueError) as error:
            return Lost(_said(error), asked)

    def _connect(self, line: Line) -> None:
        """Secured. What is trusted by one way is asked for in that way first from then on."""
        addresses, problem = self._addresses(line), None
        for trust in self._trusts:
            line.connect(addresses)
            try:
                line.secure(trust, self._host)
            except (ssl.SSLCertVerificationError, Untrusted) as error:
                problem = problem or error
            else:
                self._trusts = (trust, *(other for other in self._trusts if other is not trust))
                return
        raise problem or Untrusted("nothing is trusted")

    def _addresses(self, line: Line) -> list[tuple[Any, ...]]:
        with suppress(ValueError):
            ip_address(self._host)
            return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)  # asks nobody
        search = self._lookups.submit(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
        try:
            return search.result(line.left_s())
        except TimeoutError:
            search.cancel()
            raise

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        head = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.place}",
            f"Authorization: Basic {self._authorization}",
            "Accept: application/json",
            "Connection: close",
        ]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, "", ""]).encode("ascii") + (body or b"")


class _Reader(io.RawIOBase):
    """What `http.client` reads an answer from."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._left = ANSWER_BYTES_MAX + HEAD_BYTES_MAX

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, PIECE_BYTES)

    @override
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        piece = self._line.read(len(view))
        view[: len(piece)] = piece
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError("its answer is too long")
        return len(piece)


def _read(line: Line, method: str) -> Answer:
    with HTTPResponse(cast(socket.socket, _Reader(line)), method=method) as response:
        response.begin()
        if (response.length or 0) > ANSWER_BYTES_MAX:
            raise ValueError("its answer is too long")
        content = response.read(ANSWER_BYTES_MAX + 1)
        if response.length:
            raise OSError("its answer broke off")
        if len(content) > ANSWER_BYTES_MAX:
            raise ValueError("its answer is too long")
        return Answer(response.status, content)


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'the connection broke'})"
    if isinstance(error, HTTPException):
        return f"its answer is no HTTP ({type(error).__name__})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
