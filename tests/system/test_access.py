# SPDX-License-Identifier: Apache-2.0
"""Access control of real processes: several APIs, other addresses, TLS, a policy."""

import base64
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx2
import pytest

from bench.installation import Installation
from bench.waiting import free_port, until
from tests.certificates import Authority

LBS = "/v2/lbaas/loadbalancers"
OTHER = "127.0.0.1"


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    """One that knows its users; its client is the first administrator."""
    with Installation(noop=True, environment={"CARYATID_IDENTITY_DRIVER": "local"}) as made:
        made.api.headers["X-Auth-Token"] = (made.directory / "admin.token").read_text().strip()
        yield made


class Api:
    """Another API process of the installation."""

    def __init__(self, site: Installation, **environment: str) -> None:
        self.listen = f"{environment.pop('address', OTHER)}:{free_port()}"
        self.log = site.directory / f"api-{self.listen}.log"
        words = [sys.executable, "-m", "caryatid", "api", "--listen", self.listen]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, env={**site.environment, **environment}, stdout=log, stderr=log)

    def ready(self) -> "Api":
        until(lambda: '"ready"' in self.said() or self.process.poll() is not None, "it is ready")
        assert self.process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def test_what_is_revoked_at_one_api_is_refused_by_the_other(site: Installation) -> None:
    made = site.send("POST", "/v1/access/tokens", {"token": {"name": "ci"}})
    who = {"X-Auth-Token": made["secret"]}
    with Api(site) as other:
        url = f"http://{other.ready().listen}{LBS}"
        assert httpx2.get(url, headers=who).status_code == 200
        site.send("DELETE", f"/v1/access/tokens/{made['id']}")
        until(lambda: httpx2.get(url, headers=who).status_code == 401, "the other has heard of it", 5)


def test_many_wrong_passwords_at_once_hold_up_nobody_who_is_known(site: Installation) -> None:
    site.send("POST", "/v1/access/users", {"user": {"name": "alice", "password": "long enough"}})
    wrong = base64.b64encode(b"alice:wrong").decode()
    flood = [
        subprocess.Popen([sys.executable, "-c", FLOOD, site.url + LBS, wrong], stdout=subprocess.PIPE) for _ in range(4)
    ]
    try:
        for _ in range(50):
            assert site.api.get(LBS, timeout=5).status_code == 200
    finally:
        statuses = {word for one in flood for word in one.communicate(timeout=60)[0].decode().split()}
    assert statuses <= {"401", "429", "503"}
    assert "429" in statuses


FLOOD = """
import sys, httpx2
with httpx2.Client(timeout=30) as client:
    for _ in range(40):
        print(client.get(sys.argv[1], headers={"Authorization": "Basic " + sys.argv[2]}).status_code)
"""


def test_without_access_control_it_listens_on_loopback_only_and_says_so(site: Installation) -> None:
    with Api(site, CARYATID_IDENTITY_DRIVER="noauth") as other:
        assert "no access control" in other.ready().said()
        assert httpx2.get(f"http://{other.listen}{LBS}").status_code == 200
    with Api(site, address="0.0.0.0", CARYATID_IDENTITY_DRIVER="noauth") as other:
        assert other.process.wait(30) == 1
        assert "listens on loopback addresses only" in other.said()


def test_with_access_control_it_listens_elsewhere_and_warns_of_plain_http(site: Installation) -> None:
    with Api(site, address="0.0.0.0") as other:
        assert "tokens and passwords cross the network as they are" in other.ready().said()
        port = other.listen.rpartition(":")[2]
        assert httpx2.get(f"http://127.0.0.1:{port}{LBS}").status_code == 401


def test_it_speaks_tls_itself(site: Installation, tmp_path: Path) -> None:
    authority = Authority()
    leaf = authority.sign("api", "localhost")
    (tmp_path / "cert.pem").write_bytes(leaf.pem)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    tls = {"CARYATID_LISTEN_TLS_CERTIFICATE": f"{tmp_path}/cert.pem", "CARYATID_LISTEN_TLS_KEY": f"{tmp_path}/key.pem"}
    trusted = ssl.create_default_context(cadata=authority.paper.pem.decode())
    with Api(site, **tls) as other:
        port = other.ready().listen.rpartition(":")[2]
        headers = {"X-Auth-Token": site.api.headers["X-Auth-Token"]}
        answer = httpx2.get(f"https://localhost:{port}{LBS}", headers=headers, verify=trusted)
        assert answer.status_code == 200


def test_a_certificate_that_cannot_be_used_is_told_in_a_sentence(site: Installation, tmp_path: Path) -> None:
    with Api(site, CARYATID_LISTEN_TLS_CERTIFICATE=f"{tmp_path}/nothing.pem") as other:
        assert other.process.wait(30) == 1
        assert "The certificate of the API cannot be used" in other.said()
        assert "Traceback" not in other.said()


def test_a_policy_file_is_in_force_and_a_wrong_one_keeps_the_api_from_starting(
    site: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('"load-balancer:write": "!"\n')
    headers = {"X-Auth-Token": site.api.headers["X-Auth-Token"]}
    with Api(site, CARYATID_POLICY_FILE=str(path)) as other:
        url = f"http://{other.ready().listen}{LBS}"
        body = {"loadbalancer": {"vip_subnet_id": site.subnet_id()}}
        assert httpx2.post(url, json=body, headers=headers).status_code == 403
        assert httpx2.get(url, headers=headers).status_code == 200
    path.write_text('\n"load-balancer:write": "role:"or"\n')
    with Api(site, CARYATID_POLICY_FILE=str(path)) as other:
        assert other.process.wait(30) == 1
        assert f"{path}, line 2" in other.said()
