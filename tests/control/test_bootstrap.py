# SPDX-License-Identifier: Apache-2.0
"""The first administrator."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from caryatid.config import Settings
from caryatid.control import bootstrap, initial
from caryatid.control.accounts import Accounts, seconds
from caryatid.drivers.identity.local import LocalDriver
from caryatid.errors import Unauthorized
from caryatid.model import PROJECT, TOKEN, USER
from caryatid.model.policy import Shown
from caryatid.store import access, rows
from tests.doors import open_door


@pytest.fixture
def settings(tmp_path):
    noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
    return Settings(state_dir=tmp_path / "state", identity_driver="local", **noop)


def who(database, settings):
    """Who it is that shows what the file says."""
    token = (settings.state_dir / "admin.token").read_text().strip()
    return LocalDriver(Accounts(database)).identify(Shown(token)).caller


def all_of(database, kind):
    with database.read() as tx:
        return rows.find(tx, kind)


def test_a_new_installation_has_an_administrator_whose_token_is_its_owners_alone(database, settings):
    bootstrap.ensure(database, settings)
    caller = who(database, settings)
    assert (caller.project_id, caller.roles) == ("admin", {"admin"})
    for name in ("admin.token", "clouds.yaml"):
        assert stat.S_IMODE((settings.state_dir / name).stat().st_mode) == 0o600
    cloud = yaml.safe_load((settings.state_dir / "clouds.yaml").read_text())["clouds"]["caryatid"]
    assert cloud["auth"]["auth_url"].startswith("http://127.0.0.1:9876/")
    assert cloud["auth"]["token"] == (settings.state_dir / "admin.token").read_text().strip()


def test_who_owns_something_already_is_a_project(database, settings):
    initial.ensure(open_door(database, settings))
    bootstrap.ensure(database, settings)
    assert {project["id"] for project in all_of(database, PROJECT)} == {"admin", "default"}


def test_it_is_made_once(database, settings):
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(bootstrap.ensure, database, settings) for _ in range(4)]:
            done.result()
    assert len(all_of(database, USER)) == len(all_of(database, TOKEN)) == 1
    assert who(database, settings).roles == {"admin"}


def test_who_was_deleted_is_not_brought_back(database, settings):
    bootstrap.ensure(database, settings)
    with database.transaction() as tx:
        for user in rows.find(tx, USER):
            access.forget_user(tx, user["id"])
            rows.delete(tx, USER, [user["id"]])
    bootstrap.ensure(database, settings)
    assert all_of(database, USER) == []
    with pytest.raises(Unauthorized):
        who(database, settings)


def test_without_users_of_its_own_there_is_none(database, settings):
    bootstrap.ensure(database, settings.model_copy(update={"identity_driver": "keystone"}))
    assert all_of(database, USER) == []
    assert not settings.state_dir.exists()


@pytest.mark.parametrize("harm", ["file lost", "user disabled", "project disabled", "user deleted", "role deleted"])
def test_an_operator_at_the_database_gets_in_again(database, settings, harm):
    bootstrap.ensure(database, settings)
    before = (settings.state_dir / "admin.token").read_text().strip()
    with database.transaction() as tx:
        user = rows.find(tx, USER)[0]
        if harm == "user disabled":
            rows.change(tx, USER, USER.change(user, {"enabled": False}), at=user["created_at"])
        elif harm == "project disabled":
            project = rows.get(tx, PROJECT, "admin")
            rows.change(tx, PROJECT, PROJECT.change(project, {"enabled": False}), at=user["created_at"])
        elif harm == "user deleted":
            access.forget_user(tx, user["id"])
            rows.delete(tx, USER, [user["id"]])
        elif harm == "role deleted":
            tx.connection.execute(access.ROLES.delete())
    (settings.state_dir / "admin.token").unlink()
    assert bootstrap.reset(database, settings) == settings.state_dir / "admin.token"
    assert who(database, settings).roles == {"admin"}
    with pytest.raises(Unauthorized):
        LocalDriver(Accounts(database)).identify(Shown(before))
    assert len(all_of(database, TOKEN)) == 1


def test_that_a_token_is_used_is_written_once_an_hour(database, settings):
    bootstrap.ensure(database, settings)
    accounts, token = Accounts(database), all_of(database, TOKEN)[0]
    began = seconds(token["created_at"])
    noted = []
    for later in (0, 1800, 3601):
        assert accounts.holder(token["digest"], began + later) is not None
        noted.append(seconds(all_of(database, TOKEN)[0]["last_used_at"]) - began)
    assert noted == pytest.approx([0, 0, 3601], abs=0.001)
