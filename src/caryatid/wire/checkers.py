# SPDX-License-Identifier: Apache-2.0
"""How a checker becomes one of ours, and its client for a conductor.

    POST /v1/checks/enrolments    Newcomer → Welcome (201)                    nobody yet: by a token
    PUT  /v1/checks/self          Standing → Told                             now and then, with its certificate
    POST /v1/checks/certificate   CertificateRequest → NewCertificate (201)   likewise: a certificate for a new key

Which region it is in is decided by the token, which is made as a host's is (`EnrolmentToken`); a host's lets no checker
in, nor the other way round.
"""

import asyncio
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final

import httpx2
from pydantic import Field, ValidationError

from .body import AmphoraId, Body
from .checks import Done, Heard, Known, LoadBalancers, Seat, Shares, Taken, Trials, Votes, Wanted
from .conductor import (
    CONDUCTOR_NAME,
    AnswerT,
    CertificateRequest,
    ConductorRefused,
    ConductorUnreachable,
    NewCertificate,
    reason_of,
)

PATH: Final = "/v1/checks"
CONNECT_S: Final = 1.0
SHORT_S: Final = 2.0
"""For what is asked every second: a share is lost in three."""
LONG_S: Final = 10.0
WAIT_S: Final = 25.0
"""Of a long poll."""


class Newcomer(Body):
    """A checker without a certificate yet."""

    token_id: str = AmphoraId
    secret: str = Field(min_length=43, max_length=43, repr=False)
    csr_pem: str = Field(max_length=8192)
    name: str = Field(max_length=255)
    """Of its machine."""


class Welcome(Body):
    """It is in."""

    checker_id: str = AmphoraId
    region_id: str
    region: str
    """The region's name."""
    certificate_pem: str
    ca_pem: str


class Standing(Body):
    """What a checker says of itself."""

    name: str = Field(max_length=255)
    release: str = Field(max_length=64)
    """Version of the program."""
    trusts: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=16)
    """Fingerprints of the authorities that it trusts."""


class Told(Body):
    """What it is told."""

    ca_pem: str = ""
    """Certificates of all authorities that are to be trusted; empty: as before."""
    renew: bool = False
    """It shall renew its certificate now, whenever that ends."""


class ConductorDenied(ConductorRefused):
    """The checker is not, or no longer, one of ours."""


class ChecksClient:
    """Talks to conductors, to one at a time: to the next when that fails. Each method raises a ConductorError."""

    def __init__(self, urls: Sequence[str], context: ssl.SSLContext) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._turn = 0
        self._http = httpx2.AsyncClient(verify=context, trust_env=False)

    async def close(self) -> None:
        """Close all connections; what is being asked fails."""
        await self._http.aclose()

    async def enrol(self, newcomer: Newcomer) -> Welcome:
        return await self._ask("POST", "enrolments", newcomer, Welcome, LONG_S)

    async def stand(self, standing: Standing) -> Told:
        return await self._ask("PUT", "self", standing, Told, LONG_S)

    async def renew(self, csr_pem: str) -> NewCertificate:
        return await self._ask("POST", "certificate", CertificateRequest(csr_pem=csr_pem), NewCertificate, LONG_S)

    async def shares(self, seat: Seat) -> Shares:
        return await self._ask("POST", "shares", seat, Shares, SHORT_S)

    async def wanted(self, known: Known) -> Wanted:
        return await self._ask("POST", "wanted", known, Wanted, known.wait_s + LONG_S)

    async def votes(self, votes: Votes) -> Taken:
        return await self._ask("POST", "votes", votes, Taken, LONG_S)

    async def tests(self, done: Done) -> Trials:
        return await self._ask("POST", "tests", done, Trials, done.wait_s + LONG_S)

    async def loadbalancers(self, told: LoadBalancers) -> Heard:
        return await self._ask("POST", "loadbalancers", told, Heard, LONG_S)

    async def _ask(self, method: str, what: str, body: Body, kind: type[AnswerT], within_s: float) -> AnswerT:
        """Each conductor is asked once."""
        for _ in self._urls[1:]:
            turn = self._turn
            try:
                return await self._of(method, what, body, kind, within_s)
            except ConductorUnreachable:
                if self._turn == turn:  # somebody else may have gone on already
                    self._turn = (turn + 1) % len(self._urls)
        return await self._of(method, what, body, kind, within_s)

    async def _of(self, method: str, what: str, body: Body, kind: type[AnswerT], within_s: float) -> AnswerT:
        url = f"{self._urls[self._turn]}{PATH}/{what}"
        try:
            answer = await self._answer(method, url, body, within_s)
        except (httpx2.TransportError, OSError, RuntimeError) as error:  # RuntimeError: closed under our feet
            raise ConductorUnreachable(f"The conductor cannot be reached: {error or type(error).__name__}.") from error
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise ConductorUnreachable(reason_of(answer))
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise ConductorDenied(reason_of(answer))
        if not answer.is_success:
            raise ConductorRefused(reason_of(answer))
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError:
            raise ConductorRefused(f"The conductor's answer is not a {kind.__name__}.") from None

    async def _answer(self, method: str, url: str, body: Body, within_s: float) -> httpx2.Response:
        """Who is cancelled while a connection is being made lets that end first, in two seconds at the most: otherwise
        the library would leave it open."""
        connected = asyncio.Event()

        async def trace(what: str, _about: object) -> None:
            if what.endswith("send_request_headers.started"):
                connected.set()

        request = self._http.request(
            method,
            url,
            content=body.model_dump_json().encode(),
            headers={"Content-Type": "application/json"},
            timeout=httpx2.Timeout(within_s, connect=CONNECT_S),
            extensions={"sni_hostname": CONDUCTOR_NAME, "trace": trace},
        )
        asking = asyncio.create_task(request)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            connecting = asyncio.create_task(connected.wait())
            await asyncio.wait({asking, connecting}, return_when=asyncio.FIRST_COMPLETED)
            connecting.cancel()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            raise
