# SPDX-License-Identifier: Apache-2.0
"""How all load balancers are, in one short look: a few words of each, and when their hosts were last heard of."""

from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, String, and_, bindparam, literal_column, or_, select

from caryatid.model import LOADBALANCER

from . import clock, status
from .database import Tx
from .observations import HEARD
from .tables import JOB, OBSERVATION, TABLES


class Seen(NamedTuple):
    """A load balancer, as it is."""

    id: str
    name: str
    project_id: str
    provisioning_status: str
    operating_status: str
    generation: int
    observed_generation: int
    heard_at: float
    """When one of its hosts was last heard of, or its status told, in seconds since the epoch; 0: never."""


def read(tx: Tx, project_id: str | None = None) -> list[Seen]:
    """All load balancers, or a project's, oldest first."""
    found = tx.connection.execute(_rows(of_project=project_id is not None), {"project": project_id}).all()
    hosts = dict(tx.connection.execute(_HEARD).all())
    heard: dict[str, float] = {}
    for root, host in tx.connection.execute(_CARRIED):
        at = hosts.get(host, 0.0)
        if at > heard.get(root, 0.0):
            heard[root] = at
    return [
        Seen(key, name, project, provisioning, operating, asked, observed, max(heard.get(key, 0.0), told_at or 0.0))
        for key, name, project, provisioning, operating, asked, observed, told_at in found
    ]


def changed(tx: Tx, since: str) -> Collection[str]:
    """The ids of load balancers of which something was asked for, put into effect or given up, or seen to be otherwise,
    at that moment (model.types.Time) or later."""
    return set(tx.connection.execute(_CHANGED, {"since": since, "seen": clock.epoch_s(since)}).scalars())


_ROOT = TABLES[LOADBALANCER.name]
_AMPHORA = TABLES["amphora"].c
_OWN = and_(OBSERVATION.c.kind == literal_column(f"'{LOADBALANCER.name}'"), OBSERVATION.c.id == _ROOT.c.id)
_HEARD = select(OBSERVATION.c.id, OBSERVATION.c.seen_at).where(OBSERVATION.c.kind == literal_column(f"'{HEARD}'"))
_CARRIED = select(_AMPHORA.loadbalancer_id, _AMPHORA.compute_id).where(_AMPHORA.loadbalancer_id.is_not(None))


def statuses() -> Select[Any]:
    """provisioning_status and operating_status of every load balancer."""
    provisioning = status.provisioning(_ROOT, _ROOT)
    operating = status.operating(LOADBALANCER, _ROOT, provisioning, OBSERVATION.c.operating_status)
    columns: list[Any] = [provisioning.label("provisioning_status"), operating.label("operating_status")]
    return select(*columns).select_from(_ROOT.outerjoin(OBSERVATION, _OWN))


@cache
def _rows(*, of_project: bool) -> Select[Any]:
    name = _ROOT.c.spec["name"].as_string()
    numbers = (_ROOT.c.generation, _ROOT.c.observed_generation)
    statement = statuses()
    columns = (_ROOT.c.id, name, _ROOT.c.project_id, *statement.selected_columns, *numbers, OBSERVATION.c.seen_at)
    statement = statement.with_only_columns(*columns, maintain_column_froms=True)
    if of_project:
        statement = statement.where(_ROOT.c.project_id == bindparam("project", type_=String))
    return statement.order_by(_ROOT.c.created_at, _ROOT.c.id)


_SINCE = bindparam("since", type_=String)
_SETTLED = select(JOB.c.loadbalancer_id).where(JOB.c.ended_at >= _SINCE)
_SEEN = select(OBSERVATION.c.loadbalancer_id).where(
    OBSERVATION.c.kind == literal_column(f"'{LOADBALANCER.name}'"),
    OBSERVATION.c.seen_at >= bindparam("seen", type_=OBSERVATION.c.seen_at.type),
)
_CHANGED = select(_ROOT.c.id).where(or_(_ROOT.c.updated_at >= _SINCE, _ROOT.c.id.in_(_SETTLED), _ROOT.c.id.in_(_SEEN)))
