# SPDX-License-Identifier: Apache-2.0
"""The engine in a process: wakes, goes on when others hang, and is gone when it is told to go."""

import threading
from contextlib import contextmanager

import pytest

from bench.waiting import until
from caryatid.config import Settings
from caryatid.control import initial
from caryatid.drivers.dns.base import DnsError
from caryatid.drivers.noop import WORLD
from caryatid.model import GSLB
from caryatid.services.engine import Engine
from caryatid.store.wake import Wakeups
from tests.control.gslb.globe import Globe
from tests.doors import open_door

A, B = "192.0.2.1", "192.0.2.2"
DEADLINE_S = 30


@pytest.fixture
def globe(tmp_path, database):
    WORLD.forget()
    door = open_door(database, Settings(state_dir=tmp_path, compute_driver="noop"))
    initial.ensure(door)
    yield Globe(door)
    WORLD.forget()


@contextmanager
def running(globe):
    wakeups = Wakeups(globe.database)
    wakeups.start()
    engine = Engine(globe.door, wakeups)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        wakeups.close()


@pytest.fixture
def engine(globe):
    with running(globe) as engine:
        yield engine


def told(globe, name, *addresses):
    until(lambda: globe.told(name) == list(addresses), f"{name} is answered with {addresses}", DEADLINE_S)


def test_a_change_is_answered_without_anybody_asking(globe, engine):
    globe.pool("near", A)
    globe.pool("far", B)
    globe.say(A, "UUU")
    globe.say(B, "UUU")
    key = globe.gslb("www", "near", "far")
    told(globe, "www", A)
    globe.say(A, "DDD")
    told(globe, "www", B)
    globe.say(A, "UUU")
    told(globe, "www", A)
    until(lambda: globe.get(GSLB, key)["provisioning_status"] == "ACTIVE", "it is settled", DEADLINE_S)


def test_many_names_are_told_together(globe):
    globe.pool("near", A)
    for number in range(60):
        globe.gslb(f"www{number}", "near")
    with running(globe):
        until(lambda: all(globe.told(f"www{number}") == [A] for number in range(60)), "all are answered", DEADLINE_S)
    assert WORLD.publishes <= 3


def test_a_backend_that_hangs_keeps_nobody_else_waiting(globe, engine):
    globe.pool("near", A)
    globe.elsewhere("other", "other.test.")
    hung, over = threading.Event(), threading.Event()

    def hang(_call, act):
        if act == "publish" and not hung.is_set():
            hung.set()
            over.wait(DEADLINE_S)
            raise DnsError("It hangs.")

    WORLD.mishap = hang
    globe.gslb("www", "near")
    assert hung.wait(DEADLINE_S)
    globe.gslb("www", "near", zone="other.test.")
    until(lambda: globe.told("www", zone="other.test.") == [A], "the other zone is answered", DEADLINE_S)
    assert globe.told("www") is None
    over.set()
    told(globe, "www", A)


def test_a_name_server_that_says_nothing_does_not_keep_a_name_from_being_changed_again(globe, engine):
    globe.pool("near", A)
    globe.pool("far", B)
    globe.say(A, "UUU")
    globe.say(B, "UUU")
    over = threading.Event()

    def hang(_call, act):
        if act == "verify":
            over.wait(DEADLINE_S)

    WORLD.mishap = hang
    key = globe.gslb("www", "near", "far")
    told(globe, "www", A)
    globe.say(A, "DDD")
    told(globe, "www", B)
    globe.say(A, "UUU")
    told(globe, "www", A)
    assert globe.get(GSLB, key)["provisioning_status"] == "PENDING_CREATE"
    over.set()
    until(lambda: globe.get(GSLB, key)["provisioning_status"] == "ACTIVE", "it is settled", DEADLINE_S)


def test_when_a_backend_is_back_all_that_waited_for_it_is_published(globe, engine):
    globe.pool("near", A)

    def away(_call, act):
        if act == "publish":
            raise DnsError("Nobody listens.")

    WORLD.mishap = away
    keys = [globe.gslb(f"www{number}", "near") for number in range(3)]
    until(lambda: all(globe.tries(key) > 1 for key in keys), "it is tried again and again", DEADLINE_S)
    WORLD.mishap = lambda _call, _act: None
    for number in range(3):
        told(globe, f"www{number}", A)


def test_while_connections_to_the_database_are_lost_nothing_is(globe, engine):
    globe.pool("near", A)
    globe.pool("far", B)
    globe.say(B, "UUU")
    key = globe.gslb("www", "near", "far")
    for words, answered in (("DDD", B), ("UUU", A)) * 2:
        globe.say(A, words)
        globe.cut_off()
        told(globe, "www", answered)
    until(lambda: globe.get(GSLB, key)["provisioning_status"] == "ACTIVE", "it is settled", DEADLINE_S)
