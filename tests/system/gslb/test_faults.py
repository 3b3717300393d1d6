# SPDX-License-Identifier: Apache-2.0
"""What ends, and what names are answered with then: real checkers, a real engine, a real PowerDNS."""

import os
import signal

import pytest

from bench.globe import CHANGE_S, LOCAL, Globe, stopped
from bench.waiting import pause, until
from tests.system.gslb.conftest import Service

pytestmark = pytest.mark.timeout(240)
A_WHILE_S = 1.5
"""For which nothing wrong may be answered."""


def operating(globe: Globe, *names: str) -> list[str]:
    statuses = {gslb["name"]: gslb["operating_status"] for gslb in globe.all("gslbs")}
    return [statuses[name] for name in names]


def test_a_member_that_dies_leaves_the_answers_and_comes_back(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    service.servers[first].close()
    globe.until_answered(name, [second])
    until(lambda: set(service.votes(first).values()) == {"DOWN"}, "all regions say so", CHANGE_S)
    assert set(service.votes(second).values()) == {"UP"}
    service.servers[first].open()
    globe.until_answered(name, [first, second])


def test_when_all_are_down_each_name_is_answered_as_its_owner_chose(globe: Globe, service: Service) -> None:
    (first, second), spare = service.addresses, "192.0.2.7"
    fallback = globe.pool(f"{service.name}f", None, [{"address": spare}])
    opened = service.named("open", on_all_down="fail_open")
    closed = service.named("closed", on_all_down="fail_closed")
    elsewhere = service.named("else", on_all_down="fallback_pool", fallback_pool_id=fallback)
    last = service.named("last", on_all_down="last_known")
    service.servers[first].close()
    for name in (opened, closed, elsewhere, last):
        globe.until_answered(name, [second])
    service.servers[second].close()
    globe.until_answered(opened, [first, second])
    globe.until_answered(closed, [])
    globe.until_answered(elsewhere, [spare])
    assert globe.answer(last) == [second]
    until(lambda: operating(globe, opened, closed) == ["FAIL_OPEN", "DOWN"], "that is told, too", CHANGE_S)
    service.servers[first].open()
    for name in (opened, closed, elsewhere, last):
        globe.until_answered(name, [first])


def test_a_checker_that_is_killed_takes_nobody_out_and_the_others_decide(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    globe.checkers["south"].kill()
    assert globe.stays(name, [first, second], A_WHILE_S)
    service.servers[first].close()
    globe.until_answered(name, [second])
    globe.checkers["south"].start()


def test_another_checker_of_the_region_goes_on_where_one_is_killed(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    more = globe.checker("north").start()
    try:
        until(lambda: globe.show(f"regions/{globe.regions['north']}")["checkers"] > 1, "it is heard of", CHANGE_S)
        globe.checkers["north"].kill()
        service.servers[first].close()
        globe.until_answered(name, [second])
        until(lambda: service.votes(first)["north"] == "DOWN", "its region says so, too", CHANGE_S)
    finally:
        globe.checkers["north"].start()
        until(globe.heard, "it is back", CHANGE_S)
        more.close()


def test_names_are_answered_while_the_conductor_and_the_engine_are_away(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    globe.kill("core")
    service.servers[first].close()
    assert globe.answer(name) is not None
    globe.until_answered(name, [second])
    globe.kill("api")
    service.servers[first].open()
    globe.until_answered(name, [first, second])


def test_an_engine_that_is_killed_while_it_publishes_leaves_nothing_half_done(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    with stopped(globe.name_server()):
        service.servers[first].close()
        until(lambda: list(service.votes(first).values()).count("DOWN") == 3, "all have seen it", CHANGE_S)
        pause(A_WHILE_S / 3)  # it is about to publish, or waits for the name server's answer
        globe.kill("core")
    globe.until_answered(name, [second])


def test_a_name_server_that_dies_comes_back_with_what_is_right_then(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    before = globe.name_server()
    os.kill(before, signal.SIGKILL)
    service.servers[first].close()
    until(lambda: globe.name_server() not in (0, before), "another one is there", CHANGE_S)
    globe.until_answered(name, [second])


def test_one_region_that_is_stopped_is_not_counted(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    with stopped(globe.checkers["south"].process.pid):
        until(lambda: service.votes(first).get("south") == "UNKNOWN", "its votes have expired", CHANGE_S)
        assert globe.answer(name) == sorted([first, second])
        service.servers[first].close()
        globe.until_answered(name, [second])


def test_when_most_regions_are_stopped_nothing_is_decided_anew(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    with stopped(globe.checkers["south"].process.pid), stopped(globe.checkers["north"].process.pid):
        for region in ("north", "south"):
            until(lambda region=region: service.votes(first).get(region) == "UNKNOWN", "expired", CHANGE_S)
        service.servers[first].close()
        until(lambda: service.votes(first)[LOCAL] == "DOWN", "the third has seen it", CHANGE_S)
        assert globe.stays(name, [first, second], A_WHILE_S)
    globe.until_answered(name, [second])


def test_a_region_that_is_cut_off_is_not_counted_and_says_what_it_saw_when_it_is_back(
    globe: Globe, service: Service
) -> None:
    name, (first, second) = service.named(), service.addresses
    globe.cables["north"].cut()
    try:
        until(lambda: service.votes(first).get("north") == "UNKNOWN", "its votes have expired", CHANGE_S)
        assert globe.answer(name) == sorted([first, second])
        service.servers[first].close()
        globe.until_answered(name, [second])
    finally:
        globe.cables["north"].mend()
    until(lambda: service.votes(first)["north"] == "DOWN", "it tells what it saw meanwhile", CHANGE_S)
