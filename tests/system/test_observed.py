# SPDX-License-Identifier: Apache-2.0
"""How it is, as a whole installation tells: ages, figures, an amphora's own word, one trace through all processes."""

import os
import signal
from collections.abc import Iterator

import httpx2
import pytest

from bench.installation import Installation
from bench.waiting import free_port, until
from caryatid import metrics
from tests.otlp import Receiver, receiving

TRACE = "0af7651916cd43dd8448eb211c80319c"
MEMBER = {"address": "127.0.0.1", "protocol_port": 9}
POOL = {"name": "p", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": [MEMBER]}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture(scope="module")
def observed(receiver: Receiver) -> Iterator[Installation]:
    figures = {f"CARYATID_{name}METRICS_LISTEN": f"127.0.0.1:{free_port()}" for name in ("", "AGENT_")}
    told = {"CARYATID_OTEL_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "CARYATID_AGENT_TIMEOUT_S": "2"}
    with Installation(environment={**figures, **told}) as made:
        yield made


@pytest.fixture(scope="module")
def loadbalancer_id(observed: Installation) -> str:
    body = {"name": "seen", "vip_subnet_id": observed.subnet_id()}
    body["listeners"] = [{"protocol": "TCP", "protocol_port": 8090, "default_pool": POOL}]
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    made = observed.api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": body}, headers=headers)
    assert made.status_code == 201, made.text
    key = str(made.json()["loadbalancer"]["id"])
    settled = observed.api.get(f"/v2/lbaas/loadbalancers/{key}?wait_for=ACTIVE")
    assert settled.json()["loadbalancer"]["provisioning_status"] == "ACTIVE"
    return key


def test_a_status_is_young_while_its_host_speaks_and_ages_when_it_does_not(observed, loadbalancer_id):
    def age_ms() -> int:
        (row,) = observed.api.get("/v1/status").json()["loadbalancers"]
        return row["age_ms"] if row["age_ms"] is not None else 10**9

    until(lambda: age_ms() < 4000, "the host is heard of")
    pid = observed.services()["agent"]
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: age_ms() > 5000, "the word is old", 30)
        header = observed.api.get(f"/v2/lbaas/loadbalancers/{loadbalancer_id}/status").headers["caryatid-status-age"]
        assert int(header) > 5000
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: age_ms() < 4000, "the host is heard of again")


def test_an_amphora_says_how_it_is_and_its_silence_is_told(observed, loadbalancer_id):
    (amphora,) = observed.api.get(f"/v2/octavia/amphorae?loadbalancer_id={loadbalancer_id}").json()["amphorae"]
    path = f"/v2.0/octavia/amphorae/{amphora['id']}/diagnostics"
    found = observed.api.get(path).json()["diagnostics"]["found"]
    assert found["haproxy"]["running"]
    assert found["haproxy"]["pid"] == observed.haproxies()[amphora["id"]].master
    assert found["configuration"]["check"] == ""
    shown = observed.command("amphora", "diagnostics", amphora["id"])
    assert (shown.returncode, found["configuration"]["hash"] in shown.stdout) == (0, True), shown.stderr
    pid = observed.services()["agent"]
    os.kill(pid, signal.SIGSTOP)
    try:
        silent = observed.api.get(path)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert silent.status_code in {503, 504}
    assert silent.json()["faultstring"].startswith("Host ")


def test_each_process_shows_its_own_figures(observed, loadbalancer_id):
    environment = observed.environment
    at = {
        metrics.API: observed.url,
        metrics.WORKER: f"http://{environment['CARYATID_METRICS_LISTEN']}",
        metrics.AGENT: f"http://{environment['CARYATID_AGENT_METRICS_LISTEN']}",
    }
    text = {service: httpx2.get(f"{url}/metrics").text for service, url in at.items()}
    assert "caryatid_api_requests_total{" in text[metrics.API]
    assert 'caryatid_loadbalancers{operating_status="' in text[metrics.WORKER]
    assert 'caryatid_reconciles_total{outcome="done"}' in text[metrics.WORKER]
    assert 'caryatid_agent_applies_total{how="started"} 1.0' in text[metrics.AGENT]
    for service, others in ((metrics.API, "caryatid_agent"), (metrics.AGENT, "caryatid_api")):
        assert others not in text[service]


def test_a_request_is_one_trace_through_all_processes(receiver, loadbalancer_id):
    wanted = {
        ("caryatid-api", "POST /v2/lbaas/loadbalancers"),
        ("caryatid-core", "attempt"),
        ("caryatid-core", "step Configure"),
        ("caryatid-core", "agent PUT"),
        ("caryatid-agent", "put_configuration"),
    }
    until(lambda: wanted <= set(receiver.spans(TRACE)), f"all spans are here: {wanted}")
