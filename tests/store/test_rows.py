# SPDX-License-Identifier: Apache-2.0
import pytest

from caryatid.model import (
    AVAILABILITY_ZONE,
    BY_NAME,
    HEALTHMONITOR,
    L7POLICY,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    NETWORK,
    POOL,
    PORT,
    QUOTA,
    SUBNET,
)
from caryatid.store import rows, work
from caryatid.store.work import Done

ID = "00000000-0000-4000-8000-00000000000{}"
DATED = {"created_at": "2026-11-20T19:05:25.123456", "updated_at": "2026-11-20T19:05:25.123456"}
OWNED = {**DATED, "project_id": "p1"}


def test_what_is_written_is_read(garden):
    ids = garden.whole()
    for name, key in ids.items():
        kind = BY_NAME[name]
        document = garden.get(kind, key)
        assert set(document) == set(kind.attributes)
        assert kind.load(document).id == key
    listener = garden.get(LISTENER, ids["listener"])
    assert (listener["protocol_port"], listener["admin_state_up"], listener["allowed_cidrs"]) == (80, True, None)
    persistent = garden.add(POOL, ids["loadbalancer"], session_persistence={"type": "SOURCE_IP"})
    assert garden.get(POOL, persistent)["session_persistence"]["type"] == "SOURCE_IP"


def test_documents_name_those_that_refer_to_them_oldest_first(garden):
    ids = garden.whole()
    root, pool = ids["loadbalancer"], ids["pool"]
    second = garden.add(MEMBER, root, pool_id=pool, address="192.0.2.2")
    document = garden.get(POOL, pool)
    assert document["members"] == [ids["member"], second]
    assert document["listeners"] == [ids["listener"]]
    assert document["healthmonitor_id"] == ids["healthmonitor"]
    assert garden.get(LOADBALANCER, root)["listeners"] == [ids["listener"]]
    assert garden.get(L7POLICY, ids["l7policy"])["rules"] == [ids["l7rule"]]
    assert garden.get(POOL, garden.add(POOL, root))["healthmonitor_id"] is None


def test_each_document_of_a_list_names_its_own_by_age_and_not_by_when_they_were_written(garden):
    first, second, empty = garden.root(), garden.root(), garden.root()
    older, younger = (garden.row(POOL, loadbalancer_id=first) for _ in range(2))
    with garden.database.transaction() as tx:
        rows.insert(tx, POOL, [younger, older], root_id=first, generation=work.ask(tx, first))
    other = garden.add(POOL, second)
    with garden.database.read() as tx:
        found = {document["id"]: document["pools"] for document in rows.find(tx, LOADBALANCER)}
    assert found == {first: [older.id, younger.id], second: [other], empty: []}


def test_a_pool_names_listeners_that_send_to_it_by_a_policy_each_once(garden):
    ids = garden.whole()
    root, pool = ids["loadbalancer"], ids["pool"]
    other = garden.add(LISTENER, root, protocol_port=81)
    for listener in (ids["listener"], other):
        garden.add(L7POLICY, root, listener_id=listener, action="REDIRECT_TO_POOL", redirect_pool_id=pool)
    assert garden.get(POOL, pool)["listeners"] == [ids["listener"], other]
    policy = garden.get(LISTENER, other)["l7policies"][0]
    garden.delete(L7POLICY, root, policy)
    assert garden.get(POOL, pool)["listeners"] == [ids["listener"]]


def test_what_is_being_deleted_is_listed_until_it_is_gone(garden):
    ids = garden.whole()
    root, member = ids["loadbalancer"], ids["member"]
    garden.delete(MEMBER, root, member)
    assert garden.get(POOL, ids["pool"])["members"] == [member]
    with garden.database.read() as tx:
        assert rows.find(tx, MEMBER, pool_id=ids["pool"]) == []
        assert rows.count(tx, MEMBER, pool_id=ids["pool"]) == 0
        assert rows.place(tx, MEMBER, member).deleted
    garden.settle(Done)
    assert garden.get(POOL, ids["pool"])["members"] == []
    assert garden.get(MEMBER, member) is None


def test_a_path_must_name_the_right_parent(garden):
    ids = garden.whole()
    with garden.database.read() as tx:
        assert rows.get(tx, MEMBER, ids["member"], parent_id=ids["pool"])["id"] == ids["member"]
        assert rows.get(tx, MEMBER, ids["member"], parent_id=ids["listener"]) is None


@pytest.mark.parametrize("key", ["", "\x00", "\ud800", "x" * 300, "';--"])
def test_a_key_that_cannot_be_finds_nothing(garden, key):
    with garden.database.transaction() as tx:
        assert rows.get(tx, LOADBALANCER, key) is None
        assert rows.get(tx, MEMBER, key, parent_id=key) is None
        assert rows.place(tx, LOADBALANCER, key) is None
        assert rows.lock_root(tx, key) is None


def test_addresses_are_unique_only_among_the_living(garden):
    ids = garden.whole()
    root, pool = ids["loadbalancer"], ids["pool"]
    with pytest.raises(rows.Duplicate) as refused:
        garden.add(MEMBER, root, pool_id=pool)
    assert refused.value.columns == ("pool_id", "address", "protocol_port")
    garden.delete(MEMBER, root, ids["member"])
    assert garden.add(MEMBER, root, pool_id=pool) != ids["member"]
    with pytest.raises(rows.Duplicate):
        garden.add(HEALTHMONITOR, root, pool_id=pool)


def test_an_address_is_given_out_once(tx):
    network = NETWORK.new({}, {"id": ID.format(1), **OWNED})
    subnet = SUBNET.new({"cidr": "127.1.0.0/24", "network_id": network.id}, {"id": ID.format(2), **OWNED})
    rows.insert(tx, NETWORK, [network])
    rows.insert(tx, SUBNET, [subnet])
    body = {"subnet_id": subnet.id, "ip_address": "127.1.0.5"}
    ports = [PORT.new(body, {"id": ID.format(n), "network_id": network.id, **OWNED}) for n in (3, 4)]
    rows.insert(tx, PORT, ports[:1])
    assert rows.count(tx, PORT, subnet_id=subnet.id, ip_address="127.1.0.5") == 1
    assert rows.tally(tx, PORT, "subnet_id") == {subnet.id: 1}
    with pytest.raises(rows.Duplicate), tx.connection.begin_nested():
        rows.insert(tx, PORT, ports[1:])
    rows.delete(tx, PORT, [ports[0].id])
    rows.insert(tx, PORT, ports[1:])


def test_a_second_delete_keeps_the_first_generation(garden):
    ids = garden.whole()
    first = garden.delete(LISTENER, ids["loadbalancer"], ids["listener"])
    garden.delete(LISTENER, ids["loadbalancer"], ids["listener"])
    held = garden.claim()
    with garden.database.transaction() as tx:
        work.settle(tx, held, Done(first))
    assert garden.get(LISTENER, ids["listener"]) is None


def test_what_belongs_to_no_root_takes_effect_at_once(tx):
    body = {"name": "here", "availability_zone_profile_id": ID.format(1)}
    zone = AVAILABILITY_ZONE.new(body, {"id": ID.format(2)})
    rows.insert(tx, AVAILABILITY_ZONE, [zone])
    assert rows.get(tx, AVAILABILITY_ZONE, "here")["enabled"] is True
    rows.change(tx, AVAILABILITY_ZONE, zone.model_copy(update={"enabled": False}), at=DATED["updated_at"])
    assert rows.get(tx, AVAILABILITY_ZONE, "here")["enabled"] is False
    rows.delete(tx, AVAILABILITY_ZONE, [zone.id])
    assert rows.get(tx, AVAILABILITY_ZONE, "here") is None


def test_a_quota_is_found_by_its_project(tx):
    rows.insert(tx, QUOTA, [QUOTA.new({"pool": 3}, {"id": ID.format(1), "project_id": "p9"})])
    assert rows.get(tx, QUOTA, "p9")["pool"] == 3
    assert rows.get(tx, QUOTA, "p9")["member"] is None


def test_touching_makes_it_pending_in_the_form_it_has(garden):
    ids = garden.whole()
    garden.settle(Done)
    garden.touch(POOL, ids["loadbalancer"], ids["pool"])
    assert garden.status(POOL, ids["pool"]) == "PENDING_UPDATE"
    assert garden.status(LISTENER, ids["listener"]) == "ACTIVE"


def test_a_deleted_root_goes_with_all_below_it(garden):
    ids = garden.whole()
    root = ids["loadbalancer"]
    other = garden.whole()
    for name in ids.keys() - {"loadbalancer"}:
        garden.delete(BY_NAME[name], root, ids[name])
    garden.delete(LOADBALANCER, root, root)
    while garden.get(LOADBALANCER, root):
        garden.settle(Done)
    for name, key in ids.items():
        assert garden.get(BY_NAME[name], key) is None
        assert garden.get(BY_NAME[name], other[name]) is not None
