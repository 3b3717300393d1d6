# SPDX-License-Identifier: Apache-2.0
"""Jobs: each accepted change has one, it says what was done, and can be waited for."""

import asyncio
import json
import threading
import time

import pytest

from caryatid.api import jobs, waiting
from caryatid.errors import Forbidden
from caryatid.model.policy import Caller
from caryatid.store import jobs as store

LBAAS = "/v2/lbaas"
SUBNET = "00000000-0000-4000-8000-000000000002"


def create(api, **body):
    answer = api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": {"vip_subnet_id": SUBNET, **body}})
    return answer.json()["loadbalancer"]["id"], answer


def test_the_header_of_a_change_names_its_job(any_api):
    api = any_api
    key, answer = create(api, project_id="p1")
    path = f"/v1/jobs/{answer.headers['caryatid-job']}"
    job = api.get(path).json()["job"]
    assert (job["state"], job["action"], job["resource_type"], job["resource_id"]) == (
        "queued",
        "create",
        "loadbalancer",
        key,
    )
    assert job["request_id"] == answer.headers["x-openstack-request-id"]
    assert (job["project_id"], job["generation"], job["ended_at"]) == ("p1", 1, None)
    api.settle()
    job = api.get(path).json()["job"]
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    assert job["ended_at"] >= job["started_at"] >= job["created_at"]
    assert any("configure amphora" in line["text"] for line in job["log"])
    assert {line["attempt"] for line in job["log"]} == {1}


def test_jobs_are_listed_and_filtered_like_everything_else(any_api):
    api = any_api
    first, _ = create(api)
    second, _ = create(api)
    api.settle()
    api.put(f"{LBAAS}/loadbalancers/{second}", json={"loadbalancer": {"name": "b"}})
    listed = api.get("/v1/jobs").json()["jobs"]
    assert [job["action"] for job in listed] == ["create", "create", "update"]
    assert "log" not in listed[0]
    for query, expected in (
        (f"resource_id={first}", 1),
        (f"loadbalancer_id={second}", 2),
        ("state=succeeded", 2),
        ("state=queued&action=update", 1),
        ("limit=2", 2),
    ):
        assert len(api.get(f"/v1/jobs?{query}").json()["jobs"]) == expected, query
    page = api.get("/v1/jobs?limit=2&sort=created_at:desc").json()
    assert page["jobs"][0]["action"] == "update"
    assert len(api.get(page["jobs_links"][0]["href"]).json()["jobs"]) == 1
    assert api.get("/v1/jobs?bogus=1").status_code == 400


def wait_path(answer, **query):
    said = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/v1/jobs/{answer.headers['caryatid-job']}/wait?{said}"


def test_who_waits_is_answered_as_soon_as_the_job_ends(any_api):
    api = any_api
    _, answer = create(api)
    worker = threading.Timer(0.3, api.settle)
    worker.start()
    begun = time.monotonic()
    job = api.get(wait_path(answer, timeout=20)).json()["job"]
    worker.join()
    assert job["state"] == "succeeded"
    assert job["log"]
    assert time.monotonic() - begun < 5


def test_who_waits_for_too_short_a_time_is_told_how_it_is(api):
    _, answer = create(api)
    begun = time.monotonic()
    job = api.get(wait_path(answer, timeout=0.2)).json()["job"]
    assert job["state"] == "queued"
    assert 0.2 <= time.monotonic() - begun < 3


def test_who_knows_less_than_there_is_is_answered_at_once(api):
    _, answer = create(api)
    job = api.get(wait_path(answer, timeout=20, since=0)).json()["job"]
    assert (job["state"], job["serial"]) == ("queued", 1)
    api.settle()
    ended = api.get(wait_path(answer, timeout=20, since=10**15)).json()["job"]
    assert ended["state"] == "succeeded", "what has ended has no more news"
    assert ended["serial"] > job["serial"]


def test_each_news_comes_once_to_who_says_what_it_knows(any_api):
    api = any_api
    _, answer = create(api)
    worker = threading.Timer(0.2, api.settle)
    worker.start()
    serials, job = [0], {}
    while not job.get("ended_at"):
        job = api.get(wait_path(answer, timeout=10, since=serials[-1])).json()["job"]
        serials.append(job["serial"])
    worker.join()
    assert serials == sorted(set(serials))
    assert job["progress"]["done"] == job["progress"]["known"] > 0


def test_many_wait_at_once_and_others_are_served_meanwhile(api):
    _, answer = create(api)

    async def all_of_them():
        waiting = [asyncio.create_task(api.client.get(wait_path(answer, timeout=20))) for _ in range(200)]
        await asyncio.sleep(0.1)
        assert (await api.client.get("/v2")).status_code == 200
        assert not any(task.done() for task in waiting)
        await asyncio.to_thread(api.settle)
        return {answer.json()["job"]["state"] for answer in await asyncio.gather(*waiting)}

    assert api.runner.run(all_of_them()) == {"succeeded"}


def test_many_who_come_at_once_for_a_job_cost_one_look(any_api, monkeypatch):
    api = any_api
    _, answer = create(api)
    reads, found = [], jobs._found
    monkeypatch.setattr(jobs, "_found", lambda *asked: reads.append(asked) or found(*asked))

    async def all_of_them():
        coming = [asyncio.create_task(api.client.get(wait_path(answer, timeout=20))) for _ in range(100)]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(api.settle)
        return {one.json()["job"]["state"] for one in await asyncio.gather(*coming)}

    assert api.runner.run(all_of_them()) == {"succeeded"}
    assert len(reads) == 1


def test_more_than_can_wait_are_told_to_come_again(api, monkeypatch):
    _, answer = create(api)
    monkeypatch.setattr(waiting, "WAITERS_MAX", 3)

    async def all_of_them():
        asked = (api.client.get(wait_path(answer, timeout=0.5)) for _ in range(5))
        return await asyncio.gather(*asked)

    answers = api.runner.run(all_of_them())
    assert sorted(one.status_code for one in answers) == [200, 200, 200, 503, 503]
    assert all(one.headers["retry-after"] for one in answers if one.status_code == 503)


@pytest.mark.parametrize("query", ["timeout=x", "timeout=-1", "timeout=nan", "timeout=", "since=x", "since=-1", "x=1"])
def test_a_wait_that_cannot_be_read_is_400(api, query):
    _, answer = create(api)
    assert api.get(f"/v1/jobs/{answer.headers['caryatid-job']}/wait?{query}").status_code == 400


def frames(answer):
    """(event, id, data) of each event of a stream."""
    for block in answer.text.split("\n\n"):
        said = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if said:
            yield said.get("event", ""), said.get("id", ""), json.loads(said["data"])


def test_the_lines_of_a_job_are_streamed_until_it_ends(any_api):
    api = any_api
    _, answer = create(api)
    path = f"/v1/jobs/{answer.headers['caryatid-job']}/log"
    assert api.get(path).json() == {"log": []}
    worker = threading.Timer(0.3, api.settle)
    worker.start()
    followed = api.get(f"{path}?follow=true", headers={"Accept": "text/event-stream"})
    worker.join()
    assert followed.headers["content-type"].startswith("text/event-stream")
    *lines, last = frames(followed)
    assert [line for _, _, line in lines] == api.get(path).json()["log"]
    assert [key for _, key, _ in lines] == [line["position"] for _, _, line in lines]
    assert (last[0], last[2]["job"]["state"]) == ("end", "succeeded")


def test_who_comes_back_to_a_stream_goes_on_where_it_was(api):
    _, answer = create(api)
    api.settle()
    path = f"/v1/jobs/{answer.headers['caryatid-job']}/log"
    log = api.get(path).json()["log"]
    assert len(log) > 2
    resumed = list(frames(api.get(f"{path}?follow=true", headers={"Last-Event-ID": log[1]["position"]})))
    assert [line["text"] for _, _, line in resumed[:-1]] == [line["text"] for line in log[2:]]
    assert api.get(f"{path}?after={log[0]['position']}").json()["log"] == log[1:]
    assert api.get(f"{path}?after=x").status_code == 400


def test_what_takes_effect_at_once_has_a_job_that_has_succeeded(api):
    made = api.post("/v1/networks", json={"network": {"name": "n"}})
    key = made.json()["network"]["id"]
    answers = [
        ("create", made),
        ("update", api.put(f"/v1/networks/{key}", json={"network": {"name": "m"}})),
        ("delete", api.delete(f"/v1/networks/{key}")),
    ]
    for action, answer in answers:
        job = api.get(f"/v1/jobs/{answer.headers['caryatid-job']}").json()["job"]
        assert (job["action"], job["resource_type"], job["resource_id"]) == (action, "network", key)
        assert (job["state"], job["loadbalancer_id"]) == ("succeeded", None)
        assert job["created_at"] == job["started_at"] == job["ended_at"]
        assert job["request_id"] == answer.headers["x-openstack-request-id"]


def test_jobs_of_a_time_are_found(api):
    _, answer = create(api)
    first = api.get(f"/v1/jobs/{answer.headers['caryatid-job']}").json()["job"]
    _, answer = create(api)
    second = api.get(f"/v1/jobs/{answer.headers['caryatid-job']}").json()["job"]
    api.settle()
    at = first["created_at"]
    for query, expected in (
        (f"created_since={at}", 2),
        (f"created_until={at}", 0),
        (f"created_until={second['created_at']}", 1),
        (f"ended_since={at}", 2),
        (f"ended_until={at}Z", 0),
        ("archived=true", 0),
        ("archived=false", 2),
        ("sort=created_at:desc&limit=1", 1),
    ):
        assert len(api.get(f"/v1/jobs?loadbalancer_id={first['loadbalancer_id']}&{query}").json()["jobs"]) <= expected
        mine = [job for job in api.get(f"/v1/jobs?{query}").json()["jobs"] if job["resource_type"] == "loadbalancer"]
        assert len(mine) == expected, query
    assert api.get("/v1/jobs?created_since=yesterday").status_code == 400


def test_an_archived_job_still_answers_by_its_id(any_api):
    api = any_api
    _, answer = create(api)
    api.settle()
    path = f"/v1/jobs/{answer.headers['caryatid-job']}"
    before = api.get(path).json()["job"]
    with api.door.database.transaction() as tx:
        store.archive(tx, "2999-01-01T00:00:00.000000", 1000)
    assert api.get(path).json()["job"] == {**before, "archived": True, "log": []}
    assert api.get(f"{path}/wait").json()["job"]["state"] == "succeeded"
    assert api.get("/v1/jobs").json()["jobs"] == []
    listed = api.get(f"/v1/jobs?archived=true&state=succeeded&resource_id={before['resource_id']}").json()["jobs"]
    assert [job["id"] for job in listed] == [before["id"]]


def test_a_job_that_is_not_there_is_404(api):
    answer = api.get("/v1/jobs/x")
    assert (answer.status_code, answer.json()["faultstring"]) == (404, "Job x not found.")


def test_a_job_is_its_project_s_and_one_of_no_project_is_for_who_asked(any_api):
    api = any_api
    theirs = create(api, project_id="p1")[1].headers["caryatid-job"]
    nobody_s = api.put("/v1/failovers/unfreeze").headers["caryatid-job"]
    resource, database = jobs.Jobs(None), api.door.database

    def sees(caller, key):
        try:
            return resource.document(database, caller, key, None)["id"] == key
        except Forbidden:
            return False

    reader, other = (Caller("u", project, frozenset({"reader"})) for project in ("p1", "p2"))
    observer = Caller("u", None, frozenset({"load-balancer_global_observer"}))
    asked = Caller("noauth", "p2", frozenset({"reader"}))
    assert [sees(caller, theirs) for caller in (reader, other, observer)] == [True, False, True]
    assert [sees(caller, nobody_s) for caller in (reader, observer, asked)] == [False, True, True]
