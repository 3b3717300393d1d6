# SPDX-License-Identifier: Apache-2.0
from sqlalchemy import update

from caryatid.model import GSLB, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, LOADBALANCER
from caryatid.store import rows, work
from caryatid.store.gslb import state, trees, uses
from caryatid.store.gslb.state import State, Status
from caryatid.store.tables import WORK
from caryatid.store.work import Again, Done, Failed


def test_a_gslb_is_loaded_with_all_that_it_uses(orchard):
    known = orchard.whole()
    other = orchard.gslb(fqdn="other.example.test", pools=[{"pool_id": known["mapped"]}])
    with orchard.database.read() as tx:
        found = {tree.gslb.id: tree for tree in trees.load(tx, [known["gslb"], other, "nobody"])}
    assert found.keys() == {known["gslb"], other}
    tree = found[known["gslb"]]
    assert tree.pools.keys() == {known["gslb_pool"], known["mapped"]}
    assert [member.id for member in tree.members[known["gslb_pool"]]] == [known["gslb_member"]]
    assert tree.monitors.keys() == {known["gslb_monitor"]}
    assert (tree.zone.id, tree.backend.id, tree.geomap.id) == (
        known["gslb_zone"],
        known["gslb_backend"],
        known["gslb_geomap"],
    )
    assert (tree.generation, tree.observed_generation, tree.deleted) == (1, 0, False)
    assert found[other].pools.keys() == {known["mapped"]}
    assert not found[other].monitors


def test_a_part_is_pending_until_all_who_use_it_have_taken_it(orchard):
    known = orchard.whole()
    second = orchard.gslb(fqdn="second.example.test", pools=[{"pool_id": known["gslb_pool"]}])
    assert orchard.status(GSLB_POOL, known["gslb_pool"]) == "PENDING_UPDATE"
    orchard.settle(known["gslb"], Done(1))
    assert orchard.status(GSLB_POOL, known["gslb_pool"]) == "PENDING_UPDATE"
    assert orchard.status(GSLB_POOL, known["mapped"]) == "ACTIVE"
    with orchard.database.transaction() as tx:
        work.wake_roots(tx, [second], kind=GSLB)
    expire(orchard)
    orchard.settle(second, Done(1))
    for kind in (GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR):
        assert orchard.status(kind, known[kind.name]) == "ACTIVE"


def test_a_part_that_was_changed_is_pending_anew_and_shows_who_could_not_take_it(orchard):
    known = orchard.whole()
    orchard.settle(known["gslb"], Done(1))
    orchard.change_part(GSLB_MONITOR, known["gslb_monitor"])
    assert orchard.status(GSLB_MONITOR, known["gslb_monitor"]) == "PENDING_UPDATE"
    assert orchard.status(GSLB_POOL, known["gslb_pool"]) == "ACTIVE"
    orchard.settle(known["gslb"], Failed("no", 2))
    assert orchard.status(GSLB_MONITOR, known["gslb_monitor"]) == "ERROR"
    assert orchard.status(GSLB, known["gslb"]) == "ERROR"


def test_what_is_no_longer_used_is_nobodys(orchard):
    known = orchard.whole()
    with orchard.database.transaction() as tx:
        uses.replace(tx, known["gslb"], {("gslb_pool", known["mapped"])}, 2)
        assert uses.users(tx, "gslb_pool", [known["gslb_pool"]]) == []
        assert uses.users(tx, "gslb_pool", [known["mapped"], known["gslb_pool"]]) == [known["gslb"]]
    assert orchard.status(GSLB_POOL, known["gslb_pool"]) == "ACTIVE"


def test_the_gslbs_that_answer_with_a_load_balancer_are_known(orchard):
    known = orchard.whole()
    loadbalancer = "5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90"
    orchard.part(
        GSLB_MEMBER, type="load_balancer", loadbalancer_id=loadbalancer, address=None, pool_id=known["gslb_pool"]
    )
    with orchard.database.transaction() as tx:
        assert uses.users_of_loadbalancers(tx, [loadbalancer]) == [known["gslb"]]
        assert uses.users_of_loadbalancers(tx, ["another"]) == []


def test_gslbs_and_load_balancers_are_claimed_apart(orchard):
    first, second = orchard.gslb(), orchard.gslb(fqdn="second.example.test")
    assert work.claim(orchard.database, "w") is None
    assert work.next_due(orchard.database, LOADBALANCER) is None
    assert work.next_due(orchard.database, GSLB) == 0
    one = work.claim_some(orchard.database, "w", GSLB, 1)
    rest = work.claim_some(orchard.database, "w", GSLB, 10)
    assert {held.root_id for held in (*one, *rest)} == {first, second}
    assert work.claim_some(orchard.database, "w", GSLB, 10) == []
    work.renew_some(orchard.database, [*one, *rest])
    with orchard.database.read() as tx:
        assert all(work.still_mine(tx, held) for held in (*one, *rest))


def test_what_changes_by_itself_is_looked_at_again_when_it_does(orchard):
    gslb = orchard.gslb()
    orchard.settle(gslb, Done(1, look_after_s=30.0))
    assert 25 < work.next_due(orchard.database, GSLB) <= 30
    assert orchard.status(GSLB, gslb) == "ACTIVE"


def test_a_gslb_that_cannot_be_published_is_tried_again(orchard):
    gslb = orchard.gslb()
    orchard.settle(gslb, Again("server down", 1))
    assert orchard.status(GSLB, gslb) == "PENDING_CREATE"
    assert 0 < work.next_due(orchard.database, GSLB) <= work.PAUSE_S


def test_of_a_gslb_that_is_gone_nothing_is_left(orchard):
    known = orchard.whole()
    with orchard.database.transaction() as tx:
        state.remember(tx, [State(known["gslb"], {"tier": "x"})])
        state.keep_statuses(tx, [Status("gslb", known["gslb"], "ONLINE", None, 1.0)])
        rows.lock_root(tx, known["gslb"], GSLB)
        rows.delete(tx, GSLB, [known["gslb"]], generation=work.ask(tx, known["gslb"], kind=GSLB))
    assert orchard.status(GSLB, known["gslb"]) == "PENDING_DELETE"
    orchard.settle(known["gslb"], Done(2))
    with orchard.database.read() as tx:
        assert rows.get(tx, GSLB, known["gslb"]) is None
        assert state.load(tx, [known["gslb"]]) == {}
        assert state.statuses(tx, "gslb", [known["gslb"]]) == {}
        assert uses.users(tx, "gslb_pool", [known["gslb_pool"]]) == []
        assert rows.get(tx, GSLB_POOL, known["gslb_pool"]) is not None
    assert work.next_due(orchard.database, GSLB) is None


def test_what_was_decided_is_shown(orchard):
    known = orchard.whole()
    with orchard.database.transaction() as tx:
        assert rows.get(tx, GSLB, known["gslb"])["operating_status"] == "UNKNOWN"
        state.advance(tx, [known["gslb"]], above=2)
        state.remember(tx, [State(known["gslb"], published_at="2026-11-21T20:00:00.000000")])
        seen = [("gslb", "DEGRADED"), ("gslb_pool", "ONLINE"), ("gslb_member", "DOWN")]
        state.keep_statuses(tx, [Status(kind, known[kind], word, "refused", 1.0) for kind, word in seen])
        gslb = rows.get(tx, GSLB, known["gslb"])
        assert (gslb["operating_status"], gslb["published_generation"], gslb["published_at"]) == (
            "DEGRADED",
            3,
            "2026-11-21T20:00:00.000000",
        )
        assert rows.get(tx, GSLB_POOL, known["gslb_pool"])["operating_status"] == "ONLINE"
        member = rows.get(tx, GSLB_MEMBER, known["gslb_member"])
        assert (member["operating_status"], member["status_reason"]) == ("DOWN", "refused")


def expire(orchard):
    """Who had claims has lost them."""
    with orchard.database.transaction() as tx:
        tx.connection.execute(update(WORK).values(lease_until=0.0))
