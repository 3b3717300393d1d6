# SPDX-License-Identifier: Apache-2.0
"""What came of gslbs that were attended to: remembered, shown, told, and given back, in one transaction."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from caryatid import metrics
from caryatid.control.door import Door
from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL
from caryatid.model.gslb.words import GslbStatus
from caryatid.plan.pools import FINE
from caryatid.plan.steering import Decision
from caryatid.store import attempts, clock, events, rows, work
from caryatid.store.claim import Claim, Done
from caryatid.store.database import Tx
from caryatid.store.gslb import state, trees
from caryatid.store.gslb.state import State, Status
from caryatid.store.rows import RootState

from . import telling
from .cases import Case
from .scenes import Scene
from .told import Entry, Told, contents

REASON_MAX = 2000


def settle(door: Door, cases: Sequence[Case], *, give_back: bool = True) -> None:
    """What came of these is kept, and who waits for it is told. Of those that are another's by now nothing is written,
    but that what we have published has to be published again. `give_back`: their claims are; else they are decided
    about anew under the same, and nobody is told of jobs yet."""
    overtaken = [case for case in cases if case.lost]
    mine = [case for case in cases if not case.lost]
    if mine:
        with door.database.transaction() as tx:
            roots = rows.lock_roots(tx, [case.id for case in mine], GSLB)
            held = work.mine_of(tx, [case.claim for case in mine])
            for case in mine:
                case.lost = case.claim not in held
            kept = sorted((case for case in mine if not case.lost), key=lambda case: case.id)
            _keep(tx, kept)
            if give_back:
                _give_back(tx, kept, roots, door.settings.provisioning_deadline_s)
                _wake_heirs(tx, kept)
        overtaken = [case for case in mine if case.lost and case.publications]
    if overtaken:
        doubt(door, [case.scene.gslb.fqdn for case in overtaken if case.scene is not None and case.publications])
    _count(cases)


def _give_back(tx: Tx, cases: Sequence[Case], roots: Mapping[str, RootState], deadline_s: float) -> None:
    """Most have been looked at because something was said of members, and nobody waits for them; or because a part that
    many use was changed. These go together."""
    quiet: dict[Claim, float | None] = {}
    done: dict[Claim, Done] = {}
    for case in cases:
        outcome, root = case.outcome, roots.get(case.id)
        if not isinstance(outcome, Done) or root is None or root.deleted_generation is not None:
            work.settle(tx, case.claim, outcome, provisioning_deadline_s=deadline_s)
        elif _quiet(root):
            quiet[case.claim] = outcome.look_after_s
        else:
            done[case.claim] = outcome
    work.done_all(tx, GSLB, done, roots)
    work.leave_all(tx, quiet)


def _quiet(root: RootState) -> bool:
    return root.generation == root.observed_generation and not root.failed_generation


def doubt(door: Door, fqdns: Collection[str]) -> None:
    """Nobody can say what name servers answer for these names: whoever has them now publishes them anew."""
    if not fqdns:
        return
    with door.database.transaction() as tx:
        found = [name.gslb_id for name in trees.namesakes(tx, sorted(fqdns))]
        rows.lock_roots(tx, found, GSLB)
        work.wake_roots(tx, found, kind=GSLB)
        state.advance(tx, found)


def _keep(tx: Tx, cases: Sequence[Case]) -> None:
    now = clock.now(tx)
    states: list[State] = []
    statuses: list[Status] = []
    said: list[dict[str, Any]] = []
    for case in cases:
        if case.scene is None:
            continue
        told, answers = _told(case, case.scene)
        if case.decision is not None:
            found = list(_statuses(case, case.scene, case.decision, now))
            statuses += found
            said += telling.statuses(case, case.scene, case.decision, found)
            if answers:
                said.append(telling.answers(case, case.scene, case.decision, answers))
            states += _states(case, case.scene, case.decision, told, now)
        elif told != case.scene.told:
            states.append(replace(case.scene.state, published=told.document()))
        _say(case)
    attempts.note_all(tx, {case.claim: attempts.Said(case.lines, 1, 1) for case in cases if case.attempt})
    state.remember(tx, states)
    state.keep_statuses(tx, statuses)
    events.append_all(tx, said)


def _told(case: Case, scene: Scene) -> tuple[Told, telling.Answers]:
    """What has been told by now, and record type → (what was, what is answered) where that is something else."""
    if not case.todo:
        return scene.told, {}
    ahead = scene.told.with_wanted(case.todo.wanted)
    if not case.told:
        return ahead, {}
    certain = not (case.unseen or case.early)
    seen = case.generation if certain else scene.told.seen
    gone = {entry.where for entry in case.todo.withdraw} if certain else set()
    left = tuple(entry for entry in ahead.entries if entry.where not in gone)
    before, now = scene.told.last, {entry.rrtype: _shown(entry) for entry in case.todo.wanted}
    changed = {
        rrtype: (before.get(rrtype, {}).get("contents", []), now.get(rrtype, {}).get("contents", []))
        for rrtype in dict.fromkeys([*before, *now])
        if before.get(rrtype) != now.get(rrtype)
    }
    return Told(left, seen, now), changed


def _shown(entry: Entry) -> dict[str, Any]:
    return {"digest": entry.digest, "contents": contents(entry.read())}


def _states(case: Case, scene: Scene, decision: Decision, told: Told, now: float) -> Iterator[State]:
    """What is to be remembered, if it is not already."""
    known = scene.state
    seen_now = told.seen == case.generation != scene.told.seen
    after = State(
        known.gslb_id,
        known.memory if decision.memory is scene.memory else decision.memory.document(),
        known.published if told == scene.told else told.document(),
        0,
        clock.text(now) if seen_now else known.published_at,
        [*decision.why, *case.refused, *case.failed, *case.unseen],
    )
    written_ahead = bool(case.todo and case.todo.new)
    if written_ahead or replace(after, generation=known.generation) != replace(known, why=[*known.why]):
        yield after


def _statuses(case: Case, scene: Scene, decision: Decision, now: float) -> Iterator[Status]:
    """Those that are otherwise than they were. Of a pool and its members one of the gslbs that use it speaks."""
    troubled = [*case.refused, *case.failed, *case.unseen]
    status: GslbStatus = "DEGRADED" if troubled and decision.status in FINE else decision.status
    why = None if status in FINE else "; ".join([*troubled, *decision.why])
    if not case.early:
        yield from _if_other(case, GSLB.name, scene.id, status, why, now)
    regions = case.gathered.regions
    for pool_id, pool in scene.pools.items():
        if case.gathered.speakers.get(pool_id) != scene.id:
            continue
        state_of_pool = decision.pools[pool_id]
        well = sum(decision.members[member.id].well for member in pool.members)
        why = None if state_of_pool in FINE else f"{well} of {len(pool.members)} members may be answered with"
        yield from _if_other(case, GSLB_POOL.name, pool_id, state_of_pool, why, now)
        for member in pool.members:
            health = decision.members[member.id]
            reason = None if health.status in FINE and not health.note else health.why(regions)
            yield from _if_other(case, GSLB_MEMBER.name, member.id, health.status, reason, now)


def _if_other(case: Case, kind: str, key: str, status: str, reason: str | None, now: float) -> Iterator[Status]:
    known = case.gathered.statuses.get((kind, key))
    reason = reason[:REASON_MAX] if reason else None
    if known is None or (known.operating_status, known.reason) != (status, reason):
        since = known.since if known is not None and known.operating_status == status else now
        yield Status(kind, key, status, reason, since)


def _say(case: Case) -> None:
    """Who waits for it sees what was done."""
    if not case.attempt:
        return
    if case.decision is not None:
        case.say(case.decision.why[0])
    for (_, zone), publications in case.publications.items() if case.told else ():
        told = ", ".join(f"{each.rrtype} {'withdrawn' if each.answers is None else 'told'}" for each in publications)
        case.say(f"zone {zone}, generation {case.generation}: {told}")
    for sentence in [case.problem, *case.refused, *case.failed, *case.unseen]:
        if sentence:
            case.say(sentence)


def _wake_heirs(tx: Tx, cases: Iterable[Case]) -> None:
    """Whoever has waited for a name that is free now need not wait any longer."""
    free = [
        case.scene.gslb.fqdn
        for case in cases
        if case.scene is not None and case.scene.tree.deleted and isinstance(case.outcome, Done)
    ]
    work.wake_roots(tx, [name.gslb_id for name in trees.namesakes(tx, free) if not name.deleted], kind=GSLB)


def _count(cases: Iterable[Case]) -> None:
    for case in cases:
        word = "lost" if case.lost else type(case.outcome).__name__.lower()
        if word == "done":
            word = "published" if case.publications else "unchanged"
        metrics.GSLB_DECISIONS.labels(word).inc()
