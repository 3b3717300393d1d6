# SPDX-License-Identifier: Apache-2.0
"""What a machine is given to begin with: made just before it is asked for, and kept nowhere."""

from typing import Final
from uuid import uuid4

from caryatid.control.authority import Registry, read_trust
from caryatid.model.cluster import Cluster, Machine
from caryatid.store import hosts
from caryatid.store.database import Tx
from caryatid.wire.conductor import EnrolmentToken, new_secret
from caryatid.wire.seed import Seed

MARGIN_S: Final = 3600.0
"""A job may wait in the cluster's queue for so long; which agent comes too late is told by its machine's phase."""


def new_seed(tx: Tx, registry: Registry, cluster: Cluster, machine: Machine) -> str:
    """The seed of the machine's first boot, as one word: with it, its agent enrols once, as this amphora's. Secret."""
    settings = registry.settings
    token = EnrolmentToken(
        url=settings.conductor_advertise or f"https://{settings.conductor_listen}",
        authority=read_trust(registry, tx).issuer,
        id=str(uuid4()),
        secret=new_secret(),
    )
    valid_s = cluster.boot_deadline_s + MARGIN_S
    hosts.open_enrolment(tx, token.id, token.secret.encode(), valid_s=valid_s, amphora_id=machine.amphora_id)
    uplinks = {nic.uplink: number for number, nic in enumerate(cluster.nics) if nic.uplink}
    seed = Seed(
        token=token.encode(),
        amphora_id=machine.amphora_id,
        name=machine.name,
        port=cluster.agent_port,
        uplinks=uplinks,
    )
    return seed.encode()
