# SPDX-License-Identifier: Apache-2.0
"""All members of a pool at once (facts: octavia.md §2.8)."""

import pytest


@pytest.fixture
def pool(api):
    return f"/v2/lbaas/pools/{api.populated()['pools']}/members"


def put(api, pool, *members, query=""):
    return api.put(f"{pool}{query}", json={"members": list(members)})


def weights(api, pool):
    api.settle()
    return {member["address"]: member["weight"] for member in api.get(pool).json()["members"]}


def member(number, **more):
    return {"address": f"10.0.0.{number}", "protocol_port": 80, **more}


def test_the_pool_has_the_members_of_the_body_and_only_these(api, pool):
    answer = put(api, pool, member(2, tenant_id="x"), member(3, weight="7"))
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["caryatid-job"]
    assert weights(api, pool) == {"10.0.0.2": 1, "10.0.0.3": 7}
    put(api, pool)
    assert weights(api, pool) == {}


@pytest.mark.parametrize("query", ["?additive_only=true", "?additive_only=True", "?additive_only=1"])
def test_members_that_are_not_named_stay_if_asked(api, pool, query):
    put(api, pool, member(2), query=query)
    assert weights(api, pool) == {"10.0.0.1": 1, "10.0.0.2": 1}


def test_no_change_is_202_without_a_job(api, pool):
    answer = put(api, pool, member(1))
    assert answer.status_code == 202
    assert "caryatid-job" not in answer.headers


@pytest.mark.parametrize(
    ("members", "status", "text"),
    [
        ([member(1), member(1)], 400, "Member must be updated only once in the same request."),
        ([member(2), member(2)], 409, "Another member on this pool is already using ip 10.0.0.2 on protocol_port 80"),
        ([member(1), {"protocol_port": 0}], 400, "Mandatory field missing."),
        ([3], 400, "Value should be an object"),
        ({}, 400, "Value should be a list"),
    ],
)
def test_one_wrong_member_and_nothing_is_changed(api, pool, members, status, text):
    answer = api.put(pool, json={"members": members})
    assert (answer.status_code, text in answer.json()["faultstring"]) == (status, True), answer.text
    assert weights(api, pool) == {"10.0.0.1": 1}


def test_of_a_pool_that_is_not_there_shape_b_tells(api):
    answer = put(api, "/v2/lbaas/pools/x/members", member(1))
    assert (answer.status_code, answer.json()["description"]) == (404, "Pool x not found.")


def test_an_empty_document_is_400(api, pool):
    assert api.put(pool, json={}).status_code == 400
    assert api.put(pool, json={"members": [], "more": 1}).status_code == 400
