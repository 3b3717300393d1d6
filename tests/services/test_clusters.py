# SPDX-License-Identifier: Apache-2.0
"""Who watches which cluster."""

import threading
from contextlib import ExitStack, contextmanager

import pytest

from bench.waiting import until
from caryatid.control import writes
from caryatid.control.ganeti import sight
from caryatid.model import CLUSTER
from caryatid.services.clusters import Clusters
from caryatid.store.wake import Wakeups
from tests.control.ganeti.cluster import LivingWorld
from tests.control.ganeti.watching import ADMIN, WISH, Watched


@pytest.fixture
def site(database, tmp_path):
    return Watched(database, tmp_path)


@pytest.fixture
def worlds():
    """Clusters by the addresses of their RAPIs."""
    return {WISH["rapi_url"]: LivingWorld(), "https://east.example.test:5080": LivingWorld()}


@pytest.fixture
def east(site):
    """Another cluster; its id."""
    wish = {**WISH, "name": "east", "rapi_url": "https://east.example.test:5080"}
    return writes.create(site.door, ADMIN, CLUSTER, wish).document["id"]


@contextmanager
def process(site, worlds):
    """As one process does it. What it has asked is in the list that it gives."""
    asked = []

    def connect(url, *_, **__):
        asked.append(url)
        return worlds[url]

    wakeups = Wakeups(site.database)
    wakeups.start()
    clusters = Clusters(site.door, site.registry, wakeups, connect)
    clusters.start()
    try:
        yield asked
    finally:
        clusters.stop(30)
        wakeups.close()


def test_a_wish_wakes_who_watches(site, worlds):
    with process(site, worlds):
        until(lambda: site.seen().config_at, "the cluster is watched")
        site.until(site.want(), "BOOTING")


def test_of_two_processes_one_watches_and_the_other_when_it_is_gone(site, worlds):
    with ExitStack() as first:
        asked = first.enter_context(process(site, worlds))
        until(lambda: asked, "the first watches")
        with process(site, worlds) as other:
            site.until(site.want(), "BOOTING")
            assert not other
            first.close()
            site.until(site.want(), "BOOTING")
            assert other


def test_a_cluster_that_hangs_keeps_no_other_waiting(site, worlds, east):
    hung, freed = threading.Event(), threading.Event()

    def hang(*_):
        hung.set()
        freed.wait(60)
        return []

    worlds["https://east.example.test:5080"].instances = hang
    with process(site, worlds):
        assert hung.wait(60)
        site.until(site.want(cluster="west"), "BOOTING")
        freed.set()
    with site.database.read() as tx:
        assert sight.leases.held(tx, sight.lease_of(east)) is False


def test_one_that_comes_is_watched_and_one_that_goes_is_not(site, worlds):
    with process(site, worlds) as asked:
        until(lambda: site.seen().config_at, "the first is watched")
        wish = {**WISH, "name": "east", "rapi_url": "https://east.example.test:5080"}
        east = writes.create(site.door, ADMIN, CLUSTER, wish).document["id"]
        until(lambda: "https://east.example.test:5080" in asked, "the second is watched")
        until(lambda: sight.status(site.door, ADMIN, east)["config_age_s"] is not None, "it was looked at")
        writes.delete(site.door, ADMIN, CLUSTER, east)
        until(lambda: not any(one.name.endswith(east[:8]) for one in threading.enumerate()), "nobody watches it")
        site.until(site.want(), "BOOTING")
