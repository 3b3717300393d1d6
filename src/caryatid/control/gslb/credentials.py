# SPDX-License-Identifier: Apache-2.0
"""What is shown to DNS servers: encrypted under the master key, bound to its backend."""

from collections.abc import Mapping

import orjson

from caryatid.control.door import Door
from caryatid.store.database import Tx
from caryatid.store.gslb import parts


def of(tx: Tx, door: Door, backend_id: str) -> dict[str, str]:
    """By name; {}: it needs none. Raises NoMasterKey where the master key is another."""
    sealed = parts.credentials(tx, backend_id)
    if sealed is None:
        return {}
    found: dict[str, str] = orjson.loads(door.vault.key(tx).unseal(_bound_to(backend_id), sealed))
    return found


def keep(tx: Tx, door: Door, backend_id: str, credentials: Mapping[str, str]) -> None:
    """The backend's are these from now on."""
    if not credentials:
        parts.drop_credentials(tx, backend_id)
        return
    key = door.vault.ensured(tx)
    parts.write_credentials(tx, backend_id, key.seal(_bound_to(backend_id), orjson.dumps(dict(credentials))))


def _bound_to(backend_id: str) -> str:
    return f"gslb_backend {backend_id}"
