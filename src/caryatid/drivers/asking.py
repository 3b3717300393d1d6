# SPDX-License-Identifier: Apache-2.0
"""Requests to services that are not ours: with a deadline for the whole, and a limit to what they may answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from caryatid.model.secret import BYTES_MAX

from .base import SecretsError

CONNECT_S = 2.0
ANSWER_BYTES_MAX = 2 * BYTES_MAX


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Asking:
    """A client, and how long an answer may take in all."""

    http: httpx2.Client
    timeout_s: float

    def ask(self, method: str, url: str, *, headers: Mapping[str, str], body: Any = None) -> Answer:
        """What is answered, whatever it is. Raises SecretsError if nothing is in time, or too much."""
        host = httpx2.URL(url).host
        deadline = time.monotonic() + self.timeout_s
        timeout = httpx2.Timeout(self.timeout_s, connect=CONNECT_S)
        content = bytearray()
        try:
            with self.http.stream(method, url, headers=dict(headers), json=body, timeout=timeout) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise SecretsError(f"{host} answers more than {ANSWER_BYTES_MAX} bytes.")
                    if time.monotonic() > deadline:
                        raise SecretsError(f"{host} does not answer in time.")
                return Answer(response.status_code, response.headers, bytes(content))
        except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
            late = isinstance(error, httpx2.TimeoutException)
            why = "no answer in time" if late else str(error) or type(error).__name__
            raise SecretsError(f"{host} cannot be asked: {why}.") from error
