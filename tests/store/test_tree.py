# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from caryatid.errors import NotFound
from caryatid.model import (
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    FLAVOR,
    FLAVORPROFILE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
)
from caryatid.store import rows
from caryatid.store import tree as trees
from caryatid.store.work import Done

ID = "00000000-0000-4000-8000-00000000000{}"


def load(garden, root, refused=()):
    with garden.database.read() as tx:
        return trees.load_good(tx, root, refused=refused)


def test_a_tree_has_all_that_is_wanted_linked(garden):
    ids = garden.whole()
    garden.whole()
    tree = load(garden, ids["loadbalancer"])
    assert (tree.loadbalancer.id, tree.generation, tree.deleted) == (ids["loadbalancer"], len(ids), False)
    (listener,) = tree.listeners
    (policy,) = listener.l7policies
    assert listener.default_pool.pool.id == ids["pool"]
    assert [rule.id for rule in policy.rules] == [ids["l7rule"]]
    (limit,) = listener.rate_limits
    assert (limit.policy.id, [rule.id for rule in limit.rules]) == (ids["ratelimitpolicy"], [ids["ratelimitrule"]])
    assert [member.id for member in tree.pools[0].members] == [ids["member"]]
    assert tree.pools[0].healthmonitor.id == ids["healthmonitor"]
    with garden.database.read() as tx:
        assert trees.load(tx, ids["pool"]) is None
        with pytest.raises(NotFound):
            trees.rows_of(tx, ids["pool"])
        loadbalancer, found = trees.rows_of(tx, ids["loadbalancer"], members=False)
        assert (loadbalancer.id, found.members, len(found.pools)) == (ids["loadbalancer"], (), 1)
        assert trees.load(tx, ids["loadbalancer"], members=False).pools[0].members == ()


def test_what_is_being_deleted_is_not_in_the_tree_but_listeners_are_told(garden):
    ids = garden.whole()
    root = ids["loadbalancer"]
    garden.delete(MEMBER, root, ids["member"])
    garden.delete(LISTENER, root, ids["listener"])
    tree = load(garden, root)
    assert tree.listeners == ()
    assert [listener.id for listener in tree.leaving] == [ids["listener"]]
    assert tree.pools[0].members == ()
    garden.delete(LOADBALANCER, root, root)
    assert load(garden, root).deleted


def test_a_tree_is_equal_while_what_is_wanted_is(garden):
    root = garden.whole()["loadbalancer"]
    before = load(garden, root)
    garden.settle(Done)
    assert load(garden, root) == before


def test_what_is_refused_has_the_form_in_which_it_was_last_in_effect(garden):
    root = garden.root()
    first, second = garden.add(POOL, root, name="first"), garden.add(POOL, root, name="second")
    listener = garden.add(LISTENER, root, name="good", default_pool_id=first)
    garden.settle(Done)
    garden.change(LISTENER, root, listener, name="bad", default_pool_id=second)
    garden.change(POOL, root, second, name="better")
    tree = load(garden, root, [listener])
    assert (tree.listeners[0].listener.name, tree.listeners[0].default_pool.pool.id) == ("good", first)
    assert tree.pools[1].pool.name == "better"
    assert load(garden, root).listeners[0].listener.name == "bad"


def test_a_good_form_outlives_touches_and_further_refused_changes(garden):
    root = garden.root()
    pool = garden.add(POOL, root, name="good")
    garden.settle(Done)
    garden.touch(POOL, root, pool)
    garden.change(POOL, root, pool, name="bad")
    garden.settle(lambda generation: Done(generation, {pool: "no"}))
    assert load(garden, root, [pool]).pools[0].pool.name == "good"
    garden.touch(POOL, root, pool)
    garden.change(POOL, root, pool, name="worse")
    garden.settle(lambda generation: Done(generation, {pool: "no"}))
    garden.change(POOL, root, pool, name="worst")
    assert load(garden, root, [pool]).pools[0].pool.name == "good"
    garden.settle(Done)
    garden.change(POOL, root, pool, name="newer")
    assert load(garden, root, [pool]).pools[0].pool.name == "worst"


def test_what_never_was_in_effect_is_left_out_when_refused(garden):
    root = garden.root()
    old = garden.add(POOL, root)
    garden.settle(Done)
    new = garden.add(POOL, root)
    assert [node.pool.id for node in load(garden, root, [new]).pools] == [old]
    garden.change(POOL, root, new, name="again")
    assert [node.pool.id for node in load(garden, root, [new]).pools] == [old]


def test_what_is_refused_as_it_was_in_effect_is_left_out(garden):
    root = garden.root()
    pool = garden.add(POOL, root)
    garden.change(POOL, root, pool, name="x")
    garden.settle(Done)
    assert load(garden, root, [pool]).pools == ()


def test_flavor_and_zone_say_what_their_profiles_say(garden):
    data = json.dumps({"loadbalancer_topology": "ACTIVE_STANDBY"})
    with garden.database.transaction() as tx:
        body = {"name": "p", "provider_name": "amphora", "flavor_data": data}
        profile = FLAVORPROFILE.new(body, {"id": ID.format(1)})
        flavor = FLAVOR.new({"name": "f", "flavor_profile_id": profile.id}, {"id": ID.format(2)})
        body = {"name": "z", "provider_name": "amphora", "availability_zone_data": '{"where": "here"}'}
        zone_profile = AVAILABILITY_ZONE_PROFILE.new(body, {"id": ID.format(3)})
        body = {"name": "here", "availability_zone_profile_id": zone_profile.id}
        zone = AVAILABILITY_ZONE.new(body, {"id": ID.format(4)})
        rows.insert(tx, FLAVORPROFILE, [profile])
        rows.insert(tx, FLAVOR, [flavor])
        rows.insert(tx, AVAILABILITY_ZONE_PROFILE, [zone_profile])
        rows.insert(tx, AVAILABILITY_ZONE, [zone])
    tree = load(garden, garden.root(flavor_id=flavor.id, availability_zone="here"))
    assert (tree.flavor, tree.zone) == ({"loadbalancer_topology": "ACTIVE_STANDBY"}, {"where": "here"})
    tree = load(garden, garden.root())
    assert (tree.flavor, tree.zone) == ({}, {})
