# SPDX-License-Identifier: Apache-2.0
"""Load balancers of this installation as members: how they are, and that whoever uses them learns of it at once."""

import pytest

from caryatid.control import initial, verdicts, writes
from caryatid.control.health import Observer
from caryatid.control.verdicts import News
from caryatid.model import AMPHORA, GSLB, GSLB_MEMBER, LOADBALANCER
from caryatid.store import observations, rows, work
from caryatid.store.gslb import loadbalancers, trees
from tests.store.gslb.conftest import Orchard


class Own:
    """A load balancer that a gslb uses."""

    def __init__(self, door, caller, drain):
        self.door, self.caller = door, caller
        body = {"vip_subnet_id": initial.SUBNET_ID, "vip_address": "127.100.0.7"}
        self.id = writes.create(door, caller, LOADBALANCER, body).document["id"]
        drain()
        orchard = Orchard(door.database)
        self.pool = orchard.whole()["gslb_pool"]
        of_ours = {"pool_id": self.pool, "type": "load_balancer", "address": None}
        self.member = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=self.id)
        self.woken()

    def seen(self):
        with self.door.database.read() as tx:
            return loadbalancers.own_of(tx, trees.members_of(tx, [self.pool]))[self.member]

    def woken(self):
        """Whether the gslb is due; not any more afterwards."""
        due = work.next_due(self.door.database, GSLB) == 0
        with self.door.database.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE work SET due_at = NULL WHERE root_kind = 'gslb'")
        return due

    def report(self, status):
        said = {"loadbalancers": {self.id: {"loadbalancer-status": status, "listeners": {}}}}
        Observer(self.door.database).update_health(said)


@pytest.fixture
def own(door, caller, drain):
    return Own(door, caller, drain)


def test_nothing_is_known_of_one_that_was_never_heard_of(own):
    assert (own.seen().word, own.seen().addresses) == ("UNKNOWN", ("127.100.0.7",))


def test_a_status_that_is_another_wakes_in_the_same_transaction_and_the_same_again_does_not(own):
    for status, word, woken in (
        ("ONLINE", "UP", True),
        ("ONLINE", "UP", False),
        ("DEGRADED", "UP", True),
        ("ERROR", "DOWN", True),
        ("ERROR", "DOWN", False),
        ("ONLINE", "UP", True),
    ):
        own.report(status)
        assert (own.seen().word, own.woken()) == (word, woken)


def test_one_that_its_owner_has_taken_out_is_down_whatever_is_seen_of_it(own):
    own.report("ONLINE")
    own.woken()
    writes.change(own.door, own.caller, LOADBALANCER, own.id, {"name": "another"})
    assert not own.woken()
    writes.change(own.door, own.caller, LOADBALANCER, own.id, {"admin_state_up": False})
    assert (own.seen().word, own.woken()) == ("DOWN", True)


def test_one_that_is_deleted_is_down_from_the_wish_on_and_when_it_is_gone(own, drain):
    own.report("ONLINE")
    own.woken()
    writes.delete(own.door, own.caller, LOADBALANCER, own.id)
    assert (own.seen().word, own.woken()) == ("DOWN", True)
    drain()
    assert own.seen().word == "DOWN"
    with own.door.database.read() as tx:
        assert rows.get(tx, LOADBALANCER, own.id) is None


def test_one_whose_hosts_are_all_lost_is_down_though_the_last_that_was_heard_of_it_was_good(own):
    own.report("ONLINE")
    own.woken()
    with own.door.database.transaction() as tx:
        (amphora,) = rows.find(tx, AMPHORA, loadbalancer_id=own.id)
        verdicts.write(tx, News(lost=[amphora["compute_id"]]))
    assert (own.seen().word, own.woken()) == ("DOWN", True)
    with own.door.database.transaction() as tx:
        assert observations.lost_hosts(tx) == {amphora["compute_id"]}
        verdicts.write(tx, News(back=[amphora["compute_id"]]))
    assert (own.seen().word, own.woken()) == ("UP", True)
