# SPDX-License-Identifier: Apache-2.0
"""Who has been wrong too often has to wait."""

import pytest

from caryatid.drivers.identity.lockout import FORGOTTEN_S, LONGEST_S, OF_ADDRESS, OF_USER, Lockout

HERE = "192.0.2.1"


def failed(lockout, user, address, times, now=0.0):
    for _ in range(times):
        lockout.failed(user, address, now)


def test_some_failures_cost_nothing_and_more_of_them_more_each_time():
    lockout = Lockout()
    failed(lockout, "alice", HERE, OF_USER)
    assert lockout.wait_s("alice", HERE, 0.0) == 0
    waits = []
    for _ in range(14):
        lockout.failed("alice", HERE, 0.0)
        waits.append(lockout.wait_s("alice", "192.0.2.2", 0.0))
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_S
    assert lockout.wait_s("alice", "192.0.2.2", LONGEST_S) == 0


def test_a_success_forgives_the_user_and_not_the_address():
    lockout = Lockout()
    failed(lockout, "alice", HERE, OF_ADDRESS + 1)
    lockout.passed("alice")
    assert lockout.wait_s("alice", "192.0.2.2", 0.0) == 0
    assert lockout.wait_s("bob", HERE, 0.0) > 0


def test_after_a_while_it_is_as_if_nothing_had_been():
    lockout = Lockout()
    failed(lockout, "alice", HERE, OF_USER + 3)
    later = FORGOTTEN_S + 1
    lockout.failed("alice", HERE, later)
    assert lockout.wait_s("alice", HERE, later) == 0


@pytest.mark.parametrize(("first", "second", "same"), [
    ("2001:db8::1", "2001:db8::ffff:1", True),
    ("2001:db8::1", "2001:db8:0:1::1", False),
    ("::ffff:192.0.2.1", "192.0.2.1", True),
    ("192.0.2.1", "192.0.2.2", False),
    ("", "", True),
])  # fmt: skip
def test_a_client_cannot_choose_another_address(first, second, same):
    lockout = Lockout()
    for number in range(OF_ADDRESS + 1):
        lockout.failed(f"user{number}", first, 0.0)
    assert (lockout.wait_s("somebody", second, 0.0) > 0) == same


def test_no_more_is_remembered_than_there_is_room_for():
    lockout = Lockout(known_max=10)
    for number in range(100):
        failed(lockout, f"user{number}", f"192.0.2.{number}", 1)
    assert len(lockout._known) <= 10
