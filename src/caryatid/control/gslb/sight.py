# SPDX-License-Identifier: Apache-2.0
"""How gslbs, pools and members are, as regions see them: told with the documents, never kept in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import GSLB, GSLB_GEOMAP, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL
from caryatid.model.gslb.gslb import Gslb
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.place import GslbGeomap
from caryatid.model.gslb.tree import pools_of
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.plan.votes import good_s
from caryatid.store import clock, rows
from caryatid.store.database import Tx
from caryatid.store.filters import Query
from caryatid.store.gslb import loadbalancers, state, trees, votes

from .told import Told
from .wanted import monitor_of

Json = dict[str, Any]
SILENT: Final = "nothing has been said since"
BRIEF: Final[Mapping[str, Sequence[str]]] = {
    GSLB.name: (
        *("id", "name", "fqdn", "steering_policy", "provisioning_status", "operating_status"),
        *("published_generation", "published_at"),
    ),
    GSLB_POOL.name: ("id", "name", "admin_state_up", "provisioning_status", "operating_status"),
    GSLB_MEMBER.name: (
        *("id", "name", "type", "address", "hostname", "loadbalancer_id", "weight", "admin_state_up"),
        *("operating_status", "status_reason", "per_region"),
    ),
}
"""What a tree tells of each."""


def with_votes(tx: Tx, members: Sequence[Json]) -> Sequence[Json]:
    """The documents of members, what each region says of them filled in."""
    found = votes.of_members(tx, [member["id"] for member in members])
    monitors = trees.some(tx, GSLB_MONITOR, sorted({one.monitor_id for seen in found.values() for one in seen}))
    own = loadbalancers.own_of(tx, [cast(GslbMember, GSLB_MEMBER.load(member)) for member in members])
    now = clock.now(tx)
    for member in members:
        told = [
            _told(one, cast(GslbMonitor | None, monitors.get(one.monitor_id)), now)
            for one in found.get(member["id"], ())
        ]
        if (known := own.get(member["id"])) is not None:
            if known.word is not None:
                told.insert(0, _itself(known, known.word, now))
            if member["type"] != loadbalancers.TYPE:
                member["address"] = next(iter(known.addresses), None)
        member["per_region"] = told
    return members


def tree(tx: Tx, caller: Caller, gslb_id: str) -> Json:
    """The gslb, what it is answered with, why, its pools, their members. Raises NotFound, Forbidden."""
    document = _allowed(tx, caller, GSLB, gslb_id, "get_status")
    remembered = state.load(tx, [gslb_id]).get(gslb_id)
    pools = [{**_brief(GSLB_POOL, pool), "members": _members(tx, pool["id"])} for pool in _pools(tx, document)]
    told = Told.read(remembered.published).last if remembered else {}
    answers = {rrtype: list(said["contents"]) for rrtype, said in told.items()}
    why = list(remembered.why) if remembered else []
    return {**_brief(GSLB, document), "answers": answers, "why": why, "pools": pools}


def pool_tree(tx: Tx, caller: Caller, pool_id: str) -> Json:
    """The pool and its members. Raises NotFound, Forbidden."""
    document = _allowed(tx, caller, GSLB_POOL, pool_id, "get_status")
    return {**_brief(GSLB_POOL, document), "members": _members(tx, pool_id)}


def member(tx: Tx, caller: Caller, pool_id: str, member_id: str) -> Json:
    """The member alone. Raises NotFound, Forbidden."""
    document = _allowed(tx, caller, GSLB_MEMBER, member_id, "get_status", parent_id=pool_id)
    return _brief(GSLB_MEMBER, with_votes(tx, [document])[0])


def pools(tx: Tx, caller: Caller, gslb_id: str) -> list[Json]:
    """All pools that the gslb uses. Raises NotFound, Forbidden."""
    return _pools(tx, _allowed(tx, caller, GSLB, gslb_id, "get_one"))


def monitors(tx: Tx, caller: Caller, pool_id: str) -> list[Json]:
    """All monitors that the pool uses. Raises NotFound, Forbidden."""
    document = _allowed(tx, caller, GSLB_POOL, pool_id, "get_one")
    return _some(tx, GSLB_MONITOR, [use["monitor_id"] for use in document["monitors"]])


def _allowed(tx: Tx, caller: Caller, kind: Kind, key: str, action: str, *, parent_id: str | None = None) -> Json:
    document = rows.get(tx, kind, key, parent_id=parent_id)
    if document is None:
        raise NotFound(kind.title, key)
    require(caller, rule(kind, action), document["project_id"])
    return document


def _pools(tx: Tx, document: Json) -> list[Json]:
    gslb = cast(Gslb, GSLB.load(document))
    geomaps = {} if gslb.geomap_id is None else trees.some(tx, GSLB_GEOMAP, [gslb.geomap_id])
    return _some(tx, GSLB_POOL, pools_of(gslb, cast(GslbGeomap | None, geomaps.get(gslb.geomap_id or ""))))


def _members(tx: Tx, pool_id: str) -> list[Json]:
    return [_brief(GSLB_MEMBER, one) for one in with_votes(tx, rows.find(tx, GSLB_MEMBER, pool_id=pool_id))]


def _some(tx: Tx, kind: Kind, ids: Iterable[str]) -> list[Json]:
    """Documents, in the order of their ids as given, each once."""
    wanted = list(dict.fromkeys(ids))
    found = {one["id"]: one for one in rows.page(tx, kind, Query(filters={"id": wanted}))} if wanted else {}
    return [found[key] for key in wanted if key in found]


def _brief(kind: Kind, document: Json) -> Json:
    return {name: document[name] for name in BRIEF[kind.name]}


def _told(one: votes.Seen, monitor: GslbMonitor | None, now: float) -> Json:
    vote, reason = one.word, one.reason
    if one.confirmed_at + (good_s(monitor_of(monitor)) if monitor else 0.0) < now:
        vote, reason = "UNKNOWN", _until(one.word, one.confirmed_at, SILENT)
    return {
        "region_id": one.region_id,
        "monitor_id": one.monitor_id,
        "vote": vote,
        "at": clock.text(one.confirmed_at),
        "since": clock.text(one.since),
        "reason": reason,
        "rtt_ms": one.rtt_ms,
    }


def _until(word: str, at: float, why: str) -> str:
    return f"{word} until {clock.text(at)}; {why}"


def _itself(own: loadbalancers.Own, word: str, now: float) -> Json:
    """What a load balancer says of itself, or whoever has a member elsewhere of that."""
    lately = own.confirmed_at + own.good_s >= now
    if not own.confirmed_at:
        reason = own.problem
    elif not lately:
        reason = _until(word, own.confirmed_at, own.problem or SILENT)
    else:
        reason = own.reason or own.problem or ("" if word == "UP" else "as the load balancer says of itself")
    return {
        "region_id": own.region_id or None,
        "monitor_id": None,
        "vote": word if lately else "UNKNOWN",
        "at": clock.text(own.confirmed_at),
        "since": clock.text(own.since),
        "reason": reason,
        "rtt_ms": None,
    }
