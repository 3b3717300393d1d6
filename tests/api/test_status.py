# SPDX-License-Identifier: Apache-2.0
"""/v1/status: what everybody's load balancers are like, cheaply; on both databases."""

import asyncio
import time
from uuid import uuid4

import pytest

from caryatid.model import HOST
from caryatid.model.host import Host
from caryatid.model.policy import Caller, Identified
from caryatid.store import observations
from caryatid.store import rows as store

STATUS = "/v1/status"
ROW = {
    "id",
    "name",
    "project_id",
    "provisioning_status",
    "operating_status",
    "generation",
    "observed_generation",
    "age_ms",
}


def rows(api, query="", **kwargs):
    answer = api.get(f"{STATUS}{query}", **kwargs)
    assert answer.status_code == 200, answer.text
    return answer.json()["loadbalancers"]


def observe(api, *statuses, heard=None):
    with api.door.database.transaction() as tx:
        observations.write(tx, list(statuses), time.time())
        observations.write_heard(tx, heard or {})


def host_of(api, loadbalancer_id):
    amphorae = api.get(f"/v2/octavia/amphorae?loadbalancer_id={loadbalancer_id}").json()["amphorae"]
    return amphorae[0]["compute_id"]


def test_each_load_balancer_is_a_row_of_what_was_asked_and_what_is_so(any_api):
    first, second = (any_api.loadbalancer(name=name)["id"] for name in ("a", "b"))
    any_api.settle()
    any_api.put(f"/v2/lbaas/loadbalancers/{second}", json={"loadbalancer": {"name": "c"}})
    found = rows(any_api)
    assert [set(row) for row in found] == [ROW, ROW]
    assert [(row["id"], row["name"]) for row in found] == [(first, "a"), (second, "c")]
    assert [row["provisioning_status"] for row in found] == ["ACTIVE", "PENDING_UPDATE"]
    assert [(row["generation"], row["observed_generation"]) for row in found] == [(1, 1), (2, 1)]
    assert [row["age_ms"] for row in found] == [None, None]


def test_what_one_has_just_changed_one_sees(any_api):
    made = any_api.loadbalancer()
    for number in range(5):
        path = f"/v2/lbaas/loadbalancers/{made['id']}"
        any_api.put(path, json={"loadbalancer": {"name": str(number)}})
        assert [row["name"] for row in rows(any_api)] == [str(number)]
    any_api.delete(f"/v2/lbaas/loadbalancers/{made['id']}")
    any_api.settle()
    assert rows(any_api) == []


def test_a_status_is_as_old_as_the_last_word_of_its_hosts(any_api):
    made = any_api.loadbalancer()["id"]
    any_api.settle()
    path = f"/v2/lbaas/loadbalancers/{made}"
    assert "caryatid-status-age" not in any_api.get(path).headers
    observe(any_api, heard={host_of(any_api, made): time.time() - 40})
    assert 40_000 <= rows(any_api)[0]["age_ms"] < 100_000
    for one in (path, f"{path}/status"):
        assert 40_000 <= int(any_api.get(one).headers["caryatid-status-age"]) < 100_000
    observe(any_api, ("loadbalancer", made, made, "ONLINE"))
    assert rows(any_api)[0]["age_ms"] < 40_000
    assert rows(any_api)[0]["operating_status"] == "ONLINE"


def test_a_host_that_is_heard_late_by_one_receiver_is_as_old_as_the_other_says(any_api):
    made = any_api.loadbalancer()["id"]
    any_api.settle()
    host, now = host_of(any_api, made), time.time()
    observe(any_api, heard={host: now - 40})
    observe(any_api, heard={host: now - 400})
    assert rows(any_api)[0]["age_ms"] < 100_000


def test_who_has_it_already_is_told_so_until_something_changes_but_ages(any_api):
    made = any_api.loadbalancer()["id"]
    any_api.settle()
    tag = any_api.get(STATUS).headers["etag"]
    assert tag.startswith('W/"')

    def again():
        return any_api.get(STATUS, headers={"If-None-Match": tag})

    assert (again().status_code, again().content, again().headers["etag"]) == (304, b"", tag)
    observe(any_api, heard={host_of(any_api, made): time.time()})
    assert again().status_code == 304
    observe(any_api, ("loadbalancer", made, made, "ONLINE"))
    assert again().status_code == 200
    assert again().headers["etag"] != tag


def test_only_those_that_are_asked_for(any_api):
    first, second = (any_api.loadbalancer(project_id=project)["id"] for project in ("p1", "p2"))
    any_api.settle()
    observe(any_api, ("loadbalancer", second, second, "ONLINE"))
    any_api.put(f"/v2/lbaas/loadbalancers/{first}", json={"loadbalancer": {"name": "x"}})
    for query, expected in {
        "project_id=p1": [first],
        "project_id=nobody": [],
        "operating_status=ONLINE": [second],
        "provisioning_status=PENDING_UPDATE": [first],
        "provisioning_status=PENDING_UPDATE&project_id=p2": [],
    }.items():
        assert [row["id"] for row in rows(any_api, f"?{query}")] == expected, query
    assert any_api.get(f"{STATUS}?operating_status=FINE").status_code == 400
    assert any_api.get(f"{STATUS}?name=a").status_code == 400


def test_what_has_changed_since(any_api):
    first, second = (any_api.loadbalancer()["id"] for _ in range(2))
    any_api.settle()
    since = any_api.get(STATUS).json()["at"]
    assert rows(any_api, f"?changed_since={since}") == []
    observe(any_api, ("loadbalancer", second, second, "ERROR"))
    assert [row["id"] for row in rows(any_api, f"?changed_since={since}")] == [second]
    any_api.put(f"/v2/lbaas/loadbalancers/{first}", json={"loadbalancer": {"name": "x"}})
    assert {row["id"] for row in rows(any_api, f"?changed_since={since}Z")} == {first, second}
    before = any_api.get(STATUS).json()["at"]
    any_api.settle()
    assert [row["id"] for row in rows(any_api, f"?changed_since={before}")] == [first]
    assert any_api.get(f"{STATUS}?changed_since=yesterday").status_code == 400
    listed = any_api.get(f"/v2/lbaas/loadbalancers?changed_since={since}&fields=id").json()["loadbalancers"]
    assert listed == [{"id": first}]
    assert any_api.get("/v2/lbaas/quotas?changed_since=2026-01-01").status_code == 400


@pytest.mark.parametrize("roles", [{"reader"}, {"load-balancer_observer"}])
def test_a_project_sees_its_own(any_api, monkeypatch, roles):
    mine, _ = (any_api.loadbalancer(project_id=project)["id"] for project in ("p1", "p2"))
    gate = any_api.app.router.default.gate
    known = Identified(Caller("u", "p1", frozenset(roles)))
    monkeypatch.setattr(gate._identity, "identify", lambda _shown: known, raising=False)
    gate._forget()
    assert [row["id"] for row in rows(any_api)] == [mine]
    assert [row["id"] for row in rows(any_api, "?project_id=p1")] == [mine]
    assert any_api.get(f"{STATUS}?project_id=p2").status_code == 403


def test_who_waits_is_answered_when_something_else_is_to_be_seen(any_api):
    made = any_api.loadbalancer()["id"]
    any_api.settle()
    tag = any_api.get(STATUS).headers["etag"]

    async def both():
        waits = [any_api.client.get(f"{STATUS}?wait=30", headers={"If-None-Match": tag}) for _ in range(20)]
        waiting = asyncio.gather(*waits)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        body = {"loadbalancer": {"name": "other"}}
        await any_api.client.put(f"/v2/lbaas/loadbalancers/{made}", json=body)
        return await asyncio.wait_for(waiting, 20)

    for answer in any_api.runner.run(both()):
        assert answer.status_code == 200
        assert [row["name"] for row in answer.json()["loadbalancers"]] == ["other"]
    unchanged = any_api.get(f"{STATUS}?wait=0.01", headers={"If-None-Match": any_api.get(STATUS).headers["etag"]})
    assert unchanged.status_code == 304


def test_a_host_is_as_old_as_its_last_word(any_api):
    host = Host(id=str(uuid4()), name="h", agent_url="https://h:1", created_at="2026-11-21T00:00:00.000000")
    with any_api.door.database.transaction() as tx:
        store.insert(tx, HOST, [host])
    assert "caryatid-status-age" not in any_api.get(f"/v1/hosts/{host.id}").headers
    observe(any_api, heard={host.id: time.time() - 40})
    shown = any_api.get(f"/v1/hosts/{host.id}")
    assert 40_000 <= int(shown.headers["caryatid-status-age"]) < 100_000
    assert any_api.get(f"/v1/hosts/{host.id}", headers={"If-None-Match": shown.headers["etag"]}).status_code == 304
