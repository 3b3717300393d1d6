# SPDX-License-Identifier: Apache-2.0
"""Amphorae that wait for load balancers: how many, where, and what they save."""

import json

import pytest

from caryatid.control import operator, spares, verdicts, writes
from caryatid.control.initial import SUBNET_ID
from caryatid.drivers.compute.base import ComputeError
from caryatid.errors import Conflict
from caryatid.model import AMPHORA, FLAVOR, FLAVORPROFILE, LOADBALANCER
from caryatid.store import leases, rows
from tests.control import test_hosts


@pytest.fixture
def flavor(door, caller):
    """A function: a flavor with this data."""

    def make(name="f", **data):
        profile = {"name": name, "provider_name": "amphora", "flavor_data": json.dumps(data)}
        made = writes.create(door, caller, FLAVORPROFILE, profile).document["id"]
        return writes.create(door, caller, FLAVOR, {"name": name, "flavor_profile_id": made}).document["id"]

    return make


@pytest.fixture
def acts(world):
    """The names of what has been done outside, in order."""
    done = []
    world.mishap = lambda _number, name: done.append(name)
    return done


def create(door, caller, **body):
    return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID, **body}).document["id"]


def amphorae(door, root_id=None):
    with door.database.read() as tx:
        return rows.find(tx, AMPHORA, loadbalancer_id=root_id)


def keep(door, turns=3):
    for _ in range(turns):
        spares.keep(door)


def test_a_flavor_has_as_many_spares_as_it_says(door, flavor, world):
    kind = flavor(spares=2)
    keep(door)
    found = amphorae(door)
    assert [(one["status"], one["role"], one["lb_network_ip"]) for one in found] == [("READY", None, "127.0.0.1")] * 2
    assert world.machines == {one["id"] for one in found}
    assert {one["spare_of"] for one in found} == {kind}
    assert world.trees == world.vips == {}


def test_many_spares_are_built_a_few_at_a_time(door, flavor):
    flavor(spares=25)
    built = []
    for _ in range(3):
        spares.keep(door)
        built.append(len(amphorae(door)))
    assert built == [10, 20, 25]


def test_a_new_load_balancer_takes_a_spare_and_nothing_is_built(door, caller, flavor, drain, world, acts):
    kind = flavor(spares=1)
    keep(door)
    (spare,) = amphorae(door)
    acts.clear()
    root_id = create(door, caller, flavor_id=kind)
    drain()
    (taken,) = amphorae(door, root_id)
    assert (taken["id"], taken["status"], taken["role"]) == (spare["id"], "ALLOCATED", "STANDALONE")
    assert (taken["lb_network_ip"], taken["spare_of"]) == ("127.0.0.1", None)
    assert set(world.trees) == set(world.vips) == {spare["id"]}
    assert "build" not in acts
    keep(door)
    assert [one["status"] for one in amphorae(door)] == ["READY"], "there is another one"


def test_a_failover_takes_a_spare_and_waits_for_no_build(door, caller, flavor, drain, world, acts):
    kind = flavor(spares=1)
    root_id = create(door, caller, flavor_id=kind)
    drain()
    (old,) = amphorae(door, root_id)
    keep(door)
    (spare,) = amphorae(door)
    world.polls = 1000
    acts.clear()
    operator.failover_amphora(door, caller, old["id"])
    drain()
    assert [one["id"] for one in amphorae(door, root_id)] == [spare["id"]]
    assert set(world.trees) == {spare["id"]}
    assert "build" not in acts


def test_who_is_killed_with_a_spare_in_hand_goes_on_with_it(door, caller, flavor, drain, world):
    kind = flavor(spares=1)
    keep(door)
    (spare,) = amphorae(door)

    def killed(_number, name):
        if name == "plug":
            world.mishap = lambda _number, _name: None
            raise ZeroDivisionError

    world.mishap = killed
    root_id = create(door, caller, flavor_id=kind)
    drain()
    assert [one["status"] for one in amphorae(door, root_id)] == ["READY"]
    keep(door)
    test_hosts.due_again(door)
    drain()
    assert [(one["id"], one["status"]) for one in amphorae(door, root_id)] == [(spare["id"], "ALLOCATED")]
    assert set(world.trees) == {spare["id"]}


def test_a_pair_takes_two_spares_each_with_a_machine_of_its_own(door, caller, flavor, drain, acts):
    kind = flavor(spares=2, loadbalancer_topology="ACTIVE_STANDBY", anti_affinity="strict")
    keep(door)
    found = {one["id"] for one in amphorae(door)}
    acts.clear()
    root_id = create(door, caller, flavor_id=kind)
    drain()
    assert {one["id"] for one in amphorae(door, root_id)} == found
    assert "build" not in acts


def test_spares_serve_their_own_flavor_only(door, caller, flavor, drain):
    flavor("a", spares=1)
    other = flavor("b")
    keep(door)
    roots = [create(door, caller, flavor_id=other), create(door, caller)]
    drain()
    (spare,) = amphorae(door)
    assert spare["id"] not in {one["id"] for root_id in roots for one in amphorae(door, root_id)}


@pytest.mark.parametrize("end", ["disabled", "gone"])
def test_a_flavor_that_is_not_offered_has_no_spares(door, caller, flavor, world, end):
    kind = flavor(spares=2)
    keep(door)
    if end == "disabled":
        writes.change(door, caller, FLAVOR, kind, {"enabled": False})
    else:
        writes.delete(door, caller, FLAVOR, kind)
    keep(door)
    assert amphorae(door) == []
    assert world.machines == set()


def test_a_spare_that_takes_its_time_is_asked_after(door, flavor, world):
    flavor(spares=1)
    world.polls = 2
    seen = []
    for _ in range(3):
        spares.keep(door)
        seen += [one["status"] for one in amphorae(door)]
    assert seen == ["BOOTING", "BOOTING", "READY"]
    assert len(world.machines) == 1


def test_a_spare_that_cannot_be_built_is_tried_again(door, flavor, world):
    flavor(spares=1)

    def refused(_number, name):
        if name == "build":
            raise ComputeError("no room")

    world.mishap = refused
    keep(door)
    assert [one["status"] for one in amphorae(door)] == ["PENDING_CREATE"]
    world.mishap = lambda _number, _name: None
    keep(door)
    assert [one["status"] for one in amphorae(door)] == ["READY"]


def test_nothing_is_done_while_failovers_are_frozen(door, flavor):
    flavor(spares=1)
    leases.acquire(door.database, verdicts.FROZEN, "judge", 60.0)
    keep(door)
    assert amphorae(door) == []
    leases.release(door.database, verdicts.FROZEN, "judge")
    keep(door)
    assert len(amphorae(door)) == 1


def test_a_spare_whose_row_went_while_it_was_built_leaves_no_machine(door, flavor, world):
    flavor(spares=1)

    def overtaken(_number, name):
        if name == "build":
            with door.database.transaction() as tx:
                rows.delete(tx, AMPHORA, [one["id"] for one in rows.find(tx, AMPHORA)])

    world.mishap = overtaken
    spares.keep(door)
    assert amphorae(door) == []
    assert world.machines == set()


def test_a_spare_cannot_be_failed_over(door, caller, flavor):
    flavor(spares=1)
    keep(door)
    (spare,) = amphorae(door)
    for act in (operator.failover_amphora, operator.configure_amphora, operator.delete_amphora):
        with pytest.raises(Conflict, match="is a spare"):
            act(door, caller, spare["id"])
