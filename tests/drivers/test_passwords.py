# SPDX-License-Identifier: Apache-2.0
"""Passwords are compared, and do not take the machine."""

import threading

import pytest

from caryatid.drivers.identity import passwords
from caryatid.drivers.identity.passwords import AT_ONCE, WAITING_MAX, Passwords, hashed
from caryatid.errors import Busy


def test_a_password_is_right_or_wrong():
    known = Passwords()
    kept = hashed("correct horse")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "correct" not in kept
    assert known.right(kept, "correct horse")
    assert not known.right(kept, "correct horsE")
    assert not known.right(None, "correct horse")
    assert not known.right("no hash", "correct horse")


def test_the_same_password_is_kept_in_another_form_each_time():
    assert hashed("correct horse") != hashed("correct horse")


def test_too_many_at_once_are_sent_away(monkeypatch):
    """Those that are looked at and those that wait are few; the next one holds no thread."""
    known, go = Passwords(), threading.Event()
    entered = threading.Semaphore(0)

    def slow(_kept, _password):
        entered.release()
        return go.wait(20)

    monkeypatch.setattr(passwords, "_same", slow)
    threads = [threading.Thread(target=known.right, args=("x", "y")) for _ in range(AT_ONCE + WAITING_MAX)]
    for thread in threads:
        thread.start()
    for _ in range(AT_ONCE):
        assert entered.acquire(timeout=20)
    deadline = threading.Event()
    for _ in range(200):
        if known._room._value == 0:
            break
        deadline.wait(0.05)
    with pytest.raises(Busy):
        known.right("x", "y")
    go.set()
    for thread in threads:
        thread.join(20)
    assert known.right("x", "y")
