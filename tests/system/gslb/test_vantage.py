# SPDX-License-Identifier: Apache-2.0
"""What users tell, checks that show a certificate, and checkers that are revoked: the real programs, and dig's view."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.globe import CHANGE_S, GSLB, LOCAL, QUICK, Checker, Globe
from bench.waiting import free_port, until
from tests.certificates import Authority
from tests.system.gslb.conftest import Service

pytestmark = pytest.mark.timeout(240)
FIRST, SECOND = "192.0.2.11", "192.0.2.12"
NAME = "members.example.test"
CONFIGURATION = """\
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend demanding
    bind {address}:{port} ssl crt {folder}/server.pem ca-file {folder}/ca.pem verify required
    http-request return status 200 content-type text/plain string ok
"""


def test_what_users_tell_is_answered_at_once_and_shown(globe: Globe) -> None:
    monitor = globe.make("monitors", name="told", type="passive", interval=600.0)
    members = [{"name": name, "address": address} for name, address in (("one", FIRST), ("two", SECOND))]
    gslb = globe.gslb("told", [globe.pool("told", monitor["id"], members)])
    everybody = ("--member", "one", "--member", "two")
    assert globe.main.command("gslb-monitor", "tell", "told", *everybody, "--up").returncode == 0
    globe.until_answered("told", [FIRST, SECOND])
    said = globe.main.command("gslb-monitor", "tell", "told", "--member", "one", "--down", "--reason", "out", "--json")
    assert said.returncode == 0, said.stderr
    (vote,) = json.loads(said.stdout)
    assert (vote["vote"], vote["reason"], vote["region_id"]) == ("DOWN", "out", globe.regions[LOCAL])
    globe.until_answered("told", [SECOND])
    explained = globe.show(f"gslbs/{gslb['id']}/explain")
    (one,) = [one for one in explained["pools"][0]["members"] if one["address"] == FIRST]
    assert "out" in one["why"]
    refused = globe.main.command("gslb-monitor", "test", "told", "--address", FIRST)
    assert refused.returncode
    assert "gslb-monitor tell" in refused.stderr
    globe.main.send(
        "PUT", f"{GSLB}/monitors/{monitor['id']}/votes", {"votes": [{"member_id": one["id"], "vote": "UP"}]}
    )
    globe.until_answered("told", [FIRST, SECOND])
    globe.remove(f"gslbs/{gslb['id']}")


def test_a_member_that_wants_a_certificate_is_up_for_checks_that_show_it(globe: Globe, tmp_path: Path) -> None:
    authority = Authority("Members")
    client, ca = (
        kept(globe, pem) for pem in (authority.file(authority.sign("client", "c.test")), authority.paper.pem.decode())
    )
    shown = {"sni": NAME, "ca_ref": ca, "client_cert_ref": client}
    address = "127.0.77.1"
    with demanding(tmp_path, authority, address) as port:
        monitors = [
            globe.make("monitors", name=name, type="https", **QUICK, parameters=parameters)["id"]
            for name, parameters in (("shows", shown), ("shows nothing", {"sni": NAME, "ca_ref": ca}))
        ]
        uses = [{"monitor_id": monitors[0]}, {"monitor_id": monitors[1], "observe_only": True}]
        pool = globe.make("pools", name="mutual", monitors=uses)["id"]
        globe.make(f"pools/{pool}/pool_members", address=address, port=port)
        gslb = globe.gslb("mutual", [pool], on_all_down="fail_closed")
        regions = dict.fromkeys(globe.regions.values())

        def votes(monitor_id: str) -> dict[str, str]:
            (member,) = globe.all(f"pools/{pool}/pool_members")
            return {one["region_id"]: one["vote"] for one in member["per_region"] if one["monitor_id"] == monitor_id}

        until(lambda: votes(monitors[0]) == dict.fromkeys(regions, "UP"), "all let us in", CHANGE_S)
        until(lambda: votes(monitors[1]) == dict.fromkeys(regions, "DOWN"), "none without it", CHANGE_S)
        globe.until_answered("mutual", [address])
        tried = globe.main.command("gslb-monitor", "test", "shows", "--address", address, "--port", str(port), "--json")
        assert {one["vote"] for one in json.loads(tried.stdout)["regions"] if one["region_id"] in regions} == {"UP"}
    kinds = {one["purpose"] for one in globe.show(f"monitors/{monitors[0]}")["certificates"]}
    assert kinds == {"keypair", "authorities"}
    written = [*map(Path.read_bytes, everything(globe)), globe.main.log().encode()]
    secret = authority.sign("client", "c.test").key_pem.splitlines()[1]
    assert not [one for one in written if secret in one], "in no log, database or file of ours"
    globe.remove(f"gslbs/{gslb['id']}")


def test_a_checker_that_is_revoked_is_out_at_once_and_another_takes_over(globe: Globe, service: Service) -> None:
    name, (first, second) = service.named(), service.addresses
    region, revoked = globe.regions["north"], globe.checkers["north"]
    more = globe.checker("north").start()
    try:
        until(lambda: globe.show(f"regions/{region}")["checkers"] > 1, "it is heard of", CHANGE_S)
        done = globe.main.command("gslb-checker", "revoke", enrolled(revoked), "--json", "--wait")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["revoked"]
        assert globe.show(f"regions/{region}")["checkers"] == 1
        until(lambda: "not let in" in revoked.log(), "it is told", CHANGE_S)
        service.servers[first].close()
        globe.until_answered(name, [second])
        until(lambda: service.votes(first).get("north") == "DOWN", "the other one of its region says so", CHANGE_S)
        listed = {one["id"]: one for one in globe.all(f"checkers?region_id={region}")}
        assert listed[enrolled(revoked)]["revoked"]
        assert not listed[enrolled(more)]["revoked"]
        assert listed[enrolled(more)]["seen_at"] <= now()
        assert revoked.process.poll() is None, "it lives, and is not heard"
    finally:
        revoked.close()
        globe.checkers["north"] = more


def kept(globe: Globe, pem: str) -> str:
    """The reference of a secret."""
    answer = globe.main.api.post("/v1/secrets", json={"payload": pem, "payload_content_type": "text/plain"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


@contextmanager
def demanding(folder: Path, authority: Authority, address: str) -> Iterator[int]:
    """The port of an HAProxy that talks to nobody without a certificate of the authority."""
    paper, port = authority.sign(NAME, NAME), free_port(address=address)
    (folder / "server.pem").write_bytes(paper.pem + paper.key_pem)
    (folder / "ca.pem").write_bytes(authority.paper.pem)
    (folder / "haproxy.cfg").write_text(CONFIGURATION.format(address=address, port=port, folder=folder))
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or "haproxy"
    process = subprocess.Popen([program, "-db", "-q", "-f", str(folder / "haproxy.cfg")])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def everything(globe: Globe) -> Iterator[Path]:
    """All files of the installation and its checkers."""
    for directory in (globe.main.directory, *(checker.directory for checker in globe.checkers.values())):
        yield from (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def enrolled(checker: Checker) -> str:
    """Its id."""
    (path,) = checker.directory.rglob("enrolment.json")
    return str(json.loads(path.read_text())["checker_id"])


def now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
