# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from caryatid.control import writes
from caryatid.control.health import Observer
from caryatid.control.initial import SUBNET_ID
from caryatid.model import AMPHORA, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.model.event import BEGINNING, Sought
from caryatid.store import events, observations, rows
from caryatid.wire.heartbeat import Report


@pytest.fixture
def chain(door, caller, drain):
    root = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document
    body = {"loadbalancer_id": root["id"], "protocol": "HTTP", "protocol_port": 80}
    listener = writes.create(door, caller, LISTENER, body).document
    body = {"listener_id": listener["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    pool = writes.create(door, caller, POOL, body).document
    member = writes.create(
        door, caller, MEMBER, {"address": "192.0.2.1", "protocol_port": 80}, parent_id=pool["id"]
    ).document
    drain()
    with door.database.read() as tx:
        (amphora,) = rows.find(tx, AMPHORA)
    return root, listener, pool, member, amphora


def report(chain, at=1, host=None, word="UP", epoch="e1", counters=(1, 2, 3, 4, 0)):
    root, listener, pool, member, amphora = chain
    message = {
        "amphora_id": amphora["id"],
        "loadbalancer_id": root["id"],
        "generation": 4,
        "epoch": epoch,
        "at": at,
        "full": True,
        "running": True,
        "part": (0, 1),
        "listeners": {listener["id"]: ("OPEN", *counters)},
        "pools": {f"{pool['id']}:{listener['id']}": ("UP" if word == "UP" else "DOWN", {member["id"]: word})},
    }
    return Report(host or amphora["compute_id"], 1, at, [message])


def statuses(door, chain):
    with door.database.read() as tx:
        return [
            rows.get(tx, kind, document["id"])["operating_status"]
            for kind, document in zip((LOADBALANCER, LISTENER, POOL, MEMBER), chain, strict=False)
        ]


def test_what_agents_report_is_shown(door, chain):
    observer = Observer(door.database)
    observer.take(report(chain))
    observer.flush()
    assert statuses(door, chain) == ["ONLINE"] * 4
    observer.take(report(chain, at=2, word="DOWN"))
    observer.flush()
    assert statuses(door, chain) == ["ERROR", "ONLINE", "ERROR", "ERROR"]


def test_only_what_changed_is_written(door, chain):
    observer = Observer(door.database)
    observer.take(report(chain))
    assert observer.flush() == 4
    observer.take(report(chain, at=2))
    assert observer.flush() == 0


def told(door, since=BEGINNING):
    with door.database.read() as tx:
        found = events.after(tx, since, sought=Sought(user_id="system:health"))
        return [(e["kind"], e["detail"]["changed"], e["detail"].get("cause")) for e in found], events.last(tx)


def test_each_edge_of_a_status_is_an_event_with_its_cause(door, chain):
    root, _, _, member, amphora = chain
    observer = Observer(door.database)
    observer.take(report(chain))
    observer.flush()
    heard = f"Reported by host {amphora['compute_id']}."
    online = {"operating_status": [None, "ONLINE"]}
    kinds = ("member", "pool", "listener", "loadbalancer")
    found, since = told(door)
    assert found == [(kind, online, heard) for kind in kinds]
    down = report(chain, at=2, word="DOWN")
    down.messages[0]["checks"] = {member["id"]: "L7STS 503"}
    observer.take(down)
    observer.flush()
    error = {"operating_status": ["ONLINE", "ERROR"]}
    why = f"Its check failed: the answer was 503 (L7STS 503). {heard}"
    found, since = told(door, since)
    assert found == [("member", error, why), ("pool", error, heard), ("loadbalancer", error, heard)]
    with door.database.read() as tx:
        (event,) = events.newest(tx, limit=1)
    assert (event["project_id"], event["loadbalancer_id"]) == (root["project_id"], root["id"])
    again = Observer(door.database)  # the process was started again
    again.take(report(chain, at=3, word="DOWN"))
    again.flush()
    assert told(door, since)[0] == []


def test_what_a_driver_of_somebody_elses_says_is_an_event_when_it_is_new(door, chain):
    root = chain[0]["id"]
    observer = Observer(door.database)
    for word in ("OFFLINE", "ONLINE", "ONLINE"):
        observer.update_health({"loadbalancers": {root: {"loadbalancer-status": word}}})
    assert [changed["operating_status"] for _, changed, _ in told(door)[0]] == [
        [None, "OFFLINE"],
        ["OFFLINE", "ONLINE"],
    ]


def test_a_part_in_a_pair_that_vrrp_gives_is_an_event(door, chain):
    observer = Observer(door.database)
    for at, role in enumerate(("BACKUP", "BACKUP", "MASTER"), start=1):
        one = report(chain, at=at)
        one.messages[0]["role"] = role
        observer.take(one)
        observer.flush()
    roles = [changed["role"] for kind, changed, _ in told(door)[0] if kind == "amphora"]
    assert roles == [[None, "BACKUP"], ["BACKUP", "MASTER"]]


def test_when_a_host_was_heard_of_is_written_with_the_counters(door, chain):
    observer = Observer(door.database)
    observer.take(report(chain))
    observer.flush(tally=False)

    def heard():
        with door.database.read() as tx:
            return observations.standing(tx, observations.HEARD)

    assert heard() == {}
    began = time.time()
    observer.take(report(chain, at=2))
    observer.flush()
    ((host, (_, at)),) = heard().items()
    assert (host, began <= at <= time.time()) == (chain[-1]["compute_id"], True)
    observer.flush()
    assert heard() == {host: ("", at)}


def test_a_host_cannot_speak_for_anothers_amphorae(door, chain):
    observer = Observer(door.database)
    observer.take(report(chain, host="somebody else"))
    observer.flush()
    assert statuses(door, chain)[0] == "OFFLINE"


def test_counters_survive_restarts_of_haproxy_and_of_the_receiver(door, chain):
    def total():
        with door.database.read() as tx:
            return observations.statistics(tx, loadbalancer_id=chain[0]["id"])["bytes_in"]

    observer = Observer(door.database)
    observer.take(report(chain, at=1, counters=(10, 0, 0, 0, 0)))
    observer.take(report(chain, at=2, epoch="e2", counters=(1, 0, 0, 0, 0)))
    observer.flush()
    assert total() == 11
    observer.take(report(chain, at=1, counters=(12, 0, 0, 0, 0)))
    observer.flush()
    assert total() == 11, "what is late does not count"
    later = Observer(door.database)
    later.take(report(chain, at=3, epoch="e2", counters=(5, 0, 0, 0, 0)))
    later.flush()
    assert total() == 15


def test_counters_of_datagrams_go_on_while_haproxys_begin_anew(door, caller, chain):
    body = {"loadbalancer_id": chain[0]["id"], "protocol": "UDP", "protocol_port": 53}
    datagrams = writes.create(door, caller, LISTENER, body).document["id"]

    def both(at, epoch, of_haproxy, of_datagrams):
        (message,) = report(chain, at=at, epoch=epoch, counters=(of_haproxy, 0, 0, 0, 0)).messages
        listeners = {datagrams: ("OPEN", of_datagrams, 0, 0, 0, 0)}
        second = {**message, "epoch": "datagrams.1", "part": (1, 2), "listeners": listeners, "pools": {}}
        return Report(chain[4]["compute_id"], 1, at, [{**message, "part": (0, 2)}, second])

    def counted(listener_id):
        with door.database.read() as tx:
            return observations.statistics(tx, listener_id=listener_id)["bytes_in"]

    observer = Observer(door.database)
    for at, (epoch, *numbers) in enumerate([("e1", 10, 100), ("e1", 20, 200), ("e2", 5, 300), ("e2", 5, 300)], 1):
        observer.take(both(at, epoch, *numbers))
        observer.flush()
    assert (counted(chain[1]["id"]), counted(datagrams)) == (25, 300)
    assert statuses(door, chain) == ["ONLINE"] * 4


def test_a_status_is_written_at_once_and_counters_when_it_is_their_turn(door, chain):
    def counted():
        with door.database.read() as tx:
            return observations.statistics(tx, loadbalancer_id=chain[0]["id"])["bytes_in"]

    observer = Observer(door.database)
    observer.take(report(chain, at=1, counters=(10, 0, 0, 0, 0)))
    assert observer.flush(tally=False) == 4
    assert (statuses(door, chain), counted()) == (["ONLINE"] * 4, 0)
    observer.take(report(chain, at=2, counters=(30, 0, 0, 0, 0)))
    observer.flush()
    assert counted() == 30


def test_counters_that_have_not_moved_are_right_whoever_wrote_them(door, chain):
    def counted():
        with door.database.read() as tx:
            found = observations.statistics(tx, loadbalancer_id=chain[0]["id"])
            return found["bytes_in"], found["active_connections"]

    one, other = Observer(door.database), Observer(door.database)
    said = [(one, (10, 0, 3, 5, 0)), (other, (20, 0, 2, 6, 0)), (one, (20, 0, 2, 6, 0)), (one, (20, 0, 2, 6, 0))]
    for at, (observer, counters) in enumerate(said, 1):
        observer.take(report(chain, at=at, counters=counters))
        observer.flush()
        assert counted() == (counters[0], counters[2])
    one.take(report(chain, at=9, epoch="e2", counters=(20, 0, 2, 6, 0)))
    one.flush()
    assert counted() == (40, 2), "the same numbers in another life of the process are others"


def test_amphorae_of_one_report_are_met_together_and_strangers_do_not_hinder(door, chain):
    observer = Observer(door.database)
    both = report(chain)
    both.messages.insert(0, {**both.messages[0], "amphora_id": "nobody", "loadbalancer_id": "nothing"})
    assert not observer.take(both), "the host was not heard before"
    assert observer.flush() == 4
    assert statuses(door, chain) == ["ONLINE"] * 4


def test_a_disabled_load_balancer_is_offline_whatever_is_seen(door, caller, chain):
    observer = Observer(door.database)
    observer.take(report(chain))
    observer.flush()
    writes.change(door, caller, LOADBALANCER, chain[0]["id"], {"admin_state_up": False})
    assert statuses(door, chain)[0] == "OFFLINE"


def test_somebody_elses_driver_tells_health_and_statistics_in_the_seeds_words(door, chain):
    root, listener, _pool, member, _ = chain
    observer = Observer(door.database)
    node = {member["id"]: "ERROR"}
    told = {
        "loadbalancer-status": "DEGRADED",
        "listeners": {listener["id"]: {"listener-status": "HEALTHY", "nodes": node}},
    }
    observer.update_health({"amphora-status": "HEALTHY", "loadbalancers": {root["id"]: told}})
    observer.update_stats({root["id"]: {listener["id"]: {"bytes-in": 7, "bytes_out": 8, "total_connections": 2}}})
    assert statuses(door, chain) == ["DEGRADED", "ONLINE", "OFFLINE", "ERROR"]
    with door.database.read() as tx:
        assert observations.statistics(tx, listener_id=listener["id"])["bytes_out"] == 8


def test_who_begins_to_listen_in_the_middle_forgets_nobody_and_wants_to_be_told_everything(door, chain):
    first = Observer(door.database)
    first.take(report(chain))
    first.flush()

    news = report(chain, at=2)
    news.messages[0].update(full=False, pools={})
    second = Observer(door.database)
    assert not second.take(news)
    second.flush()
    assert statuses(door, chain) == ["ONLINE"] * 4, "what was not named is as it was"

    news = report(chain, at=3, word="DOWN")
    news.messages[0].update(full=False, listeners={})
    assert not second.take(news)
    second.flush()
    assert statuses(door, chain) == ["ONLINE", "ONLINE", "ONLINE", "ERROR"], "what was named is news"

    assert second.take(report(chain, at=4, word="DOWN"))
    second.flush()
    assert statuses(door, chain) == ["ERROR", "ONLINE", "ERROR", "ERROR"]


def role_of(door, amphora_id):
    with door.database.read() as tx:
        return observations.roles_of(tx, [amphora_id]).get(amphora_id)


def test_the_part_that_an_amphora_has_in_its_pair_is_written_when_it_changes(door, chain):
    observer, amphora_id = Observer(door.database), chain[-1]["id"]
    for at, word, shown in ((1, "BACKUP", "BACKUP"), (3, "MASTER", "MASTER"), (2, "FAULT", "MASTER")):
        told = report(chain, at=at)
        told.messages[0]["role"] = word
        observer.take(told)
        observer.flush()
        assert role_of(door, amphora_id) == shown
    observer.take(report(chain, at=4))
    assert observer.flush() == 0


def test_of_a_pair_only_who_said_so_last_is_the_master(door, chain):
    observer, root, first = Observer(door.database), chain[0], chain[-1]
    second = {**first, "id": "33333333-0000-4000-8000-000000000001"}
    with door.database.transaction() as tx:
        rows.insert(tx, AMPHORA, [AMPHORA.load(second)])
    for amphora in (first, second):
        told = report((root, *chain[1:4], amphora))
        told.messages[0]["role"] = "MASTER"
        observer.take(told)
        observer.flush()
    assert (role_of(door, first["id"]), role_of(door, second["id"])) == ("FAULT", "MASTER")


def replaced(door, chain, **different):
    """The same load balancer with another amphora beside the one it had."""
    second = {**chain[-1], "id": "33333333-0000-4000-8000-000000000001", **different}
    with door.database.transaction() as tx:
        rows.insert(tx, AMPHORA, [AMPHORA.load(second)])
    return (*chain[:-1], second)


def test_what_an_amphora_saw_before_it_was_replaced_no_longer_counts(door, chain):
    observer, new = Observer(door.database), replaced(door, chain)
    observer.take(report(chain))
    observer.take(report(new, word="DOWN"))
    observer.flush()
    assert statuses(door, chain) == ["ONLINE"] * 4, "of two that live the best is shown"
    with door.database.transaction() as tx:
        rows.delete(tx, AMPHORA, [chain[-1]["id"]])
    observer.forget_gone(replaced=True)
    observer.flush()
    assert statuses(door, chain) == ["ERROR", "ONLINE", "ERROR", "ERROR"]


def test_what_a_dead_process_saw_says_nothing_while_another_lives(door, chain):
    observer, new = Observer(door.database), replaced(door, chain)
    observer.take(report(chain))
    observer.take(report(new, word="DOWN"))
    dead = report(chain, at=2)
    dead.messages[0].update(full=False, running=False, listeners={}, pools={})
    observer.take(dead)
    observer.flush()
    assert statuses(door, chain) == ["ERROR", "ONLINE", "ERROR", "ERROR"]


def test_who_is_silent_is_no_witness_while_another_speaks(door, chain):
    observer, new = Observer(door.database), replaced(door, chain, compute_id="elsewhere")
    observer.take(report(chain))
    observer.take(report(new, word="DOWN"))
    observer.hosts[chain[-1]["compute_id"]] -= 60
    observer.flush()
    assert statuses(door, chain) == ["ERROR", "ONLINE", "ERROR", "ERROR"]
