# SPDX-License-Identifier: Apache-2.0
"""What becomes of amphorae when hosts are drained, evacuated, revoked and removed."""

import json
import threading
import time
from uuid import uuid4

import pytest
from sqlalchemy import text

from caryatid.config import Settings
from caryatid.control import authority, hosts, initial, operator, placing, spares, writes
from caryatid.control.attempt import Attempt
from caryatid.control.housekeeping import remove_buried
from caryatid.control.initial import SUBNET_ID
from caryatid.control.reconcile import attend
from caryatid.drivers.compute.hosts import HostsDriver
from caryatid.errors import Conflict, NotFound, Refused
from caryatid.model import (
    AMPHORA,
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    FLAVOR,
    FLAVORPROFILE,
    HOST,
    LOADBALANCER,
    PORT,
)
from caryatid.store import hosts as host_store
from caryatid.store import jobs, migrate, observations, rows, work
from caryatid.store import tree as trees
from caryatid.store.database import Database
from caryatid.store.hosts import Credential
from tests.doors import open_door


@pytest.fixture
def door(tmp_path, world):
    """Amphorae are on hosts that have enrolled; what runs there is the noop world."""
    url = f"sqlite:///{tmp_path}/caryatid.db"
    migrate.upgrade(url)
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    database = Database(url)
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()


def enrol(door, name, capacity=10, **labels):
    host_id, at = str(uuid4()), "2026-11-21T00:00:00.000000"
    host = HOST.model(
        id=host_id, created_at=at, name=name, agent_url=f"https://{name}:1", capacity=capacity, labels=labels
    )
    with door.database.transaction() as tx:
        rows.insert(tx, HOST, [host])
        host_store.write_credential(tx, Credential(host_id, b"", "00"))
        work.retry_all(tx)
    return host_id


def create(door, caller, **body):
    return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID, **body}).document["id"]


def flavor(door, caller, **data):
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": json.dumps(data)}
    made = writes.create(door, caller, FLAVORPROFILE, profile).document["id"]
    return writes.create(door, caller, FLAVOR, {"name": "f", "flavor_profile_id": made}).document["id"]


def where(door, root_id):
    """The hosts of the load balancer's amphorae."""
    with door.database.read() as tx:
        return sorted(one["compute_id"] for one in rows.find(tx, AMPHORA, loadbalancer_id=root_id))


def show(door, kind, key):
    with door.database.read() as tx:
        return rows.get(tx, kind, key)


def job(door, key):
    with door.database.read() as tx:
        found = jobs.get(tx, key)
    return found["state"], found["reason"]


def due_again(door):
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET due_at = 0, lease_until = NULL WHERE due_at IS NOT NULL"))


def test_load_balancers_spread_and_a_host_shows_what_it_carries(door, caller, drain):
    a, b = enrol(door, "a"), enrol(door, "b")
    found = [create(door, caller) for _ in range(4)]
    drain()
    assert sorted(where(door, root_id)[0] for root_id in found) == sorted([a, a, b, b])
    assert [show(door, HOST, key)["used"] for key in (a, b)] == [2, 2]


def test_a_drained_host_keeps_what_it_has_and_takes_nothing_new_until_it_is_enabled(door, caller, drain):
    a = enrol(door, "a")
    first = create(door, caller)
    drain()
    hosts.drain(door, caller, a)
    second = create(door, caller)
    drain()
    assert where(door, first) == [a]
    assert where(door, second) == []
    hosts.enable(door, caller, a)
    drain()
    assert where(door, second) == [a]
    assert show(door, LOADBALANCER, second)["provisioning_status"] == "ACTIVE"


def test_an_evacuation_builds_the_other_first(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    (old,) = world.trees
    b = enrol(door, "b")
    acts = []
    world.mishap = lambda _number, name: acts.append((name, sorted(world.trees)))
    acted = hosts.evacuate(door, caller, a)
    drain()
    assert where(door, root_id) == [b]
    assert [job(door, key) for key in acted.job_ids] == [("succeeded", None)]
    (new,) = world.trees
    assert dict(acts)["delete"] == sorted([old, new]), "both were there when the first was removed"
    assert show(door, HOST, a)["duty"] == "EVACUATING"
    assert show(door, HOST, a)["used"] == 0


def test_what_finds_no_place_stays_and_its_job_says_why(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    acted = hosts.evacuate(door, caller, a)
    drain()
    ((state, reason),) = [job(door, key) for key in acted.job_ids]
    assert state == "failed"
    assert "No host takes new amphorae" in reason
    assert where(door, root_id) == [a]
    assert len(world.trees) == 1
    assert show(door, LOADBALANCER, root_id)["provisioning_status"] == "ACTIVE", "users are not concerned"


def test_an_evacuation_goes_on_when_there_is_a_place_at_last(door, caller, drain):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    hosts.evacuate(door, caller, a)
    drain()
    hosts.wake_evacuated(door)
    assert drain() == [], "nobody looks as long as there is no room anywhere"
    b = enrol(door, "b")
    hosts.wake_evacuated(door)
    drain()
    assert where(door, root_id) == [b]


def test_a_change_does_not_wait_for_an_evacuation_that_is_not_possible(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    hosts.evacuate(door, caller, a)
    drain()
    writes.change(door, caller, LOADBALANCER, root_id, {"name": "new"})
    drain()
    assert show(door, LOADBALANCER, root_id)["provisioning_status"] == "ACTIVE"
    (tree,) = world.trees.values()
    assert tree.loadbalancer.name == "new"


def test_to_drain_or_enable_ends_an_evacuation(door, caller, drain):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    for end in (hosts.drain, hosts.enable):
        hosts.evacuate(door, caller, a)
        end(door, caller, a)
        drain()
        assert where(door, root_id) == [a]
        assert show(door, HOST, a)["duty"] == "SERVING"


def test_a_revoked_host_is_no_longer_known_and_its_amphorae_are_replaced_at_once(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    b = enrol(door, "b")
    (old,) = world.trees
    acted = hosts.revoke(door, caller, a)
    registry = authority.open_registry(door.database, door.settings)
    assert not authority.is_known(registry, a)
    assert authority.heartbeat_keys(registry, a) == ()
    drain()
    assert where(door, root_id) == [b]
    assert [job(door, key)[0] for key in acted.job_ids] == ["succeeded"]
    assert old in world.trees, "who is not believed is not spoken to"
    with door.database.read() as tx:
        assert [stone.amphora_id for stone in host_store.tombstones(tx, host_id=a)] == [old]
    remove_buried(door)
    assert old in world.trees
    for act in (hosts.enable, hosts.drain, hosts.evacuate):
        with pytest.raises(Conflict, match="enrol the machine anew"):
            act(door, caller, a)


def test_the_address_of_what_a_revoked_host_may_still_run_is_kept_back_until_the_host_is_deleted(door, caller, drain):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    hosts.revoke(door, caller, a)
    writes.delete(door, caller, LOADBALANCER, root_id)
    drain()
    remove_buried(door)
    with door.database.read() as tx:
        assert rows.count(tx, PORT) == 1
    hosts.delete(door, caller, a)
    remove_buried(door)
    with door.database.read() as tx:
        assert rows.count(tx, PORT) == 0


def test_amphorae_of_a_revoked_host_wait_for_another_host_with_a_reason(door, caller, drain):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    acted = hosts.revoke(door, caller, a)
    drain()
    ((state, reason),) = [job(door, key) for key in acted.job_ids]
    assert state == "retrying"
    assert "revoked" in reason
    b = enrol(door, "b")
    drain()
    assert where(door, root_id) == [b]


def test_a_host_is_deleted_when_it_is_empty_or_revoked(door, caller, drain):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    with pytest.raises(Conflict, match="host evacuate"):
        writes.delete(door, caller, HOST, a)
    enrol(door, "b")
    hosts.evacuate(door, caller, a)
    drain()
    writes.delete(door, caller, HOST, a)
    assert show(door, HOST, a) is None
    with door.database.read() as tx:
        assert host_store.credential(tx, a) is None
    (b,) = where(door, root_id)
    hosts.revoke(door, caller, b)
    writes.delete(door, caller, HOST, b)
    with pytest.raises(NotFound):
        hosts.drain(door, caller, b)
    c = enrol(door, "c")
    due_again(door)
    drain()
    assert where(door, root_id) == [c], "what was on a host that is no more is replaced"


def test_a_host_that_is_leaving_is_not_enabled_by_the_way(door, caller):
    a = enrol(door, "a")
    hosts.evacuate(door, caller, a)
    with pytest.raises(Refused, match="ends its evacuation"):
        writes.change(door, caller, HOST, a, {"enabled": True})
    assert writes.change(door, caller, HOST, a, {"capacity": 5}).document["capacity"] == 5


def test_amphorae_of_a_lost_host_are_replaced_and_buried_there(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    b = enrol(door, "b")
    with door.database.transaction() as tx:
        observations.write(tx, [("host", a, "", "ERROR")], time.time())
        work.wake_root(tx, root_id, priority=100)
    drain()
    assert where(door, root_id) == [b]
    assert len(world.trees) == 2
    with door.database.transaction() as tx:
        observations.write(tx, [("host", a, "", "ONLINE")], time.time())
    remove_buried(door)
    assert len(world.trees) == 1, "it removes what it had, now that it is back"


def test_when_there_is_no_other_a_lost_host_that_returns_serves_on(door, caller, drain, world):
    a = enrol(door, "a")
    root_id = create(door, caller)
    drain()
    (amphora_id,) = world.trees
    for word in ("ERROR", "ONLINE"):
        with door.database.transaction() as tx:
            observations.write(tx, [("host", a, "", word)], time.time())
            work.wake_root(tx, root_id, priority=100)
        drain()
    assert set(world.trees) == {amphora_id}


def test_a_failover_without_a_place_does_not_end_what_serves(door, caller, drain, world):
    a = enrol(door, "a", capacity=1)
    root_id = create(door, caller)
    drain()
    operator.failover(door, caller, root_id)
    drain()
    assert len(world.trees) == 1
    writes.change(door, caller, HOST, a, {"capacity": 2})
    drain()
    due_again(door)
    drain()
    assert len(world.trees) == 1
    assert show(door, HOST, a)["used"] == 1


def test_a_flavor_says_which_hosts_and_that_a_pair_is_apart(door, caller, drain):
    enrol(door, "plain")
    fast = enrol(door, "fast", disk="ssd")
    data = {"loadbalancer_topology": "ACTIVE_STANDBY", "anti_affinity": "strict", "host_labels": {"disk": "ssd"}}
    root_id = create(door, caller, flavor_id=flavor(door, caller, **data))
    drain()
    assert where(door, root_id) == [fast], "one half, while there is no second host with the label"
    other = enrol(door, "other", disk="ssd")
    drain()
    assert where(door, root_id) == sorted([fast, other])


@pytest.fixture
def on_each(database_url, tmp_path, world):
    """A door as above, on each database."""
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    database = Database(database_url)
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()


def test_workers_that_place_at_the_same_time_do_not_overfill_a_host(on_each, caller):
    a = enrol(on_each, "a", capacity=3)
    for _ in range(8):
        create(on_each, caller)
    claims = [work.claim(on_each.database, f"w{number}") for number in range(8)]
    begin = threading.Barrier(8)

    def turn(claim):
        begin.wait(30)
        attend(on_each, Attempt(claim))

    threads = [threading.Thread(target=turn, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert show(on_each, HOST, a)["used"] == 3


def test_room_is_counted_again_under_the_lock(new_database, tmp_path, world, caller, monkeypatch):
    """Whoever comes second sees what the first has placed, though it looked before. SQLite has one writer at a time."""
    database = Database(new_database())
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    door = open_door(database, settings)
    initial.ensure(door)
    a = enrol(door, "a", capacity=1)
    first, second = create(door, caller), create(door, caller)
    looked, placed = threading.Event(), threading.Event()
    lock = placing.host_store.lock

    def late(tx):
        looked.set()
        assert placed.wait(30)
        lock(tx)

    def place_late():
        with database.transaction() as tx:
            placing.gather(tx, trees.load(tx, second), (), HostsDriver())

    monkeypatch.setattr(placing.host_store, "lock", late)
    thread = threading.Thread(target=place_late)
    thread.start()
    assert looked.wait(30)
    monkeypatch.setattr(placing.host_store, "lock", lock)
    with database.transaction() as tx:
        placing.gather(tx, trees.load(tx, first), (), HostsDriver())
    placed.set()
    thread.join(30)
    assert show(door, HOST, a)["used"] == 1
    database.close()


def spare_hosts(door):
    """The hosts of the spares."""
    with door.database.read() as tx:
        return sorted(one["compute_id"] for one in rows.find(tx, AMPHORA, loadbalancer_id=None))


def test_spares_are_spread_and_counted_and_no_host_has_more_than_it_may_carry(door, caller):
    a, b, c = enrol(door, "a", disk="ssd"), enrol(door, "b", capacity=2, disk="ssd"), enrol(door, "c")
    flavor(door, caller, spares=4, host_labels={"disk": "ssd"})
    spares.keep(door)
    assert spare_hosts(door) == sorted([a, a, a, b]) or spare_hosts(door) == sorted([a, a, b, b])
    assert sum(show(door, HOST, key)["used"] for key in (a, b)) == 4
    assert show(door, HOST, c)["used"] == 0


def test_a_load_balancer_takes_a_spare_where_its_host_is_full(door, caller, drain):
    a = enrol(door, "a", capacity=1)
    kind = flavor(door, caller, spares=1)
    spares.keep(door)
    root_id = create(door, caller, flavor_id=kind)
    drain()
    assert where(door, root_id) == [a]
    assert show(door, LOADBALANCER, root_id)["provisioning_status"] == "ACTIVE"
    spares.keep(door)
    assert spare_hosts(door) == [], "there is no room for another"


def test_a_load_balancer_takes_no_spare_that_lacks_what_its_zone_asks_for(door, caller, drain):
    a = enrol(door, "a")
    kind = flavor(door, caller, spares=1)
    spares.keep(door)
    assert spare_hosts(door) == [a]
    data = json.dumps({"host_labels": {"rack": "r1"}})
    profile = {"name": "z", "provider_name": "amphora", "availability_zone_data": data}
    made = writes.create(door, caller, AVAILABILITY_ZONE_PROFILE, profile).document["id"]
    writes.create(door, caller, AVAILABILITY_ZONE, {"name": "z", "availability_zone_profile_id": made})
    b = enrol(door, "b", rack="r1")
    root_id = create(door, caller, flavor_id=kind, availability_zone="z")
    drain()
    assert (where(door, root_id), spare_hosts(door)) == ([b], [a])


@pytest.mark.parametrize("end", ["drained", "evacuated", "revoked", "lost"])
def test_spares_on_a_host_that_takes_nobody_are_replaced_elsewhere(door, caller, end):
    a = enrol(door, "a")
    flavor(door, caller, spares=1)
    spares.keep(door)
    b = enrol(door, "b")
    if end == "lost":
        with door.database.transaction() as tx:
            observations.write(tx, [(observations.HOST, a, "", observations.LOST)], time.time())
    else:
        {"drained": hosts.drain, "evacuated": hosts.evacuate, "revoked": hosts.revoke}[end](door, caller, a)
    spares.keep(door)
    assert spare_hosts(door) == [b]


def test_two_workers_never_take_the_same_spare(door, caller, drain):
    enrol(door, "a")
    kind = flavor(door, caller, spares=2)
    spares.keep(door)
    roots = [create(door, caller, flavor_id=kind) for _ in range(2)]
    with door.database.read() as tx:
        waiting = {one["id"] for one in rows.find(tx, AMPHORA, loadbalancer_id=None)}
    claims = [work.claim(door.database, "test") for _ in roots]
    workers = [threading.Thread(target=attend, args=(door, Attempt(claim))) for claim in claims]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    with door.database.read() as tx:
        taken = [one["id"] for root_id in roots for one in rows.find(tx, AMPHORA, loadbalancer_id=root_id)]
    assert sorted(taken) == sorted(waiting)
