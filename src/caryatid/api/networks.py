# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets and ports, under the same conventions at `/v1`. A shared network, with its subnets, is seen by all.

Network clients find them in Neutron's shapes elsewhere, to read (`api/cloud/network.py`).
"""

from typing import Any

from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import NETWORK, PORT, SUBNET
from caryatid.model.policy import Caller, require
from caryatid.store import rows
from caryatid.store.database import Database, Tx

from .resources import Resource, verbs
from .routing import Operation

VERSION = "/v1"
KINDS = (NETWORK, SUBNET, PORT)


class Shared(Resource):
    """Networks, subnets or ports."""

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        with database.read() as tx:
            document = rows.get(tx, self.kind, key, parent_id=parent_id)
            if document is None:
                raise NotFound(self.kind.title, key)
            owner = None if self._is_shared(tx, document) else document["project_id"]
        require(caller, rule(self.kind, "get_one"), owner)
        return document

    def _is_shared(self, tx: Tx, document: dict[str, Any]) -> bool:
        """A port is its project's, wherever it is."""
        if self.kind is PORT:
            return False
        network = document if self.kind is NETWORK else rows.get(tx, NETWORK, document["network_id"])
        return network is not None and bool(network["shared"])


def operations() -> list[Operation]:
    return [operation for kind in KINDS for operation in verbs(Shared(kind), VERSION)]
