# SPDX-License-Identifier: Apache-2.0
"""Entity tags: what is known need not be sent again, and what has been changed since is not overwritten (RFC 9110 §13);
on both databases."""

import asyncio
import time

import pytest

from caryatid.store import observations

LBAAS = "/v2/lbaas"


def path_of(kind, ids):
    return {
        "members": f"{LBAAS}/pools/{ids['pools']}/members/{ids['members']}",
        "rules": f"{LBAAS}/l7policies/{ids['l7policies']}/rules/{ids['rules']}",
        "limits": f"{LBAAS}/ratelimitpolicies/{ids['ratelimitpolicies']}/rules/{ids['limits']}",
    }.get(kind, f"{LBAAS}/{kind}/{ids[kind]}")


def tag_of(api, path):
    answer = api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


def found(api):
    """A path of each kind that can be shown, and what a change of it may say."""
    ids = api.populated()
    api.settle()
    bodies = {
        "loadbalancers": {"loadbalancer": {"name": "x"}},
        "listeners": {"listener": {"name": "x"}},
        "pools": {"pool": {"name": "x"}},
        "members": {"member": {"name": "x"}},
        "healthmonitors": {"healthmonitor": {"name": "x"}},
        "l7policies": {"l7policy": {"name": "x"}},
        "rules": {"rule": {"value": "/y"}},
        "ratelimitpolicies": {"ratelimitpolicy": {"name": "x"}},
        "limits": {"rule": {"threshold": 7}},
    }
    yield from ((path_of(kind, ids), body) for kind, body in bodies.items())
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": "{}"}
    profile = api.post(f"{LBAAS}/flavorprofiles", json={"flavorprofile": profile}).json()["flavorprofile"]
    yield f"{LBAAS}/flavorprofiles/{profile['id']}", {"flavorprofile": {"name": "x"}}
    yield f"{LBAAS}/quotas/somebody", {"quota": {"pool": 3}}
    (network,) = api.get("/v1/networks").json()["networks"]
    yield f"/v1/networks/{network['id']}", {"network": {"name": "x"}}


def test_what_is_known_is_not_sent_again_and_what_has_changed_is_not_overwritten(any_api):
    for path, body in found(any_api):
        tag = tag_of(any_api, path)
        assert any_api.get(path, headers={"If-None-Match": tag}).status_code == 304, path
        same = any_api.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert any_api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        changed = any_api.put(path, json=body, headers={"If-Match": f'"other.thing", {tag}'})
        assert changed.status_code in {200, 202}, changed.text
        assert tag_of(any_api, path) != tag
        again = any_api.put(path, json=body, headers={"If-Match": tag})
        assert again.status_code == 412, path
        assert "has been changed since you read it" in again.json()["faultstring"]
        gone = any_api.delete(path, headers={"If-Match": tag})
        assert gone.status_code == 412, path


def test_what_was_read_last_can_be_changed_and_deleted(any_api):
    for path, body in reversed(list(found(any_api))):
        assert any_api.put(path, json=body, headers={"If-Match": tag_of(any_api, path)}).status_code in {200, 202}
        any_api.settle()
        if path.startswith("/v1"):  # in use
            continue
        options = "?cascade=true" if "/loadbalancers/" in path else ""
        gone = any_api.delete(f"{path}{options}", headers={"If-Match": tag_of(any_api, path)})
        assert gone.status_code in {202, 204}, gone.text
        any_api.settle()


def test_a_wish_stands_whatever_is_seen_of_it(any_api):
    made = any_api.loadbalancer()["id"]
    path = f"{LBAAS}/loadbalancers/{made}"
    tag = tag_of(any_api, path)
    any_api.settle()
    with any_api.door.database.transaction() as tx:
        observations.write(tx, [("loadbalancer", made, made, "ERROR")], time.time())
    body = {"protocol": "TCP", "protocol_port": 80, "loadbalancer_id": made}
    any_api.create("/listeners", "listener", **body)
    assert any_api.get(path, headers={"If-None-Match": tag}).status_code == 200
    changed = any_api.put(path, json={"loadbalancer": {"name": "x"}}, headers={"If-Match": tag})
    assert changed.status_code == 200, changed.text


def test_of_two_who_have_read_the_same_one_changes_it(any_api):
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": "{}"}
    profile = any_api.post(f"{LBAAS}/flavorprofiles", json={"flavorprofile": profile}).json()["flavorprofile"]
    for path, kind in (
        (f"{LBAAS}/loadbalancers/{any_api.loadbalancer()['id']}", "loadbalancer"),
        (f"{LBAAS}/flavorprofiles/{profile['id']}", "flavorprofile"),
    ):
        for turn in range(5):
            tag = tag_of(any_api, path)

            async def race(turn=turn, tag=tag, path=path, kind=kind):
                return await asyncio.gather(
                    *(
                        any_api.client.put(path, json={kind: {"name": f"{turn}-{who}"}}, headers={"If-Match": tag})
                        for who in range(6)
                    )
                )

            statuses = [answer.status_code for answer in any_api.runner.run(race())]
            assert sorted(statuses) == [200, *[412] * 5]


def test_any_that_exists_may_be_asked_for_and_nonsense_not(any_api):
    path = f"{LBAAS}/loadbalancers/{any_api.loadbalancer()['id']}"
    body = {"loadbalancer": {"name": "x"}}
    assert any_api.put(path, json=body, headers={"If-Match": "*"}).status_code == 200
    assert any_api.put(f"{path[:-1]}x", json=body, headers={"If-Match": "*"}).status_code == 404
    assert any_api.put(path, json=body, headers={"If-Match": "nonsense"}).status_code == 400
    weak = f"W/{tag_of(any_api, path)}"
    assert any_api.put(path, json=body, headers={"If-Match": weak}).status_code == 412
    assert any_api.get(path, headers={"If-None-Match": "*"}).status_code == 304


def test_a_condition_that_nothing_can_meet_is_not_passed_over(api):
    ids = api.populated()
    path = f"{LBAAS}/pools/{ids['pools']}/members"
    assert api.put(path, json={"members": []}, headers={"If-Match": '"a.b"'}).status_code == 412
    assert len(api.get(path).json()["members"]) == 1
    assert api.put(path, json={"members": []}, headers={"If-Match": "*"}).status_code == 202
    failover = f"{LBAAS}/loadbalancers/{ids['loadbalancers']}/failover"
    assert api.put(failover, headers={"If-Match": '"a"'}).status_code == 412


@pytest.mark.parametrize("path", ["/v1/secrets"])
def test_a_secret_that_has_got_another_payload_is_not_replaced(any_api, path):
    made = any_api.post(path, json={"name": "s"}).json()["secret_ref"]
    one = f"{path}/{made.rpartition('/')[2]}"
    tag = tag_of(any_api, one)
    headers = {"Content-Type": "text/plain"}
    assert any_api.put(one, content=b"first", headers={**headers, "If-Match": tag}).status_code == 204
    assert any_api.put(one, content=b"other", headers={**headers, "If-Match": tag}).status_code == 412
    assert any_api.delete(one, headers={"If-Match": tag}).status_code == 412
    assert any_api.delete(one, headers={"If-Match": tag_of(any_api, one)}).status_code == 204
