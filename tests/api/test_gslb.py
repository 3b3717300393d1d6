# SPDX-License-Identifier: Apache-2.0
"""Global load balancing over HTTP: Kosmos' paths, the conventions of all others, and who sees what how."""

import time

import pytest

from caryatid.control.gslb import engine
from caryatid.model import GSLB
from caryatid.store import work
from caryatid.store.gslb import votes
from caryatid.store.gslb.votes import Said

BASE = "/gslb/v1"
NOWHERE = "99999999-9999-4999-8999-999999999999"
REGION = "77777777-7777-4777-8777-777777777777"


class Service:
    """Makes things over HTTP, and lets what is asked for come into effect."""

    def __init__(self, api):
        self.api = api

    def ask(self, path, wrapper, /, **body):
        return self.api.post(f"{BASE}/{path}", json={wrapper: body})

    def made(self, path, wrapper, /, **body):
        answer = self.ask(path, wrapper, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()[wrapper]

    def get(self, path):
        answer = self.api.get(f"{BASE}/{path}")
        assert answer.status_code == 200, answer.text
        return next(iter(answer.json().values()))

    def zone(self):
        backend = self.made("backends", "backend", name="dns", driver="noop")
        return self.made("zones", "zone", name="example.test", backend_id=backend["id"])

    def pool(self, *addresses, **more):
        pool = self.made("pools", "pool", **more)
        for address in addresses:
            self.made(f"pools/{pool['id']}/pool_members", "pool_member", address=address)
        return pool

    def gslb(self, *pools, **more):
        wish = {"fqdn": "www.example.test", "pools": [{"pool_id": pool["id"]} for pool in pools], **more}
        return self.made("gslbs", "gslb", **wish)

    def settle(self):
        database = self.api.door.database
        while claims := work.claim_some(database, "test", GSLB, 100):
            engine.attend(self.api.door, claims)


@pytest.fixture
def service(api):
    return Service(api)


@pytest.fixture
def any_service(any_api):
    return Service(any_api)


def test_a_name_comes_to_be_answered(any_service):
    service = any_service
    service.zone()
    monitor = service.made("monitors", "monitor", type="http", parameters={"path": "/alive"})
    pool = service.pool("192.0.2.1", "2001:db8::1", name="east", monitors=[{"monitor_id": monitor["id"]}])
    answer = service.ask("gslbs", "gslb", fqdn="www.example.test", pools=[{"pool_id": pool["id"]}])
    assert answer.status_code == 201
    gslb, job = answer.json()["gslb"], answer.headers["caryatid-job"]
    assert gslb["provisioning_status"] == "PENDING_CREATE"
    assert [one["name"] for one in service.get(f"gslbs/{gslb['id']}/pools")] == ["east"]
    assert [one["id"] for one in service.get(f"pools/{pool['id']}/monitors")] == [monitor["id"]]
    service.settle()
    assert service.get(f"gslbs/{gslb['id']}")["provisioning_status"] == "ACTIVE"
    assert service.api.get(f"/v1/jobs/{job}").json()["job"]["state"] == "succeeded"
    explained = service.get(f"gslbs/{gslb['id']}/explain?client=192.0.2.77")
    assert {one["rrtype"]: [each["content"] for each in one["chances"]] for one in explained["answers"]} == {
        "A": ["192.0.2.1"],
        "AAAA": ["2001:db8::1"],
    }
    assert service.api.delete(f"{BASE}/gslbs/{gslb['id']}").status_code == 204
    service.settle()
    assert service.api.get(f"{BASE}/gslbs/{gslb['id']}").status_code == 404


def test_each_region_says_how_it_sees_a_member(any_service):
    service = any_service
    service.zone()
    monitor = service.made("monitors", "monitor", type="tcp")["id"]
    pool = service.pool("192.0.2.1", "192.0.2.2", monitors=[{"monitor_id": monitor}])["id"]
    gslb = service.gslb({"id": pool})["id"]
    member, other = (one["id"] for one in service.get(f"pools/{pool}/pool_members"))
    now = time.time()
    said = [
        Said(member, monitor, "DOWN", now, 1, 1, "refused", 0.2),
        Said(other, monitor, "UP", now - 900, 1, 1, "", 0.2),
    ]
    with service.api.door.database.transaction() as tx:
        votes.write(tx, REGION, "c1", said, now)
    paths = (f"pools/{pool}/pool_members/{member}", f"pools/{pool}/pool_members/{member}/status")
    for shown in (*map(service.get, paths), service.get(f"pools/{pool}/pool_members")[0]):
        (seen,) = shown["per_region"]
        assert (seen["region_id"], seen["monitor_id"]) == (REGION, monitor)
        assert (seen["vote"], seen["reason"]) == ("DOWN", "refused")
    tree = service.get(f"gslbs/{gslb}/status")
    assert tree["pools"][0]["members"][0]["per_region"][0]["vote"] == "DOWN"
    assert service.get(f"pools/{pool}/status")["members"][0]["id"] == member
    (late,) = service.get(f"pools/{pool}/pool_members/{other}")["per_region"]
    assert late["vote"] == "UNKNOWN"
    assert late["reason"].startswith("UP until ")


def test_a_change_of_a_part_is_waited_for(service):
    service.zone()
    pool = service.pool("192.0.2.1")
    service.gslb(pool)
    service.settle()
    path = f"{BASE}/pools/{pool['id']}"
    answer = service.api.put(path, json={"pool": {"minimum_healthy": "50%"}})
    assert answer.json()["pool"]["provisioning_status"] == "PENDING_UPDATE"
    late = service.api.get(f"{path}?wait_for=ACTIVE&timeout=0").json()["pool"]
    assert late["provisioning_status"] == "PENDING_UPDATE"
    service.settle()
    assert service.api.get(f"{path}?wait_for=ACTIVE").json()["pool"]["provisioning_status"] == "ACTIVE"


def test_lists_are_filtered_sorted_and_paged_as_all_others(service):
    for name in ("b", "a", "c"):
        service.made("pools", "pool", name=name, tags=[name, "all"])
    page = service.api.get(f"{BASE}/pools?sort=name&limit=2&tags=all&fields=name").json()
    assert page["pools"] == [{"name": "a"}, {"name": "b"}]
    assert page["pools_links"][0]["rel"] == "next"
    assert [one["name"] for one in service.get("pools?name=c")] == ["c"]
    assert service.api.get(f"{BASE}/pools?nonsense=1").status_code == 400


def test_what_has_changed_meanwhile_is_not_overwritten(service):
    service.zone()
    path = f"{BASE}/gslbs/{service.gslb()['id']}"
    seen = service.api.get(path).headers["etag"]
    assert service.api.get(path, headers={"If-None-Match": seen}).status_code == 304
    for status in (200, 412):
        answer = service.api.put(path, json={"gslb": {"ttl": 30 + status}}, headers={"If-Match": seen})
        assert answer.status_code == status


def test_a_request_that_comes_again_is_recognised(service):
    service.zone()
    key = {"Idempotency-Key": "k"}
    first, again = (
        service.api.post(f"{BASE}/gslbs", json={"gslb": {"fqdn": "a.example.test"}}, headers=key) for _ in range(2)
    )
    assert (first.status_code, first.json(), first.headers["caryatid-job"]) == (
        again.status_code,
        again.json(),
        again.headers["caryatid-job"],
    )


def test_zero_is_a_value(service):
    service.zone()
    gslb = service.gslb(service.pool("192.0.2.1"), ttl=0, failback_delay=0)
    assert gslb["ttl"] == 0
    member = service.made(
        f"pools/{gslb['pools'][0]['pool_id']}/pool_members", "pool_member", address="192.0.2.2", weight=0
    )
    assert member["weight"] == 0


def test_name_servers_are_told_anew_when_somebody_asks_for_it(service):
    service.zone()
    gslb = service.gslb(service.pool("192.0.2.1"))["id"]
    service.settle()
    before = service.get(f"gslbs/{gslb}")["published_generation"]
    answer = service.api.post(f"{BASE}/gslbs/{gslb}/sync")
    assert answer.status_code == 202
    service.settle()
    assert service.get(f"gslbs/{gslb}")["published_generation"] > before
    assert service.api.get(f"/v1/jobs/{answer.headers['caryatid-job']}").json()["job"]["action"] == "sync"
    assert "gslb.answer" in [event["type"] for event in service.get(f"gslbs/{gslb}/history")]


def test_credentials_are_in_no_answer(service):
    wish = {"driver": "powerdns", "url": "http://192.0.2.53:8081", "credentials": {"api_key": "hush"}}
    answer = service.ask("backends", "backend", **wish)
    key = answer.json()["backend"]["id"]
    shown = (answer, service.api.get(f"{BASE}/backends/{key}"), service.api.get(f"{BASE}/backends"))
    assert all("hush" not in one.text and "credentials" not in one.text for one in shown)
    assert "hush" not in service.api.get("/v1/events").text


def test_a_shared_zone_is_seen_by_all_and_a_backend_by_operators(guarded):
    backend = guarded.ask("POST", f"{BASE}/backends", json={"backend": {"driver": "noop"}}).json()["backend"]["id"]
    zones = {}
    for name, shared in (("open.test.", True), ("closed.test.", False)):
        zone = {"name": name, "backend_id": backend, "shared": shared}
        zones[name] = guarded.ask("POST", f"{BASE}/zones", json={"zone": zone}).json()["zone"]["id"]
    project = guarded.project("shop")
    alice = guarded.headers(guarded.user("alice", {project: ["member"]}), project)
    seen = guarded.ask("GET", f"{BASE}/zones", alice).json()["zones"]
    assert [zone["name"] for zone in seen] == ["open.test."]
    assert guarded.ask("GET", f"{BASE}/zones/{zones['open.test.']}", alice).status_code == 200
    assert guarded.ask("GET", f"{BASE}/zones/{zones['closed.test.']}", alice).status_code == 403
    assert guarded.ask("GET", f"{BASE}/backends", alice).status_code == 403
    assert guarded.ask("GET", f"{BASE}/regions", alice).status_code == 200
    made = guarded.ask("POST", f"{BASE}/gslbs", alice, json={"gslb": {"fqdn": "a.open.test"}})
    assert made.status_code == 201
    refused = guarded.ask("POST", f"{BASE}/gslbs", alice, json={"gslb": {"fqdn": "a.closed.test"}})
    assert refused.status_code == 400


def test_a_dry_run_is_of_what_the_project_may_try(service):
    monitor = service.made("monitors", "monitor", type="tcp")["id"]
    path = f"{BASE}/monitors/{monitor}/test"
    assert service.api.post(path, json={"test": {"address": "192.0.2.1", "port": 80}}).json()["test"] == {
        "monitor_id": monitor,
        "address": "192.0.2.1",
        "regions": [],
    }
    for body in ({}, {"address": "169.254.169.254"}, {"member_id": NOWHERE}, {"address": 1}, {"fax": 1}, {"port": 1}):
        assert service.api.post(path, json={"test": body}).status_code == 400, body


def test_a_checker_is_let_in_by_a_token_for_its_region(service):
    region = service.made("regions", "region", name="east")["id"]
    answer = service.api.post(f"{BASE}/regions/{region}/tokens")
    assert answer.status_code == 201
    assert answer.json()["token"]["token"]
    assert answer.headers["cache-control"] == "no-store"
    assert service.api.post(f"{BASE}/regions/{NOWHERE}/tokens").status_code == 404
