# SPDX-License-Identifier: Apache-2.0
"""Private keys in a whole installation: where they are, and how they come back when they are gone."""

import base64
import os
import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.installation import Installation
from bench.waiting import until
from caryatid.agent.settings import AgentSettings, in_memory
from tests.certificates import Authority

PORT = 8443
CLIENT_S = 3.0
MARK_CHARACTERS = 40


@pytest.fixture
def keyed(own_installation: Installation) -> Installation:
    return own_installation.start()


def secret(installation: Installation, pem: str) -> str:
    """It is kept; its reference."""
    body = {"name": "www", "payload": pem, "payload_content_type": "text/plain"}
    answer = installation.api.post("/v1/secrets", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


def secured(installation: Installation, reference: str) -> dict:
    """A load balancer with a listener that has the certificate."""
    wanted = {"name": "secure", "vip_subnet_id": installation.subnet_id()}
    made = installation.post("loadbalancers", {"loadbalancer": wanted})
    listener = {"protocol": "TERMINATED_HTTPS", "protocol_port": PORT, "default_tls_container_ref": reference}
    installation.post("listeners", {"listener": {**listener, "loadbalancer_id": made["id"]}})
    return installation.active(f"loadbalancers/{made['id']}")


def shown(loadbalancer: dict) -> str:
    """Common name of the certificate that a new client is shown; empty: none is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((loadbalancer["vip_address"], PORT), CLIENT_S) as connection,
            context.wrap_socket(connection, server_hostname="www.example") as secure,
        ):
            certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
    except OSError:
        return ""
    return certificate.subject.rfc4514_string().removeprefix("CN=")


def marks(pem: str) -> list[bytes]:
    """Runs of bytes by which the private key in it is known: in PEM, in DER, and bare."""
    lines = pem.partition("-----BEGIN PRIVATE KEY-----\n")[2].splitlines()
    number = load_pem_private_key(pem[pem.index("-----BEGIN PRIVATE") :].encode(), None).private_numbers()
    bare = number.private_value.to_bytes(32, "big")
    return [lines[1][:MARK_CHARACTERS].encode(), base64.b64decode("".join(lines[:-1]))[36:60], bare[:24]]


def files_of(installation: Installation) -> list[Path]:
    """All that it has written, on disk or in memory, and what its processes show of themselves."""
    sockets = AgentSettings(installation.directory / "agent").sockets_dir
    places = [installation.directory, sockets, installation.keys]
    found = [path for place in places if place for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    haproxies = installation.haproxies().values()
    pids = {*installation.leftovers(), *(pid for one in haproxies for pid in (one.master, *one.workers))}
    return found + [Path(f"/proc/{pid}", name) for pid in pids for name in ("cmdline", "environ")]


def test_a_marked_key_is_nowhere_but_in_memory(keyed: Installation) -> None:
    authority = Authority()
    pems = [authority.keypair(name, "www.example").pem for name in ("first", "second")]
    wanted = [mark for pem in pems for mark in marks(pem)]
    reference = secret(keyed, pems[0])
    loadbalancer = secured(keyed, reference)
    assert shown(loadbalancer) == "first"
    answer = keyed.api.put(reference, content=pems[1], headers={"Content-Type": "text/plain"})
    assert answer.status_code == 204
    until(lambda: shown(loadbalancer) == "second", "the other one is shown")
    keyed.api.post("/v1/secrets", json={"payload": pems[0], "payload_content_type": "nonsense"})
    keyed.api.put(reference, content=pems[0] + "x", headers={"Content-Type": "text/plain"})

    found = {path for path in files_of(keyed) if any(mark in path.read_bytes() for mark in wanted)}
    assert found, "it is nowhere: the search is wrong"
    assert all(in_memory(path) and keyed.keys and path.is_relative_to(keyed.keys) for path in found), found
    for path in ("/v1/secrets", "/v1/certificates", "/v1/jobs", "/v2/lbaas/listeners"):
        content = keyed.api.get(path).content
        assert not any(mark in content for mark in wanted), path
    for pid in (*keyed.services().values(), *(pid for one in keyed.haproxies().values() for pid in one.workers)):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["1", "1"]


def test_keys_that_are_lost_with_a_hosts_memory_come_back_at_once(keyed: Installation) -> None:
    loadbalancer = secured(keyed, secret(keyed, Authority().keypair("www", "www.example").pem))
    before = keyed.haproxies()
    assert shown(loadbalancer) == "www"
    (amphora,) = before.values()
    agent = keyed.services()["agent"]
    for pid in (agent, amphora.master, *amphora.workers):
        os.kill(pid, signal.SIGKILL)
    assert keyed.keys
    shutil.rmtree(keyed.keys)
    until(lambda: keyed.services().get("agent", agent) != agent, "the agent is back")
    until(lambda: shown(loadbalancer) == "www", "it is shown again")
    assert keyed.haproxies().keys() == before.keys(), "it was replaced"


def test_no_key_outlives_what_it_was_for(keyed: Installation) -> None:
    loadbalancers = [secured(keyed, secret(keyed, Authority().keypair("www", "www.example").pem)) for _ in range(2)]
    assert keyed.keys
    assert len(list(keyed.keys.iterdir())) == 2
    keyed.delete(f"loadbalancers/{loadbalancers[0]['id']}?cascade=true")
    keyed.gone(f"loadbalancers/{loadbalancers[0]['id']}")
    assert len(list(keyed.keys.iterdir())) == 1
    keyed.stop(signal.SIGINT)
    assert not keyed.keys.exists()
    keyed.start()
    until(lambda: shown(loadbalancers[1]) == "www", "it is shown again")
