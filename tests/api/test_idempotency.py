# SPDX-License-Identifier: Apache-2.0
"""A request that comes again under its Idempotency-Key is carried out once, and given the same answer."""

import asyncio

import pytest

from caryatid.store import idempotency

LBAAS = "/v2/lbaas"
SUBNET = "00000000-0000-4000-8000-000000000002"
KEY = {"Idempotency-Key": "4f7c-again"}
BODY = {"loadbalancer": {"vip_subnet_id": SUBNET, "name": "once"}}
NESTED = {"loadbalancer": {"vip_subnet_id": SUBNET, "listeners": [{"protocol": "HTTP", "protocol_port": 80}]}}


def post(api, body=BODY, path=f"{LBAAS}/loadbalancers", headers=KEY):
    return api.post(path, json=body, headers=headers)


def count(api):
    return len(api.get(f"{LBAAS}/loadbalancers").json()["loadbalancers"])


@pytest.mark.parametrize("body", [BODY, NESTED], ids=["alone", "with all below it"])
def test_the_first_answer_is_given_again(any_api, body):
    api = any_api
    first = post(api, body)
    assert first.status_code == 201
    api.settle()
    again = post(api, body)
    assert (again.status_code, again.json()) == (201, first.json()), "as it was then, not as it is now"
    assert again.headers["caryatid-job"] == first.headers["caryatid-job"]
    assert count(api) == 1


def test_children_and_what_takes_effect_at_once_are_made_once_too(api):
    loadbalancer_id = post(api).json()["loadbalancer"]["id"]
    listener = {"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": loadbalancer_id}
    for path, body in (
        (f"{LBAAS}/listeners", {"listener": listener}),
        ("/v1/networks", {"network": {"name": "n"}}),
        ("/v1/secrets", {"name": "s", "payload": "x", "payload_content_type": "text/plain"}),
    ):
        key = {"Idempotency-Key": path}
        first, again = post(api, body, path, key), post(api, body, path, key)
        assert first.status_code == 201, first.text
        assert (again.json(), again.headers["caryatid-job"]) == (first.json(), first.headers["caryatid-job"])


def test_of_two_at_once_one_is_carried_out_and_both_get_its_answer(any_api):
    api = any_api

    async def both():
        return await asyncio.gather(
            *(api.client.post(f"{LBAAS}/loadbalancers", json=BODY, headers=KEY) for _ in range(8))
        )

    answers = api.runner.run(both())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["loadbalancer"]["id"] for answer in answers}) == 1
    assert len({answer.headers["caryatid-job"] for answer in answers}) == 1
    assert count(api) == 1


def test_of_two_at_once_the_second_is_not_refused_for_what_the_first_did(any_api):
    api = any_api
    loadbalancer_id = post(api).json()["loadbalancer"]["id"]
    body = {"listener": {"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": loadbalancer_id}}
    key = {"Idempotency-Key": "listener"}

    async def both():
        return await asyncio.gather(
            *(api.client.post(f"{LBAAS}/listeners", json=body, headers=key) for _ in range(4))
        )

    answers = api.runner.run(both())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["listener"]["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{LBAAS}/loadbalancers", {"loadbalancer": {"vip_subnet_id": SUBNET, "name": "another"}}),
        ("/v1/networks", {"network": {"name": "n"}}),
    ],
)
def test_a_key_is_good_for_one_request_only(any_api, path, body):
    api = any_api
    post(api)
    refused = post(api, body, path)
    assert refused.status_code == 409
    assert "was used for another request" in refused.text
    assert count(api) == 1


def test_what_was_refused_may_be_tried_again_under_the_same_key(any_api):
    api = any_api
    body = {"network": {"name": "n", "no_such": 1}}
    assert post(api, body, "/v1/networks").status_code == 400
    assert post(api, {"network": {"name": "n"}}, "/v1/networks").status_code == 201


def test_a_key_is_its_project_s(any_api):
    api = any_api
    one, other = ({**KEY, "X-Project-Id": project} for project in ("p1", "p2"))
    first, second = post(api, headers=one), post(api, headers=other)
    assert first.json()["loadbalancer"]["id"] != second.json()["loadbalancer"]["id"]


def test_keys_are_forgotten_after_a_day(any_api):
    api = any_api
    first = post(api)
    with api.door.database.transaction() as tx:
        assert idempotency.purge(tx, "2000-01-01T00:00:00.000000") == 0
        assert idempotency.purge(tx, "2999-01-01T00:00:00.000000") == 1
    assert post(api).json()["loadbalancer"]["id"] != first.json()["loadbalancer"]["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "käse", "a\tb"])
def test_a_key_that_is_none_is_400(api, key):
    answer = post(api, headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 400
    assert count(api) == 0


def test_what_shows_a_secret_once_takes_no_key(api):
    body = {"subscription": {"name": "s", "url": "https://192.0.2.1/x"}}
    answer = post(api, body, "/v1/subscriptions")
    assert answer.status_code == 400
    assert "takes no Idempotency-Key" in answer.text
