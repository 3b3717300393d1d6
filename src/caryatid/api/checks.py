# SPDX-License-Identifier: Apache-2.0
"""The door for checkers (wire/checks.py). Which region one speaks for says its certificate, and nothing else."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from ssl import DER_cert_to_PEM_cert
from time import monotonic
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from caryatid import log, metrics
from caryatid.control.authority import Registry
from caryatid.control.gslb import checkers, reports, shares, trials, votes
from caryatid.control.gslb.checks import Checks
from caryatid.control.gslb.revoking import REVOKED
from caryatid.errors import Forbidden, TooMany
from caryatid.model import GSLB
from caryatid.store.gslb.trials import ASKED
from caryatid.store.work import CHANNELS
from caryatid.wire.checkers import PATH, Newcomer, Standing
from caryatid.wire.checks import LEASE_S, VERSION, Done, Known, LoadBalancers, Seat, Shares, Votes
from caryatid.wire.conductor import CertificateRequest

from .call import aside
from .inner import Handler, answered, body, refused, told, written
from .news import LOOK_AGAIN_S, News

VOTES_BYTES_MAX: Final = 4 << 20
PAUSE_S: Final = 0.25
"""Between two looks at what is wanted; and no more than a third of the time is spent looking."""
RATE: Final = 100.0
"""Requests of one certificate that are taken in a second."""
BURST: Final = 300.0
"""The same at once."""
PEERS_MAX: Final = 10_000
SEEN_S: Final = 10.0
"""That somebody was heard of is written down no more often."""

Speaking = Callable[["Peer", Request], Awaitable[Response]]


class Peer(NamedTuple):
    """A checker that asks."""

    id: str
    region_id: str


class Checking:
    """One method for each request."""

    def __init__(self, registry: Registry, news: News, *, rate: float = RATE, burst: float = BURST) -> None:
        self._registry, self._news, self._rate, self._burst = registry, news, rate, burst
        self._database = registry.database
        self._checks = Checks(registry.database, registry.settings, registry.master)
        self._moved = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._first = asyncio.Lock()
        self._began = monotonic()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def routes(self) -> list[Route]:
        """All under `/v1/checks`."""
        own: list[tuple[str, str, Speaking]] = [
            ("self", "PUT", self.stand),
            ("certificate", "POST", self.renew),
            ("shares", "POST", self.sit),
            ("wanted", "POST", self.wanted),
            ("votes", "POST", self.votes),
            ("tests", "POST", self.tests),
            ("loadbalancers", "POST", self.loadbalancers),
        ]
        routes = [Route(f"{PATH}/{name}", answered(self._known(act)), methods=[method]) for name, method, act in own]
        return [Route(f"{PATH}/enrolments", answered(self.enrol), methods=["POST"]), *routes]

    async def close(self) -> None:
        """Nobody waits any longer."""
        self._news.close()
        self._ring()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def enrol(self, request: Request) -> Response:
        """A new checker; it has nothing but a token."""
        newcomer = await body(request, Newcomer)
        return told(await aside(checkers.enrol, self._registry, newcomer, datetime.now(UTC)), 201)

    async def stand(self, peer: Peer, request: Request) -> Response:
        standing = await body(request, Standing)
        shown = DER_cert_to_PEM_cert(request.scope["state"]["certificate"]).encode()
        return told(await aside(checkers.stand, self._registry, peer.id, standing, shown))

    async def renew(self, peer: Peer, request: Request) -> Response:
        wanted = await body(request, CertificateRequest)
        now = datetime.now(UTC)
        return told(await aside(checkers.renew, self._registry, peer.id, peer.region_id, wanted.csr_pem, now), 201)

    async def sit(self, peer: Peer, request: Request) -> Response:
        seat = _spoken(await body(request, Seat))
        beginning = monotonic() < self._began + LEASE_S
        region_id, key = peer.region_id, peer.id
        held = await aside(shares.sit, self._database, region_id, seat, beginning=beginning, enrolled_id=key)
        return told(Shares(held=held, checks=await self._version(peer)))

    async def wanted(self, peer: Peer, request: Request) -> Response:
        """At once if they are others than those that are known, else as soon as they are, or when time is over. Who is
        revoked meanwhile, is refused then."""
        known = _spoken(await body(request, Known))
        deadline = monotonic() + known.wait_s
        while (version := await self._version(peer)) == known.checks and version:
            left_s = deadline - monotonic()
            if left_s <= 0 or self._news.closing:
                return written(b'{"checks":"%s","wanted":[]}' % version.encode())
            number = self._news.number(REVOKED)
            await self._believe(peer)
            await _first(self._moved.wait(), self._news.after(REVOKED, number, left_s))
        return written(await aside(self._checks.answer, peer.region_id, known.shares))

    async def votes(self, peer: Peer, request: Request) -> Response:
        told_votes = _spoken(await body(request, Votes, VOTES_BYTES_MAX))
        return told(await aside(votes.take, self._database, peer.region_id, told_votes))

    async def tests(self, peer: Peer, request: Request) -> Response:
        """At once what there is to be tried; while there is nothing, when there is, or when time is over."""
        done = _spoken(await body(request, Done))
        deadline = monotonic() + done.wait_s
        while True:
            number = self._news.number(ASKED)
            await self._believe(peer)
            given = await aside(trials.exchange, self._database, peer.region_id, done, self._registry.master)
            done = done.model_copy(update={"tried": []})
            left_s = deadline - monotonic()
            if given.trials or left_s <= 0 or self._news.closing:
                return told(given)
            await self._news.after(ASKED, number, left_s)

    async def loadbalancers(self, peer: Peer, request: Request) -> Response:
        said = _spoken(await body(request, LoadBalancers, VOTES_BYTES_MAX))
        return told(await aside(reports.take, self._database, peer.region_id, said))

    def _known(self, act: Speaking) -> Handler:
        """The same for a checker of ours. Raises Forbidden, TooMany."""

        async def handler(request: Request) -> Response:
            peer = _peer(request)
            self._count(peer)
            await self._believe(peer)
            return await act(peer, request)

        return handler

    def _count(self, peer: Peer) -> None:
        now = monotonic()
        left, at = self._buckets.pop(peer.id, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._buckets[peer.id] = (max(0.0, left - 1), now)
        if len(self._buckets) > PEERS_MAX:
            self._buckets.popitem(last=False)
        if left < 1:
            metrics.CHECK_REFUSED.inc()
            raise TooMany("This checker asks too often.", 1)

    async def _believe(self, peer: Peer) -> None:
        """Raises Forbidden for one that is revoked, from the moment on at which it is."""
        await aside(checkers.may_speak, self._registry, peer.id, peer.region_id)
        now = monotonic()
        if self._seen.get(peer.id, -SEEN_S) + SEEN_S <= now:
            self._seen[peer.id] = now
            if len(self._seen) > PEERS_MAX:
                self._seen.popitem(last=False)
            await aside(checkers.seen, self._registry, peer.id)

    async def _version(self, peer: Peer) -> str:
        """Of what the region has to check. From now on we look whenever it may be otherwise."""
        if self._looking is None or self._looking.done():
            async with self._first:
                if self._looking is None or self._looking.done():
                    await aside(self._checks.look)
                    self._looking = asyncio.create_task(self._look())
        return self._checks.version(peer.region_id)

    async def _look(self) -> None:
        channel = CHANNELS[GSLB.name]
        number = self._news.number(channel)
        while not self._news.closing:
            began = monotonic()
            try:
                if await aside(self._checks.look):
                    self._ring()
            except Exception:  # noqa: BLE001  whatever it was, all checkers wait for the next look
                log.get().exception("what is to be checked could not be read")
            await asyncio.sleep(max(PAUSE_S, 2 * (monotonic() - began)))
            number = await self._news.after(channel, number, LOOK_AGAIN_S)

    def _ring(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _peer(request: Request) -> Peer:
    """Raises Forbidden unless the certificate is a checker's."""
    shown = request.scope.get("state", {}).get("peer")
    region_id = checkers.region_in(shown.role) if shown is not None else None
    if region_id is None:
        raise Forbidden("Only checkers speak here, each with its own certificate.")
    return Peer(shown.id, region_id)


def _spoken(said: Any) -> Any:
    """The same, if we can read it. Raises Refused."""
    if said.version != VERSION:
        why = f"This conductor speaks version {VERSION} of checks, the checker version {said.version}."
        raise refused(f"{why} The older one is to be updated.", 400)
    return said


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """One of these, each of which ends, is over."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
