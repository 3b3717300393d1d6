# SPDX-License-Identifier: Apache-2.0
"""A TLS listener with a real HAProxy, and a client that asks it as curl and OpenSSL do: shared by the tests beside."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caryatid.model.tree import Tree
from caryatid.plan.haproxy import RenderSettings, render
from tests.certificates import Authority
from tests.plan.test_haproxy_behaviour import PORT, Balancer, pool, serving, vip, web

Grow = Callable[[Any], Tree]
CLIENT_S = 10


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def shown(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with a certificate and key to show: of good, revoked, expired and strange clients."""
    papers = {
        "good": authority.file(authority.sign("Alice")),
        "revoked": authority.file(authority.sign("Eve")),
        "expired": authority.file(authority.sign("Old", days=-1)),
        "stranger": Authority("Authority of strangers").file(Authority("Authority of strangers").sign("Alice")),
        "odd": authority.file(authority.sign('Odd\r\nX-Evil: 1\n"%[src]é')),
    }
    folder = tmp_path_factory.mktemp("clients")
    for name, text in papers.items():
        (folder / f"{name}.pem").write_text(text)
    return {name: folder / f"{name}.pem" for name in papers}


class Client:
    """Asks one TLS port, as curl and OpenSSL do."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer

    def ask(self, *options: str, path: str = "/", **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body (read as JSON, where it is) and headers of the answer; 0: there was none."""
        sent = [word for name, value in headers.items() for word in ("-H", f"{name.replace('_', '-')}: {value}")]
        url = f"https://www.example:{PORT}{path}"
        where = ["--resolve", f"*:{PORT}:{self.balancer.vip}", "--max-time", str(CLIENT_S)]
        done = run(["curl", "-sk", "-D", "/dev/stderr", *where, *sent, *options, url])
        lines = done.stderr.splitlines()
        if done.returncode or not lines:
            return 0, None, {}
        said = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = done.stdout
        return int(lines[0].split()[1]), json.loads(body) if body.startswith("{") else body, said

    def told(self, *options: str, **headers: str) -> dict[str, str]:
        """Headers as the member has them."""
        status, body, _ = self.ask(*options, **headers)
        assert status == 200, (status, body)
        return {name.lower(): value for name, value in body["headers"]}

    def handshake(self, *options: str, name: str = "www.example") -> str:
        """What OpenSSL says of a handshake; empty: there was none."""
        named = ["-servername", name] if name else ["-noservername"]
        done = run(["openssl", "s_client", "-connect", f"{self.balancer.vip}:{PORT}", *named, *options], "")
        return done.stdout if re.search(r"^New, |^Reused, ", done.stdout, re.MULTILINE) and not done.returncode else ""

    def subject(self, *options: str, name: str = "") -> str:
        found = re.search(r"^subject=CN = (.*)$", self.handshake(*options, name=name), re.MULTILINE)
        return found[1] if found else ""

    def spoken(self, *options: str) -> str:
        """Version and cipher."""
        found = re.search(r"^    Protocol  : (\S+)\n    Cipher    : (\S+)$", self.handshake(*options), re.MULTILINE)
        found = found or re.search(r"^New, (\S+), Cipher is (\S+)$", self.handshake(*options), re.MULTILINE)
        return f"{found[1]} {found[2]}" if found else ""


def run(command: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=CLIENT_S * 2)


@contextmanager
def secured(
    grow: Grow, by: Authority, pools: list[Any], given: Any = None, settings: Any = None, **listener: Any
) -> Iterator[Client]:
    """A TLS listener. `given`: what references stand for; `settings`: the operator's."""
    address = vip()
    wanted = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "www.example", **listener}
    tree = by.bundles(grow(web(address, pools, **wanted)), **(given or {}))
    with serving(render(tree, settings=RenderSettings(**(settings or {}))), address) as balancer:
        yield Client(balancer)


@pytest.fixture
def secure(grow: Grow, authority: Authority, members: list[int]) -> Callable[..., Any]:
    """A TLS listener in front of a member, as `with secure(attribute=…) as client`."""
    return lambda **listener: secured(grow, authority, [pool("a", members[:1])], **listener)
