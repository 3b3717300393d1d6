# SPDX-License-Identifier: Apache-2.0
"""Machines: one row each. Whoever changes one says from which phase, so that nobody undoes another's step."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from caryatid.model.cluster import Machine, MachineWish
from caryatid.store.database import Tx
from caryatid.store.ganeti.tables import MACHINE
from caryatid.store.sql import insert

_NAMES = tuple(field.name for field in fields(Machine))
_COLUMNS = tuple(MACHINE.c[name] for name in _NAMES)
_FIXED = ("amphora_id", "loadbalancer_id", "cluster_id", "name", "wish")
_CHANGING = tuple(name for name in _NAMES if name not in _FIXED)
"""What `change` changes: whose it is, and what was wished, are others' to say."""


def add(tx: Tx, machine: Machine) -> bool:
    """It is wanted; False: it is known already, and stays as it is."""
    new = insert(tx.database.dialect, MACHINE).values(_values(machine))
    new = new.on_conflict_do_nothing(index_elements=[MACHINE.c.amphora_id])
    return tx.connection.execute(new.returning(MACHINE.c.amphora_id)).first() is not None


def get(tx: Tx, amphora_id: str) -> Machine | None:
    row = tx.connection.execute(select(*_COLUMNS).where(MACHINE.c.amphora_id == amphora_id)).first()
    return _machine(row) if row else None


def of_cluster(tx: Tx, cluster_id: str) -> list[Machine]:
    """All of the cluster, in the order of amphorae."""
    found = select(*_COLUMNS).where(MACHINE.c.cluster_id == cluster_id).order_by(MACHINE.c.amphora_id)
    return [_machine(row) for row in tx.connection.execute(found)]


def of_amphorae(tx: Tx, amphora_ids: Collection[str]) -> list[Machine]:
    """Of these amphorae."""
    if not amphora_ids:
        return []
    found = select(*_COLUMNS).where(MACHINE.c.amphora_id.in_(sorted(amphora_ids))).order_by(MACHINE.c.amphora_id)
    return [_machine(row) for row in tx.connection.execute(found)]


def of_loadbalancers(tx: Tx, loadbalancer_ids: Collection[str]) -> list[Machine]:
    """Of these load balancers."""
    found = (
        select(*_COLUMNS).where(MACHINE.c.loadbalancer_id.in_(sorted(loadbalancer_ids))).order_by(MACHINE.c.amphora_id)
    )
    return [_machine(row) for row in tx.connection.execute(found)]


def of_host(tx: Tx, host_id: str) -> Machine | None:
    """The machine whose agent is this host."""
    row = tx.connection.execute(select(*_COLUMNS).where(MACHINE.c.host_id == host_id)).first()
    return _machine(row) if row else None


def change(tx: Tx, changed: Iterable[tuple[Machine, Machine]]) -> list[Machine]:
    """(before, after) of each: it is as `after`, unless somebody has asked for it meanwhile, or given it another phase,
    job or host than `before`. Those that were changed."""
    wanted = {before.amphora_id: (before, after) for before, after in changed}
    if not wanted:
        return []
    found = select(*_COLUMNS).where(MACHINE.c.amphora_id.in_(sorted(wanted))).order_by(MACHINE.c.amphora_id)
    now = [_machine(row) for row in tx.connection.execute(found.with_for_update())]
    done = [wanted[row.amphora_id][1] for row in now if _step(row) == _step(wanted[row.amphora_id][0])]
    if done:
        its = update(MACHINE).where(MACHINE.c.amphora_id == bindparam("its_id"))
        each: dict[str, Any] = {name: bindparam(f"its_{name}") for name in _CHANGING}
        tx.connection.execute(its.values(each), [_changes(machine) for machine in done])
    return done


def taken(tx: Tx, amphora_id: str, loadbalancer_id: str) -> None:
    """The machine of a spare is the load balancer's."""
    its = update(MACHINE).where(MACHINE.c.amphora_id == amphora_id)
    tx.connection.execute(its.values(loadbalancer_id=loadbalancer_id))


def remove(tx: Tx, amphora_ids: Collection[str]) -> None:
    """These are known to be gone."""
    tx.connection.execute(delete(MACHINE).where(MACHINE.c.amphora_id.in_(sorted(amphora_ids))))


def _step(machine: Machine) -> tuple[object, ...]:
    """What everybody changes who does something for a machine."""
    return machine.phase, machine.job_id, machine.host_id, machine.asked_at


def _changes(machine: Machine) -> dict[str, Any]:
    return {"its_id": machine.amphora_id} | {f"its_{name}": getattr(machine, name) for name in _CHANGING}


def _values(machine: Machine) -> dict[str, Any]:
    return {name: getattr(machine, name) for name in _NAMES} | {"wish": asdict(machine.wish)}


def _machine(row: Any) -> Machine:
    values = dict(zip(_NAMES, row, strict=True))
    return Machine(**values | {"wish": MachineWish(**values["wish"])})
