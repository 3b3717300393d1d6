# SPDX-License-Identifier: Apache-2.0
"""Which checks each region has to make: all members of pools that a gslb uses, by all monitors of these pools."""

import threading
import time
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

import orjson

from caryatid import metrics
from caryatid.config import Settings
from caryatid.control.vault import MasterKey
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.store.database import Database
from caryatid.store.gslb import checks as store
from caryatid.store.gslb import votes
from caryatid.store.gslb.checks import Checked
from caryatid.store.gslb.loadbalancers import Own

from . import bundles
from .targets import allowed, cidrs, refused
from .votes import share_of

DIGEST_BYTES: Final = 8
NO_DIGESTS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Written:
    """A check, as it goes over the wire (wire.checks.Check): all but its last word."""

    monitor_id: str
    member_id: str
    content: bytes
    """JSON without the brace at its end."""
    digest: int
    named: tuple[str, ...] = ()
    """Digests of what it needs of the key store."""


@dataclass(frozen=True, slots=True)
class Places:
    """What a region has to check, and how it may."""

    version: str
    shares: Mapping[int, Sequence[Written]]
    limits: bytes
    """The rest of wire.checks.Wanted, in JSON."""


@dataclass
class Checks:
    """Kept by a conductor, in agreement with the database. Threads may share it."""

    database: Database
    settings: Settings
    master: MasterKey | None = field(default=None, repr=False)
    """With which what checks need of the key store is unsealed, each time when it is handed out."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: Hashable = None
    _regions: Mapping[str, Places] = field(default_factory=dict)

    def look(self) -> bool:
        """What is here is what is wanted; whether anything is otherwise than before."""
        with self._lock:
            with self.database.read() as tx:
                seen = store.fingerprint(tx)
                if seen == self._seen:
                    return False
                began = time.monotonic()
                checked, here = store.load(tx), allowed(tx, self.settings)
            before, self._regions = self._regions, self._composed(checked, here, refused(self.settings))
            self._seen = seen
        metrics.CHECK_WANTED_SECONDS.observe(time.monotonic() - began)
        return _versions(before) != _versions(self._regions)

    def version(self, region_id: str) -> str:
        """Of the region's checks; another one: they are others."""
        known = self._regions.get(region_id)
        return known.version if known else ""

    def answer(self, region_id: str, shares: Collection[int]) -> bytes:
        """wire.checks.Wanted, in JSON: the checks in these shares, with the region's last words, and what they need."""
        known = self._regions.get(region_id)
        if known is None:
            return b'{"checks":"","wanted":[]}'
        found = [one for share in sorted(set(shares)) for one in known.shares.get(share, ())]
        with self.database.read() as tx:
            words = votes.words(tx, region_id, shares)
            contents = bundles.contents(tx, self.master, {digest for one in found for digest in one.named})
        content = b",".join(_with_word(one, words.get((one.monitor_id, one.member_id))) for one in found)
        more = b',"contents":%s' % orjson.dumps(contents) if contents else b""
        return b'{"checks":%s,"wanted":[%s],%s%s}' % (orjson.dumps(known.version), content, known.limits, more)

    def _composed(self, checked: Checked, here: Sequence[str], shut: Sequence[str]) -> dict[str, Places]:
        named, controls = cidrs(self.settings.gslb_allowed_targets), cidrs(self.settings.gslb_controls)
        written = list(_written(checked))
        found = {}
        for region in checked.regions:
            own = region.name == self.settings.gslb_region
            limits = {"allowed": here if own else named, "refused": shut, "controls": controls}
            mine = [one for regions, one in written if not regions or region.id in regions] if region.enabled else []
            found[region.id] = _places(mine, orjson.dumps(limits)[1:-1])
        return found


def check(
    monitor: GslbMonitor, member: GslbMember, own: Own | None = None, digests: Mapping[str, str] = NO_DIGESTS
) -> dict[str, Any] | None:
    """The check (wire.checks.Check, as a document) of the member by the monitor; None: it has no address.

    `digests`: of what stands in the key store under the parameters that name something there."""
    address = _address(member, own)
    if address is None:
        return None
    made = {**_how(monitor, digests), "address": address, "port": member.monitor_port or member.port}
    version = _digest(orjson.dumps(made)).hex()
    ids = {"monitor_id": monitor.id, "member_id": member.id, "share": share_of(member.id), "version": version}
    return ids | made


def _written(checked: Checked) -> Iterator[tuple[frozenset[str], Written]]:
    """Each check, with the regions that make it; none: all."""
    members: dict[str, list[GslbMember]] = {}
    for member in checked.members:
        members.setdefault(member.pool_id, []).append(member)
    for pool in checked.pools:
        for use in pool.monitors:
            monitor = checked.monitors.get(use.monitor_id)
            if monitor is not None and monitor.admin_state_up and monitor.told_s is None:
                digests = checked.digests.get(monitor.id, NO_DIGESTS)
                yield from _of_pool(monitor, members.get(pool.id, ()), checked.own, digests)


def _of_pool(
    monitor: GslbMonitor, members: Iterable[GslbMember], own: Mapping[str, Own], digests: Mapping[str, str]
) -> Iterator[tuple[frozenset[str], Written]]:
    regions, named = frozenset(monitor.regions), tuple(digests.values())
    for member in members:
        made = check(monitor, member, own.get(member.id), digests)
        if made is not None:
            content = orjson.dumps(made)[:-1]
            yield regions, Written(monitor.id, member.id, content, int.from_bytes(_digest(content)), named)


def _versions(regions: Mapping[str, Places]) -> dict[str, str]:
    return {key: places.version for key, places in regions.items()}


def _places(checks: Sequence[Written], limits: bytes) -> Places:
    shares: dict[int, list[Written]] = {}
    total = int.from_bytes(_digest(limits))
    for one in checks:
        shares.setdefault(share_of(one.member_id), []).append(one)
        total += one.digest
    return Places(f"{len(checks)}-{total % (1 << 64):016x}", shares, limits)


def _address(member: GslbMember, own: Own | None) -> str | None:
    if member.monitor_address is not None:
        return member.monitor_address
    if own is not None:
        return next(iter(own.addresses), None)
    return member.address or member.hostname


def _how(monitor: GslbMonitor, digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": monitor.type,
        "interval_s": monitor.interval,
        "timeout_s": monitor.timeout,
        "retries": monitor.retries,
        "rise": monitor.rise,
        "fall": monitor.fall,
        "rapid_recheck": monitor.rapid_recheck,
        "inverted": monitor.inverted,
        "parameters": {**monitor.parameters, **digests},
    }


def _with_word(check: Written, word: str | None) -> bytes:
    return check.content + (b',"word":"%s"}' % word.encode() if word else b"}")


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()
