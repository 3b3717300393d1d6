# SPDX-License-Identifier: Apache-2.0
"""Where workers say which machines they want, and look how far these are. Only rows are read and written: whoever
watches a cluster does the rest."""

from collections.abc import Sequence
from typing import Final, cast

from caryatid.control.ganeti.clusters import CHANNEL
from caryatid.drivers.compute.base import ComputeError
from caryatid.model import AMPHORA, CLUSTER
from caryatid.model.cluster import Cluster, Machine, MachineWish, instance_name
from caryatid.plan.ganeti.choice import pick_cluster
from caryatid.plan.ganeti.judging import unwanted
from caryatid.plan.steps import LEAVING
from caryatid.store import clock, rows, wake
from caryatid.store.database import Database, Tx
from caryatid.store.ganeti import jobs, machines

JOBS_MAX: Final = 5
"""Jobs of one machine whose logs are told."""
LINES_MAX: Final = 50
TRIES_MAX: Final = 10
"""Against a watcher that changes the same row at the same moment."""


class Desk:
    """The machines of an installation, as drivers see them (`drivers.setup.Machines`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def want(self, amphora_id: str, wish: MachineWish) -> Machine:
        """A machine that is wanted already stays as it is, whatever `wish` says."""
        with self._database.read() as tx:
            known = machines.get(tx, amphora_id)
        if known is not None:
            return known
        with self._database.transaction() as tx:
            rows.lock(tx, AMPHORA, amphora_id)  # whoever sends it on its way out finds the machine, or is found here
            return machines.get(tx, amphora_id) or _wanted(tx, amphora_id, wish)

    def said(self, amphora_id: str) -> Sequence[str]:
        with self._database.read() as tx:
            machine = machines.get(tx, amphora_id)
            if machine is None:
                return ()
            found = jobs.page(tx, machine.cluster_id, limit=JOBS_MAX, amphora_id=amphora_id)
        lines = [f"Ganeti job {job.job_id}: {text}" for job in reversed(found) for _, text in job.log]
        return lines[-LINES_MAX:]

    def unwant(self, amphora_id: str) -> None:
        for _ in range(TRIES_MAX):
            with self._database.transaction() as tx:
                machine = machines.get(tx, amphora_id)
                if machine is None or machine.phase in ("UNWANTED", "DELETING"):
                    return
                if machines.change(tx, [(machine, unwanted(machine, clock.now(tx)))]):
                    wake.notify(tx, CHANNEL)
                    return
        raise ComputeError(f"The machine of amphora {amphora_id} is being changed; it is removed later.")


def _wanted(tx: Tx, amphora_id: str, wish: MachineWish) -> Machine:
    """The caller has the amphora's lock. Raises ComputeError."""
    amphora = rows.get(tx, AMPHORA, amphora_id)
    if amphora is None or amphora["status"] in LEAVING:
        raise ComputeError(f"Amphora {amphora_id} is on its way out: it gets no machine.")
    cluster = _cluster(tx, wish)
    machine = Machine(
        amphora_id=amphora_id,
        loadbalancer_id=amphora["loadbalancer_id"],
        cluster_id=cluster.id,
        name=instance_name(amphora_id, cluster.domain),
        wish=wish,
        phase="WANTED",
        changed_at=clock.now(tx),
    )
    machines.add(tx, machine)
    wake.notify(tx, CHANNEL)
    return machine


def _cluster(tx: Tx, wish: MachineWish) -> Cluster:
    """Where it is made; nobody removes the cluster meanwhile. Raises ComputeError."""
    documents = rows.find(tx, CLUSTER)
    found = [(cast(Cluster, CLUSTER.load(document)), document["operating_status"]) for document in documents]
    picked = pick_cluster(wish, found, {document["id"]: document["machines"] for document in documents})
    if not isinstance(picked, Cluster):
        raise ComputeError(picked.reason, remedy=picked.remedy, hopeless=picked.hopeless)
    rows.lock(tx, CLUSTER, picked.id)
    if rows.get(tx, CLUSTER, picked.id) is None:
        raise ComputeError(f"Cluster {picked.name} has just been removed; another one is looked for.")
    return picked
