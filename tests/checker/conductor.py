# SPDX-License-Identifier: Apache-2.0
"""A conductor for tests: one region, kept in memory, behind mutual TLS; it can be told to be away."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.wire.checkers import ChecksClient, Newcomer, Standing, Told, Welcome
from caryatid.wire.checks import (
    LEASE_S,
    SHARES,
    Check,
    Done,
    Held,
    Known,
    Seat,
    Shares,
    Taken,
    Trial,
    Trials,
    Tried,
    Vote,
    Votes,
    Wanted,
)
from caryatid.wire.conductor import CertificateRequest, EnrolmentToken, NewCertificate, new_secret
from caryatid.wire.tls import client_context, listening_socket, server, server_context

REGION = "region-1"


@dataclass
class Lease:
    checker: str
    until: float
    fence: int


@dataclass
class Conductor:
    """What it knows and was told. Tests read and change it."""

    authority: certificates.Authority = field(
        default_factory=lambda: certificates.new_authority("Test", datetime.now(UTC))
    )
    checks: list[Check] = field(default_factory=list)
    version: int = 1
    controls: list[str] = field(default_factory=list)
    away: bool = False
    lease_s: float = LEASE_S
    denied: bool = False
    leases: dict[int, Lease] = field(default_factory=dict)
    seats: dict[str, tuple[float, Seat]] = field(default_factory=dict)
    said: list[Vote] = field(default_factory=list)
    """All votes that were taken."""
    refused: list[Vote] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    renew: bool = False
    token: EnrolmentToken | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def credentials(self, role: str = f"checker:{REGION}", name: str = "checker-1", days: int = 30) -> bytes:
        key = certificates.new_key()
        csr = certificates.request(key)
        return certificates.sign(self.authority, csr, Identity(role, name), datetime.now(UTC), days) + key

    @property
    def ca(self) -> str:
        return self.authority.certificate_pem.decode()

    def client(self, *urls: str) -> ChecksClient:
        return ChecksClient(urls or [self.url], client_context(self.ca, self.credentials()))

    def words(self) -> dict[str, str]:
        """What the region says of each member."""
        return {vote.member_id: vote.word for vote in self.said}

    def holders(self) -> dict[int, str]:
        return {share: lease.checker for share, lease in self.leases.items() if lease.until > time.monotonic()}

    def want(self, checks: Iterable[Check]) -> None:
        self.checks = list(checks)
        self.version += 1

    def new_token(self) -> EnrolmentToken:
        self.token = EnrolmentToken(
            url=self.url,
            authority=certificates.fingerprint(self.authority.certificate_pem),
            id="token-1",
            secret=new_secret(),
        )
        return self.token

    async def answer(self, request: Request) -> Response:
        if self.away:
            return Response("{}", 503)
        if self.denied:
            return Response('{"reason": "revoked"}', 403)
        body = await request.body()
        handler: Callable[[bytes], object] = getattr(self, f"_{request.path_params['what']}")
        said = handler(body)
        told = await said if asyncio.iscoroutine(said) else said
        return Response(told.model_dump_json(), 200)  # type: ignore[attr-defined]

    async def ca_pem(self, _request: Request) -> Response:
        return Response(self.authority.certificate_pem)

    def _enrolments(self, body: bytes) -> Welcome:
        newcomer = Newcomer.model_validate_json(body)
        assert self.token is not None
        assert newcomer.secret == self.token.secret
        csr, identity = newcomer.csr_pem.encode(), Identity(f"checker:{REGION}", "checker-1")
        pem = certificates.sign(self.authority, csr, identity, datetime.now(UTC), 30)
        return Welcome(
            checker_id="checker-1", region_id=REGION, region="here", certificate_pem=pem.decode(), ca_pem=self.ca
        )

    def _self(self, body: bytes) -> Told:
        self.standings.append(Standing.model_validate_json(body))
        renew, self.renew = self.renew, False
        return Told(ca_pem=self.ca, renew=renew)

    def _certificate(self, body: bytes) -> NewCertificate:
        wanted, identity = CertificateRequest.model_validate_json(body), Identity(f"checker:{REGION}", "checker-1")
        pem = certificates.sign(self.authority, wanted.csr_pem.encode(), identity, datetime.now(UTC), 30)
        return NewCertificate(certificate_pem=pem.decode(), ca_pem=self.ca)

    def _shares(self, body: bytes) -> Shares:
        seat, now = Seat.model_validate_json(body), time.monotonic()
        self.seats[seat.checker] = (now, seat)
        gone = seat.leaving or seat.quarantined
        own = [share for share, lease in self.leases.items() if lease.checker == seat.checker]
        live = sum(
            now - at < self.lease_s and not one.leaving and not one.quarantined for at, one in self.seats.values()
        )
        most = 0 if gone else math.ceil(SHARES / max(1, live))
        for share in own[most:]:
            self.leases[share] = Lease("", 0, self.leases[share].fence)
        for share in own[:most]:
            self.leases[share].until = now + self.lease_s
        have = len(own[:most])
        for share in range(SHARES):
            lease = self.leases.get(share, Lease("", 0, 0))
            if have < most and lease.until <= now:
                self.leases[share] = Lease(seat.checker, now + self.lease_s, lease.fence + 1)
                have += 1
        held = [Held(share=share, fence=one.fence) for share, one in self.leases.items() if one.checker == seat.checker]
        return Shares(held=held, checks=str(self.version))

    async def _wanted(self, body: bytes) -> Wanted:
        known = Known.model_validate_json(body)
        until = time.monotonic() + known.wait_s
        while known.checks == str(self.version) and time.monotonic() < until and not self.away:  # noqa: ASYNC110 - a test's
            await asyncio.sleep(0.02)
        if known.checks == str(self.version):
            return Wanted(checks=known.checks, wanted=[])
        words = {(vote.monitor_id, vote.member_id): vote.word for vote in self.said}
        own = [check for check in self.checks if check.share in known.shares]
        wanted = [one.model_copy(update={"word": words.get((one.monitor_id, one.member_id))}) for one in own]
        return Wanted(
            checks=str(self.version), wanted=wanted, allowed=["127.0.0.0/8"], refused=[], controls=self.controls
        )

    def _votes(self, body: bytes) -> Taken:
        stale = set()
        for vote in Votes.model_validate_json(body).votes:
            if vote.fence < self.leases[vote.share].fence:
                self.refused.append(vote)
                stale.add(vote.share)
            else:
                self.said.append(vote)
        return Taken(stale=sorted(stale))

    async def _tests(self, body: bytes) -> Trials:
        done = Done.model_validate_json(body)
        self.tried.extend(done.tried)
        until = time.monotonic() + done.wait_s
        while not self.trials and time.monotonic() < until and not self.away:  # noqa: ASYNC110 - a test's
            await asyncio.sleep(0.02)
        trials, self.trials = self.trials, []
        return Trials(trials=trials)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Conductor"]:
        """It listens while this is entered."""
        methods = ["POST", "PUT"]
        routes = [Route("/v1/checks/{what}", self.answer, methods=methods), Route("/1/ca", self.ca_pem)]
        context = server_context(self.ca, self.credentials("controller", "c1"), strangers=True)
        listener = listening_socket("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        serving = server(Starlette(routes=routes), context)
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        try:
            yield self
        finally:
            self.away = True  # who waits goes
            serving.should_exit = True
            await task
            listener.close()
            for connection in list(serving.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0.01)


async def eventually(condition: Callable[[], object], within_s: float = 30) -> None:
    """Wait until it holds, or fail."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the world outside has no events
            await asyncio.sleep(0.01)
