# SPDX-License-Identifier: Apache-2.0
"""Whatever dies under traffic, load balancers serve again before a deadline, each from exactly one place."""

import contextlib
import os
import signal
import sqlite3

import pytest

from bench.waiting import pause, until
from caryatid.agent.plug import mac_of
from tests.system.site.town import WITHIN_S, holders, serves, traffic

SETTLED_S = 5
"""Longer than a judge needs to lose a host: what has not moved until then does not."""
LOCKED_S = 8


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("program", "place"), [("haproxy", 0), ("haproxy", -1), ("keepalived", 0), ("keepalived", -1)])
def test_a_program_of_a_pair_is_killed_and_one_place_answers(town, pair, program, place):
    with traffic(pair, *town.kept[1:]) as requests:
        kill(town.programs(town.amphora(pair, "MASTER"), program)[place])
        town.recovers(pair)
    assert {failure.root_id for failure in requests.failures} <= {pair["id"]}
    assert all(path.good for path in requests.paths.values())


def test_a_cable_within_the_host_is_out_and_the_other_answers(town, pair):
    amphora = town.amphora(pair, "MASTER")
    town.port(amphora, "down")
    try:
        until(lambda: town.amphora(pair, "MASTER")["id"] != amphora["id"], "the role shown follows", WITHIN_S)
        serves(pair["vip_address"])
    finally:
        town.port(amphora, "up")
    town.recovers(pair)


def test_a_host_is_out_of_the_vips_network_and_the_other_answers(town, pair):
    host = town.host(pair, "MASTER")
    host.cut(manage=False)
    try:
        serves(pair["vip_address"])
    finally:
        pause(1)
        host.mend()
    town.settles()


def test_a_killed_agent_costs_no_request_and_moves_nothing(town, pair):
    host = town.host(pair, "MASTER")
    agent = host.agent()
    before = town.placed()
    with traffic(*town.kept) as requests:
        kill(agent)
        until(lambda: host.agent() not in {None, agent}, "another agent is there", WITHIN_S)
        town.settles()
    assert not requests.failures
    assert town.placed() == before


def test_a_dead_host_is_replaced_and_leaves_nothing_when_it_returns(town, pair, singles):
    host = town.host(pair, "MASTER")
    lost = {key for key, where in town.placed().items() if where == town.made.enrolled()[host.name]["id"]}
    frozen = town.events().count(("freeze", "failovers"))
    with traffic(*town.kept) as requests:
        host.kill()
        until(lambda: not lost & town.placed().keys(), "all that it carried has been replaced", WITHIN_S, 0.2)
        town.recovers(*town.kept)
        host.mend()
        host.start()
        town.settles()
    assert all(path.good for path in requests.paths.values())
    assert town.events().count(("freeze", "failovers")) == frozen


def test_when_two_of_three_hosts_are_silent_nothing_moves_until_they_speak(town):
    before, said = town.placed(), len(town.events())
    hosts = town.made.hosts[:2]
    with traffic(*town.kept) as requests:
        for host in hosts:
            host.cut(outside=False)
        try:
            until(lambda: ("freeze", "failovers") in town.events()[said:], "failovers are frozen", WITHIN_S)
            pause(SETTLED_S)
        finally:
            for host in hosts:
                host.mend()
        until(lambda: ("unfreeze", "failovers") in town.events()[said:], "the freeze is lifted", WITHIN_S)
        pause(SETTLED_S)
        town.settles()
    assert not requests.failures
    assert ("lost", "host") not in town.events()[said:]
    assert town.placed() == before


def test_neither_a_killed_controller_nor_a_locked_database_moves_anything(town):
    before, said = town.placed(), len(town.events())
    with traffic(*town.kept) as requests:
        town.restart_core()
        pause(SETTLED_S)
        with contextlib.closing(sqlite3.connect(town.database, timeout=30)) as database:
            database.execute("BEGIN EXCLUSIVE")
            pause(LOCKED_S)
            database.rollback()
        pause(SETTLED_S)
        town.settles()
    assert not requests.failures
    assert ("lost", "host") not in town.events()[said:]
    assert town.placed() == before


@pytest.mark.parametrize("after_s", [0.1, 0.6])
def test_a_failover_is_completed_by_the_next_worker(town, pair, singles, after_s):
    moved = [pair, singles[0]]
    before = {one["id"] for root in moved for one in town.made.amphorae(root["id"])}
    with traffic(*town.kept) as requests:
        for root in moved:
            town.do(f"/v2/lbaas/loadbalancers/{root['id']}/failover")
        pause(after_s)
        town.restart_core()
        until(lambda: not before & town.placed().keys(), "all amphorae are new ones", WITHIN_S, 0.2)
        town.settles()
    assert {failure.root_id for failure in requests.failures} <= {root["id"] for root in moved}


def test_a_host_that_only_controllers_have_lost_gives_its_vips_up(town, singles):
    root = singles[0]
    host, old = town.host(root), town.amphora(root)["id"]
    vip = root["vip_address"]
    assert holders(vip) == {mac_of(old, 0)}
    with traffic(root) as requests:
        host.cut(outside=False)
        try:
            new = until(lambda: town.serving(root) - {old}, "there is a replacement", WITHIN_S)
            until(lambda: holders(vip) == {mac_of(key, 0) for key in new}, "it alone has the VIP", WITHIN_S, 0.2)
            serves(vip)
        finally:
            host.mend()
        town.settles()
    assert requests.good
    assert town.serving(root) == new


def test_an_operator_moves_load_balancers_under_traffic(town, pair, singles):
    with traffic(*town.kept) as requests:
        for root in (pair, singles[0]):
            before = {one["id"] for one in town.made.amphorae(root["id"])}
            town.do(f"/v2/lbaas/loadbalancers/{root['id']}/failover")
            until(lambda before=before: not before & town.placed().keys(), "its amphorae are new ones", WITHIN_S, 0.1)
            town.recovers(root)
        backup = town.amphora(pair, "BACKUP")["id"]
        town.do(f"/v2/octavia/amphorae/{backup}/failover")
        until(lambda: backup not in town.placed(), "the standby is a new one", WITHIN_S, 0.1)
        town.settles()
    assert {failure.root_id for failure in requests.failures} <= {pair["id"], singles[0]["id"]}


def test_a_host_is_evacuated_under_traffic(town, singles):
    host = town.made.enrolled()[town.host(singles[1]).name]
    there = {key for key, where in town.placed().items() if where == host["id"]}
    moving = {one["loadbalancer_id"] for one in town.made.made.get("/v2/octavia/amphorae") if one["id"] in there}
    with traffic(*town.kept) as requests:
        acted = town.do(f"/v1/hosts/{host['id']}/evacuate")
        town.jobs(acted["jobs"])
        until(lambda: host["id"] not in town.placed().values(), "nothing is left there", WITHIN_S, 0.1)
        town.do(f"/v1/hosts/{host['id']}/enable")
        town.settles()
    assert {failure.root_id for failure in requests.failures} <= moving
