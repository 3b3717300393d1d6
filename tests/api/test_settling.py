# SPDX-License-Identifier: Apache-2.0
"""Waiting until what was asked for is in effect (`?wait_for=ACTIVE`); on both databases."""

import asyncio

import pytest

from caryatid.api import settling
from caryatid.drivers.amphora.base import ProvisioningErrors
from caryatid.drivers.noop import WORLD

LBAAS = "/v2/lbaas"


def meanwhile(api, paths, act):
    """What is answered at the paths, if `act` is done while they are waited for."""

    async def both():
        waiting = asyncio.gather(*(api.client.get(path) for path in paths))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await asyncio.to_thread(act)
        return await asyncio.wait_for(waiting, 20)

    return api.runner.run(both())


def test_whoever_waits_is_answered_when_it_is_in_effect(any_api):
    ids = any_api.populated()
    paths = [f"{LBAAS}/{kind}/{ids[kind]}?wait_for=ACTIVE" for kind in ("loadbalancers", "listeners", "pools")]
    paths.append(
        f"{LBAAS}/pools/{ids['pools']}/members/{ids['members']}?wait_for=ACTIVE&timeout=30&fields=provisioning_status"
    )
    answers = meanwhile(any_api, paths * 10, any_api.settle)
    assert {answer.status_code for answer in answers} == {200}
    shown = [one for answer in answers for one in answer.json().values()]
    assert {one["provisioning_status"] for one in shown} == {"ACTIVE"}
    assert answers[3].json() == {"member": {"provisioning_status": "ACTIVE"}}


def test_nobody_waits_for_what_is_so_already(any_api):
    path = f"{LBAAS}/loadbalancers/{any_api.loadbalancer()['id']}?wait_for=ACTIVE"
    any_api.settle()
    assert any_api.get(path).json()["loadbalancer"]["provisioning_status"] == "ACTIVE"


def test_an_error_and_the_end_of_it_are_answers_too(any_api):
    path = f"{LBAAS}/loadbalancers/{any_api.loadbalancer()['id']}"

    def refuse(_call, name):
        if name == "update":
            raise ProvisioningErrors("no")

    WORLD.mishap = refuse
    (failed,) = meanwhile(any_api, [f"{path}?wait_for=ACTIVE"], any_api.settle)
    assert failed.json()["loadbalancer"]["provisioning_status"] == "ERROR"
    WORLD.forget()
    any_api.delete(path)
    (gone,) = meanwhile(any_api, [f"{path}?wait_for=ACTIVE"], any_api.settle)
    assert gone.status_code == 404


def test_after_its_time_it_is_shown_as_it_is(any_api):
    path = f"{LBAAS}/loadbalancers/{any_api.loadbalancer()['id']}"
    late = any_api.get(f"{path}?wait_for=ACTIVE&timeout=0.05")
    assert late.json()["loadbalancer"]["provisioning_status"] == "PENDING_CREATE"
    assert any_api.get(f"{path}?wait_for=ACTIVE&timeout=0").status_code == 200


@pytest.mark.parametrize(
    "query", ["wait_for=active", "wait_for=ACTIVE&timeout=x", "wait_for=ACTIVE&timeout=-1", "wait=1"]
)
def test_what_cannot_be_waited_for_is_said(api, query):
    assert api.get(f"{LBAAS}/loadbalancers/{api.loadbalancer()['id']}?{query}").status_code == 400
    assert api.get(f"{LBAAS}/flavors/x?wait_for=ACTIVE").status_code == 400


def test_more_than_can_wait_are_told_to_come_again(api, monkeypatch):
    monkeypatch.setattr(settling, "WAITERS_MAX", 0)
    refused = api.get(f"{LBAAS}/loadbalancers/{api.loadbalancer()['id']}?wait_for=ACTIVE")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
