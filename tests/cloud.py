# SPDX-License-Identifier: Apache-2.0
"""Services of a cloud that tests start (`tests/servers`), and what an operator does in its Keystone."""

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from bench.waiting import free_port
from caryatid.drivers.setup import Keystone
from tests.programs import program

SERVERS = Path(__file__).parent / "servers"
READY_S = 120
PATIENCE_S = 60.0
SERVICE = "caryatid"
"""The user that we are there, and its password."""
DEFAULT = {"name": "Default"}


class Server(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running(name: str, folder: Path, *arguments: str) -> Iterator[Server]:
    """A server of `tests/servers`, until the end."""
    folder.mkdir()
    port = free_port()
    python = program(name).with_name("python")
    words = [python, SERVERS / f"run_{name}.py", folder, str(port), *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "PYTHON"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=folder)
    try:
        there = select.select([process.stdout], [], [], READY_S)[0] and process.stdout.readline() == b"ready\n"
        assert there, (folder / "log").read_text()
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)


class Cloud:
    """A Keystone with our user in it, and what else its operator does there. Everybody's password is the name."""

    def __init__(self, server: Server) -> None:
        self.url, self.process = server
        self.http = httpx2.Client(base_url=f"{self.url}/v3", timeout=PATIENCE_S)
        self.http.headers["X-Auth-Token"] = self.token("admin", "admin")
        self.service_id = self.user(SERVICE, "service", "service")

    @property
    def us(self) -> Keystone:
        """As whom we ask."""
        return Keystone(self.url, SERVICE, "Default", "service", "Default", SERVICE)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        answer = self.http.request(method, path, json=body, headers=headers)
        assert answer.is_success, (method, path, answer.text)
        return answer

    def make(self, kind: str, **body: Any) -> str:
        return str(self.send("POST", f"/{kind}s", {kind: body}).json()[kind]["id"])

    def find(self, kind: str, name: str) -> str:
        """The id of what is called so, made if it is not there."""
        found = self.send("GET", f"/{kind}s?name={name}").json()[f"{kind}s"]
        return str(found[0]["id"]) if found else self.make(kind, name=name)

    def user(self, name: str, project: str, *roles: str) -> str:
        """The id of a user with these roles in a project."""
        project_id = self.find("project", project)
        user_id = self.make("user", name=name, password=name, domain_id="default")
        for role in roles:
            self.send("PUT", f"/projects/{project_id}/users/{user_id}/roles/{self.find('role', role)}")
        return user_id

    def token(self, user: str, project: str) -> str:
        return self.scoped(user, {"project": {"name": project, "domain": DEFAULT}})

    def scoped(self, user: str, scope: Any) -> str:
        """A user's token for a scope, as Keystone writes it; "unscoped": for none."""
        who = {"name": user, "domain": DEFAULT, "password": user}
        return self.authenticate({"methods": ["password"], "password": {"user": who}}, scope)

    def authenticate(self, identity: Any, scope: Any = None) -> str:
        wish = {"identity": identity, **({"scope": scope} if scope else {})}
        return self.send("POST", "/auth/tokens", {"auth": wish}).headers["X-Subject-Token"]

    def credential(self, token: str, user_id: str, name: str, **more: Any) -> Any:
        """How an application shows itself that the token's user makes a credential for."""
        path, body = f"/users/{user_id}/application_credentials", {"application_credential": {"name": name, **more}}
        made = self.send("POST", path, body, **{"X-Auth-Token": token}).json()["application_credential"]
        known = {"id": made["id"], "secret": made["secret"]}
        return {"methods": ["application_credential"], "application_credential": known}

    def revoke(self, token: str) -> None:
        self.send("DELETE", "/auth/tokens", **{"X-Subject-Token": token})

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It answers nobody meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)
