# SPDX-License-Identifier: Apache-2.0
"""Metrics: one table; what each service shows of it; and what is made of them outside."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from caryatid import metrics
from caryatid.control.census import Census
from caryatid.errors import Busy
from caryatid.store import migrate
from caryatid.store.database import Database

SOURCES = Path(metrics.__file__).parent
SERVICES = {*metrics.EVERYWHERE, metrics.AGENT, metrics.CHECKER, metrics.CONDUCTOR}


def names(registry):
    return set(re.findall(r"^# TYPE (\S+) ", generate_latest(registry).decode(), re.MULTILINE))


@pytest.fixture
def census(tmp_path):
    migrate.upgrade(f"sqlite:///{tmp_path}/m.db")
    database = Database(f"sqlite:///{tmp_path}/m.db")
    yield Census(database)
    database.close()


def test_each_service_shows_what_the_table_says(census):
    for service in SERVICES:
        counted = [census] if service == metrics.HOUSEKEEPING else []
        shown = {name for name in names(metrics.shown([service], *counted)) if name.startswith("caryatid_")}
        empty = {name for name, one in metrics.TABLE.items() if one.collector is None and one.labels}
        table = {name for name, one in metrics.TABLE.items() if service in one.services}
        assert table - empty <= shown <= table


def test_every_metric_is_somebodys_and_says_what_it_is():
    for name, metric in metrics.TABLE.items():
        assert set(metric.services) <= SERVICES
        assert metric.services
        assert metric.help.endswith("."), name
        assert re.fullmatch(r"caryatid_[a-z_]+", name)
        assert (metric.type == "counter") == name.endswith("_total")


def test_every_metric_of_the_table_is_set_somewhere():
    code = "".join(path.read_text() for path in SOURCES.rglob("*.py") if path.name != "metrics.py")
    table = (SOURCES / "metrics.py").read_text()
    declared = re.findall(r"^([A-Z_]+) = _(?:counter|gauge|histogram|counted)\(", table, re.MULTILINE)
    assert len(declared) == len(metrics.TABLE)
    assert [name for name in declared if f"metrics.{name}" not in code] == []


def test_a_database_that_is_away_takes_nothing_but_its_own_figures_along(census, monkeypatch):
    def away(_self):
        raise Busy("away")

    monkeypatch.setattr(Database, "read", away)
    shown = names(metrics.shown([metrics.HOUSEKEEPING], census))
    assert "caryatid_drifts_total" in shown
    assert "caryatid_work_due" not in shown
