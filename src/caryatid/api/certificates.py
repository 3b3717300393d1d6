# SPDX-License-Identifier: Apache-2.0
"""Certificates in use: what each reference stands for, until when, and who names it. To look at only."""

from typing import Any

from caryatid.model import CERTIFICATE
from caryatid.model.policy import Caller
from caryatid.store import bundles
from caryatid.store.database import Database, Tx

from .octavia.lists import Page
from .resources import Documents, Resource, verbs
from .routing import Operation

VERSION = "/v1"


class Certificates(Resource):
    def __init__(self) -> None:
        super().__init__(CERTIFICATE)

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        document = super().document(database, caller, key, parent_id)
        with database.read() as tx:
            return _with_uses(tx, [document])[0]

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        documents = super()._page(database, caller, page)
        with database.read() as tx:
            return _with_uses(tx, documents)


def operations() -> list[Operation]:
    return verbs(Certificates(), VERSION, "list get")


def _with_uses(tx: Tx, documents: Documents) -> Documents:
    """The same with the ids of those that name them."""
    uses = bundles.uses(tx, {document["loadbalancer_id"] for document in documents})
    named: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for use in uses:
        for reference, purpose in {one.key for one in use.references}:
            users = named.setdefault((use.root_id, reference, purpose), {"listener": [], "pool": []})
            users[use.kind].append(use.id)
    for document in documents:
        users = named.get((document["loadbalancer_id"], document["reference"], document["purpose"]), {})
        document["listeners"], document["pools"] = users.get("listener", []), users.get("pool", [])
    return documents
