# SPDX-License-Identifier: Apache-2.0
"""Where checks may go: the rule (`Targets`), and the addresses of names, looked at after they were looked up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from caryatid.model.gslb.targets import Targets

from .checks.base import Failed, NotAllowed, Unable

__all__ = ["LookUp", "Names", "Targets", "looked_up"]

KEPT_S = (5.0, 300.0)
"""An answer is believed for as long as it says, but within these."""
STALE_S = 300.0
"""For so long after that it is used while a newer one is asked for: nobody's check waits, or fails, for name servers
that are the checker's, not the member's."""
LOOK_UP_S = 10.0
"""After which one is given up, whoever waits for it."""
NAMES_MAX = 65_536

LookUp = Callable[[str], Awaitable[tuple[list[str], float]]]
"""A name's addresses, the preferred ones first, and for how many seconds they hold. Raises Failed if it has none;
Unable if nobody could be asked."""


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: list[str]
    until: float


class Names:
    """Each name is looked up once at a time, whoever asks for it; what was found is kept."""

    def __init__(self, targets: Targets, look_up: LookUp) -> None:
        self._targets = targets
        self._look_up = look_up
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[list[str]]] = {}

    async def reach(self, name: str) -> str:
        """The address that is to be connected to, and no other. Raises NotAllowed for what may not be spoken to; Failed
        for what has no address; Unable if nobody could be asked."""
        if _is_address(name):
            refusal = self._targets.refusal(name)
            if refusal:
                raise NotAllowed(refusal)
            return name
        found = await self._found(name)
        refusals = [self._targets.refusal(address) for address in found]
        for address, refusal in zip(found, refusals, strict=True):
            if refusal is None:
                return address
        raise NotAllowed(f"{name}: {refusals[0]}")

    async def _found(self, name: str) -> list[str]:
        """What is known, if it is not too old; what is oldish is asked for anew, and nobody waits for that."""
        known, now = self._known.get(name), asyncio.get_running_loop().time()
        if known and now < known.until:
            return known.addresses
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._asked(name))
            asking.add_done_callback(partial(self._heard, name))
        if known and now < known.until + STALE_S:
            return known.addresses
        return await asyncio.shield(asking)

    async def _asked(self, name: str) -> list[str]:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                addresses, ttl_s = await self._look_up(name)
        except TimeoutError:
            raise Unable(f"the name {name} could not be looked up within {LOOK_UP_S:g} s") from None
        except Failed:
            self._known.pop(name, None)
            raise
        if len(self._known) >= NAMES_MAX:
            self._known.clear()
        least, most = KEPT_S
        until = asyncio.get_running_loop().time() + min(max(ttl_s, least), most)
        self._known[name] = _Known(addresses, until)
        return addresses

    def _heard(self, name: str, asking: asyncio.Task[list[str]]) -> None:
        """Who waited was told; perhaps nobody did."""
        del self._asking[name]
        if not asking.cancelled():
            asking.exception()

    async def close(self) -> None:
        asking = list(self._asking.values())
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def looked_up(name: str) -> tuple[list[str], float]:
    """As the name servers of this machine say (/etc/resolv.conf; no search list): IPv4, else IPv6.

    In the order of their numbers: servers shuffle them, and a check should go to the same address each time.
    """
    try:
        asked = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError):
        raise Failed(f"{name} is no name") from None
    try:
        resolver = dns.asyncresolver.Resolver()
        for kind in ("A", "AAAA"):
            answer = await resolver.resolve(asked, kind, raise_on_no_answer=False, lifetime=LOOK_UP_S, search=False)
            if answer.rrset:
                found = sorted((record.address for record in answer.rrset), key=ip_address)
                return found, float(answer.rrset.ttl)
    except dns.resolver.NXDOMAIN:
        raise Failed(f"the name {name} does not exist") from None
    except (dns.exception.DNSException, OSError) as error:
        raise Unable(f"the name {name} could not be looked up: {type(error).__name__}") from error
    raise Failed(f"the name {name} has no address")


def _is_address(text: str) -> bool:
    if not (text[:1].isdigit() or ":" in text):
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
