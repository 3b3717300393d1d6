# SPDX-License-Identifier: Apache-2.0
"""Members that say themselves where and how they are: load balancers of ours, here and in other regions, and what
others have (store/gslb/elsewhere.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, Final

from sqlalchemy import and_, delete, exists, or_, select

from caryatid.model import AMPHORA, GSLB_REGION, LOADBALANCER
from caryatid.model.gslb.member import GslbMember
from caryatid.store import clock
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_REMOTE
from caryatid.store.observations import HOST, LOST
from caryatid.store.sql import among, insert, listed
from caryatid.store.tables import OBSERVATION, TABLES

from . import elsewhere
from .elsewhere import Word

TYPE: Final = "load_balancer"
"""Of the members that this is about."""
WELL: Final = frozenset({"ONLINE", "DEGRADED", "NO_MONITOR"})
"""Operating statuses in which a load balancer is answered with."""


@dataclass(frozen=True, slots=True)
class Own:
    """A load balancer of ours, or what others have. Times are seconds since the epoch."""

    loadbalancer_id: str
    """Empty: it is none of ours."""
    region_id: str
    """Where it is; empty: in this installation."""
    addresses: tuple[str, ...]
    """Its VIPs, the first one first."""
    word: Word | None
    """UNKNOWN: nothing was ever heard of it. None: nobody says how it is."""
    since: float
    """When it became so."""
    confirmed_at: float
    """When it was last known to be so."""
    good_s: float
    """For so long after that it counts; of this installation's for ever: whose hosts are silent is judged here."""
    reason: str = ""
    """Why it is DOWN, if that is known."""
    problem: str = ""
    """Why nothing is heard of it; empty: something is."""


@dataclass(frozen=True, slots=True)
class Told:
    """A load balancer, as its region reports it."""

    id: str
    addresses: Sequence[str]
    operating_status: str
    good_s: float
    """For so long it counts."""


def word_of(operating_status: str) -> Word:
    return "UP" if operating_status in WELL else "DOWN"


def own_of(tx: Tx, members: Sequence[GslbMember]) -> dict[str, Own]:
    """By id of those of these members that say themselves how they are. A load balancer of this installation that is no
    more is DOWN."""
    return {**_followed(tx, members), **_ours(tx, members)}


def _followed(tx: Tx, members: Sequence[GslbMember]) -> dict[str, Own]:
    """Those of which others know."""
    wanted = {member.id: member.region_id or "" for member in members if member.type not in elsewhere.HERE}
    return {
        key: Own("", wanted[key], one.addresses, one.word, one.since, one.seen_at, one.good_s, one.reason, one.problem)
        for key, one in elsewhere.of(tx, list(wanted)).items()
    }


def _ours(tx: Tx, members: Sequence[GslbMember]) -> dict[str, Own]:
    wanted = [member for member in members if member.type == TYPE and member.loadbalancer_id]
    if not wanted:
        return {}
    now = clock.now(tx)
    here = _here(tx, {member.loadbalancer_id or "" for member in wanted}, now)
    missing = [member for member in wanted if member.loadbalancer_id not in here]
    away = _away(tx, {member.loadbalancer_id or "" for member in missing if member.region_id})
    found = {}
    for member in wanted:
        key, region_id = member.loadbalancer_id or "", member.region_id or ""
        known = here.get(key) or away.get((region_id, key))
        found[member.id] = known or _unheard(key, region_id, now)
    return found


def statuses(tx: Tx, good_s: float) -> list[Told]:
    """All load balancers of this installation, as another one may be told, for which that counts for `good_s`."""
    found = _read(tx.connection.execute(_ALL), clock.now(tx))
    return [Told(own.loadbalancer_id, own.addresses, status, good_s) for own, status in found]


def report(tx: Tx, region_id: str, told: Iterable[Told]) -> list[str]:
    """These load balancers of another region are so; the ids of those that are otherwise than before."""
    ordered = sorted(told, key=lambda one: one.id)
    if not ordered:
        return []
    now, dialect = clock.now(tx), tx.database.dialect
    known = {
        row.loadbalancer_id: row
        for row in tx.connection.execute(
            _remote(dialect).where(GSLB_REMOTE.c.region_id == region_id),
            {"ids": listed(dialect, [one.id for one in ordered])},
        )
    }
    rows, changed = [], []
    for one in ordered:
        old = known.get(one.id)
        same = (
            old is not None
            and old.operating_status == one.operating_status
            and list(old.addresses) == list(one.addresses)
            and old.seen_at + old.good_s > now
        )
        if not same:
            changed.append(one.id)
        rows.append(
            {
                "region_id": region_id,
                "loadbalancer_id": one.id,
                "addresses": list(one.addresses),
                "operating_status": one.operating_status,
                "since": old.since if same and old is not None else now,
                "seen_at": now,
                "good_s": one.good_s,
            }
        )
    tx.connection.execute(_report(dialect), rows)
    return changed


def expired(tx: Tx, since: float, until: float) -> list[str]:
    """Ids of those of other regions of which the last word has ceased to count between the two."""
    ends = GSLB_REMOTE.c.seen_at + GSLB_REMOTE.c.good_s
    found = select(GSLB_REMOTE.c.loadbalancer_id).where(ends > since, ends <= until)
    return sorted(set(tx.connection.execute(found).scalars()))


def purge(tx: Tx, before: float) -> int:
    """What was reported of regions that are no more, or not again since then, is gone; how many that were."""
    living = select(TABLES[GSLB_REGION.name].c.id)
    gone = or_(GSLB_REMOTE.c.region_id.not_in(living), GSLB_REMOTE.c.seen_at < before)
    return tx.connection.execute(delete(GSLB_REMOTE).where(gone)).rowcount


def _unheard(key: str, region_id: str, now: float) -> Own:
    if region_id:
        return Own(key, region_id, (), "UNKNOWN", 0.0, 0.0, 0.0)
    return Own(key, "", (), "DOWN", now, now, inf)


def _here(tx: Tx, ids: Iterable[str], now: float) -> dict[str, Own]:
    dialect = tx.database.dialect
    found = tx.connection.execute(_some(dialect), {"ids": listed(dialect, sorted(ids))})
    return {own.loadbalancer_id: own for own, _ in _read(found, now)}


def _read(found: Iterable[Any], now: float) -> list[tuple[Own, str]]:
    """With their operating statuses; all whose hosts are lost are down."""
    read = []
    for row in found:
        spec: dict[str, Any] = row.spec
        vips = [row.vip_address, *(vip.get("ip_address") for vip in spec.get("additional_vips", ()))]
        off = spec.get("admin_state_up") is False or row.deleted_generation is not None
        lost = row.carried and not row.alive
        status = "OFFLINE" if off else "ERROR" if lost else row.operating_status or "OFFLINE"
        word: Word = word_of(status) if off or lost or row.operating_status else "UNKNOWN"
        addresses = tuple(address for address in vips if address)
        read.append((Own(row.id, "", addresses, word, row.seen_at or 0.0, now, inf), status))
    return read


def _away(tx: Tx, ids: Iterable[str]) -> dict[tuple[str, str], Own]:
    wanted, dialect = sorted(ids), tx.database.dialect
    if not wanted:
        return {}
    found = {}
    for row in tx.connection.execute(_remote(dialect), {"ids": listed(dialect, wanted)}):
        word = word_of(row.operating_status)
        key = row.region_id, row.loadbalancer_id
        found[key] = Own(key[1], key[0], tuple(row.addresses), word, row.since, row.seen_at, row.good_s)
    return found


_ROOT = TABLES[LOADBALANCER.name]
_MINE = and_(OBSERVATION.c.kind == LOADBALANCER.name, OBSERVATION.c.id == _ROOT.c.id)
_AMPHORA = TABLES[AMPHORA.name]
_HOST = OBSERVATION.alias("lost_host")
_CARRIED = exists().where(_AMPHORA.c.loadbalancer_id == _ROOT.c.id, _AMPHORA.c.compute_id.is_not(None))
_LOST = exists().where(_HOST.c.kind == HOST, _HOST.c.id == _AMPHORA.c.compute_id, _HOST.c.operating_status == LOST)
_EACH = select(
    _ROOT.c.id,
    _ROOT.c.vip_address,
    _ROOT.c.spec,
    _ROOT.c.deleted_generation,
    OBSERVATION.c.operating_status,
    OBSERVATION.c.seen_at,
    _CARRIED.correlate(_ROOT).label("carried"),
    _CARRIED.where(~_LOST.correlate(_AMPHORA)).correlate(_ROOT).label("alive"),
).select_from(_ROOT.outerjoin(OBSERVATION, _MINE))
_ALL = _EACH.where(_ROOT.c.deleted_generation.is_(None)).order_by(_ROOT.c.id)


@cache
def _some(dialect: str) -> Any:
    return _EACH.where(among(dialect, _ROOT.c.id, "ids"))


@cache
def _remote(dialect: str) -> Any:
    return select(GSLB_REMOTE).where(among(dialect, GSLB_REMOTE.c.loadbalancer_id, "ids"))


@cache
def _report(dialect: str) -> Any:
    statement = insert(dialect, GSLB_REMOTE)
    own = ("addresses", "operating_status", "since", "seen_at", "good_s")
    keys = [GSLB_REMOTE.c.region_id, GSLB_REMOTE.c.loadbalancer_id]
    return statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in own})
