# SPDX-License-Identifier: Apache-2.0
"""What operators see of a cluster."""

import pytest

from bench.waiting import until
from caryatid.control.ganeti import sight
from caryatid.errors import Forbidden, NotFound
from caryatid.model.policy import Caller
from caryatid.store import census
from tests.control.ganeti.cluster import LivingWorld
from tests.control.ganeti.watching import ADMIN, Watched


@pytest.fixture
def site(database, tmp_path):
    return Watched(database, tmp_path)


def shown(site):
    return sight.status(site.door, ADMIN, site.cluster_id)


def test_of_a_cluster_that_nobody_has_asked_nothing_is_known(site):
    key = site.want()
    told = shown(site)
    assert (told["config_age_s"], told["live_age_s"], told["watched"]) == (None, None, False)
    assert told["phases"] == {"WANTED": 1}
    (machine,) = told["machines"]
    assert machine["amphora_id"] == key
    assert machine["age_s"] is None


def test_machines_are_shown_with_how_they_are_and_how_old_that_is(site):
    world = LivingWorld()
    with site.watcher(lambda *_, **__: world):
        key = site.want()
        site.until(key, "BOOTING")
        until(lambda: shown(site)["machines"][0]["status"] == "running", "it is seen to run")
        until(lambda: shown(site)["machines"][0]["address"], "its address is known")
        told = shown(site)
    assert told["cluster"]["operating_status"] == "ONLINE"
    assert told["cluster"]["software_version"] == "3.0.2"
    assert told["master"] == "node1.example.test"
    assert [node["name"] for node in told["nodes"]] == ["node1.example.test"]
    (machine,) = told["machines"]
    assert (machine["phase"], machine["node"]) == ("BOOTING", "node1.example.test")
    assert 0 <= machine["age_s"] < 60
    assert machine["deadline_in_s"] > 0


def test_nobody_who_looks_makes_anybody_ask_the_cluster(site):
    world = LivingWorld()
    with site.watcher(lambda *_, **__: world):
        site.until(site.want(), "BOOTING")
    before = len(world.asked)
    for _ in range(100):
        shown(site)
    assert len(world.asked) == before


def test_it_is_for_operators_and_of_clusters_that_there_are(site):
    with pytest.raises(Forbidden):
        sight.status(site.door, Caller("someone", "p1"), site.cluster_id)
    with pytest.raises(NotFound):
        sight.status(site.door, ADMIN, "00000000-0000-4000-8000-00000000dead")


def test_machines_and_silence_are_counted_by_cluster(site):
    world = LivingWorld()
    with site.watcher(lambda *_, **__: world):
        site.until(site.want(), "BOOTING")
    with site.database.read() as tx:
        assert census.machines(tx) == {("west", "BOOTING"): 1}
        assert 0 <= census.clusters_silent_s(tx)["west",] < 60
