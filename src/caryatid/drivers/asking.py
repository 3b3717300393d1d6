# SPDX-License-Identifier: Apache-2.0
"""Requests to services that are not ours: with a deadline for the whole, and a limit to what they may answer."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

CONNECT_S = 2.0
CONNECTIONS_MAX = 32
ANSWER_BYTES_MAX = 1 << 17


class NotAnsweredError(Exception):
    """It is not there, not in time, or not as it should be. `str()` is a sentence for the operator."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Asking:
    """A client, how long an answer may take in all, and how long it may be. Threads may share it."""

    http: httpx2.Client
    timeout_s: float
    bytes_max: int = ANSWER_BYTES_MAX

    @classmethod
    def of(cls, authorities: str, timeout_s: float, bytes_max: int = ANSWER_BYTES_MAX) -> Self:
        """One that checks certificates against the authorities (PEM; empty: the machine's)."""
        context = ssl.create_default_context(cadata=authorities or None)
        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX)
        http = httpx2.Client(verify=context, follow_redirects=False, trust_env=False, limits=limits)
        return cls(http, timeout_s, bytes_max)

    def ask(self, method: str, url: str, *, headers: Mapping[str, str], body: Any = None) -> Answer:
        """What is answered, whatever it is. Raises NotAnsweredError if nothing is in time, or too much."""
        host = httpx2.URL(url).host
        deadline = time.monotonic() + self.timeout_s
        timeout = httpx2.Timeout(self.timeout_s, connect=CONNECT_S)
        content = bytearray()
        try:
            with self.http.stream(method, url, headers=dict(headers), json=body, timeout=timeout) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > self.bytes_max:
                        raise NotAnsweredError(f"{host} answers more than {self.bytes_max} bytes.")
                    if time.monotonic() > deadline:
                        raise NotAnsweredError(f"{host} does not answer in time.")
                return Answer(response.status_code, response.headers, bytes(content))
        except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
            late = isinstance(error, httpx2.TimeoutException)
            why = "no answer in time" if late else str(error) or type(error).__name__
            raise NotAnsweredError(f"{host} cannot be asked: {why}.") from error
