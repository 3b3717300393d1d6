# SPDX-License-Identifier: Apache-2.0
"""The members of a pool, wished for as a whole (a batch)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from caryatid.errors import Fault, Refused
from caryatid.model import MEMBER, POOL, event
from caryatid.model.consequences import replace
from caryatid.model.event import called
from caryatid.model.member import Member
from caryatid.model.policy import Caller, require
from caryatid.model.rules import crowded
from caryatid.model.tree import link
from caryatid.store import quotas, rows, work
from caryatid.store import tree as trees

from .apply import accept, insert, locate, lock, ripple
from .check import check, limits_of
from .door import Door
from .receipt import Accepted, Effect, Wish, moment, moments, rule


def replace_members(door: Door, caller: Caller, pool_id: str, members: Any, *, additive: bool) -> Accepted:
    """The pool has these members: known ones (by address and port) are changed, others created; those not named
    are deleted, unless `additive`. Nothing happens if that is how it is already."""
    at = moment()
    with door.database.transaction() as tx:
        place = locate(tx, POOL, pool_id, None)
        for action in ("post", "put", *(() if additive else ("delete",))):
            require(caller, rule(MEMBER, action), place.project_id)
        lock(tx, place.root_id)
        known = {(m["address"], m["protocol_port"]): m for m in rows.find(tx, MEMBER, pool_id=pool_id)}
        common = {"pool_id": pool_id, "project_id": place.project_id, "updated_at": at}
        wanted = _read_members(members, known, common, at)
        new = [m for m in wanted if (m.address, m.protocol_port) not in known]
        changed = [m for m in wanted if _differs(m, known.get((m.address, m.protocol_port)))]
        named = {(m.address, m.protocol_port) for m in wanted}
        gone = [] if additive else [m for key, m in known.items() if key not in named]
        if not (new or changed or gone):
            return Accepted(None, None)
        more = crowded(len(known) + len(new) - len(gone), limits=limits_of(door))
        loadbalancer, others = trees.rows_of(tx, place.root_id, members=False)
        tree = link(loadbalancer, others)
        check(tx, door, caller, tree, [(MEMBER, m) for m in (*new, *changed)], more)
        quotas.take(tx, place.project_id, {MEMBER.name: len(new) - len(gone)}, door.settings.quotas)
        generation = work.ask(tx, place.root_id)
        rows.delete(tx, MEMBER, [m["id"] for m in gone], generation=generation)
        insert(tx, MEMBER, new, place.root_id, generation)
        for member in changed:
            rows.change(tx, MEMBER, member, generation=generation, at=at)
        pool = tree.pool(pool_id)
        if pool is not None:
            rows.touch(tx, POOL, [pool_id], generation, at=at)
            ripple(tx, tree, pool.pool, (), generation, at)
        effects = [*_effects(new, changed, known), *(Effect("delete", MEMBER.name, m["id"], called(m)) for m in gone)]
        detail = {"members": {"created": len(new), "changed": len(changed), "deleted": len(gone)}}
        wish = Wish("update", POOL.name, pool_id, place.root_id, place.project_id, generation, detail, effects)
        return accept(tx, caller, wish, shown=False)


def _effects(
    new: Sequence[Member], changed: Sequence[Member], known: Mapping[tuple[str, int], Mapping[str, Any]]
) -> Iterator[Effect]:
    for member in new:
        yield Effect("create", MEMBER.name, member.id, called(vars(member)))
    for member in changed:
        before = known[member.address, member.protocol_port]
        yield Effect("update", MEMBER.name, member.id, event.changed(MEMBER, before, vars(member)))


def _read_members(
    members: Any, known: Mapping[tuple[str, int], Mapping[str, Any]], common: Mapping[str, Any], at: str
) -> list[Member]:
    if not isinstance(members, list):
        raise Refused([Fault("Invalid input for field/attribute members. Value should be a list", "members")])
    faults: list[Fault] = []
    found: dict[tuple[str, int], Member] = {}
    for body, made_at in zip(members, moments(at), strict=False):
        try:
            fresh = {"id": str(uuid4()), "created_at": made_at, **common}
            member = cast(Member, MEMBER.new(body, fresh))
        except Refused as refused:
            faults += refused.faults
            continue
        key = (member.address, member.protocol_port)
        if key in found:
            faults.append(_named_twice(key, known))
        old = known.get(key)
        found[key] = member if old is None else replace(member, id=old["id"], created_at=old["created_at"])
    if faults:
        raise Refused(faults)
    return list(found.values())


def _named_twice(key: tuple[str, int], known: Mapping[tuple[str, int], object]) -> Fault:
    if key in known:
        return Fault("Validation failure: Member must be updated only once in the same request.", "members")
    return Fault(f"Another member on this pool is already using ip {key[0]} on protocol_port {key[1]}", "members", 409)


def _differs(member: Member, known: Mapping[str, Any] | None) -> bool:
    if known is None:
        return False
    return any(getattr(member, name) != known[name] for name in MEMBER.creatable if name in known)
