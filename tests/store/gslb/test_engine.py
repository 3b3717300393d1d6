# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of the store: numbers that nobody else has, claims of many, and who speaks for a part."""

from caryatid.model import GSLB
from caryatid.store import attempts, rows, work
from caryatid.store.claim import Done
from caryatid.store.gslb import state, trees, uses
from caryatid.store.gslb.state import State, Status


def test_each_generation_is_given_once_and_is_above_what_is_out_there(orchard):
    first, second = orchard.gslb(), orchard.gslb(fqdn="second.example.test")
    with orchard.database.transaction() as tx:
        assert state.advance(tx, [first, second]) == {first: 1, second: 1}
        assert state.advance(tx, [first]) == {first: 2}
        assert state.advance(tx, [first], above=50) == {first: 51}
        assert state.advance(tx, [first], above=7) == {first: 52}
        assert state.advance(tx, []) == {}


def test_what_is_remembered_leaves_the_generation_as_it_is_by_now(orchard):
    gslb, new = orchard.gslb(), orchard.gslb(fqdn="new.example.test")
    with orchard.database.transaction() as tx:
        state.remember(tx, [State(gslb, {"tier": "a"})])
        assert state.advance(tx, [gslb], above=3) == {gslb: 4}
        state.remember(tx, [State(gslb, {"tier": "b"}, {"seen": 3}, 3, None, ["why"]), State(new, {"tier": "c"})])
        found = state.load(tx, [gslb, new])
    assert (found[gslb].generation, found[gslb].memory, found[gslb].why) == (4, {"tier": "b"}, ["why"])
    assert (found[new].generation, found[new].memory) == (0, {"tier": "c"})


def test_what_is_kept_of_a_kind_is_found_without_naming_it(orchard):
    with orchard.database.transaction() as tx:
        state.keep_statuses(
            tx, [Status(state.GUARD, "m", "KEPT", "many go", 5.0), Status("gslb", "g", "ONLINE", None, 1.0)]
        )
        assert state.all_of(tx, state.GUARD) == [Status(state.GUARD, "m", "KEPT", "many go", 5.0)]
        state.forget_statuses(tx, state.GUARD, ["m"])
        assert state.all_of(tx, state.GUARD) == []


def test_of_the_living_that_use_a_part_always_the_same_speaks_for_it(orchard):
    known = orchard.whole()
    users = [known["gslb"], orchard.gslb(fqdn="b.example.test", pools=[{"pool_id": known["gslb_pool"]}])]
    with orchard.database.transaction() as tx:
        assert uses.speakers(tx, "gslb_pool", [known["gslb_pool"]]) == {known["gslb_pool"]: min(users)}
        rows.lock_root(tx, min(users), GSLB)
        rows.delete(tx, GSLB, [min(users)], generation=work.ask(tx, min(users), kind=GSLB))
        assert uses.speakers(tx, "gslb_pool", [known["gslb_pool"]]) == {known["gslb_pool"]: max(users)}


def test_names_are_known_by_zone_and_by_name_living_or_not(orchard):
    known = orchard.whole()
    with orchard.database.transaction() as tx:
        (name,) = trees.in_zones(tx, [known["gslb_zone"]])
        assert (name.gslb_id, name.fqdn, name.deleted) == (known["gslb"], "www.example.test.", False)
        rows.lock_root(tx, known["gslb"], GSLB)
        rows.delete(tx, GSLB, [known["gslb"]], generation=work.ask(tx, known["gslb"], kind=GSLB))
        assert [name.deleted for name in trees.namesakes(tx, ["www.example.test."])] == [True]
        assert trees.count_members(tx) == 1


def claimed(orchard, count=1):
    return work.claim_some(orchard.database, "w", GSLB, count)


def test_claims_that_another_has_by_now_are_told_apart(orchard):
    orchard.gslb()
    orchard.gslb(fqdn="second.example.test")
    first, second = claimed(orchard, 2)
    with orchard.database.transaction() as tx:
        work.raise_fence(tx, second.root_id, second.fence + 1)
    with orchard.database.transaction() as tx:
        assert work.mine_of(tx, [first, second]) == {first}


def test_those_that_were_asked_for_meanwhile_are_due_at_once_and_the_others_when_time_says(orchard):
    orchard.gslb()
    orchard.gslb(fqdn="second.example.test")
    claims = claimed(orchard, 2)
    with orchard.database.transaction() as tx:
        for held in claims:
            work.settle(tx, held, Done(1))
        work.wake_roots(tx, [held.root_id for held in claims], kind=GSLB)
    first, second = claimed(orchard, 2)
    assert work.asked_again(orchard.database, [first, second]) == []
    orchard.ask(second.root_id)
    (again,) = work.asked_again(orchard.database, [first, second])
    assert (again.root_id, again.fence, again.asks) == (second.root_id, second.fence, second.asks + 1)
    with orchard.database.transaction() as tx:
        work.leave_all(tx, {first: 30.0, second: None})
    assert [held.root_id for held in claimed(orchard, 2)] == [second.root_id]
    with orchard.database.transaction() as tx:
        work.leave_all(tx, {first: None})


def test_an_attempt_under_way_may_come_to_cover_more(orchard):
    orchard.gslb()
    (held,) = claimed(orchard)
    with orchard.database.transaction() as tx:
        assert attempts.begin_all(tx, {held: 1}) == [held]
        assert attempts.begin_all(tx, {held: 2}) == []
        attempts.note_all(tx, {held: attempts.Said([(1.0, "so far")], 1, 2)})
