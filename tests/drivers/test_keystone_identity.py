# SPDX-License-Identifier: Apache-2.0
"""A real Keystone says who asks: whose a token is, and no longer once it is revoked."""

import contextlib
import json
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from caryatid.config import Settings
from caryatid.drivers.identity.keystone import KeystoneDriver
from caryatid.drivers.setup import Identity, Keystone
from caryatid.errors import Busy, CaryatidError, Unauthorized
from caryatid.model.policy import Shown
from caryatid.services import wiring
from caryatid.store.database import Database
from tests.cloud import PATIENCE_S, Cloud

pytestmark = pytest.mark.system
DAY = "2999-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def driver(cloud):
    return KeystoneDriver(Identity(cloud.us, timeout_s=PATIENCE_S))


@pytest.fixture(scope="module")
def maker(cloud: Cloud):
    """Id of a user of project `making`."""
    return cloud.user("maker", "making", "member", "load-balancer_observer")


def test_a_token_says_user_project_and_roles(cloud, driver, maker):
    before = time.time()
    known = driver.identify(Shown(cloud.token("maker", "making")))
    assert known.caller.user_id == maker
    assert known.caller.project_id == cloud.find("project", "making")
    assert known.caller.roles == {"member", "reader", "load-balancer_observer"}, "reader is implied by member"
    assert not known.caller.is_admin, "what its roles allow is for the policy to say"
    assert before + 60 <= known.until <= time.time() + 60


def test_another_project_named_in_a_header_changes_nothing(cloud, driver, maker):
    known = driver.identify(Shown(cloud.token("maker", "making"), project_id="another"))
    assert known.caller.project_id == cloud.find("project", "making")


def test_a_token_of_no_project_has_no_roles(cloud, driver):
    assert driver.identify(Shown(cloud.token("admin", "admin"))).caller.roles >= {"admin"}
    admin_id = driver.identify(Shown(cloud.token("admin", "admin"))).caller.user_id
    role_id = cloud.find("role", "admin")
    cloud.send("PUT", f"/domains/default/users/{admin_id}/roles/{role_id}")
    for scope in ({"system": {"all": True}}, {"domain": {"id": "default"}}, "unscoped"):
        known = driver.identify(Shown(cloud.scoped("admin", scope)))
        assert known.caller.user_id == admin_id
        assert (known.caller.project_id, known.caller.roles) == (None, frozenset()), scope


def test_an_application_credential_gives_tokens_that_are_known(cloud, driver, maker):
    shown = cloud.credential(cloud.token("maker", "making"), maker, "program", roles=[{"name": "reader"}])
    known = driver.identify(Shown(cloud.authenticate(shown)))
    assert (known.caller.user_id, known.caller.roles) == (maker, {"reader"})


def test_a_credential_that_is_limited_to_other_requests_is_not_believed(cloud, driver, maker):
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    shown = cloud.credential(cloud.token("maker", "making"), maker, "limited", access_rules=rules)
    with pytest.raises(Unauthorized):
        driver.identify(Shown(cloud.authenticate(shown)))


def test_what_keystone_does_not_know_is_not_believed(cloud, maker):
    driver = KeystoneDriver(Identity(cloud.us, "https://keys.example/v3", timeout_s=PATIENCE_S))
    for token in ("", "x", "ü", "x\ty", "x" * 20_000, "../../v3/users"):
        with pytest.raises(Unauthorized) as refused:
            driver.identify(Shown(token))
        assert refused.value.challenge == 'Keystone uri="https://keys.example/v3"'
    with pytest.raises(Unauthorized):  # Keystone's users come with its tokens
        driver.identify(Shown(user="maker", password="maker"))


def test_a_revoked_token_is_not_believed(cloud, driver, maker):
    token = cloud.token("maker", "making")
    driver.identify(Shown(token))
    cloud.revoke(token)
    for _ in range(2):
        with pytest.raises(Unauthorized):
            driver.identify(Shown(token))


def test_a_token_of_ours_that_is_not_believed_any_more_is_replaced(cloud, maker):
    driver = KeystoneDriver(Identity(cloud.us, timeout_s=PATIENCE_S))
    token = cloud.token("maker", "making")
    driver.identify(Shown(token))
    cloud.revoke(driver._tokens.valid())
    assert driver.identify(Shown(token)).caller.user_id == maker


def test_our_user_must_be_known_and_let_check(cloud, maker):
    cloud.user("bystander", "bystanding", "member")
    token = cloud.token("bystander", "bystanding")
    for ours in ({"password": "wrong"}, {"user": "maker", "project": "making", "password": "maker"}):
        with pytest.raises(Busy):
            KeystoneDriver(Identity(replace(cloud.us, **ours), timeout_s=PATIENCE_S)).identify(Shown(token))


def test_without_a_keystone_in_the_settings_it_does_not_start(tmp_path):
    named = {"keystone_url": "http://127.0.0.1:1", "keystone_password_file": tmp_path / "none"}
    for given, why in (({}, "needs the setting keystone_url"), (named, "settings of Keystone cannot be used")):
        chosen = Settings(state_dir=tmp_path, identity_driver="keystone", **given)
        with closing(Database(chosen.database_url)) as database, pytest.raises(CaryatidError, match=why):
            wiring.door(chosen, database=database)


def test_while_keystone_is_silent_nobody_new_is_known_and_nobody_waits_long(cloud, maker):
    driver = KeystoneDriver(Identity(cloud.us, timeout_s=1))
    token = cloud.token("maker", "making")
    driver.identify(Shown(token))
    with cloud.silent():
        for _ in range(2):
            with pytest.raises(Busy):
                driver.identify(Shown(token))
        assert driver._rest_until > time.monotonic(), "it is left alone for a moment"
    driver._rest_until = 0.0
    assert driver.identify(Shown(token)).caller.user_id == maker


def whose(**more):
    token = {"user": {"id": "u"}, "project": {"id": "p"}, "roles": [{"name": "member"}], "expires_at": DAY, **more}
    return json.dumps({"token": token}).encode()


ANSWERS = {
    "well": (200, whose()),
    "service": (200, whose(roles=[{"name": "service"}])),
    "broken": (500, b"{}"),
    "busy": (429, b"{}"),
    "elsewhere": (302, b""),
    "huge": (200, b"{" + b" " * 300_000 + b"}"),
    "nonsense": (200, b"<html>"),
    "list": (200, b"[]"),
    "empty": (200, b'{"token": {}}'),
    "odd": (200, whose(roles=[7])),
    "ends": (200, whose(expires_at="soon")),
    "unwell": (400, b"{}"),
    "unknown": (404, b"{}"),
    "forbidden": (403, b"{}"),
}
REFUSED = {"unwell", "unknown"}


class Odd(BaseHTTPRequestHandler):
    """A Keystone that knows tokens by what they shall be answered. `late`: one that has expired."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, whose(), {"X-Subject-Token": "ours"})

    def do_GET(self):
        token = self.headers["X-Subject-Token"]
        if token == "late":
            token = "well" if "allow_expired=1" in self.path else "unknown"
        self.answer(*ANSWERS[token], {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def odd():
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield KeystoneDriver(Identity(Keystone(url, "us", "Default", "service", "Default", "us")))
        server.shutdown()


@pytest.mark.parametrize("how", sorted(set(ANSWERS) - {"well", "service"}))
def test_whatever_keystone_answers_nobody_is_believed_by_mistake(odd, how):
    with pytest.raises(Unauthorized if how in REFUSED else Busy):
        odd.identify(Shown(how))


def test_a_service_may_bring_a_token_that_expired_while_it_worked(odd):
    with pytest.raises(Unauthorized):
        odd.identify(Shown("late"))
    assert odd.identify(Shown("late", service_token="service")).caller.user_id == "u"
    for others in ("well", "unknown"):
        with pytest.raises(Unauthorized):
            odd.identify(Shown("late", service_token=others))


def test_who_does_not_answer_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        driver = KeystoneDriver(Identity(Keystone(url, "us", "Default", "service", "Default", "us"), timeout_s=0.5))
        with pytest.raises(Busy):
            driver.identify(Shown("x"))
    with pytest.raises(Busy):
        driver.identify(Shown("x"))
