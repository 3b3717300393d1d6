# SPDX-License-Identifier: Apache-2.0
"""What is made of our metrics outside names metrics that there are, with labels that they have."""

import json
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml

from caryatid import metrics

CONTRIB = Path(__file__).parents[1] / "contrib"
ALERTS = CONTRIB / "prometheus" / "alerts.yml"
DASHBOARD = CONTRIB / "grafana" / "caryatid.json"
OF_ANY_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
OF_PROMETHEUS = {"job", "instance", "le"}
WORDS = {"sum", "max", "min", "by", "rate", "increase", "absent", "histogram_quantile", "or", "vector", "bool", "and"}


def rules():
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    yield from (target["expr"] for panel in panels for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in rules())


def known(name):
    """The metric that a query's name means: of a histogram there are several."""
    if name in metrics.TABLE:
        return metrics.TABLE[name]
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return metrics.TABLE[base] if base in metrics.TABLE and metrics.TABLE[base].type == "histogram" else None


def bare(query):
    """Without ranges, texts and numbers."""
    return re.sub(r"\[[^\]]*\]|\"[^\"]*\"|\b\d+(\.\d+)?\b", "", query)


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_every_query_names_metrics_and_labels_that_there_are(query):
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")
    labels = set()
    for inner in re.findall(r"\bby \(([^)]*)\)", query):
        labels |= {name.strip() for name in inner.split(",")}
    for inner in re.findall(r"\{([^}]*)\}", query):
        labels |= set(re.findall(r"([a-z_]+)(?:=~|!~|!=|=)", inner))
    names = set(re.findall(r"[a-z_]+", re.sub(r"\bby \([^)]*\)|\{[^}]*\}", "", bare(query)))) - WORDS
    assert names
    own = names - OF_ANY_PROCESS
    assert [name for name in own if known(name) is None] == []
    has = set().union(*(known(name).labels for name in own))
    assert labels <= has | OF_PROMETHEUS


def test_every_alert_says_what_to_do_and_how_urgent_it_is():
    for rule in rules():
        assert rule["alert"].startswith("Caryatid")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        for text in (rule["annotations"]["summary"], rule["annotations"]["runbook"]):
            assert text.rstrip().endswith((".", "}}."))
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_the_dashboard_is_one_that_grafana_can_import():
    found = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in found["panels"]} == {"row", "stat", "timeseries"}
    (source,) = found["templating"]["list"]
    for panel in found["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == f"${{{source['name']}}}"


def test_prometheus_takes_the_rules_where_it_is_installed():
    promtool = which("promtool")
    if promtool:
        subprocess.run([promtool, "check", "rules", ALERTS], check=True, capture_output=True, timeout=30)
