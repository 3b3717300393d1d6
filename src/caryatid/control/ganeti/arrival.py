# SPDX-License-Identifier: Apache-2.0
"""The agent of a machine speaks for the first time: the machine is ready."""

from dataclasses import replace
from typing import Final

from caryatid.model import AMPHORA
from caryatid.model.cluster import Machine
from caryatid.plan.steps import LEAVING
from caryatid.store import rows, work
from caryatid.store.database import Tx
from caryatid.store.ganeti import machines

AWAITED: Final = frozenset({"CREATING", "BOOTING"})
"""An agent may be faster than the job that starts its machine. Where the machine is WANTED again, what may be left of
an earlier try is removed: its agent comes too late."""
TRIES_MAX: Final = 10
"""Against a watcher that changes the same row at the same moment."""


def arrived(tx: Tx, amphora_id: str, host_id: str, now: float) -> bool:
    """The amphora's machine is READY: its agent is this host, and whoever waits for it looks. False: nobody wants it
    (any more), or it has come before; nothing is changed."""
    amphora = rows.get(tx, AMPHORA, amphora_id)
    if amphora is None or amphora["status"] in LEAVING:
        return False
    for _ in range(TRIES_MAX):
        machine = machines.get(tx, amphora_id)
        if machine is None or not _awaited(machine):
            return False
        if machines.change(tx, [(machine, _ready(machine, host_id, now))]):
            if amphora["loadbalancer_id"]:
                work.wake_root(tx, amphora["loadbalancer_id"])
            return True
    return False


def _awaited(machine: Machine) -> bool:
    return machine.phase in AWAITED and machine.host_id is None


def _ready(machine: Machine, host_id: str, now: float) -> Machine:
    """Its job is left to whoever watches it: it may still be under way."""
    return replace(
        machine,
        phase="READY",
        host_id=host_id,
        changed_at=now,
        reason=None,
        remedy=None,
        hopeless=False,
        deadline_at=None,
        tries=0,
        next_at=0.0,
    )
