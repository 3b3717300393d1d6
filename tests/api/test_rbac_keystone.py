# SPDX-License-Identifier: Apache-2.0
"""Every operation, every role, the own project and another: by tokens of a real Keystone."""

import shutil

import pytest

from caryatid.api.app import operations
from caryatid.config import Settings
from caryatid.drivers.identity.keystone import KeystoneDriver
from caryatid.drivers.setup import Identity
from tests.api.asking import World, everything
from tests.api.conftest import open_api, settings
from tests.api.rbac import SKIPPED, callers, differences, ordered
from tests.cloud import PATIENCE_S

pytestmark = pytest.mark.system
GUARDED = [one for one in operations(Settings(identity_driver="keystone"), None) if one.open or one.rule]
BY_PLACE = {(one.method, one.path): one for one in GUARDED if (one.method, one.path) not in SKIPPED}


@pytest.fixture(scope="module")
def place(cloud, tmp_path_factory, sqlite):
    """A world of the project `rbac-mine`, and who there is: caller → headers."""
    folder = tmp_path_factory.mktemp("rbac")
    shutil.copy(sqlite, folder / "caryatid.db")
    projects = {cloud.find("project", name): name for name in ("rbac-mine", "rbac-other")}
    mine, other = projects

    def headers_of(role, project_id):
        name = f"{role} {projects[project_id]}"
        user_id = cloud.user(name, projects[project_id], role)
        return user_id, {"X-Auth-Token": cloud.token(name, projects[project_id])}

    def driver(_database):
        return KeystoneDriver(Identity(cloud.us, timeout_s=PATIENCE_S))

    chosen = settings(folder, identity_driver="keystone")
    for api in open_api(f"sqlite:///{folder}/caryatid.db", chosen, driver):
        who = callers(headers_of, mine, other)
        cloud.user("operator", "rbac-mine", "admin")
        api.client.headers["X-Auth-Token"] = cloud.token("operator", "rbac-mine")
        world = World(api)
        yield world, {**everything(world), "quotas": mine, "mine": mine}, who
        world.close()


@pytest.mark.parametrize(("method", "path"), ordered(BY_PLACE))
def test_everybody_may_do_what_the_rule_says_and_no_more(method, path, place):
    world, ids, who = place
    assert differences(world, BY_PLACE[method, path], ids, who) == []
