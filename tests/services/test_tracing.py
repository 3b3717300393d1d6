# SPDX-License-Identifier: Apache-2.0
"""One trace from the request that wishes to the step that obeys."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from caryatid import tracing
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.attempt import Attempt
from caryatid.model import LOADBALANCER
from caryatid.model.policy import Caller
from caryatid.services.worker import Worker
from caryatid.store import traces, work
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door

CALLER = Caller("u", "p", is_admin=True)


@pytest.fixture
def spans():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.close()


@pytest.fixture
def door(database_url, tmp_path):
    noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
    database = Database(database_url)
    opened = open_door(database, Settings(state_dir=tmp_path, **noop))
    initial.ensure(opened)
    yield opened
    database.close()


def attend(door):
    wakeups = Wakeups(door.database)
    worker = Worker(door, wakeups)
    while claim := work.claim(door.database, "test"):
        worker._attend(Attempt(claim))
    wakeups.close()


def test_an_attempt_is_a_part_of_the_request_that_asked_for_it_and_belongs_to_others(door, spans):
    with tracing.span("first"):
        made = writes.create(door, CALLER, LOADBALANCER, {"vip_subnet_id": initial.SUBNET_ID}).document
    with tracing.span("second"):
        writes.change(door, CALLER, LOADBALANCER, made["id"], {"name": "x"})
    attend(door)
    found = {span.name: span for span in spans.get_finished_spans()}
    first, second, attempt, step = (found[name] for name in ("first", "second", "attempt", "step Configure"))
    assert attempt.parent.span_id == second.context.span_id
    assert attempt.context.trace_id == step.context.trace_id == second.context.trace_id
    assert [link.context.span_id for link in attempt.links] == [first.context.span_id]
    assert step.parent.span_id == attempt.context.span_id
    assert attempt.attributes["caryatid.root"] == made["id"]


def test_what_is_done_is_no_part_of_what_is_asked_for_later(door, spans):
    with tracing.span("first"):
        made = writes.create(door, CALLER, LOADBALANCER, {"vip_subnet_id": initial.SUBNET_ID}).document
    attend(door)
    assert traces.of(door.database, made["id"]) == []
    with door.database.transaction() as tx:
        work.wake_root(tx, made["id"])
    attend(door)
    last = spans.get_finished_spans()[-1]
    assert (last.name, last.parent, list(last.links)) == ("attempt", None, [])
    with door.database.transaction() as tx:
        assert traces.purge(tx, "9") == 1
