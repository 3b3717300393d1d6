# SPDX-License-Identifier: Apache-2.0
"""Every operation, every role, the own and another project: by tokens of this installation."""

import shutil

import pytest

from caryatid.api.app import operations
from caryatid.config import Settings
from tests.api.asking import World, everything
from tests.api.conftest import open_guarded, settings
from tests.api.rbac import SKIPPED, callers, differences, ordered

GUARDED = [one for one in operations(Settings(), None) if one.open or one.rule]
BY_PLACE = {(one.method, one.path): one for one in GUARDED if (one.method, one.path) not in SKIPPED}


@pytest.fixture(scope="module")
def place(tmp_path_factory, sqlite):
    """A world of the project `mine`, and who there is: caller → headers."""
    folder = tmp_path_factory.mktemp("rbac")
    shutil.copy(sqlite, folder / "caryatid.db")
    for people in open_guarded(f"sqlite:///{folder}/caryatid.db", settings(folder, identity_driver="local")):
        mine, other = people.project("mine"), people.project("other")
        people.api.client.headers.update({**people.admin, "X-Project-Id": mine})
        world = World(people.api)
        ids = {**everything(world), "quotas": mine, "mine": mine}

        def headers_of(role, project_id, people=people):
            user_id = people.user(f"{role} {project_id}", {project_id: [role]})
            headers = {**people.headers(user_id, project_id), "X-Project-Id": project_id}
            return user_id, headers

        yield world, ids, callers(headers_of, mine, other)
        world.close()


@pytest.mark.parametrize(("method", "path"), ordered(BY_PLACE))
def test_everybody_may_do_what_the_rule_says_and_no_more(method, path, place):
    world, ids, who = place
    assert differences(world, BY_PLACE[method, path], ids, who) == []
