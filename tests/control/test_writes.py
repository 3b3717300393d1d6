# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from caryatid.control import members, operator, writes
from caryatid.control.initial import SUBNET_ID as SUBNET
from caryatid.errors import CaryatidError, Conflict, Forbidden, NotFound, Refused
from caryatid.model import (
    AMPHORA,
    FLAVOR,
    FLAVORPROFILE,
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    NETWORK,
    POOL,
    PORT,
)
from caryatid.model import (
    SUBNET as SUBNET_KIND,
)
from caryatid.model.policy import Caller
from caryatid.store import jobs, rows


@pytest.fixture
def make(door, caller):
    class Maker:
        def loadbalancer(self, **body):
            return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET, **body}).document

        def listener(self, root, **body):
            body = {"loadbalancer_id": root["id"], "protocol": "HTTP", "protocol_port": 80, **body}
            return writes.create(door, caller, LISTENER, body).document

        def pool(self, listener, **body):
            body = {"listener_id": listener["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **body}
            return writes.create(door, caller, POOL, body).document

        def member(self, pool, number=1, **body):
            body = {"address": f"192.0.2.{number}", "protocol_port": 80, **body}
            return writes.create(door, caller, MEMBER, body, parent_id=pool["id"]).document

        def policy(self, listener, **body):
            return writes.create(
                door, caller, L7POLICY, {"listener_id": listener["id"], "action": "REJECT", **body}
            ).document

    return Maker()


@pytest.fixture
def chain(make):
    root = make.loadbalancer()
    listener = make.listener(root)
    pool = make.pool(listener)
    return root, listener, pool, make.member(pool)


def show(door, kind, document):
    with door.database.read() as tx:
        return rows.get(tx, kind, document["id"])


def faults(act, status=400):
    with pytest.raises(Refused) as refused:
        act()
    assert refused.value.status == status
    return [fault.message for fault in refused.value.faults]


def test_a_change_is_accepted_while_another_is_pending(door, caller, chain, drain):
    _root, _listener, _pool, member = chain
    for weight in (2, 3, 4):
        writes.change(door, caller, MEMBER, member["id"], {"weight": weight})
    drain()
    assert show(door, MEMBER, member)["weight"] == 4
    assert show(door, MEMBER, member)["provisioning_status"] == "ACTIVE"


def test_what_stands_above_shows_that_something_is_on_its_way(door, caller, chain, drain):
    root, listener, pool, member = chain
    drain()
    writes.change(door, caller, MEMBER, member["id"], {"weight": 5})
    for kind, document in ((LOADBALANCER, root), (LISTENER, listener), (POOL, pool), (MEMBER, member)):
        assert show(door, kind, document)["provisioning_status"] == "PENDING_UPDATE"
    drain()
    for kind, document in ((LOADBALANCER, root), (LISTENER, listener), (POOL, pool), (MEMBER, member)):
        assert show(door, kind, document)["provisioning_status"] == "ACTIVE"


def test_a_job_tells_what_became_of_a_change(door, caller, chain, drain):
    job_id = writes.change(door, caller, MEMBER, chain[3]["id"], {"weight": 5}).job_id
    with door.database.read() as tx:
        assert jobs.get(tx, job_id)["state"] == "queued"
    drain()
    with door.database.read() as tx:
        job = jobs.get(tx, job_id)
    assert job["state"] == "succeeded"
    assert any("configure" in line["text"] for line in job["log"])


def test_what_is_being_deleted_refuses_a_second_delete_and_changes(door, caller, chain, drain):
    member = chain[3]
    writes.delete(door, caller, MEMBER, member["id"])
    with pytest.raises(Conflict):
        writes.delete(door, caller, MEMBER, member["id"])
    with pytest.raises(Conflict):
        writes.change(door, caller, MEMBER, member["id"], {"weight": 1})
    drain()
    with pytest.raises(NotFound):
        writes.delete(door, caller, MEMBER, member["id"])


def test_what_is_being_deleted_can_be_made_again_at_once(door, caller, chain, make, drain):
    _root, _, pool, member = chain
    writes.delete(door, caller, MEMBER, member["id"])
    again = make.member(pool)
    drain()
    assert show(door, MEMBER, again)["provisioning_status"] == "ACTIVE"
    assert show(door, MEMBER, member) is None


def test_a_load_balancer_with_children_is_deleted_only_with_them(door, caller, chain, drain):
    root = chain[0]
    assert faults(lambda: writes.delete(door, caller, LOADBALANCER, root["id"])) == [
        f"Cannot delete Load Balancer {root['id']} - it has children"
    ]
    writes.delete(door, caller, LOADBALANCER, root["id"], cascade=True)
    drain()
    with door.database.read() as tx:
        for kind in (LOADBALANCER, LISTENER, POOL, MEMBER, AMPHORA, PORT):
            assert rows.find(tx, kind) == []


def test_deleting_a_pool_clears_it_from_its_listener_and_takes_its_members(door, caller, chain, drain):
    _root, listener, pool, member = chain
    writes.delete(door, caller, POOL, pool["id"])
    assert show(door, LISTENER, listener)["default_pool_id"] is None
    drain()
    assert show(door, MEMBER, member) is None


def test_a_pool_that_a_policy_sends_to_is_not_deleted(door, caller, chain, make):
    _root, listener, pool, _ = chain
    make.policy(listener, action="REDIRECT_TO_POOL", redirect_pool_id=pool["id"])
    assert "is in use by L7 policy" in faults(lambda: writes.delete(door, caller, POOL, pool["id"]), 409)[0]


def test_policies_are_counted_from_one_wherever_one_is_put(door, caller, chain, make):
    listener = chain[1]
    first, second = make.policy(listener), make.policy(listener)
    between = make.policy(listener, position=2)
    places = [show(door, L7POLICY, document)["position"] for document in (first, between, second)]
    assert places == [1, 2, 3]
    writes.delete(door, caller, L7POLICY, first["id"])
    assert [show(door, L7POLICY, document)["position"] for document in (between, second)] == [1, 2]


def test_a_reference_to_nothing_is_404_with_whatever_else_is_wrong(door, caller):
    missing = str(uuid4())
    body = {"loadbalancer_id": missing, "protocol": "HTTP", "protocol_port": 0}
    found = faults(lambda: writes.create(door, caller, LISTENER, body))
    assert f"Load Balancer {missing} not found." in found
    assert len(found) == 2


def test_two_listeners_do_not_share_a_port(door, caller, chain, make):
    assert "already using" in faults(lambda: make.listener(chain[0]), 409)[0]


def test_a_pool_has_one_monitor(door, caller, chain):
    body = {"pool_id": chain[2]["id"], "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
    writes.create(door, caller, HEALTHMONITOR, body)
    with pytest.raises(Conflict, match="already has a health monitor"):
        writes.create(door, caller, HEALTHMONITOR, body)


def test_members_are_replaced_as_a_whole_and_only_what_differs_changes(door, caller, chain, drain):
    pool, member = chain[2], chain[3]
    wanted = [{"address": "192.0.2.1", "protocol_port": 80, "weight": 7}, {"address": "192.0.2.2", "protocol_port": 80}]
    members.replace_members(door, caller, pool["id"], wanted, additive=False)
    assert show(door, MEMBER, member)["weight"] == 7
    drain()
    assert members.replace_members(door, caller, pool["id"], wanted, additive=False).job_id is None
    members.replace_members(door, caller, pool["id"], wanted[1:], additive=True)
    drain()
    assert len(show(door, POOL, pool)["members"]) == 2
    members.replace_members(door, caller, pool["id"], [], additive=False)
    drain()
    assert show(door, POOL, pool)["members"] == []


def test_a_member_is_named_once_in_a_batch(door, caller, chain):
    known = {"address": "192.0.2.1", "protocol_port": 80}
    new = {"address": "192.0.2.9", "protocol_port": 80}
    pool_id = chain[2]["id"]
    assert (
        "only once" in faults(lambda: members.replace_members(door, caller, pool_id, [known, known], additive=False))[0]
    )
    assert (
        "already using"
        in faults(lambda: members.replace_members(door, caller, pool_id, [new, new], additive=False), 409)[0]
    )


def test_a_full_pool_takes_changes_but_no_more_members(door, caller, chain, make):
    pool, member = chain[2], chain[3]
    for number in range(2, 21):
        make.member(pool, number)
    assert "at most 20 members" in faults(lambda: make.member(pool, 99))[0]
    writes.change(door, caller, MEMBER, member["id"], {"weight": 3})


def test_fifty_at_once_against_a_quota_of_ten_are_exactly_ten(door, caller):
    operator.set_quota(door, caller, "p1", {"loadbalancer": 10})

    def attempt(_):
        try:
            return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET}).document["id"]
        except Forbidden as refused:
            assert str(refused) == "Quota has been met for resources: Load Balancer"
            return None

    with ThreadPoolExecutor(10) as pool:
        made = [key for key in pool.map(attempt, range(50)) if key]
    assert len(made) == 10
    writes.delete(door, caller, LOADBALANCER, made[0])
    assert attempt(0), "what is being deleted no longer counts"


def test_a_given_address_is_honoured_and_a_taken_one_is_refused_at_once(door, caller, make):
    root = make.loadbalancer(vip_address="127.100.7.7")
    assert root["vip_address"] == "127.100.7.7"
    with pytest.raises(Conflict, match=r"127\.100\.7\.7"):
        make.loadbalancer(vip_address="127.100.7.7")
    assert faults(lambda: make.loadbalancer(vip_address="127.99.0.1"))


def test_addresses_are_never_given_twice_at_the_same_time(door, caller, make):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make.loadbalancer()["vip_address"], range(40)))
    assert len(set(made)) == 40


def test_a_users_port_is_used_and_given_back(door, caller, make, drain):
    port = writes.create(door, caller, PORT, {"subnet_id": SUBNET}).document
    root = make.loadbalancer(vip_subnet_id=None, vip_port_id=port["id"])
    assert root["vip_address"] == port["ip_address"]
    assert "already used by device" in faults(lambda: make.loadbalancer(vip_subnet_id=None, vip_port_id=port["id"]))[0]
    writes.delete(door, caller, LOADBALANCER, root["id"])
    drain()
    assert show(door, PORT, port)["device_id"] == ""


def test_anothers_port_is_not_there_even_on_a_shared_network(door, make):
    owner, other = Caller("o", "owner", is_admin=True), Caller("s", "stranger", is_admin=True)
    port = writes.create(door, owner, PORT, {"subnet_id": SUBNET}).document
    body = {"vip_subnet_id": None, "vip_port_id": port["id"]}
    assert faults(lambda: writes.create(door, other, LOADBALANCER, body)) == [f"Port {port['id']} not found."]


def test_anothers_private_subnet_is_not_there(door, make):
    owner = Caller("o", "owner", is_admin=True)
    network = writes.create(door, owner, NETWORK, {"name": "mine"}).document
    subnet = writes.create(
        door, owner, SUBNET_KIND, {"network_id": network["id"], "cidr": "127.101.0.0/24", "attachment": "noop"}
    ).document
    assert faults(lambda: make.loadbalancer(vip_subnet_id=subnet["id"])) == [f"Subnet {subnet['id']} not found."]
    body = {"vip_subnet_id": subnet["id"]}
    assert writes.create(door, owner, LOADBALANCER, body).document["vip_address"].startswith("127.101.0.")


def test_a_network_without_subnet_chooses_one_with_room(door, caller, make):
    network = writes.create(door, caller, NETWORK, {}).document
    body = {"network_id": network["id"], "cidr": "127.102.0.0/30", "attachment": "noop"}
    subnet = writes.create(door, caller, SUBNET_KIND, body).document
    for _ in range(2):
        root = make.loadbalancer(vip_subnet_id=None, vip_network_id=network["id"])
        assert root["vip_subnet_id"] == subnet["id"]
    assert (
        "do not contain enough available IPs"
        in faults(lambda: make.loadbalancer(vip_subnet_id=None, vip_network_id=network["id"]))[0]
    )


def test_a_changed_subnet_is_told_to_those_who_have_addresses_there(door, caller, make, drain):
    make.loadbalancer()
    drain()
    writes.change(door, caller, SUBNET_KIND, SUBNET, {"name": "renamed", "gateway_ip": "127.100.0.1"})
    assert len(drain()) == 1


def test_a_flavor_is_looked_up_and_must_be_enabled(door, caller, make, drain):
    assert "Invalid flavor_id" in faults(lambda: make.loadbalancer(flavor_id=str(uuid4())))[0]
    with door.database.read() as tx:
        flavor = next(d for d in rows.find(tx, FLAVOR) if d["name"] == "active-standby")
    root = make.loadbalancer(flavor_id=flavor["id"])
    drain()
    with door.database.read() as tx:
        assert {a["role"] for a in rows.find(tx, AMPHORA, loadbalancer_id=root["id"])} == {"MASTER", "BACKUP"}
    writes.change(door, caller, FLAVOR, flavor["id"], {"enabled": False})
    assert "not allowed in this deployment" in faults(lambda: make.loadbalancer(flavor_id=flavor["id"]))[0]


def test_what_is_in_use_is_not_deleted(door, caller):
    with door.database.read() as tx:
        profile = rows.find(tx, FLAVORPROFILE)[0]
    with pytest.raises(Conflict, match="in use"):
        writes.delete(door, caller, FLAVORPROFILE, profile["id"])
    with pytest.raises(Conflict, match="in use"):
        writes.change(door, caller, FLAVORPROFILE, profile["id"], {"flavor_data": "{}"})
    writes.change(door, caller, FLAVORPROFILE, profile["id"], {"name": "other"})


def test_whoever_may_not_is_refused(door):
    reader = Caller("r", "p1", frozenset({"reader"}))
    with pytest.raises(Forbidden):
        writes.create(door, reader, LOADBALANCER, {"vip_subnet_id": SUBNET})


def test_failover_replaces_every_amphora_and_keeps_the_address(door, caller, chain, world, drain):
    root = chain[0]
    drain()
    with door.database.read() as tx:
        before = {a["id"] for a in rows.find(tx, AMPHORA)}
    operator.failover(door, caller, root["id"])
    drain()
    with door.database.read() as tx:
        after = {a["id"] for a in rows.find(tx, AMPHORA)}
    assert len(after) == 1
    assert not after & before
    assert world.machines == after
    assert show(door, LOADBALANCER, root)["vip_address"] == root["vip_address"]


def test_an_amphora_is_deleted_only_in_error(door, caller, chain, drain):
    drain()
    with door.database.read() as tx:
        amphora = rows.find(tx, AMPHORA)[0]
    with pytest.raises(Conflict):
        operator.delete_amphora(door, caller, amphora["id"])


def test_rules_are_written_below_their_policy(door, caller, chain, make):
    policy = make.policy(chain[1])
    body = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}
    rule = writes.create(door, caller, L7RULE, body, parent_id=policy["id"]).document
    assert show(door, L7POLICY, policy)["rules"] == [rule["id"]]
    with pytest.raises(CaryatidError):
        writes.change(door, caller, L7RULE, rule["id"], {"value": "/y"}, parent_id=str(uuid4()))


def test_what_is_made_at_once_is_in_the_order_in_which_it_was_named(door, caller, chain):
    pool = chain[2]
    wanted = [{"address": f"192.0.2.{number}", "protocol_port": 80} for number in (9, 3, 7, 1, 5)]
    members.replace_members(door, caller, pool["id"], wanted, additive=False)
    with door.database.read() as tx:
        listed = rows.find(tx, MEMBER, pool_id=pool["id"])
    assert [m["address"] for m in listed if m["address"] != "192.0.2.1"] == [
        f"192.0.2.{number}" for number in (9, 3, 7, 5)
    ]
