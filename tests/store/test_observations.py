# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

from caryatid.model import LISTENER, LOADBALANCER
from caryatid.store import observations
from caryatid.store.observations import Counters
from caryatid.store.work import Done


def test_the_last_word_is_kept(tx):
    observations.write(tx, [("member", "m", "lb", "ONLINE"), ("pool", "p", "lb", "ONLINE")], 1.5)
    observations.write(tx, [("member", "m", "lb", "ERROR")], 2.5)
    observations.write(tx, [], 3.5)
    assert observations.seen(tx, ["lb", "other"]) == {
        "lb": {("member", "m"): ("ERROR", 2.5), ("pool", "p"): ("ONLINE", 1.5)},
        "other": {},
    }
    assert observations.seen(tx, []) == {}


def test_counters_survive_restarts(tx):
    first = Counters("l1", "a1", "lb", "e1", bytes_in=100, bytes_out=5, active_connections=3, total_connections=7)
    observations.write_statistics(tx, [first])
    observations.write_statistics(tx, [replace(first, bytes_in=150)])
    observations.write_statistics(tx, [replace(first, epoch="e2", bytes_in=10, total_connections=1)])
    observations.write_statistics(tx, [replace(first, epoch="e2", bytes_in=20, total_connections=2)])
    found = observations.statistics(tx, listener_id="l1")
    assert (found["bytes_in"], found["total_connections"], found["active_connections"]) == (170, 9, 3)
    assert found["bytes_out"] == 10


def test_counters_beyond_what_a_column_holds_stay_at_its_end_and_fail_nobody(tx):
    most = observations.COUNT_MAX
    for epoch in ("e1", "e2", "e3"):
        huge = Counters("l1", "a1", "lb", epoch, bytes_in=most, active_connections=most)
        observations.write_statistics(tx, [huge, replace(huge, amphora_id="a2")])
    found = observations.statistics(tx, loadbalancer_id="lb")
    assert (found["bytes_in"], found["active_connections"], found["bytes_out"]) == (most, most, 0)
    assert observations.statistics_by_listener(tx, amphora_id="a1")[0]["bytes_in"] == most


def test_several_lives_of_several_processes_written_at_once_are_each_counted_once(tx):
    lives = [
        Counters(listener, amphora, "lb", epoch, bytes_in=count, active_connections=count)
        for epoch, count in (("e1", 100), ("e2", 10), ("e3", 1))
        for listener, amphora in (("l2", "a1"), ("l1", "a2"), ("l1", "a1"))
    ]
    observations.write_statistics(tx, lives)
    observations.write_statistics(tx, [replace(lives[-1], bytes_in=4)])
    assert observations.statistics(tx, listener_id="l2")["bytes_in"] == 111
    found = observations.statistics(tx, listener_id="l1")
    assert (found["bytes_in"], found["active_connections"]) == (111 + 114, 2)


def test_counters_are_summed_over_listeners_and_amphorae(tx):
    of = [("l1", "a1"), ("l1", "a2"), ("l2", "a1")]
    observations.write_statistics(
        tx, [Counters(listener, amphora, "lb", "e", bytes_in=1, active_connections=1) for listener, amphora in of]
    )
    assert observations.statistics(tx, loadbalancer_id="lb")["bytes_in"] == 3
    assert observations.statistics(tx, listener_id="l1")["bytes_in"] == 2
    assert observations.statistics(tx, amphora_id="a1")["bytes_in"] == 2
    assert observations.statistics(tx, amphora_id="nobody") == {
        "bytes_in": 0,
        "bytes_out": 0,
        "active_connections": 0,
        "total_connections": 0,
        "request_errors": 0,
    }
    listed = observations.statistics_by_listener(tx, amphora_id="a1")
    assert [(one["listener_id"], one["bytes_in"], one["loadbalancer_id"]) for one in listed] == [
        ("l1", 1, "lb"),
        ("l2", 1, "lb"),
    ]


def test_an_amphora_that_is_gone_has_no_connections_but_has_counted(tx):
    observations.write_statistics(tx, [Counters("l1", "a1", "lb", "e", bytes_in=9, active_connections=4)])
    observations.amphora_gone(tx, "a1")
    found = observations.statistics(tx, loadbalancer_id="lb")
    assert (found["bytes_in"], found["active_connections"]) == (9, 0)


def test_what_was_seen_goes_with_what_is_gone(garden):
    ids = garden.whole()
    root, listener = ids["loadbalancer"], ids["listener"]
    with garden.database.transaction() as tx:
        observations.write(tx, [("listener", listener, root, "ONLINE"), ("loadbalancer", root, root, "ONLINE")], 1.0)
        observations.write_statistics(tx, [Counters(listener, "a", root, "e", bytes_in=1)])
    garden.delete(LISTENER, root, listener)
    garden.settle(Done)
    with garden.database.transaction() as tx:
        assert set(observations.seen(tx, [root])[root]) == {("loadbalancer", root)}
        assert observations.statistics(tx, loadbalancer_id=root)["bytes_in"] == 0
    garden.delete(LOADBALANCER, root, root)
    garden.settle(Done)
    with garden.database.transaction() as tx:
        assert observations.seen(tx, [root])[root] == {}
        observations.write(tx, [("listener", listener, root, "ONLINE")], 2.0)  # a late report
        assert observations.purge(tx) == 1
        assert observations.seen(tx, [root])[root] == {}


def test_when_hosts_were_heard_of_is_forgotten_with_them(tx):
    observations.write_heard(tx, {"h1": 1.0, "h2": 2.0})
    observations.write_heard(tx, {"h1": 3.0})
    observations.write_heard(tx, {})
    assert observations.standing(tx, observations.HEARD) == {"h1": ("", 3.0), "h2": ("", 2.0)}
    observations.purge(tx)
    assert observations.standing(tx, observations.HEARD) == {}
