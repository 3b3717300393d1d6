# SPDX-License-Identifier: Apache-2.0
"""How a member of a gslb's pool stands: from its checks to whether it may be answered with (facts: gslb.md §6.3).

    checks ──monitor_policy, vetoes──▶ word ──guard──▶ word ──damping, sticky──▶ ──its owner's will──▶ well, or why not

Going down is never delayed; coming up is, for a member that has flapped. The own status of a load balancer of ours
(votes under the monitor "") must be UP. When it has gone silent, the checks of others decide; if there are none, the
member is out: a silent region is unknown, never well.

    stand(member, checks_of(uses, policy, regions), memory, look) → Health
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import exp2, inf, log2
from typing import NamedTuple

from caryatid.model.gslb.words import GslbStatus

from .gslb import OWN, Member, MemberMemory, Monitor, MonitorUse, Region, Word
from .votes import CheckState, Look, beginning_ends, check, configured

HALF_LIFE_S = 900.0
SUPPRESS_ABOVE = 5.0
RELEASE_BELOW = 2.0
PENALTY_MAX = 8.0
"""Who has flapped for hours is not held back for hours: two half-lives of quiet are always enough."""

NEW = MemberMemory()


class Checks(NamedTuple):
    """The monitors that decide for the members of a pool, made ready once for all of them."""

    deciding: tuple[tuple[Monitor, Collection[str], bool], ...]
    """(monitor, its regions, must be healthy)."""
    needed: int
    """So many must be UP."""


class Health(NamedTuple):
    """How a member stands."""

    status: GslbStatus
    well: bool
    """It may be answered with."""
    open: bool
    """Its owner lets it be answered with, in need also when it is not well."""
    word: Word
    """What its checks come to."""
    memory: MemberMemory
    """The very same if nothing has changed."""
    states: tuple[CheckState, ...] = ()
    """Of the deciding monitors, in their order; its own status last, if it has one."""
    unagreed: bool = False
    """It goes (or, held, would go) out of answers without agreeing evidence: the guard's business."""
    note: str = ""
    """What else there is to say, in words."""
    again_at: float | None = None
    """When time alone may change this; that votes expire is not in it."""
    expires_at: float | None = None
    """When the first vote that counts expires, if it is not confirmed before."""

    def why(self, regions: Mapping[str, Region]) -> str:
        """A sentence about it."""
        said = [state.why(regions) for state in self.states if state.word != "UP" or not state.sufficient]
        if not said and not self.note:
            said = [state.why(regions) for state in self.states] or ["nobody checks it"]
        return "; ".join([*([self.note] if self.note else []), *said])


class _Verdict(NamedTuple):
    """What its checks come to."""

    word: Word
    sure: bool
    agreed: bool
    words: Mapping[str, Word]
    """Of each check; the very mapping that was remembered if it is the same."""
    states: tuple[CheckState, ...]
    alone: bool = False
    """Its own status is all there is to go by."""


def checks_of(uses: Iterable[MonitorUse], policy: str, regions: Collection[str]) -> Checks:
    """`policy`: `all`, `any`, `majority` or `at_least:N`, of the monitors that decide (more than there are: all)."""
    deciding = tuple(
        (use.monitor, configured(use.monitor, regions), use.must_be_healthy)
        for use in uses
        if use.monitor.enabled and not use.observe_only
    )
    count = len(deciding)
    match policy.partition(":"):
        case ("any", _, _):
            needed = min(1, count)
        case ("majority", _, _):
            needed = count // 2 + 1
        case ("at_least", _, number):
            needed = min(int(number), count)
        case _:
            needed = count
    return Checks(deciding, needed)


def stand(member: Member, checks: Checks, memory: MemberMemory | None, look: Look) -> Health:
    """How the member stands at that moment."""
    if memory is not None and (health := _steady(member, checks, memory, look)) is not None:
        return health
    return _in_full(member, checks, memory or NEW, look)


def _in_full(member: Member, checks: Checks, before: MemberMemory, look: Look) -> Health:
    verdict = _verdict(member, checks, before, look)
    if verdict is None:
        same = before == MemberMemory("UP", before.since)
        return _overlaid(member, before if same else MemberMemory("UP", look.now), _UNCHECKED, look)
    word, sure = verdict.word, verdict.sure
    if word == "UNKNOWN" and before.word:  # a monitor is new: what the others came to stands; of silence nothing does
        word = "UP" if before.word == "UP" and not verdict.alone else "DOWN"
    lost = word == "DOWN" and before.word == "UP" and not verdict.agreed
    held = lost and member.id in look.held
    if held:
        word, sure = "UP", False
    if word != verdict.word or held:
        verdict = verdict._replace(word=word, sure=sure)
    health = _overlaid(member, _remembered(member, before, verdict, look), verdict, look)
    if sure and not lost:
        return health
    ends = [beginning_ends(monitor, look) for monitor, _, _ in checks.deciding]
    ends.append(_own_stands(member.own_good_s or 0.0, look))
    unagreed = lost and health.open and member.serve_mode != "always" and not before.damped
    return health._replace(
        unagreed=unagreed,
        note="kept in answers: many go at once, and too few regions agree on it" if held else health.note,
        again_at=earliest((health.again_at, *(end for end in ends if end > look.now and not sure))),
    )


def _steady(member: Member, checks: Checks, memory: MemberMemory, look: Look) -> Health | None:
    """The short way to what is most often so: one check, it was UP and is, and nothing else is to be said. None: it
    is not so. The long way comes to the same."""
    if memory.word != "UP" or memory.damped or memory.sticky is not None or len(checks.deciding) != 1:
        return None
    if member.own_good_s is not None or member.drain_until is not None or member.weight <= 0 or not member.enabled:
        return None
    ((monitor, places, _),) = checks.deciding
    known = memory.checks
    if member.serve_mode == "never" or len(known) != 1 or known.get(monitor.id) != "UP":
        return None
    state = check(monitor, member.votes.get(monitor.id, ()), places, "UP", look)
    if state.word != "UP" or not state.sufficient:
        return None
    return Health("ONLINE", True, True, "UP", memory, (state,), False, "", None, state.expires_at)


_UNCHECKED = _Verdict("UP", True, False, {}, ())


def _verdict(member: Member, checks: Checks, before: MemberMemory, look: Look) -> _Verdict | None:
    """None: nobody checks it."""
    checked = _by_monitors(member, checks, before, look) if checks.deciding else None
    if member.own_good_s is None:
        return checked
    return _with_own(_own(member, member.own_good_s, before, look), checked, before)


def _by_monitors(member: Member, checks: Checks, before: MemberMemory, look: Look) -> _Verdict:
    known, votes = before.checks, member.votes
    if len(checks.deciding) == 1:
        ((monitor, places, _),) = checks.deciding
        was = known.get(monitor.id, "UNKNOWN")
        state = check(monitor, votes.get(monitor.id, ()), places, was, look)
        word = state.word
        words = known if word == was and len(known) == 1 else {monitor.id: word}
        return _Verdict(word, state.sufficient, word == "DOWN" and state.agreed, words, (state,))
    states = tuple(
        check(monitor, votes.get(monitor.id, ()), places, known.get(monitor.id, "UNKNOWN"), look)
        for monitor, places, _ in checks.deciding
    )
    said = {monitor.id: state.word for (monitor, _, _), state in zip(checks.deciding, states, strict=True)}
    word = _together(checks, [state.word for state in states])
    surely = _together(checks, [state.word if state.sufficient else "UNKNOWN" for state in states])
    agreed = word == "DOWN" and any(state.word == "DOWN" and state.agreed for state in states)
    return _Verdict(word, surely == word != "UNKNOWN", agreed, known if said == known else said, states)


def _together(checks: Checks, words: Sequence[Word]) -> Word:
    """UNKNOWN: those of which nothing is known could decide either way."""
    vetoes = [word for word, (_, _, must) in zip(words, checks.deciding, strict=True) if must]
    if "DOWN" in vetoes or len(words) - words.count("DOWN") < checks.needed:
        return "DOWN"
    return "UP" if words.count("UP") >= checks.needed and "UNKNOWN" not in vetoes else "UNKNOWN"


def _own(member: Member, good_s: float, before: MemberMemory, look: Look) -> CheckState:
    """What a load balancer says of itself. Where we have just begun to hear, what it said before stands."""
    vote = max(member.votes.get(OWN, ()), key=lambda v: (v.confirmed_at, v.at, v.word), default=None)
    if vote is not None and vote.word != "UNKNOWN" and vote.confirmed_at + good_s > look.now:
        ends = min(vote.confirmed_at, look.now) + good_s
        reasons = ((vote.region_id, vote.reason),) if vote.word == "DOWN" else ()
        return CheckState(vote.word, True, 1, 1, 1, 1, ends if ends < inf else None, reasons)
    held = before.checks.get(OWN, "UNKNOWN") if look.now < _own_stands(good_s, look) else "UNKNOWN"
    why = ((vote.region_id, vote.reason),) if vote is not None and vote.reason else ()
    return CheckState(held, False, 0, 0, 1, reasons=why)


def _own_stands(good_s: float, look: Look) -> float:
    """Until when, just begun, we do not expect to have heard what load balancers say of themselves. (What never
    expires is here already.)"""
    return look.since + good_s if good_s < inf else 0.0


def _with_own(own: CheckState, checked: _Verdict | None, before: MemberMemory) -> _Verdict:
    """Its own DOWN is evidence enough: nobody else's network is between."""
    down = own.word == "DOWN" and own.sufficient
    words: Mapping[str, Word] = {**(checked.words if checked else {}), OWN: own.word}
    words = before.checks if words == before.checks else words
    if checked is None:
        return _Verdict(own.word, own.sufficient, down, words, (own,), alone=own.word == "UNKNOWN")
    states = (*checked.states, own)
    if own.word == "DOWN":
        sure = down or (checked.sure and checked.word == "DOWN")
        return _Verdict("DOWN", sure, down or checked.agreed, words, states)
    return checked._replace(words=words, states=states)


def _remembered(member: Member, before: MemberMemory, verdict: _Verdict, look: Look) -> MemberMemory:
    word = "" if verdict.word == "UNKNOWN" else verdict.word
    changed = word != before.word
    fell = changed and word == "DOWN" and before.word == "UP"
    sticky = before.sticky if before.sticky == member.revision else None
    if member.serve_mode != "obey_sticky_down":
        sticky = None
    elif fell:
        sticky = member.revision
    if not changed and verdict.words is before.checks and sticky == before.sticky and not before.damped:
        return before
    penalty, at, damped = before.penalty, before.penalty_at, before.damped
    if changed and before.word:
        penalty, at = min(PENALTY_MAX, _decayed(penalty, at, look.now) + 1), look.now
        damped = damped or penalty > SUPPRESS_ABOVE
    damped = damped and look.now < _released_at(penalty, at)
    if not changed and verdict.words is before.checks and sticky == before.sticky and damped:
        return before
    since = look.now if changed else before.since
    return MemberMemory(word, since, penalty, at, damped, sticky, verdict.words)


def _decayed(penalty: float, at: float, now: float) -> float:
    return penalty * exp2(-max(0.0, now - at) / HALF_LIFE_S)


def _released_at(penalty: float, at: float) -> float:
    """When the penalty falls below `RELEASE_BELOW`."""
    return at + HALF_LIFE_S * log2(max(penalty, RELEASE_BELOW) / RELEASE_BELOW)


def _overlaid(member: Member, memory: MemberMemory, verdict: _Verdict, look: Look) -> Health:
    """With its owner's will, damping and stickiness over what its checks come to."""
    word, states = verdict.word, verdict.states
    up = word == "UP"
    status: GslbStatus = "UNKNOWN" if not verdict.sure else "ONLINE" if up else "DOWN"
    if not states:
        status = "NO_MONITOR"
    expires_at = earliest(state.expires_at for state in states) if len(states) != 1 else states[0].expires_at
    draining = member.drain_until is not None and look.now < member.drain_until
    taken_out = not member.enabled or member.serve_mode == "never"
    stays_out = memory.sticky is not None
    if not (draining or taken_out or stays_out or memory.damped) and member.weight > 0:
        if member.serve_mode == "always" and not up:
            return Health("DEGRADED", True, True, word, memory, states, note=ALWAYS, expires_at=expires_at)
        return Health(status, up, True, word, memory, states, False, "", None, expires_at)
    again_at = member.drain_until if draining else None
    note = ""
    if taken_out:
        status = "DISABLED"
    elif draining or member.weight <= 0:
        status = "DRAINING"
    elif stays_out:
        status, note = "DOWN", STICKY
    elif up:  # damped
        status, note = "DOWN", DAMPED
        again_at = _released_at(memory.penalty, memory.penalty_at)
    is_open = not (taken_out or draining or stays_out or member.weight <= 0)
    well = is_open and member.serve_mode == "always"
    return Health(status, well, is_open, word, memory, states, False, note, again_at, expires_at)


ALWAYS = "answered with although it is not well: serve_mode is always"
STICKY = "it has been down, and stays out until somebody changes it"
DAMPED = "it has come and gone too often, and stays out until it has been quiet for a while"


def earliest(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)
