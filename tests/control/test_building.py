# SPDX-License-Identifier: Apache-2.0
"""No more machines are built at a time than the operator wants, and the urgent ones first."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from caryatid.control import spares, verdicts, writes
from caryatid.control.attempt import Attempt
from caryatid.control.initial import SUBNET_ID
from caryatid.control.reconcile import attend
from caryatid.drivers.compute.base import ComputeError
from caryatid.model import AMPHORA, FLAVOR, FLAVORPROFILE, LOADBALANCER
from caryatid.store import jobs, rows, work


@pytest.fixture
def two(door, world):
    """A door behind which two machines are built at a time, and take long."""
    world.polls = 1000
    return replace(door, settings=door.settings.model_copy(update={"builds_at_once": 2}))


def create(door, caller, **body):
    return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID, **body})


def work_all(door, times=1):
    """Everything that waits is looked at, so often."""
    for _ in range(times):
        with door.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))
        while (claim := work.claim(door.database, "test")) is not None:
            attend(door, Attempt(claim))


def statuses(door):
    with door.database.read() as tx:
        return {one["loadbalancer_id"]: one["status"] for one in rows.find(tx, AMPHORA)}


def status(door, root_id):
    return statuses(door)[root_id]


def test_who_has_no_turn_waits_and_the_job_says_why(two, caller, world):
    accepted = [create(two, caller) for _ in range(3)]
    work_all(two, times=2)
    assert sorted(statuses(two).values()) == ["BOOTING", "BOOTING", "PENDING_CREATE"]
    assert len(world.machines) == 2
    (last,) = [one for one in accepted if status(two, one.document["id"]) == "PENDING_CREATE"]
    with two.database.read() as tx:
        job = jobs.get(tx, last.job_id)
    assert job["state"] == "retrying"
    assert "builds_at_once" in job["reason"]


def test_when_one_is_built_the_next_has_its_turn(two, caller, world):
    for _ in range(3):
        create(two, caller)
    work_all(two)
    world.polls = 0
    work_all(two, times=2)
    assert list(statuses(two).values()) == ["ALLOCATED"] * 3


def test_what_replaces_the_lost_has_a_reserve(two, caller):
    for _ in range(2):
        create(two, caller)
    work_all(two)
    lost, wish = (create(two, caller).document["id"] for _ in range(2))
    with two.database.transaction() as tx:
        work.wake_root(tx, lost, priority=verdicts.PRIORITY)
    work_all(two)
    assert (status(two, lost), status(two, wish)) == ("BOOTING", "PENDING_CREATE")


def test_the_more_urgent_of_those_that_wait_comes_first(two, caller, world):
    first, second = (create(two, caller).document["id"] for _ in range(2))
    work_all(two)
    wish, urgent = (create(two, caller).document["id"] for _ in range(2))
    work_all(two)
    with two.database.transaction() as tx:
        work.wake_root(tx, urgent, priority=80)
    world.polls = 0
    finish(two, first)
    world.polls = 1000
    only(two, wish)
    assert status(two, wish) == "PENDING_CREATE", "the place is the other's"
    only(two, urgent)
    assert status(two, urgent) == "BOOTING"
    assert status(two, second) == "BOOTING"


def finish(door, root_id):
    only(door, root_id)
    assert status(door, root_id) == "ALLOCATED"


def only(door, root_id):
    """This one is looked at, the others soon."""
    with door.database.transaction() as tx:
        later = "UPDATE work SET due_at = due_at + 3 WHERE due_at IS NOT NULL AND root_id <> :root"
        tx.connection.execute(text(later), {"root": root_id})
        tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE root_id = :root"), {"root": root_id})
    claim = work.claim(door.database, "test")
    assert claim.root_id == root_id
    attend(door, Attempt(claim))
    with door.database.transaction() as tx:
        later = "UPDATE work SET due_at = due_at - 3 WHERE due_at IS NOT NULL AND root_id <> :root"
        tx.connection.execute(text(later), {"root": root_id})


def test_a_machine_that_cannot_be_had_keeps_nobody_from_building(two, caller, world):
    refused = [create(two, caller).document["id"] for _ in range(2)]

    def no_room(_number, name):
        if name == "build":
            raise ComputeError("no room")

    world.mishap = no_room
    work_all(two)
    world.mishap = lambda _number, _name: None
    assert {status(two, root_id) for root_id in refused} == {"PENDING_CREATE"}
    other = create(two, caller).document["id"]
    claim = work.claim(two.database, "test")
    assert claim.root_id == other
    attend(two, Attempt(claim))
    assert status(two, other) == "BOOTING"


def test_spares_are_built_when_nobody_waits(two, caller):
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": json.dumps({"spares": 3})}
    made = writes.create(two, caller, FLAVORPROFILE, profile).document["id"]
    writes.create(two, caller, FLAVOR, {"name": "f", "flavor_profile_id": made})
    create(two, caller)
    work_all(two)
    spares.keep(two)
    with two.database.read() as tx:
        found = sorted(one["status"] for one in rows.find(tx, AMPHORA, loadbalancer_id=None))
    assert found == ["BOOTING", "PENDING_CREATE", "PENDING_CREATE"]


def test_what_users_ask_for_goes_before_what_nobody_has_asked_for(door, caller):
    created, woken = (create(door, caller).document["id"] for _ in range(2))
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET priority = 0, due_at = 0 WHERE root_id = :root"), {"root": woken})
    claims = [work.claim(door.database, "test") for _ in range(2)]
    assert [(claim.root_id, claim.priority) for claim in claims] == [(created, 40), (woken, 0)]
