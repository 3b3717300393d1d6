# SPDX-License-Identifier: Apache-2.0
"""Decisions about many gslbs together, with the guard of the whole service over them (plan/guard.py).

Whoever goes without agreeing evidence is remembered for a while, by all engines: a row of kind `state.GUARD`, whose
word is `GONE`, or `KEPT` as long as it is held.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from caryatid.plan.guard import WINDOW_S, Guarded, Limits, guard
from caryatid.plan.steering import Decision, decide
from caryatid.plan.votes import Look
from caryatid.store.gslb import state
from caryatid.store.gslb.state import GONE, KEPT, Status

from .scenes import Gathered


class Decided(NamedTuple):
    """What has been decided about some gslbs."""

    decisions: Mapping[str, Decision]
    """By gslb."""
    guarded: Guarded
    kept: int
    """Members that are kept in answers by now, of any gslb."""
    noted: tuple[Status, ...]
    """What is to be remembered of members."""
    forgotten: tuple[str, ...]
    """Of which members nothing is."""


def decide_all(gathered: Gathered, since: float, limits: Limits) -> Decided:
    """`since`: when we began to hear."""
    look = Look(gathered.now, since)
    living = {key: scene for key, scene in gathered.scenes.items() if not scene.tree.deleted}
    decisions = {
        key: decide(scene.gslb, scene.pools, gathered.regions, scene.memory, look) for key, scene in living.items()
    }
    wanted = frozenset(member for decision in decisions.values() for member in decision.unagreed)
    seen = {member for decision in decisions.values() for member in decision.members}
    fresh = {key: row for key, row in gathered.guarded.items() if row.since > gathered.now - WINDOW_S}
    recent = [key for key, row in fresh.items() if row.operating_status == GONE]
    kept = [key for key, row in gathered.guarded.items() if row.operating_status == KEPT and key not in seen]
    guarded = guard(wanted, recent, kept, gathered.members, limits)
    for key in [key for key, decision in decisions.items() if decision.unagreed & guarded.keep]:
        scene = living[key]
        held = look._replace(held=guarded.keep)
        decisions[key] = decide(scene.gslb, scene.pools, gathered.regions, scene.memory, held)
    noted = tuple(_noted(wanted, guarded, gathered))
    old = set(gathered.guarded) - set(fresh) - {*kept}
    recovered = {key for key in seen - wanted if key in gathered.guarded and key not in recent}
    return Decided(
        decisions,
        guarded,
        len(guarded.keep.union(kept)),
        noted,
        tuple(sorted((old | recovered) - {row.id for row in noted})),
    )


def _noted(wanted: Iterable[str], guarded: Guarded, gathered: Gathered) -> Iterable[Status]:
    for member in sorted(wanted):
        word, known = KEPT if member in guarded.keep else GONE, gathered.guarded.get(member)
        if word == GONE or known is None or known.operating_status != word:
            yield Status(state.GUARD, member, word, guarded.why or None, gathered.now)
