# SPDX-License-Identifier: Apache-2.0
"""What a RAPI's answers mean. What it really says is replayed in real/test_contract.py."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caryatid.wire.rapi import reading
from caryatid.wire.rapi.answers import Job, LogLine, Node, Problem, Waited, Wanted
from caryatid.wire.rapi.client import NODE, Rapi
from tests.wire.rapi.server import OWN, answering, serving

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
NAMES = ["data", "fields", "status", "id", "ops", "oplog", "opresult", "job_info", "log_entries", "name", "received_ts"]
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=9),
    max_leaves=20,
)
ASKED = {
    "info": lambda rapi: rapi.info(),
    "nodes": lambda rapi: rapi.nodes(),
    "instances": lambda rapi: rapi.instances("caryatid"),
    "live": lambda rapi: rapi.live("caryatid"),
    "create": lambda rapi: rapi.create(Wanted("one.example", {})),
    "delete": lambda rapi: rapi.delete("one.example"),
    "job": lambda rapi: rapi.job(1),
    "jobs": lambda rapi: rapi.jobs([1]),
    "unfinished": lambda rapi: rapi.unfinished(),
    "wait": lambda rapi: rapi.wait(1, "queued", 0),
    "cancel": lambda rapi: rapi.cancel(1),
}


@pytest.mark.parametrize("call", ASKED)
def test_whatever_a_cluster_says_is_understood_or_a_problem(call):
    saying = {"content": b""}

    def script(guest):
        answering(saying["content"])(guest)

    with serving(script) as server:
        rapi = Rapi(server.url, "caryatid", "secret", OWN.pem.decode())

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ANY)
        def whatever(document):
            saying["content"] = json.dumps(document).encode()
            found = ASKED[call](rapi)
            assert not isinstance(found, Problem) or found.trouble == "broken"

        whatever()


@pytest.mark.parametrize(
    ("status", "message", "trouble"),
    [
        (400, "Unable to parse JSON data", "refused"),
        (401, "Unauthorized", "denied"),
        (403, "Forbidden", "denied"),
        (404, "Not Found", "missing"),
        (415, "", "refused"),
        (418, "", "broken"),
        (500, "Queue drained", "drained"),
        (500, "&#x27;NoneType&#x27; object is not subscriptable", "broken"),
        (501, "", "refused"),
        (502, "Failed to parse request", "refused"),
        (502, "Master seems to be unreachable: /run/ganeti/socket/ganeti-master", "unreachable"),
        (502, "Can&#x27;t connect to master daemon: node2", "unreachable"),
        (503, "Job queue is full, needs archiving", "full"),
        (503, "Job queue is drained, cannot submit", "drained"),
        (504, "Gateway Timeout", "ambiguous"),
        (999, "", "broken"),
    ],
)
def test_a_status_means_one_thing(status, message, trouble):
    content = json.dumps({"code": status, "message": message, "explain": "Words that are always the same"}).encode()
    found = reading.problem(status, content, "RAPI here: GET /2/info")
    assert (found.trouble, found.status) == (trouble, status)
    assert found.text.startswith(f"RAPI here: GET /2/info: {status} ")


def test_words_that_are_not_json_are_left_out():
    found = reading.problem(502, b"<html>proxy</html>", "RAPI here: GET /2/info")
    assert found == Problem("refused", "RAPI here: GET /2/info: 502 Bad Gateway.", 502)


def test_a_page_of_words_is_cut():
    content = json.dumps({"message": "word " * 10000}).encode()
    assert len(reading.problem(500, content, "").text) < 2 * reading.TEXT_MAX


def test_what_a_node_does_not_say_is_not_known():
    row = [[0, "n1"], [0, "default"], [0, True], [0, False], [0, True], [4, None], [2, 7], [0, []]]
    [node] = reading.nodes(reading.rows({"data": [row]}, NODE))
    assert node == Node("n1", "default", offline=True, free_memory_mib=None, free_disk_mib=None)


def test_a_job_that_is_not_known_has_no_status():
    unknown = dict.fromkeys(("ops", "status", "summary", "opstatus", "received_ts", "start_ts", "end_ts", "oplog"))
    assert reading.job({"id": 99999, **unknown}, 99999) == Job(99999, "")


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ([["OpPrereqError", ["It is there.", "already_exists"]]], ("OpPrereqError", "It is there.", "already_exists")),
        ([["OpExecError", ["It broke."]]], ("OpExecError", "It broke.", "")),
        ([["node1"], ["OpExecError", ["The second."]]], ("OpExecError", "The second.", "")),
        (["Job canceled by request"], ("", "Job canceled by request", "")),
        ([None], ("", "The job is error, and does not say why.", "")),
    ],
)
def test_a_job_s_error_is_the_first_of_its_operations(result, error):
    job = reading.job({"status": "error", "opresult": result}, 6)
    assert (job.error_kind, job.error, job.error_code) == error


def test_the_lines_of_all_operations_are_in_their_order():
    logs = [[[1, [10, 500000], "message", "one"], [4, [13, 0], "message-list", ["four", "!"]]]]
    logs += [[[2, [11, 0], "message", "two"], [3, [12, 0], "delay-test", {"three": 3}]]]
    lines = reading.job({"status": "running", "oplog": logs}, 6).log
    assert lines == (
        LogLine(1, 10.5, "one"),
        LogLine(2, 11, "two"),
        LogLine(3, 12, '{"three": 3}'),
        LogLine(4, 13, "four !"),
    )


def test_null_says_that_a_job_is_as_it_was():
    assert reading.waited(None, "running") == Waited("running")


def test_no_jobs_cost_no_request():
    assert Rapi("https://127.0.0.1:1", "caryatid", "secret", OWN.pem.decode()).jobs([]) == ()
