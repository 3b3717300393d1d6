# SPDX-License-Identifier: Apache-2.0
"""The DNS backend `embedded`: the name server that `caryatid up` starts, as zones find it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from caryatid.control.door import Door
from caryatid.control.receipt import moment
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_ZONE
from caryatid.model.consequences import replace
from caryatid.model.gslb.place import GslbBackend
from caryatid.model.resource import Row
from caryatid.store import rows, work
from caryatid.store.database import Tx
from caryatid.store.gslb import uses

from . import credentials

BACKEND_ID: Final = "00000000-0000-4000-8000-000000000030"
NAME: Final = "embedded"
DRIVER: Final = "powerdns"


@dataclass(frozen=True)
class Embedded:
    """Where it is."""

    url: str
    """Of its API."""
    key: str = field(repr=False)
    address: str
    port: int
    geo: bool = False
    """It has data about where clients are."""


def ensure(door: Door, server: Embedded) -> None:
    """The backend is there, and says where the name server is now; zones that it has are published there."""
    at, shown = moment(), {"api_key": server.key}
    said: dict[str, Any] = {
        "url": server.url,
        "options": {"geo": server.geo},
        "name_servers": [{"address": server.address, "port": server.port}],
    }
    with door.database.transaction() as tx:
        rows.lock(tx, GSLB_BACKEND, BACKEND_ID)
        document = rows.get(tx, GSLB_BACKEND, BACKEND_ID)
        if document is None:
            body = {"name": NAME, "description": "The name server of this installation.", "driver": DRIVER, **said}
            row = GSLB_BACKEND.new(body, {"id": BACKEND_ID, "created_at": at, "updated_at": at})
            rows.insert(tx, GSLB_BACKEND, [_able(door, row, shown)])
        elif any(document[name] != value for name, value in said.items()):
            row = replace(_able(door, GSLB_BACKEND.change(document, said), shown), updated_at=at)
            rows.change(tx, GSLB_BACKEND, row, at=at)
            _wake(tx)
        if credentials.of(tx, door, BACKEND_ID) != shown:
            credentials.keep(tx, door, BACKEND_ID, shown)
            _wake(tx)


def _able(door: Door, row: Row, shown: Mapping[str, str]) -> Row:
    """With what it can do, as it is now."""
    return replace(row, policies=sorted(door.dns.open(cast(GslbBackend, row), shown).policies))


def _wake(tx: Tx) -> None:
    zones = [zone["id"] for zone in rows.find(tx, GSLB_ZONE, backend_id=BACKEND_ID)]
    work.wake_roots(tx, uses.users(tx, GSLB_ZONE.name, zones), kind=GSLB)
