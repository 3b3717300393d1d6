# SPDX-License-Identifier: Apache-2.0
"""A door to the noop world, on a SQLite file of its own, and a worker without threads."""

import pytest

from caryatid.config import Settings
from caryatid.control import initial
from caryatid.control.attempt import Attempt
from caryatid.control.reconcile import attend
from caryatid.drivers.noop import WORLD
from caryatid.model.policy import Caller
from caryatid.store import migrate, work
from caryatid.store.database import Database
from tests.doors import open_door


@pytest.fixture
def world():
    WORLD.forget()
    yield WORLD
    WORLD.forget()


@pytest.fixture
def door(tmp_path, world):
    url = f"sqlite:///{tmp_path}/caryatid.db"
    migrate.upgrade(url)
    settings = Settings(
        state_dir=tmp_path, amphora_driver="noop", compute_driver="noop", network_driver="noop", members_max=20
    )
    database = Database(url)
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()


@pytest.fixture
def caller():
    return Caller("tester", "p1", is_admin=True, request_id="req-1")


@pytest.fixture
def drain(door):
    """A function: everything that is due now has been attended to; the outcomes."""

    def turn_after_turn(turns_max=100):
        outcomes = []
        for _ in range(turns_max):
            claim = work.claim(door.database, "test")
            if claim is None:
                return outcomes
            outcomes.append(attend(door, Attempt(claim)))
        raise AssertionError("the work does not end")

    return turn_after_turn
