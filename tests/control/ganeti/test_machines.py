# SPDX-License-Identifier: Apache-2.0
"""Amphorae whose machines are made: wanted, ready, lost, replaced, buried."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from caryatid.control import hosts, operator, spares, writes
from caryatid.control.initial import NETWORK_ID
from caryatid.drivers.amphora.base import UnavailableException
from caryatid.drivers.compute.base import ComputeError
from caryatid.drivers.noop import WORLD
from caryatid.errors import Conflict, Forbidden, Refused, Unauthorized
from caryatid.model import (
    AMPHORA,
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    CLUSTER,
    FLAVOR,
    HOST,
    LISTENER,
    PORT,
    SUBNET,
)
from caryatid.model.amphora import Placed
from caryatid.store import hosts as host_store
from caryatid.store import jobs, rows
from tests.control.ganeti.works import ADMIN, Works


@pytest.fixture
def works(database, tmp_path):
    WORLD.forget()
    yield Works(database, tmp_path)
    WORLD.forget()


def job_of(works, accepted):
    with works.database.read() as tx:
        return jobs.get(tx, accepted.job_id)


def addresses(works):
    """Addresses on the subnet that somebody has."""
    with works.database.read() as tx:
        return {one["ip_address"] for one in rows.find(tx, PORT, subnet_id=works.subnet_id)}


def pair_flavor(works, **data):
    return works.flavor(loadbalancer_topology="ACTIVE_STANDBY", **data)


# wanted


def test_a_worker_only_writes_down_what_it_wants(works):
    accepted = works.create()
    works.work()
    amphora = works.only(accepted.document["id"])
    machine = works.machine(amphora["id"])
    assert (machine.phase, machine.cluster_id) == ("WANTED", works.cluster_id)
    assert machine.name == f"amphora-{amphora['id']}.caryatid.invalid"
    assert (amphora["status"], amphora["compute_id"]) == ("BOOTING", None)
    assert "its machine is asked for" in job_of(works, accepted)["reason"]


def test_wanting_it_again_changes_nothing(works):
    root_id = works.create().document["id"]
    works.work()
    before = works.machines()
    works.work(times=3)
    assert works.machines() == before
    assert len(works.amphorae(root_id)) == 1


def test_flavor_and_zone_say_which_machine(works):
    works.cluster(name="east")
    zone = {"name": "z", "provider_name": "amphora", "availability_zone_data": '{"compute_zone": "east"}'}
    profile = writes.create(works.door, ADMIN, AVAILABILITY_ZONE_PROFILE, zone).document["id"]
    writes.create(works.door, ADMIN, AVAILABILITY_ZONE, {"name": "z", "availability_zone_profile_id": profile})
    flavor = works.flavor(machine={"vcpus": 4, "memory_mib": 2048}, anti_affinity="strict", host_labels={"a": "b"})
    root_id = works.create(flavor_id=flavor, availability_zone="z").document["id"]
    works.work()
    machine = works.machine(works.only(root_id)["id"])
    wish = machine.wish
    assert (wish.cluster, wish.vcpus, wish.memory_mib, wish.disk_mib, wish.apart) == ("east", 4, 2048, None, True)
    assert works.get(CLUSTER, machine.cluster_id)["name"] == "east"


def test_a_zone_whose_cluster_nobody_knows_is_a_fault_with_a_remedy(works):
    zone = {"name": "z", "provider_name": "amphora", "availability_zone_data": '{"compute_zone": "nowhere"}'}
    profile = writes.create(works.door, ADMIN, AVAILABILITY_ZONE_PROFILE, zone).document["id"]
    writes.create(works.door, ADMIN, AVAILABILITY_ZONE, {"name": "z", "availability_zone_profile_id": profile})
    accepted = works.create(availability_zone="z")
    works.work()
    job = job_of(works, accepted)
    assert works.status(accepted.document["id"]) == "ERROR"
    assert "nowhere" in job["reason"]
    assert job["remedy"]
    assert works.machines() == {}


def test_no_cluster_is_a_fault_with_a_remedy_until_there_is_one(works):
    writes.delete(works.door, ADMIN, CLUSTER, works.cluster_id)
    accepted = works.create()
    works.work()
    assert job_of(works, accepted)["remedy"]
    works.cluster_id = works.cluster(name="new")
    works.work(times=2)
    assert works.phases() == ["WANTED"]


def test_a_cluster_with_machines_stays(works):
    works.create()
    works.work()
    with pytest.raises(Conflict):
        writes.delete(works.door, ADMIN, CLUSTER, works.cluster_id)


def test_what_keeps_a_machine_from_being_made_is_told_with_its_remedy(works):
    accepted = works.create()
    works.work()
    machine = works.machine(works.only(accepted.document["id"])["id"])
    works.step(machine, reason="The job queue is drained.", remedy="gnt-cluster queue undrain")
    works.work()
    job = job_of(works, accepted)
    assert "The job queue is drained." in job["reason"]
    assert job["remedy"] == "gnt-cluster queue undrain"
    assert works.status(accepted.document["id"]) == "PENDING_CREATE"


def test_what_will_not_pass_by_itself_is_an_error_at_once_and_tried_further(works):
    accepted = works.create()
    root_id = accepted.document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.step(works.machine(amphora_id), reason="There is no such OS.", remedy="Install it.", hopeless=True)
    works.work()
    assert works.status(root_id) == "ERROR"
    works.step(works.machine(amphora_id), reason=None, remedy=None, hopeless=False)
    works.work()
    works.bring_up(amphora_id)
    works.work()
    assert works.status(root_id) == "ACTIVE"


# ready


def test_it_serves_once_its_agent_has_spoken(works):
    accepted = works.create()
    root_id = accepted.document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.make(amphora_id)
    works.work()
    assert "agent has not spoken yet" in job_of(works, accepted)["reason"]
    assert works.status(root_id) == "PENDING_CREATE"
    host_id = works.enrol(amphora_id)
    works.drain()  # whoever waits for it was woken
    assert works.status(root_id) == "ACTIVE"
    amphora = works.only(root_id)
    assert (amphora["compute_id"], amphora["status"]) == (host_id, "ALLOCATED")
    assert amphora["lb_network_ip"].startswith("192.0.2.")
    assert amphora_id in WORLD.trees


def test_what_ganeti_said_is_in_the_jobs_log(works):
    accepted = works.create()
    works.work()
    works.bring_up(works.only(accepted.document["id"])["id"])
    works.work()
    said = [line["text"] for line in job_of(works, accepted)["log"]]
    assert sum("* running the instance OS create scripts..." in line for line in said) == 1


def test_an_agent_may_be_faster_than_the_job_that_makes_its_machine(works):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.step(works.machine(amphora_id), phase="CREATING", asked_at=works.now(), job_id=7)
    works.enrol(amphora_id)
    machine = works.machine(amphora_id)
    assert (machine.phase, machine.job_id) == ("READY", 7)
    works.work()
    assert works.status(root_id) == "ACTIVE"


def test_a_host_of_its_own_takes_nobody_else(works):
    works.serving()
    other = works.create().document["id"]
    works.work()
    assert works.only(other)["status"] == "BOOTING"


def test_a_token_lets_in_the_agent_of_its_amphora_once(works):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.make(amphora_id)
    first, second = works.token(amphora_id), works.token(amphora_id)
    works.enrol(amphora_id, first)
    with pytest.raises(Unauthorized):
        works.enrol(amphora_id, first)
    with pytest.raises(Forbidden):
        works.enrol(amphora_id, second)
    assert len(works.hosts()) == 1


@pytest.mark.parametrize("phase", ["WANTED", "DEAD", "UNWANTED", "DELETING"])
def test_an_agent_that_nobody_waits_for_is_refused_and_its_token_used_up(works, phase):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.make(amphora_id)
    token = works.token(amphora_id)
    works.step(works.machine(amphora_id), phase=phase)
    with pytest.raises(Forbidden):
        works.enrol(amphora_id, token)
    works.step(works.machine(amphora_id), phase="BOOTING")
    with pytest.raises(Unauthorized):
        works.enrol(amphora_id, token)
    assert works.hosts() == set()


def test_an_agent_whose_load_balancer_is_on_its_way_out_is_refused(works):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.make(amphora_id)
    token = works.token(amphora_id)
    works.delete(root_id)
    works.work()
    assert works.get(AMPHORA, amphora_id) is None
    assert works.phases() == ["UNWANTED"]
    with pytest.raises(Forbidden):
        works.enrol(amphora_id, token)


# lost, and buried


def test_a_machine_that_runs_no_more_is_replaced_and_nobody_waits_for_it(works):
    root_id = works.serving()
    old = works.only(root_id)["id"]
    WORLD.mishap = lambda _, name: _away() if name == "delete" else None
    works.lose(old)
    works.drain()
    new = works.only(root_id)["id"] if len(works.amphorae(root_id)) == 1 else None
    assert new not in (None, old)
    works.bring_up(new)
    works.work()
    assert works.get(AMPHORA, old) is None
    assert works.machine(old).phase == "UNWANTED"
    assert works.status(root_id) == "ACTIVE"
    assert new in WORLD.trees


def _away():
    raise UnavailableException("no route")


def test_addresses_of_a_machine_that_did_not_answer_are_kept_until_it_is_gone(works):
    root_id = works.serving()
    (vip,) = addresses(works)
    amphora_id = works.only(root_id)["id"]
    works.lose(amphora_id)
    works.delete(root_id)
    works.work()
    works.tidy()
    assert works.status(root_id) is None
    assert addresses(works) == {vip}
    works.forget(amphora_id)
    works.tidy()
    assert addresses(works) == set()
    assert works.hosts() == set()


def test_addresses_of_one_that_was_cleared_are_free_at_once(works):
    root_id = works.serving()
    works.delete(root_id)
    works.work()
    assert addresses(works) == set()
    assert works.phases() == ["UNWANTED"]


def test_a_delete_does_not_wait_for_a_machine_that_does_not_answer(works):
    root_id = works.serving()
    WORLD.mishap = lambda _, name: _away() if name == "delete" else None
    works.delete(root_id)
    works.work()
    assert works.status(root_id) is None
    assert works.phases() == ["UNWANTED"]
    assert len(addresses(works)) == 1


def test_a_machine_whose_agent_never_spoke_leaves_nothing_behind(works):
    root_id = works.create().document["id"]
    works.work()
    works.make(works.only(root_id)["id"])
    works.delete(root_id)
    works.work()
    assert works.status(root_id) is None
    assert addresses(works) == set()
    with works.database.read() as tx:
        assert host_store.tombstones(tx) == []


def test_one_that_boots_in_vain_is_replaced(works):
    root_id = works.create().document["id"]
    works.work()
    first = works.only(root_id)["id"]
    works.make(first)
    works.lose(first)
    works.work(times=2)
    second = works.only(root_id)["id"]
    assert second != first
    works.bring_up(second)
    works.work()
    assert works.status(root_id) == "ACTIVE"
    assert works.machine(first).phase == "UNWANTED"


def test_of_a_pair_the_other_is_configured_while_a_machine_is_made(works):
    root_id = works.serving(flavor_id=pair_flavor(works))
    found = works.amphorae(root_id)
    works.lose(found["BACKUP"]["id"])
    works.work()
    body = {"loadbalancer_id": root_id, "protocol": "TCP", "protocol_port": 90}
    writes.create(works.door, ADMIN, LISTENER, body)
    works.work()
    assert works.status(root_id) == "PENDING_UPDATE"
    assert len(WORLD.trees[found["MASTER"]["id"]].listeners) == 1
    works.bring_up(works.amphorae(root_id)["BACKUP"]["id"], "node2")
    works.work()
    assert works.status(root_id) == "ACTIVE"
    assert works.amphorae(root_id)["MASTER"]["id"] == found["MASTER"]["id"]


@pytest.mark.parametrize("act", [hosts.evacuate, hosts.revoke])
def test_a_machine_that_is_to_be_left_is_replaced_and_goes(works, act):
    root_id = works.serving()
    old = works.only(root_id)
    acted = act(works.door, ADMIN, old["compute_id"])
    assert len(acted.job_ids) == 1
    works.work()
    (new,) = [one["id"] for one in works.amphorae(root_id).values() if one["id"] != old["id"]]
    assert works.get(AMPHORA, old["id"])["id"] == old["id"]  # until the other one serves
    works.bring_up(new)
    works.work(times=2)
    assert works.get(AMPHORA, old["id"]) is None
    assert works.machine(old["id"]).phase == "UNWANTED"
    assert works.status(root_id) == "ACTIVE"


def test_a_host_that_was_removed_has_its_amphora_replaced(works):
    root_id = works.serving()
    old = works.only(root_id)
    hosts.revoke(works.door, ADMIN, old["compute_id"])
    writes.delete(works.door, ADMIN, HOST, old["compute_id"])
    works.work()
    assert works.only(root_id)["id"] != old["id"]


def test_a_failover_that_is_asked_for_keeps_the_old_one_until_the_other_serves(works):
    root_id = works.serving()
    old = works.only(root_id)["id"]
    operator.failover_amphora(works.door, ADMIN, old)
    works.work()
    assert old in WORLD.trees
    new = works.only(root_id)["id"]
    works.bring_up(new)
    works.work(times=2)
    assert (works.status(root_id), works.only(root_id)["id"]) == ("ACTIVE", new)
    assert old not in WORLD.trees


# spares


def turns(works, number=2):
    for _ in range(number):
        spares.keep(works.door)


def waiting(works):
    with works.database.read() as tx:
        return rows.find(tx, AMPHORA, loadbalancer_id=None)


@pytest.fixture
def spared(works):
    """A flavor with one spare that is ready."""
    flavor = works.flavor(spares=1)
    turns(works)
    (spare,) = waiting(works)
    works.bring_up(spare["id"])
    turns(works)
    return flavor


def test_a_spare_is_a_machine_that_waits(works, spared):
    (spare,) = waiting(works)
    assert spare["status"] == "READY"
    assert spare["compute_id"] in works.hosts()
    assert works.machine(spare["id"]).loadbalancer_id is None


def test_a_spare_that_is_taken_serves_at_once_and_is_the_load_balancers(works, spared):
    (spare,) = waiting(works)
    root_id = works.create(flavor_id=spared).document["id"]
    works.work()
    assert (works.status(root_id), works.only(root_id)["id"]) == ("ACTIVE", spare["id"])
    assert works.machine(spare["id"]).loadbalancer_id == root_id
    turns(works)
    assert len(waiting(works)) == 1


def test_a_spare_whose_machine_dies_is_replaced_and_not_taken(works, spared):
    (dead,) = waiting(works)
    works.lose(dead["id"])
    root_id = works.create(flavor_id=spared).document["id"]
    works.work()
    assert works.only(root_id)["id"] != dead["id"]
    turns(works)
    (fresh,) = waiting(works)
    assert fresh["id"] != dead["id"]
    assert works.machine(dead["id"]).phase == "UNWANTED"


def test_a_spare_that_nobody_wants_any_more_goes_with_its_machine(works, spared):
    writes.change(works.door, ADMIN, FLAVOR, spared, {"enabled": False})
    turns(works)
    assert waiting(works) == []
    assert works.phases() == ["UNWANTED"]


def test_a_spare_on_the_others_node_is_not_taken_where_both_must_be_apart(works):
    flavor = pair_flavor(works, spares=1, anti_affinity="strict")
    root_id = works.serving(flavor_id=flavor)
    turns(works)
    (spare,) = waiting(works)
    works.bring_up(spare["id"], "node1")
    turns(works)
    found = works.amphorae(root_id)
    node = works.machine(found["MASTER"]["id"]).node
    other = "BACKUP" if node == "node1" else "MASTER"
    works.lose(found[other]["id"])
    works.work()
    assert works.amphorae(root_id)[other]["id"] not in (spare["id"], found[other]["id"])


# two at once


def test_a_worker_that_comes_too_late_wants_no_machine(works):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.delete(root_id)
    works.work()
    with works.database.transaction() as tx:
        tx.connection.execute(text("DELETE FROM machine"))
    compute = works.door.compute
    with pytest.raises(ComputeError, match="on its way out"):
        compute.build(Placed(AMPHORA.model.model_construct(id=amphora_id)))
    assert works.machines() == {}


def test_a_vip_that_only_a_host_could_have_is_refused(works):
    subnet = {"network_id": NETWORK_ID, "cidr": "127.9.0.0/24", "attachment": "loopback"}
    subnet_id = writes.create(works.door, ADMIN, SUBNET, subnet).document["id"]
    with pytest.raises(Refused, match="attachment loopback"):
        works.create(vip_subnet_id=subnet_id)


def test_all_who_want_it_at_once_get_the_same(works):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.cluster(name="east")
    with works.database.transaction() as tx:
        tx.connection.execute(text("DELETE FROM machine"))
    placed = Placed(AMPHORA.model.model_construct(id=amphora_id))
    with ThreadPoolExecutor(8) as pool:
        assert {one.state for one in pool.map(works.door.compute.build, [placed] * 8)} == {"building"}
    with works.database.read() as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM machine")).scalar_one() == 1


def test_both_machines_of_a_pair_are_asked_for_at_once(works):
    works.create(flavor_id=pair_flavor(works))
    works.work()
    assert works.phases() == ["WANTED", "WANTED"]


def test_a_flavor_that_says_no_possible_machine_is_refused(works):
    with pytest.raises(Refused, match="vcpus"):
        works.flavor(machine={"vcpus": 0})
