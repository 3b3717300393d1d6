# SPDX-License-Identifier: Apache-2.0
"""What is known of the machines of amphorae, for whoever works on these.

That a machine's agent has enrolled is written in the machine's row alone. Whoever works on the load balancer writes it
into the amphora: so an amphora has one writer, and what it says of its host is never lost to another's older copy.
"""

from collections.abc import Collection, Mapping, Sequence

from caryatid.control.receipt import moment
from caryatid.drivers.compute.base import ComputeDriver, own_hosts
from caryatid.model import AMPHORA
from caryatid.model.amphora import Amphora
from caryatid.model.cluster import GIVEN_UP, Machine
from caryatid.model.consequences import replace
from caryatid.store import rows
from caryatid.store.database import Tx
from caryatid.store.ganeti import machines as machine_store


def of(tx: Tx, amphorae: Collection[Amphora], compute: ComputeDriver) -> dict[str, Machine]:
    """Amphora → its machine, of those that have one of their own."""
    if not own_hosts(compute):
        return {}
    return {one.amphora_id: one for one in machine_store.of_amphorae(tx, [amphora.id for amphora in amphorae])}


def with_hosts(amphorae: Sequence[Amphora], machines: Mapping[str, Machine]) -> list[Amphora]:
    """The amphorae, those whose agents have enrolled as on these hosts."""
    return [_with_host(amphora, machines.get(amphora.id)) for amphora in amphorae]


def write_hosts(tx: Tx, before: Sequence[Amphora], after: Sequence[Amphora]) -> None:
    """What `with_hosts` has found out is written."""
    for was, amphora in zip(before, after, strict=True):
        if was is not amphora:
            rows.change(tx, AMPHORA, amphora, at=moment())


def dead(machines: Mapping[str, Machine]) -> frozenset[str]:
    """Amphorae whose machines run no more, or are being removed: nobody there is waited for."""
    return frozenset(key for key, machine in machines.items() if machine.phase in GIVEN_UP)


def _with_host(amphora: Amphora, machine: Machine | None) -> Amphora:
    if machine is None or machine.host_id is None or machine.host_id == amphora.compute_id:
        return amphora
    return replace(amphora, compute_id=machine.host_id)
