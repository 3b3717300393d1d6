# SPDX-License-Identifier: Apache-2.0
"""What an agent has said of an amphora, in the order in which an operator looks at it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from caryatid.wire.agent import AgentInfo, AmphoraDetails, Diagnostics


def diagnosis(about: AgentInfo, details: AmphoraDetails, found: Diagnostics) -> Mapping[str, Any]:
    """Times as documents write them. `last_reload_at` is null as long as there was none."""
    started = found.worker_started_at
    return {
        "agent": {
            "version": about.agent_version,
            "haproxy_version": about.haproxy_version,
            "started_at": _text(about.boot_id / 1000),
            "amphorae": about.amphorae,
        },
        "configuration": {
            "generation": details.generation,
            "fence": details.fence,
            "hash": details.hash,
            "check": found.check,
        },
        "haproxy": {
            "running": details.running,
            "pid": details.pid,
            "workers": details.workers,
            "started_at": _text(details.started_at),
            "reloads": details.reloads,
            "last_reload_at": _text(started) if details.reloads else None,
            "restarts": details.restarts,
            "connections": _number(found.info.get("CurrConns")),
            "connections_max": _number(found.info.get("Maxconn")),
            "info": found.info,
        },
        "network": {
            "namespace": found.namespace,
            "interfaces": details.interfaces,
            "claims": details.claims,
            "role": found.role,
        },
        "certificates": [one.model_dump() for one in found.certificates],
        "proxies": found.proxies,
        "output": found.output,
    }


def _number(said: str | None) -> int | None:
    return int(said) if said is not None and said.isdecimal() else None


def _text(epoch_s: float | None) -> str | None:
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
