# SPDX-License-Identifier: Apache-2.0
"""Which hosts are lost: silence is judged per host, and doubted first (decision 14).

    speaking ──late──▶ asked after ──stale, confirmed──▶ lost
        ▲                  │                              │
        └──────────────────┴───────speaks again───────────┘

A host is lost when it has been silent for `STALE_S` and both a direct call and other hosts say so. Before that the
silence is doubted: when many are silent at once, or we ourselves were not well, the fault is held to be ours, and
nobody is lost. All times are seconds of this process's monotonic clock; clocks of hosts are never asked.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

HELD_S = 1.2
"""Who may have fallen silent together with one that is stale: beats come every second, not all at the same moment."""
LATE_S = 2.0
"""Two beats have not come: others are asked after the host, so that they have answered when it is stale."""
STALE_S = 3.0
AGENT_S = 30.0
"""An agent whose machine lives is given so long to come back: its amphorae serve meanwhile."""
WINDOW_S = 30.0
"""Silences that begin within it may have one cause; who has been lost for longer is no longer counted."""
SHARE = 0.5
AGAIN_S = 1.0
"""A host that stays silent is asked after again so long after the last answer."""
ANSWER_GOOD_S = 5.0
OTHERS_MAX = 3
ASKED_AT_ONCE = 8
AWAY_MAX_S = 120.0
"""Nobody may excuse itself for longer."""

Freeze = Literal["", "own", "mass"]
"""Why nobody is lost now: we are not well ourselves; or too many are silent at once."""


@dataclass(frozen=True)
class Answer:
    """What came of asking after a host."""

    begun: float
    """When the asking began."""
    ended: float
    direct: bool
    """Its agent has answered us."""
    others: tuple[bool, ...] = ()
    """What other hosts' agents say: it has answered them. Who could not be asked is not in it."""
    asked: int = 0
    """How many others were asked, whether they answered us or not: they had been heard of a moment before."""
    refused: bool = False
    """Its machine has refused our connection at once: it lives, and only the agent is gone."""

    @property
    def dead(self) -> bool:
        """It answers nobody. That half of the others could not be asked says something of us, or that many have
        fallen silent with it and are not late yet."""
        return not self.direct and not any(self.others) and 2 * len(self.others) > self.asked


@dataclass(frozen=True)
class Memory:
    """What is remembered from one look to the next."""

    floor: float
    """Since when we can hear: nobody is held to have been silent before."""
    lost: Mapping[str, float] = field(default_factory=dict)
    """Host → since when it has been lost."""
    met: Mapping[str, float] = field(default_factory=dict)
    """Host → when it was first looked for."""
    silent: frozenset[str] = frozenset()
    """Those that were stale and have not spoken since, lost or not."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    frozen: Freeze = ""


@dataclass(frozen=True)
class Hearing:
    """What is known at one moment."""

    hosts: Collection[str]
    """All that may speak."""
    heard: Mapping[str, float]
    """Host → when it last spoke; or until when it has excused itself."""
    fault: str = ""
    """What is wrong with us: our own beat is late, the clock jumped, the database does not answer."""
    lifted: bool = False
    """The operator says that those who are silent are dead, however many they are."""


@dataclass(frozen=True)
class Look:
    """What a look has found. `memory` is for the next one; the rest is news, in the order of ids."""

    memory: Memory
    suspects: Sequence[str] = ()
    """To be asked after."""
    silent: Sequence[str] = ()
    lost: Sequence[str] = ()
    back: Sequence[str] = ()
    """Were lost, and speak."""


def look(memory: Memory, hearing: Hearing, now: float) -> Look:
    """Who is silent, lost and back at `now`."""
    memory = _attentive(memory, hearing, now)
    since = {host: _heard(memory, hearing, host) for host in memory.met}
    stale = {host for host, heard in since.items() if now - heard >= STALE_S}
    late = {host for host, heard in since.items() if now - heard >= LATE_S}
    held = {host for host, heard in since.items() if now - heard >= HELD_S}
    back = sorted(host for host, lost_at in memory.lost.items() if _speaks(hearing, lost_at, host, now))
    lost = {host: lost_at for host, lost_at in memory.lost.items() if host not in back}
    silent = stale | {host for host in memory.silent if now - hearing.heard.get(host, 0.0) >= STALE_S}
    counted = {host for host in since if now - lost.get(host, now) < WINDOW_S}
    frozen = _frozen(hearing, stale & counted, counted)
    if memory.frozen and not frozen:  # those who are still coming back are given their time
        return Look(replace(memory, floor=now, lost=lost, silent=frozenset(silent), answers={}, frozen=""), back=back)
    answers = {host: a for host, a in memory.answers.items() if host in late and _counts(a, since[host], now)}
    doubted = frozen or (_too_many(held & counted, counted) and not hearing.lifted)
    gone = (host for host in stale - lost.keys() if host in answers and _gone(answers[host], now - since[host]))
    dead = [] if doubted else sorted(gone)
    if not since.keys() - lost.keys() - set(dead):  # nobody would be left who could take their place
        dead = []
    asked = [] if frozen else sorted(h for h in late - lost.keys() - set(dead) if _due(answers.get(h), now))
    lost |= dict.fromkeys(dead, now)
    return Look(
        memory=replace(memory, lost=lost, silent=frozenset(silent), answers=answers, frozen=frozen),
        suspects=asked[:ASKED_AT_ONCE],
        silent=sorted(silent - memory.silent - memory.lost.keys()),
        lost=dead,
        back=back,
    )


def told(memory: Memory, answers: Mapping[str, Answer]) -> Memory:
    """What has been answered is remembered."""
    return replace(memory, answers={**memory.answers, **answers}) if answers else memory


def others(host: str, hearing: Hearing, now: float) -> list[str]:
    """Who is asked after `host`: those heard of last."""
    speaking = [h for h in hearing.hosts if h != host and 0 <= now - hearing.heard.get(h, now - LATE_S) < LATE_S]
    return sorted(speaking, key=lambda h: (-hearing.heard[h], h))[:OTHERS_MAX]


def excused(now: float, away_s: float) -> float:
    """As when a host counts as heard that says `now` that it will be back within `away_s` seconds."""
    return now + min(max(0.0, away_s), AWAY_MAX_S)


def _attentive(memory: Memory, hearing: Hearing, now: float) -> Memory:
    """Only hosts that there are; those that are new are new, and with a fault of ours we begin to hear now."""
    met = {host: memory.met.get(host, now) for host in hearing.hosts}
    lost = {host: at for host, at in memory.lost.items() if host in met}
    silent = memory.silent & met.keys()
    return replace(memory, floor=now if hearing.fault else memory.floor, met=met, lost=lost, silent=silent)


def _heard(memory: Memory, hearing: Hearing, host: str) -> float:
    """As when it counts as heard: nobody spoke before we listened."""
    return max(hearing.heard.get(host, memory.floor), memory.floor, memory.met[host])


def _frozen(hearing: Hearing, stale: Collection[str], counted: Collection[str]) -> Freeze:
    if hearing.fault:
        return "own"
    return "mass" if _too_many(stale, counted) and not hearing.lifted else ""


def _too_many(silent: Collection[str], counted: Collection[str]) -> bool:
    """One host alone never is, however much it carries."""
    return len(silent) > 1 and len(silent) >= SHARE * len(counted)


def _speaks(hearing: Hearing, lost_at: float, host: str, now: float) -> bool:
    """It has spoken since it was lost, and lately."""
    heard = hearing.heard.get(host)
    return heard is not None and heard > lost_at and now - heard < STALE_S


def _gone(answer: Answer, silent_s: float) -> bool:
    return answer.dead and (not answer.refused or silent_s >= AGENT_S)


def _counts(answer: Answer, heard: float, now: float) -> bool:
    """The answer is about this silence, and fresh."""
    return answer.begun >= heard and now - answer.ended < ANSWER_GOOD_S


def _due(answer: Answer | None, now: float) -> bool:
    return answer is None or now - answer.ended >= AGAIN_S
