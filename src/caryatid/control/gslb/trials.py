# SPDX-License-Identifier: Apache-2.0
"""Dry runs of a monitor, from each of its regions: what would be found now, of which nothing is remembered."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import uuid4

from caryatid.control.door import Door
from caryatid.control.vault import MasterKey
from caryatid.errors import Fault, NotFound, Refused
from caryatid.model import GSLB_MEMBER, GSLB_MONITOR
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.parameters import references
from caryatid.model.gslb.targets import Targets
from caryatid.store.database import Database, Tx
from caryatid.store.gslb import bundles as sealed
from caryatid.store.gslb import loadbalancers, shares, trees
from caryatid.store.gslb import trials as store
from caryatid.wire.checks import Done, Trial, Trials

from . import bundles, checks, passive
from .targets import targets

SPARE_S: Final = 5.0
"""For a checker to be told, and to answer, beside the check itself."""
WAIT_MAX_S: Final = 60.0
SILENT: Final = "No checker of this region has answered in time."
EMPTY: Final = "This region has no checker now."


@dataclass(frozen=True, slots=True)
class Asked:
    """Dry runs that somebody waits for."""

    monitor_id: str
    address: str
    regions: Mapping[str, tuple[str, str]]
    """Id of each dry run → id and name of its region."""
    empty: Collection[str]
    """Those of regions that have no checker now."""
    wait_s: float


def ask(
    door: Door, monitor_id: str, *, member_id: str | None = None, address: str | None = None, port: int | None = None
) -> Asked:
    """The monitor is tried of a member, or of an address, from each of its regions. Raises NotFound, Refused."""
    with door.database.transaction() as tx:
        monitor = cast(GslbMonitor | None, trees.some(tx, GSLB_MONITOR, [monitor_id]).get(monitor_id))
        if monitor is None:
            raise NotFound(GSLB_MONITOR.title, monitor_id)
        passive.require_tried(monitor)
        made = _check(tx, monitor, member_id, address, port)
        _permitted(targets(tx, door), made["address"])
        regions = [
            one for one in trees.regions(tx) if one.enabled and (not monitor.regions or one.id in monitor.regions)
        ]
        asked = {str(uuid4()): (region.id, region.name) for region in regions}
        wait_s = min(WAIT_MAX_S, monitor.timeout * (monitor.retries + 1) + SPARE_S)
        there = shares.with_checkers(tx)
        store.ask(tx, {key: (region, made) for key, (region, _) in asked.items() if region in there}, wait_s)
    empty = frozenset(key for key, (region, _) in asked.items() if region not in there)
    return Asked(monitor_id, made["address"], asked, empty, wait_s)


def found(door: Door, asked: Asked) -> dict[str, Any] | None:
    """The answer, once all regions have answered; None: not all have."""
    with door.database.read() as tx:
        said = store.found(tx, list(asked.regions))
    return _answer(asked, said) if len(said) + len(asked.empty) == len(asked.regions) else None


def answer(door: Door, asked: Asked) -> dict[str, Any]:
    """The answer as far as it is known."""
    with door.database.read() as tx:
        return _answer(asked, store.found(tx, list(asked.regions)))


def forget(door: Door, asked: Asked) -> None:
    """Nobody waits any more."""
    with door.database.transaction() as tx:
        store.forget(tx, list(asked.regions))


def exchange(database: Database, region_id: str, done: Done, master: MasterKey | None = None) -> Trials:
    """What a checker of the region has found is known, and it makes what it is given. `master`: with which what checks
    need of the key store is unsealed."""
    with database.read() as tx:
        if not done.tried and not store.any_for(tx, region_id):
            return Trials(trials=[])
    with database.transaction() as tx:
        store.keep(tx, region_id, {one.id: one.model_dump(exclude={"id"}) for one in done.tried})
        given = store.hand_out(tx, region_id, done.checker)
        trials = [Trial.model_validate({"id": key, "check": check}) for key, check in given.items()]
        named = {digest for trial in trials for digest in references(trial.check.type, trial.check.parameters).values()}
        return Trials(trials=trials, contents=bundles.contents(tx, master, named))


def _check(
    tx: Tx, monitor: GslbMonitor, member_id: str | None, address: str | None, port: int | None
) -> dict[str, Any]:
    if member_id is None:
        nobody = str(uuid4())
        at = monitor.created_at
        given = {"id": nobody, "pool_id": nobody, "project_id": monitor.project_id, "created_at": at}
        wanted = {"type": "hostname", "hostname": address} if _is_name(address or "") else {"address": address}
        member = cast(GslbMember, GSLB_MEMBER.new({**wanted, "port": port}, given))
    else:
        known = cast(GslbMember | None, trees.some(tx, GSLB_MEMBER, [member_id]).get(member_id))
        if known is None:
            raise NotFound(GSLB_MEMBER.title, member_id)
        member = known
    digests = sealed.digests(tx, [monitor.id])
    made = checks.check(monitor, member, loadbalancers.own_of(tx, [member]).get(member.id), digests.get(monitor.id, {}))
    if made is None:
        raise Refused([Fault("This member has no address yet that could be tried.", "member_id")])
    return made


def _permitted(known: Targets, address: str) -> None:
    """Raises Refused for an address that nobody may be sent to; names are looked up, and judged, by the checker."""
    why = None if _is_name(address) else known.refusal(address)
    if why is not None:
        raise Refused([Fault(why, "address")])


def _is_name(address: str) -> bool:
    return not (":" in address or address.replace(".", "").isdigit())


def _answer(asked: Asked, said: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = []
    for key, (region_id, name) in asked.regions.items():
        silence = EMPTY if key in asked.empty else SILENT
        one = said.get(key, {"word": "UNKNOWN", "reason": silence, "rtt_ms": None})
        found.append(
            {
                "region_id": region_id,
                "region": name,
                "vote": one["word"],
                "reason": one["reason"],
                "rtt_ms": one["rtt_ms"],
            }
        )
    return {
        "monitor_id": asked.monitor_id,
        "address": asked.address,
        "regions": sorted(found, key=lambda one: one["region"]),
    }
