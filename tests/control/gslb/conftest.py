# SPDX-License-Identifier: Apache-2.0
"""The door of tests/control on a copy of a migrated database: migrating takes longer than most of these tests."""

import shutil

import pytest

from caryatid.config import Settings
from caryatid.control import initial
from caryatid.store.database import Database
from tests.doors import open_door


@pytest.fixture
def door(tmp_path, world, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    settings = Settings(
        state_dir=tmp_path, amphora_driver="noop", compute_driver="noop", network_driver="noop", members_max=20
    )
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()
