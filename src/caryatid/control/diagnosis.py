# SPDX-License-Identifier: Apache-2.0
"""The slow truth: an amphora is asked how it is, now, while whoever wants to know waits."""

import time
from typing import Any, cast

from caryatid.drivers.amphora.base import (
    AmphoraDriverError,
    InfoException,
    NotFoundError,
    TimeOutException,
)
from caryatid.errors import Busy, Conflict, NoAnswer, NotFound, Unsupported
from caryatid.model import AMPHORA, HOST, LOADBALANCER
from caryatid.model.amphora import Amphora, Placed
from caryatid.model.host import Host
from caryatid.model.policy import Caller, require
from caryatid.store import rows

from .door import PROVIDER, Door
from .receipt import moment, rule


def diagnose(door: Door, caller: Caller, amphora_id: str) -> dict[str, Any]:
    """What the amphora says of itself. Raises NotFound; Busy or NoAnswer when its host does not say anything; Conflict
    when it says that it does not have it; Unsupported where the driver cannot ask."""
    require(caller, rule(AMPHORA, "get_diagnostics"), None)
    placed, provider = _placed(door, amphora_id)
    at, began = moment(), time.monotonic()
    host = placed.host.name if placed.host else placed.amphora.compute_id
    try:
        found = door.provider(provider).amphora.get_diagnostics(placed)
    except NotImplementedError:
        raise Unsupported(f"The driver of provider '{provider}' cannot ask amphorae how they are.") from None
    except (InfoException, NotFoundError) as error:
        raise Conflict(str(error)) from error
    except TimeOutException as error:
        raise NoAnswer(f"Host {host} did not answer in time: {error}") from error
    except AmphoraDriverError as error:
        raise Busy(f"Host {host} cannot be asked: {error}") from error
    amphora = placed.amphora
    about = {"id": amphora_id, "loadbalancer_id": amphora.loadbalancer_id, "compute_id": amphora.compute_id}
    return {**about, "at": at, "took_ms": round((time.monotonic() - began) * 1000), "found": dict(found)}


def _placed(door: Door, amphora_id: str) -> tuple[Placed, str]:
    """The amphora with its host, and the name of its provider."""
    with door.database.read() as tx:
        document = rows.get(tx, AMPHORA, amphora_id)
        if document is None:
            raise NotFound(AMPHORA.title, amphora_id)
        host = rows.get(tx, HOST, document["compute_id"] or "")
        root = rows.get(tx, LOADBALANCER, document["loadbalancer_id"] or "")
    amphora = cast(Amphora, AMPHORA.load(document))
    return Placed(amphora, cast(Host, HOST.load(host)) if host else None), root["provider"] if root else PROVIDER
