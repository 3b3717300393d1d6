# SPDX-License-Identifier: Apache-2.0
"""Members of which others know where and how they are: asked at the wish, and again and again from then on.

What they say is kept (store/gslb/elsewhere.py) and counts as a vote of the member's region, which expires: whoever does
not answer any more takes nobody out, and keeps nobody in. What has moved is answered from then on.

    sought = seek(door, member)      before the wish's transaction, since it may take long
    keep(tx, door, sought)           within it
    Follower().follow(door)          a duty
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from caryatid import log, metrics
from caryatid.control.door import Door
from caryatid.drivers.elsewhere import Missing, Outcome, Silent, There
from caryatid.errors import Busy, Fault
from caryatid.model import GSLB_MEMBER, GSLB_REGION
from caryatid.model.consequences import replace as changed
from caryatid.model.event import called, system
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.place import GslbRegion
from caryatid.model.gslb.targets import Targets
from caryatid.store import clock, events
from caryatid.store.database import Tx
from caryatid.store.gslb import elsewhere, trees
from caryatid.store.gslb.elsewhere import Followed

from . import membertypes
from .membertypes import ELSEWHERE, Question
from .targets import targets
from .waking import wake_users

FOLLOWER: Final = system("follower")
MISSED: Final = 3
"""So many turns in a row it may not be answered, and the time that an answer may take, until a word ceases to count."""
MEMBERS_MAX: Final = 10_000
"""Asked about in one turn; the others come first in the next."""
AT_ONCE: Final = 8
"""Questions about members of one type."""
TURN_S: Final = 9.0
"""Then a turn writes what it has heard: no longer than a duty is one process's."""
IN_VAIN_MAX: Final = 2
"""So many questions in a row one may leave unanswered until it is left alone for the rest of a turn."""
LATE: Final = Silent("It does not answer in time.")


@dataclass(frozen=True, slots=True)
class Sought:
    """What was found out about a member before it is wished for."""

    member: GslbMember
    outcome: Outcome | None = None
    """None: there is nobody to ask."""
    faults: tuple[Fault, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.outcome.addresses if isinstance(self.outcome, There) else ()


def seek(door: Door, member: GslbMember) -> Sought:
    """Whoever knows of the member is asked: not within a transaction. Who does not answer does not keep it from being
    wished for. Raises Busy when too many wait for an answer already."""
    if member.type in elsewhere.HERE:
        return Sought(member)
    with door.database.read() as tx:
        region = cast(GslbRegion | None, _regions(tx, [member]).get(member.region_id or ""))
    asked = membertypes.question(member, region)
    if not isinstance(asked, Question):
        return Sought(member, faults=(asked,) if asked else ())
    if not door.asking.acquire(blocking=False):
        raise Busy("Whoever knows of such members takes long to answer, and others are waiting for it. Try again.")
    try:
        outcome = membertypes.ask(door.elsewhere, asked)
    finally:
        door.asking.release()
    if isinstance(outcome, Missing):
        return Sought(member, outcome, (membertypes.fault(member, region, outcome),))
    if isinstance(outcome, There) and member.type not in ELSEWHERE:
        member = changed(member, address=outcome.addresses[0])
    return Sought(member, outcome)


def target_faults(sought: Sought, known: Targets) -> Iterator[Fault]:
    """Where it is nobody may be sent."""
    asked = ELSEWHERE.get(sought.member.type)
    for address in sought.addresses if asked else ():
        if why := known.refusal(address):
            yield Fault(f"Validation failure: {why}", asked.attribute if asked else "")


def keep(tx: Tx, door: Door, sought: Sought) -> None:
    """What was found out is known of the member from now on."""
    if sought.outcome is None:
        return
    key = sought.member.id
    before = elsewhere.of(tx, [key]).get(key) or Followed(key)
    elsewhere.keep(tx, [_after(before, sought.member, sought.outcome, _moment(tx, door))])


@dataclass(frozen=True, slots=True)
class _Moment:
    now: float
    good_s: float
    targets: Targets


@dataclass(frozen=True, slots=True)
class _Told:
    """What was said of a member, as it was when that was asked."""

    member: GslbMember
    outcome: Outcome
    asked: bool = True
    """False: there was no time for it; it comes first in the next turn."""


class _Patience:
    """With those who are asked in one turn. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_vain: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], Silent] = {}

    def lost(self, whom: tuple[str, str]) -> Silent | None:
        """What is said instead of asking once more; None: one may be asked."""
        with self._lock:
            return self._last[whom] if self._in_vain.get(whom, 0) >= IN_VAIN_MAX else None

    def note(self, whom: tuple[str, str], outcome: Outcome) -> None:
        with self._lock:
            if isinstance(outcome, Silent) and outcome.whole:
                self._in_vain[whom] = self._in_vain.get(whom, 0) + 1
                self._last[whom] = outcome
            else:
                self._in_vain[whom] = 0


@dataclass
class Follower:
    """Asks, turn after turn. Used by one thread."""

    _pools: dict[str, ThreadPoolExecutor] = field(default_factory=dict)
    """By type of member: who hangs hangs alone."""
    _running: dict[Question, Future[tuple[Outcome, bool]]] = field(default_factory=dict)
    """Those that were not answered in time are not asked again until they are."""
    _silent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Who did not answer in the last turn, and why."""

    def follow(self, door: Door) -> None:
        """All are asked; what is otherwise than before is written, and whom it concerns looks at it."""
        with door.database.read() as tx:
            ids = [known.member_id for known in elsewhere.longest_ago(tx, MEMBERS_MAX)]
            members = cast(dict[str, GslbMember], trees.some(tx, GSLB_MEMBER, ids))
            regions = _regions(tx, members.values())
        asked = {
            key: membertypes.question(member, cast(GslbRegion | None, regions.get(member.region_id or "")))
            for key in ids
            if (member := members.get(key)) is not None
        }
        answers = self._ask(door, list(dict.fromkeys(one for one in asked.values() if isinstance(one, Question))))
        told = [_told(members[key], one, answers) for key, one in asked.items()]
        if told:
            _write(door, told)
        for outcome, _ in answers.values():
            metrics.GSLB_FOLLOWED.labels(type(outcome).__name__.lower()).inc()

    def _ask(self, door: Door, wanted: Sequence[Question]) -> dict[Question, tuple[Outcome, bool]]:
        """What is answered in this turn, and whether it was asked; of whom is silent nothing more is asked in it."""
        patience = _Patience()

        def ask(one: Question) -> tuple[Outcome, bool]:
            if (lost := patience.lost(one.whom)) is not None:
                return lost, False
            outcome = membertypes.ask(door.elsewhere, one)
            patience.note(one.whom, outcome)
            return outcome, True

        self._running = {one: future for one, future in self._running.items() if not future.done()}
        futures = {one: self._pool(one.type).submit(ask, one) for one in wanted if one not in self._running}
        wait(futures.values(), TURN_S)
        for one, future in futures.items():
            if not future.done() and not future.cancel():
                self._running[one] = future
        done = {one: future.result() for one, future in futures.items() if future.done() and not future.cancelled()}
        answers = {one: done.get(one, (LATE, one in self._running)) for one in wanted}
        self._note({one.whom: said.why for one, (said, _) in answers.items() if isinstance(said, Silent)})
        return answers

    def _pool(self, name: str) -> ThreadPoolExecutor:
        if name not in self._pools:
            self._pools[name] = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"follow {name}")
        return self._pools[name]

    def _note(self, silent: Mapping[tuple[str, str], str]) -> None:
        """The log says when somebody has fallen silent, and when that is over."""
        for whom, why in silent.items():
            if whom not in self._silent:
                log.get().warning("members cannot be asked for", type=whom[0], url=whom[1], reason=why)
        for whom in self._silent.keys() - silent.keys():
            log.get().info("members can be asked for again", type=whom[0], url=whom[1])
        self._silent = silent


def _regions(tx: Tx, members: Iterable[GslbMember]) -> dict[str, Any]:
    return trees.some(tx, GSLB_REGION, sorted({member.region_id for member in members if member.region_id}))


def _told(
    member: GslbMember, asked: Question | Fault | None, answers: Mapping[Question, tuple[Outcome, bool]]
) -> _Told:
    if isinstance(asked, Question):
        return _Told(member, *answers[asked])
    return _Told(member, Silent(asked.message if asked is not None else "Nobody here knows of members of this type."))


def _moment(tx: Tx, door: Door) -> _Moment:
    good_s = MISSED * door.settings.gslb_follow_s + door.settings.gslb_follow_timeout_s
    return _Moment(clock.now(tx), good_s, targets(tx, door))


def _write(door: Door, told: Sequence[_Told]) -> None:
    """It is so, of those members that are as they were when they were asked for."""
    ids = sorted(one.member.id for one in told)
    same: list[Followed] = []
    others: list[Followed] = []
    woken: list[str] = []
    moved: list[tuple[GslbMember, Followed, Followed]] = []
    with door.database.transaction() as tx:
        at = _moment(tx, door)
        known = elsewhere.of(tx, ids)
        members = cast(dict[str, GslbMember], trees.some(tx, GSLB_MEMBER, ids))
        for one in told:
            key = one.member.id
            if key not in known or key not in members or members[key].updated_at != one.member.updated_at:
                continue
            before = known[key]
            after = _after(before, one.member, one.outcome, at)
            after = after if one.asked else replace(after, asked_at=before.asked_at)
            (same if _is_confirmed(before, after) else others).append(after)
            if _matters(before, after, at.now):
                woken.append(key)
            if before.addresses != after.addresses:
                moved.append((one.member, before, after))
        elsewhere.confirm(tx, [after.member_id for after in same], at.now, at.good_s)
        elsewhere.keep(tx, others)
        events.append_all(tx, [_event(*one) for one in moved])
        wake_users(tx, woken)
    for member, before, after in moved:
        log.get().info("member moved", member=member.id, before=list(before.addresses), now=list(after.addresses))


def _after(before: Followed, member: GslbMember, outcome: Outcome, at: _Moment) -> Followed:
    """What is known after that was said."""
    asked = replace(before, asked_at=at.now)
    if isinstance(outcome, Silent) or (isinstance(outcome, Missing) and member.type not in ELSEWHERE):
        return replace(asked, problem=outcome.why, good_s=before.good_s or at.good_s)
    if isinstance(outcome, Missing):
        outcome = There((), "DOWN", outcome.why)
    refused = [why for address in outcome.addresses if (why := at.targets.refusal(address))]
    addresses = tuple(address for address in outcome.addresses if not at.targets.refusal(address))
    return replace(
        asked,
        addresses=addresses,
        word=outcome.word,
        reason=outcome.reason,
        problem=" ".join(refused),
        since=before.since if before.seen_at and before.word == outcome.word else at.now,
        moved_at=before.moved_at if before.addresses == addresses else at.now,
        seen_at=at.now,
        good_s=at.good_s,
    )


def _is_confirmed(before: Followed, after: Followed) -> bool:
    """Nothing else is said, by somebody who was asked."""
    same = replace(before, asked_at=after.asked_at, seen_at=after.seen_at, good_s=after.good_s)
    return after.seen_at == after.asked_at and same == after


def _matters(before: Followed, after: Followed, now: float) -> bool:
    """What is decided from it, or why, may be otherwise: it is elsewhere, or otherwise, or counts again, or it is known
    now why not."""
    if before.seen_at + before.good_s <= now and (after.seen_at > before.seen_at or after.problem != before.problem):
        return True
    said = [(known.addresses, known.word, known.reason) for known in (before, after)]
    return said[0] != said[1]


def _event(member: GslbMember, before: Followed, after: Followed) -> dict[str, Any]:
    moved = {"addresses": [list(before.addresses), list(after.addresses)]}
    detail = {"changed": moved, "cause": after.reason or after.problem, **called(vars(member))}
    return events.happened(
        "moved", GSLB_MEMBER.name, member.id, by=FOLLOWER, project_id=member.project_id, root_id=None, detail=detail
    )
