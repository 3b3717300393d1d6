# SPDX-License-Identifier: Apache-2.0
"""Jobs: each accepted change has one, it says what was done, and can be waited for."""

import asyncio
import threading
import time

import pytest

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


def test_who_waits_is_answered_as_soon_as_the_job_ends(api):
    _, answer = create(api)
    worker = threading.Timer(0.3, api.settle)
    worker.start()
    begun = time.monotonic()
    job = api.get(f"/v1/jobs/{answer.headers['caryatid-job']}?wait=20&fields=state").json()["job"]
    worker.join()
    assert job == {"state": "succeeded"}
    assert time.monotonic() - begun < 5


def test_who_waits_for_too_short_a_time_is_told_how_it_is(api):
    _, answer = create(api)
    begun = time.monotonic()
    job = api.get(f"/v1/jobs/{answer.headers['caryatid-job']}?wait=0.2").json()["job"]
    assert job["state"] == "queued"
    assert 0.2 <= time.monotonic() - begun < 3


def test_many_wait_at_once_and_others_are_served_meanwhile(api):
    _, answer = create(api)
    path = f"/v1/jobs/{answer.headers['caryatid-job']}?wait=20"

    async def all_of_them():
        waiting = [asyncio.create_task(api.client.get(path)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert (await api.client.get("/v2")).status_code == 200
        assert not any(task.done() for task in waiting)
        await asyncio.to_thread(api.settle)
        return {answer.json()["job"]["state"] for answer in await asyncio.gather(*waiting)}

    assert api.runner.run(all_of_them()) == {"succeeded"}


@pytest.mark.parametrize("wait", ["x", "-1", "nan", ""])
def test_a_time_that_is_none_is_400(api, wait):
    _, answer = create(api)
    assert api.get(f"/v1/jobs/{answer.headers['caryatid-job']}?wait={wait}").status_code == 400


def test_a_job_that_is_not_there_is_404(api):
    answer = api.get("/v1/jobs/x")
    assert (answer.status_code, answer.json()["faultstring"]) == (404, "Job x not found.")
