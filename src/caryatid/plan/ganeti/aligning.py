# SPDX-License-Identifier: Apache-2.0
"""What we have written down, compared with what a cluster has: stale, orphaned, foreign, unsynced."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from caryatid.model.cluster import OURS, Machine
from caryatid.wire.rapi.answers import Instance, Live

from .marks import is_of, is_ours

GRACE_S: Final = 300.0
"""For so long an instance of ours that nobody knows is left alone."""
THERE: Final = frozenset({"BOOTING", "READY"})
"""Phases in which the instance of a machine is there."""


@dataclass(frozen=True)
class Unsynced:
    """What the row of a machine says, and what the cluster does."""

    amphora_id: str
    attribute: str
    """`node`, `address` or `status`."""
    ours: str | None
    theirs: str | None


@dataclass(frozen=True)
class Aligned:
    """What does not fit."""

    stale: tuple[str, ...] = ()
    """Amphorae whose machine is there by our rows, and by the configuration is not."""
    orphans: Mapping[str, float] = field(default_factory=dict)
    """Instances of this installation of which no row knows, by name: since when they are known to be. Hand it back at
    the next look."""
    remove: tuple[str, ...] = ()
    """Orphans whose grace is over: names."""
    foreign: tuple[str, ...] = ()
    """Instances of another Caryatid: names. Left alone."""
    unsynced: tuple[Unsynced, ...] = ()


def align(
    machines: Sequence[Machine],
    instances: Sequence[Instance],
    lives: Sequence[Live] = (),
    *,
    installation: str,
    config_at: float,
    orphans: Mapping[str, float],
) -> Aligned:
    """`machines`: all rows of the cluster, read after the configuration was (`instances`, asked for at `config_at`): a
    wish that came in between is nobody's orphan. `orphans`: as the look before has it; a new one's grace begins now.
    """
    there = {instance.name: instance for instance in instances}
    known = {machine.name for machine in machines}
    nobodys = [name for name, one in there.items() if is_ours(one.tags, installation) and name not in known]
    since = {name: min(config_at, orphans.get(name, config_at)) for name in sorted(nobodys)}
    return Aligned(
        stale=tuple(one.amphora_id for one in machines if _stale(one, there.get(one.name), config_at)),
        orphans=since,
        remove=tuple(name for name, at in since.items() if config_at - at >= GRACE_S),
        foreign=tuple(sorted(name for name, one in there.items() if _foreign(one, installation))),
        unsynced=tuple(_unsynced(machines, there, {live.name: live for live in lives}, config_at)),
    )


def _stale(machine: Machine, instance: Instance | None, config_at: float) -> bool:
    """What was changed after the look was put is no news that the look could have."""
    gone = instance is None or not is_of(instance, machine)
    return machine.phase in THERE and config_at > machine.changed_at and gone


def _foreign(instance: Instance, installation: str) -> bool:
    return OURS in instance.tags and not is_ours(instance.tags, installation)


def _unsynced(
    machines: Sequence[Machine], instances: Mapping[str, Instance], lives: Mapping[str, Live], config_at: float
) -> Iterator[Unsynced]:
    for machine in machines:
        instance, live = instances.get(machine.name), lives.get(machine.name)
        if machine.phase not in THERE or config_at <= machine.changed_at or instance is None:
            continue
        theirs = {"node": instance.node, "address": next(iter(instance.addresses), ""), "status": live and live.status}
        for attribute, value in theirs.items():
            ours = getattr(machine, attribute)
            if value and value != ours:
                yield Unsynced(machine.amphora_id, attribute, ours, value)
