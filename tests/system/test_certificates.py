# SPDX-License-Identifier: Apache-2.0
"""A secret becomes a listener's certificate, is renewed under traffic, and its OCSP response is shown: real clients."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.backends import Server
from bench.installation import Installation
from bench.waiting import until
from tests.papers import DAY, Paper, paper
from tests.responder import Responder

PORT = 8443
NAME = "www.example.org"
NOW = datetime.now(UTC)
STAPLING = {"CARYATID_OCSP_STAPLING": "true", "CARYATID_OCSP_PRIVATE_RESPONDERS": "true"}


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with Installation(environment=STAPLING) as made:
        yield made


@pytest.fixture
def ca(tmp_path: Path) -> Paper:
    made = paper("The authority", begin=NOW - DAY, end=NOW + 30 * DAY, authority=True)
    (tmp_path / "ca.pem").write_bytes(made.pem)
    return made


def fresh(ca: Paper) -> Paper:
    return paper(NAME, ca, begin=NOW - DAY, end=NOW + 30 * DAY, names=[NAME])


def whole(one: Paper, ca: Paper) -> str:
    return (one.pem + ca.pem + one.key_pem).decode()


def secret(installation: Installation, pem: str) -> str:
    """It is kept; its reference."""
    answer = installation.api.post("/v1/secrets", json={"payload": pem, "payload_content_type": "text/plain"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


def replace(installation: Installation, reference: str, pem: str) -> None:
    answer = installation.api.put(reference, content=pem, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 204, answer.text


@pytest.fixture
def secured(installation: Installation, servers: list[Server]) -> Iterator[Callable[..., dict]]:
    """A function: a load balancer in front of the servers, its listener with that certificate."""
    made: list[str] = []

    def loadbalancer(reference: str, **more: object) -> dict:
        members = [{"address": "127.0.0.1", "protocol_port": server.port} for server in servers]
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
        listener = {"protocol": "TERMINATED_HTTPS", "protocol_port": PORT, "default_tls_container_ref": reference}
        wanted = {"vip_subnet_id": installation.subnet_id(), "listeners": [{**listener, "default_pool": pool, **more}]}
        found = installation.post("loadbalancers", {"loadbalancer": wanted})
        made.append(found["id"])
        return installation.active(f"loadbalancers/{found['id']}")

    yield loadbalancer
    for key in made:
        installation.delete(f"loadbalancers/{key}?cascade=true")
    for key in made:
        installation.gone(f"loadbalancers/{key}")


def curl(folder: Path, loadbalancer: dict, *words: str) -> str:
    """What curl, which trusts the authority alone, gets; a fault of its own in words."""
    where = f"{NAME}:{PORT}:{loadbalancer['vip_address']}"
    command = ["curl", "-sS", "-m", "10", "--cacert", str(folder / "ca.pem"), "--resolve", where, *words]
    done = subprocess.run([*command, f"https://{NAME}:{PORT}/"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


def serial(folder: Path, loadbalancer: dict) -> str:
    """Of the certificate that a new client, which trusts the authority alone, is shown."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with (
        socket.create_connection((loadbalancer["vip_address"], PORT), 10) as connection,
        context.wrap_socket(connection, server_hostname=NAME) as secure,
    ):
        return str((secure.getpeercert() or {})["serialNumber"])


@contextmanager
def traffic(folder: Path, loadbalancer: dict) -> Iterator[list[str]]:
    """Requests one after another, each over a new connection, while this is entered; what they were answered."""
    seen: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(curl(folder, loadbalancer, "-o", "/dev/null", "-w", "%{http_code}"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        stop.set()
        asking.join(30)


def test_a_renewed_secret_is_shown_without_a_reload_and_no_request_fails(installation, secured, ca, tmp_path):
    first, second = fresh(ca), fresh(ca)
    reference = secret(installation, whole(first, ca))
    loadbalancer = secured(reference)
    assert curl(tmp_path, loadbalancer) in {"one", "two", "three"}
    before, haproxies = serial(tmp_path, loadbalancer), installation.haproxies()
    with traffic(tmp_path, loadbalancer) as seen:
        replace(installation, reference, whole(second, ca))
        until(lambda: serial(tmp_path, loadbalancer) != before, "the new certificate is shown")
    assert set(seen) == {"200"}
    assert installation.haproxies() == haproxies
    (shown,) = installation.get("/v1/certificates", reference=reference)
    assert (shown["problem"], shown["names"]) == (None, [NAME])
    listed = installation.command("certificate", "list", "-o", "json")
    assert reference in listed.stdout, listed.stderr


def test_what_is_wrong_with_a_renewal_is_said_and_the_old_one_serves_on(installation, secured, ca, tmp_path):
    reference = secret(installation, whole(fresh(ca), ca))
    loadbalancer = secured(reference)
    before = serial(tmp_path, loadbalancer)
    replace(installation, reference, "no certificate")
    problem = until(
        lambda: installation.get("/v1/certificates", reference=reference)[0]["problem"], "the problem is shown"
    )
    assert problem == "The secret cannot be read: PEM, DER or PKCS #12 is taken, whole."
    assert serial(tmp_path, loadbalancer) == before
    assert curl(tmp_path, loadbalancer) in {"one", "two", "three"}


def test_what_is_in_use_outlives_its_secret(installation, secured, ca, tmp_path):
    reference = secret(installation, whole(fresh(ca), ca))
    loadbalancer = secured(reference)
    assert installation.api.delete(reference).status_code == 204
    key = installation.show(f"loadbalancers/{loadbalancer['id']}")["listeners"][0]["id"]
    installation.put(f"listeners/{key}", {"listener": {"connection_limit": 100}})
    installation.active(f"loadbalancers/{loadbalancer['id']}")
    assert curl(tmp_path, loadbalancer) in {"one", "two", "three"}


def test_an_ocsp_response_is_shown_and_comes_without_a_reload(installation, secured, ca, tmp_path):
    folder = tmp_path / "responder"
    folder.mkdir()
    responder = Responder(folder, ca)
    first, second = responder.issue(NAME), responder.issue(NAME)
    reference = secret(installation, whole(first, ca))
    loadbalancer = secured(reference)
    until(lambda: f"{first.certificate.serial_number:X}" in status(loadbalancer), "the response is shown", 60)
    haproxies = installation.haproxies()
    replace(installation, reference, whole(second, ca))
    until(lambda: f"{second.certificate.serial_number:X}" in status(loadbalancer), "the other's is shown", 60)
    assert installation.haproxies() == haproxies
    assert "Cert Status: good" in status(loadbalancer)
    responder.stop()


def status(loadbalancer: dict) -> str:
    """What `openssl s_client -status` is shown."""
    where = f"{loadbalancer['vip_address']}:{PORT}"
    command = ["openssl", "s_client", "-connect", where, "-servername", NAME, "-status"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    return done.stdout
