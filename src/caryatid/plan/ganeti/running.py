# SPDX-License-Identifier: Apache-2.0
"""Whether an instance runs: looked at twice before it is believed that it does not."""

from dataclasses import replace
from typing import Final

from caryatid.model.cluster import Machine
from caryatid.wire.rapi.answers import Instance, Live

from .remedies import Why, of_status

ALIVE: Final = frozenset({"running", "ERROR_up", "ERROR_wrongnode"})
"""The last two run, otherwise than Ganeti has it written down."""
UNSURE: Final = frozenset({"ERROR_nodedown", "ERROR_nodeoffline"})
"""Said of the node: the instance may run, and is believed to while its agent is heard."""
APART_S: Final = 1.0
"""Two looks are so far apart."""


def noted(
    machine: Machine,
    instance: Instance | None,
    config_at: float | None,
    live: Live | None,
    live_at: float | None,
    *,
    heard: bool,
) -> tuple[Machine, Why | None]:
    """The machine with what was seen of it, if that is something new; and why it is dead, if it is: two looks in a
    row, neither from before it came into its phase, have seen it not running. `seen_at` is when its status became what
    it is: that it still is so costs no write. `heard`: its agent is, these days."""
    machine = _placed(machine, instance, config_at)
    for at, source, status in _looks(machine, instance, config_at, live, live_at):
        if _bad(status) and not (heard and status in UNSURE) and _bad_before(machine, at):
            return replace(machine, status=status, seen_at=at, source=source), of_status(status, machine.node)
        if status != machine.status or not _known(machine):
            machine = replace(machine, status=status, seen_at=at, source=source)
    return machine, None


def _placed(machine: Machine, instance: Instance | None, config_at: float | None) -> Machine:
    """Where the configuration has it: it may have been moved."""
    if instance is None or config_at is None or config_at <= machine.changed_at:
        return machine
    address = next(iter(instance.addresses), "") or machine.address
    return replace(machine, node=instance.node or machine.node, address=address)


def _looks(
    machine: Machine, instance: Instance | None, config_at: float | None, live: Live | None, live_at: float | None
) -> list[tuple[float, str, str]]:
    """(when, who says so, status) of what was seen after the last that is noted, oldest first."""
    found: list[tuple[float, str, str]] = []
    if config_at is not None and instance is None:
        found.append((config_at, "config", ""))
    if live_at is not None and (live is None or live.status):  # without a status it is not known now
        found.append((live_at, "live", live.status if live else ""))
    since = max(machine.changed_at, machine.seen_at or 0.0)
    return sorted(look for look in found if look[0] > since)


def _bad(status: str | None) -> bool:
    return status not in ALIVE


def _known(machine: Machine) -> bool:
    """Its status was seen in this phase."""
    return machine.status is not None and (machine.seen_at or 0.0) > machine.changed_at


def _bad_before(machine: Machine, at: float) -> bool:
    """The look before that of then has not seen it running either."""
    return _known(machine) and _bad(machine.status) and at - (machine.seen_at or 0.0) >= APART_S
