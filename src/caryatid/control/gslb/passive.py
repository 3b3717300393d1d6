# SPDX-License-Identifier: Apache-2.0
"""Monitors of type `passive`: nobody tries anything, users tell how members are. What they told counts for as long as
the monitor says, and then nothing is known, as of any vote."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import Fault, NotFound, Refused
from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION
from caryatid.model.consequences import replace
from caryatid.model.gslb import telling
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.parameters import PASSIVE
from caryatid.model.gslb.place import GslbRegion
from caryatid.model.gslb.pool import GslbPool
from caryatid.model.gslb.telling import Told
from caryatid.model.policy import Caller, require
from caryatid.model.resource import Row
from caryatid.store import clock, events, rows
from caryatid.store.database import Tx
from caryatid.store.gslb import trees, votes

from . import home
from .waking import wake_users

TELLER: Final = "told"
"""Stands for a checker."""
SAID_MAX: Final = 100
"""Votes that an event names."""
TRIED: Final = (
    "Validation failure: this monitor is of type {}: it is tried, not told. Make one of type passive, and name it in "
    "the pool's monitors."
)
NOT_TRIED: Final = (
    "This monitor is of type passive: there is nothing to try. Users tell it how members are: "
    "PUT /gslb/v1/monitors/{id}/votes, `caryatid gslb-monitor tell`."
)
HOMELESS: Final = (
    "Validation failure: this installation has no region of its own: name the regions for which it will be told."
)


@dataclass(frozen=True)
class _Scene:
    """What a request to tell is held against."""

    monitor: GslbMonitor
    regions: Mapping[str, GslbRegion]
    home: str | None
    members: Mapping[str, GslbMember]
    pools: Mapping[str, GslbPool]


def prepare(door: Door, row: Row) -> None:
    """There is the region that a new passive monitor may be told for."""
    if isinstance(row, GslbMonitor) and row.type == PASSIVE and not row.regions:
        home.ensure(door)


def placed(tx: Tx, door: Door, row: Row) -> Row:
    """The same; a passive monitor that names no region is told for this installation's, if that has one."""
    if not isinstance(row, GslbMonitor) or row.type != PASSIVE or row.regions:
        return row
    here = _home(tx, door)
    return row if here is None else replace(row, regions=[here])


def placed_faults(monitor: GslbMonitor) -> Iterator[Fault]:
    """What is wrong with one that was to be `placed`."""
    if monitor.type == PASSIVE and not monitor.regions:
        yield Fault(HOMELESS, "regions")


def lasting(tx: Tx, row: Row) -> None:
    """What was told of the monitor counts for as long as that says now."""
    if isinstance(row, GslbMonitor) and row.told_s is not None:
        votes.last(tx, row.id, row.told_s)


def require_tried(monitor: GslbMonitor) -> None:
    """Raises Refused for one that nobody tries."""
    if monitor.told_s is not None:
        raise Refused([Fault(NOT_TRIED, "type")])


def tell(door: Door, caller: Caller, monitor_id: str, body: Any) -> list[dict[str, Any]]:
    """Members are as `body` says, and who uses them is looked at, at once; the votes as they count. Raises NotFound,
    Forbidden, Refused with every fault."""
    with door.database.transaction() as tx:
        place = rows.place(tx, GSLB_MONITOR, monitor_id)
        if place is None:
            raise NotFound(GSLB_MONITOR.title, monitor_id)
        require(caller, rule(GSLB_MONITOR, "put_votes"), place.project_id)
        told, faults = telling.read(body)
        scene = _scene(tx, door, monitor_id, told)
        if faults := [*faults, *_faults(scene, told)]:
            raise Refused(faults)
        said = [votes.Told(one.member_id, one.region_id or scene.home or "", one.vote, one.reason) for _, one in told]
        now = clock.now(tx)
        until = now + (scene.monitor.told_s or 0.0)
        otherwise = _otherwise(tx, monitor_id, said, now)
        votes.tell(tx, monitor_id, said, TELLER, now, until)
        if otherwise:
            _say(tx, caller, scene.monitor, otherwise)
            wake_users(tx, {one.member_id for one in otherwise})
    return [_shown(one) | {"at": clock.text(now), "until": clock.text(until)} for one in said]


def _scene(tx: Tx, door: Door, monitor_id: str, told: Told) -> _Scene:
    monitor = cast(GslbMonitor, trees.some(tx, GSLB_MONITOR, [monitor_id])[monitor_id])
    ids = list(dict.fromkeys(one.member_id for _, one in told))
    members = cast(dict[str, GslbMember], trees.some(tx, GSLB_MEMBER, ids))
    pools = trees.some(tx, GSLB_POOL, sorted({member.pool_id for member in members.values()}))
    regions = {region.id: region for region in trees.regions(tx)}
    return _Scene(monitor, regions, _home(tx, door), members, cast(dict[str, GslbPool], pools))


def _home(tx: Tx, door: Door) -> str | None:
    """The region of this installation."""
    return next((one["id"] for one in rows.find(tx, GSLB_REGION, name=door.settings.gslb_region)), None)


def _faults(scene: _Scene, told: Told) -> Iterator[Fault]:
    """What is wrong with what was told, beyond its form."""
    if scene.monitor.told_s is None:
        yield Fault(TRIED.format(scene.monitor.type), "type")
        return
    for number, one in told:
        if why := _not_its(scene, one.member_id):
            yield Fault(why, f"votes.{number}.member_id")
        if why := _no_place(scene, one.region_id):
            yield Fault(why, f"votes.{number}.region_id")


def _not_its(scene: _Scene, member_id: str) -> str:
    """Why the member has nothing to do with the monitor; empty: it has."""
    member = scene.members.get(member_id)
    if member is None or member.project_id != scene.monitor.project_id:
        return f"{GSLB_MEMBER.title} {member_id} not found."
    pool = scene.pools.get(member.pool_id)
    if pool is not None and any(use.monitor_id == scene.monitor.id for use in pool.monitors):
        return ""
    return (
        f"Validation failure: member {member_id} is in pool {member.pool_id}, which does not use this monitor: name it "
        "in the pool's monitors first."
    )


def _no_place(scene: _Scene, region_id: str | None) -> str:
    """Why what is told for the region would not count; empty: it does."""
    key = region_id or scene.home
    if key is None:
        return "Validation failure: this installation has no region of its own: name one."
    region = scene.regions.get(key)
    if region is None:
        return f"{GSLB_REGION.title} {key} not found."
    if key not in scene.monitor.regions:
        names = sorted(scene.regions[one].name for one in scene.monitor.regions if one in scene.regions)
        return (
            f"Validation failure: region {region.name} is none of the monitor's ({', '.join(names)}): name one of "
            "these, or add it to the monitor's regions."
        )
    return "" if region.enabled else f"Validation failure: region {region.name} is disabled: nothing counts there."


def _otherwise(tx: Tx, monitor_id: str, said: Sequence[votes.Told], now: float) -> list[votes.Told]:
    """Those that say something else than what counted until now."""
    before = votes.told(tx, monitor_id, list(dict.fromkeys(one.member_id for one in said)))
    found = []
    for one in said:
        word, until = before.get((one.member_id, one.region_id), ("", 0.0))
        if word != one.word or until <= now:
            found.append(one)
    return found


def _say(tx: Tx, caller: Caller, monitor: GslbMonitor, otherwise: Sequence[votes.Told]) -> None:
    detail: dict[str, Any] = {"votes": [_shown(one) for one in otherwise[:SAID_MAX]]}
    if len(otherwise) > SAID_MAX:
        detail["more"] = len(otherwise) - SAID_MAX
    kind, project_id = GSLB_MONITOR.name, monitor.project_id
    events.append(tx, "tell", kind, monitor.id, by=caller, project_id=project_id, root_id=None, detail=detail)


def _shown(one: votes.Told) -> dict[str, Any]:
    return {"member_id": one.member_id, "region_id": one.region_id, "vote": one.word, "reason": one.reason}
