# SPDX-License-Identifier: Apache-2.0
"""Spans reach who receives them, and say what belongs together."""

import sys

import pytest

from caryatid import tracing
from caryatid.errors import CaryatidError
from tests.otlp import receiving


@pytest.fixture
def receiver():
    with receiving() as server:
        yield server
        tracing.close()


def test_spans_reach_the_receiver_with_whose_they_are_and_what_they_are_part_of(receiver):
    tracing.configure(f"{receiver.url}/", "api")
    asked = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with tracing.span("outer", parent=asked, request_id="req-1"), tracing.span("inner"):
        shown = tracing.current()
    tracing.close()
    ((path, sent),) = receiver.requests
    assert path == "/v1/traces"
    (resource,) = sent.resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert about["service.name"] == "caryatid-api"
    inner, outer = sorted((one for scope in resource.scope_spans for one in scope.spans), key=lambda one: one.name)
    assert outer.trace_id.hex() == inner.trace_id.hex() == asked.split("-")[1] == shown.split("-")[1]
    assert outer.parent_span_id.hex() == asked.split("-")[2]
    assert inner.parent_span_id == outer.span_id
    assert shown.split("-")[2] == inner.span_id.hex()
    assert {one.key: one.value.string_value for one in outer.attributes} == {"caryatid.request_id": "req-1"}


def test_without_a_receiver_nothing_is_traced():
    assert not tracing.on()
    with tracing.span("nothing", parent="nonsense"):
        assert tracing.current() == ""


def test_nonsense_from_a_client_begins_a_trace_of_its_own(receiver):
    tracing.configure(receiver.url, "api")
    with tracing.span("outer", parent="nonsense"):
        assert tracing.current().startswith("00-")


def test_who_wants_traces_without_the_extra_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(CaryatidError, match=r"pip install 'caryatid\[otel\]'"):
        tracing.configure("http://127.0.0.1:4318", "api")
