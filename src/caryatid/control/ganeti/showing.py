# SPDX-License-Identifier: Apache-2.0
"""Jobs of ours in clusters, as operators see them; from our copy, also when Ganeti has archived them."""

from datetime import UTC, datetime
from typing import Any, Final

from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import CLUSTER
from caryatid.model.policy import Caller, require
from caryatid.store import rows
from caryatid.store.ganeti import jobs as store
from caryatid.store.ganeti.jobs import ClusterJob

LIMIT: Final = 50
LIMIT_MAX: Final = 500


def jobs(
    door: Door, caller: Caller, key: str, limit: int, below: int | None = None, amphora_id: str | None = None
) -> list[dict[str, Any]]:
    """Those of the cluster, the newest first: `limit` at most, with ids `below` that one, of that amphora. Raises
    NotFound, Forbidden."""
    require(caller, rule(CLUSTER, "get_jobs"), None)
    with door.database.read() as tx:
        if rows.get(tx, CLUSTER, key) is None:
            raise NotFound(CLUSTER.title, key)
        return [_shown(job) for job in store.page(tx, key, limit=limit, below=below, amphora_id=amphora_id)]


def _shown(job: ClusterJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "act": job.act,
        "status": job.status,
        "amphora_id": job.amphora_id,
        "loadbalancer_id": job.loadbalancer_id,
        "machine": job.name,
        "asked_at": time_of(job.asked_at),
        "started_at": time_of(job.started_at),
        "ended_at": time_of(job.ended_at),
        "error": job.error,
        "log": [{"at": time_of(at), "text": text} for at, text in job.log],
    }


def time_of(seconds: float | None) -> str | None:
    """Seconds since the epoch as documents write them; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
