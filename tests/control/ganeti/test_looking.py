# SPDX-License-Identifier: Apache-2.0
"""How often a cluster is asked."""

from dataclasses import replace

import pytest

from caryatid.control.ganeti.looking import News, View, due
from caryatid.model.cluster import Machine, MachineWish
from caryatid.wire.rapi.answers import Job, Live

NOTHING = News()
BEGAN = 1000.0


def machine(number, phase, **values):
    key = f"a{number}"
    return Machine(key, "lb", "c", f"{key}.test", MachineWish(), phase, BEGAN, **values)


def asked(machines, seconds, *, waited=False, running=True):
    """How many questions are put in so many seconds, by what they are."""
    view, now, counts, turns = View(), BEGAN + 1, {}, 0
    lives = {one.name: Live(one.name, "running" if running else "ERROR_down") for one in machines}
    while now < BEGAN + 1 + seconds:
        turns += 1
        assert turns < 100 * seconds
        found = due(view, machines, now=now, news=NOTHING, asking=(), waited=waited)
        if not found.any:
            now += max(found.in_s, 0.001)
            continue
        for name, times in {"info": 3, "jobs": 1, "config": 1, "unfinished": 1, "live": 1}.items():
            if getattr(found, name):
                counts[name] = counts.get(name, 0) + times
                stamp = {"info": "info_at", "jobs": "jobs_at", "config": "config_at"}.get(name, f"{name}_at")
                view = replace(view, **{stamp: now})
        view = replace(view, lives=lives, jobs={job_id: Job(job_id, "running") for job_id in found.jobs})
    return counts


def test_a_cluster_where_nothing_happens_is_asked_every_other_second_at_most():
    counts = asked([machine(number, "READY") for number in range(50)], 600)
    assert sum(counts.values()) <= 0.5 * 600 + 5
    assert counts["live"] >= 600 / 4


def test_an_empty_cluster_is_hardly_asked():
    assert sum(asked([], 600).values()) <= 600 / 5


@pytest.mark.parametrize("waited", [False, True])
def test_while_jobs_run_it_is_asked_twice_a_second_at_most(waited):
    jobs = [machine(number, "CREATING", job_id=number, asked_at=BEGAN) for number in range(2 if waited else 20)]
    there = [machine(number, "READY") for number in range(100, 150)]
    there += [machine(number, "BOOTING", deadline_at=1e9) for number in range(200, 205)]
    counts = asked([*jobs, *there], 100, waited=waited)
    assert sum(counts.values()) <= 2 * 100 + 10  # two a second, and the cluster itself once a minute
    assert counts["config"] + counts["live"] >= 95  # nothing shown is older than a second or so


def test_who_is_seen_not_to_run_is_looked_at_again_soon():
    assert asked([machine(1, "READY")], 60, running=False)["live"] >= 50


def test_what_became_of_an_unanswered_request_is_looked_for_every_second():
    counts = asked([machine(1, "CREATING", asked_at=BEGAN)], 60)
    assert counts["unfinished"] >= 55
    assert counts["config"] >= counts["unfinished"]


def test_while_a_request_is_under_way_nobody_looks_for_what_became_of_it():
    view, waiting = View(info_at=BEGAN, config_at=BEGAN), machine(1, "CREATING", asked_at=BEGAN)
    found = due(view, [waiting], now=BEGAN + 2, news=NOTHING, asking=[waiting.name], waited=True)
    assert found.config
    assert not found.unfinished


def test_news_of_a_job_lead_to_the_job_and_to_nothing_else_before():
    at = BEGAN + 100
    view = View(info_at=at, nodes_at=at, config_at=at, live_at=at, jobs_at=at)
    busy = [machine(1, "CREATING", job_id=7, asked_at=BEGAN)]
    found = due(view, busy, now=at, news=News(jobs=True), asking=(), waited=True)
    assert (found.jobs, found.config, found.live) == ([7], False, False)
    assert due(view, busy, now=at, news=News(config=True), asking=(), waited=True).config
    assert not due(view, busy, now=at, news=NOTHING, asking=(), waited=True).any


def test_what_is_known_to_be_over_is_not_under_way_whatever_was_read_before():
    """Else a job that has failed would be taken up again and again."""
    running = Job(7, "running", instances=["a1.test"])
    view = View(unfinished=[running], unfinished_at=BEGAN)
    waiting = machine(1, "WANTED")
    assert view.of(waiting, None).unfinished == [running]
    for ended in ("error", "success", ""):
        assert not replace(view, jobs={7: Job(7, ended)}).of(waiting, None).unfinished
