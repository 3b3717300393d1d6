# SPDX-License-Identifier: Apache-2.0
"""A real Barbican, with and without a real Keystone: what listeners may name is read there, as far as we are let in."""

import base64
import contextlib
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx2
import pytest

from bench.waiting import until
from caryatid.drivers.secrets.barbican import BarbicanDriver
from caryatid.drivers.secrets.base import SecretsError, UnreadableError
from caryatid.drivers.setup import KeyManager
from caryatid.plan.bundles import read
from tests.cloud import PATIENCE_S, running
from tests.papers import NOW, bundle, paper

pytestmark = pytest.mark.system
LEAF = paper()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def open_barbican(folder):
    """One that lets everybody in."""
    with running("barbican", folder / "open") as server:
        yield server.url


@pytest.fixture(scope="module")
def barbican(folder, cloud):
    """One that asks Keystone who somebody is."""
    with running("barbican", folder / "barbican", f"{cloud.url}/v3") as server:
        yield server.url


class Owner:
    """Somebody who keeps secrets in a Barbican."""

    def __init__(self, url, **headers):
        self.http = httpx2.Client(base_url=url, headers=headers, timeout=PATIENCE_S)

    def post(self, path, **body):
        made = self.http.post(path, json=body)
        assert made.status_code == 201, made.text
        return next(iter(made.json().values()))

    def text(self, payload, **more):
        return self.post("/v1/secrets", payload=payload, payload_content_type="text/plain", **more)

    def binary(self, payload):
        text = base64.b64encode(payload).decode()
        kind = "application/octet-stream"
        return self.post("/v1/secrets", payload=text, payload_content_type=kind, payload_content_encoding="base64")

    def container(self, type_="certificate", **named):
        refs = [{"name": name, "secret_ref": reference} for name, reference in named.items()]
        return self.post("/v1/containers", type=type_, secret_refs=refs)

    def let_in(self, user_id, *references):
        for reference in references:
            acl = {"read": {"users": [user_id], "project-access": True}}
            answer = self.http.put(f"{reference}/acl", json=acl)
            assert answer.status_code == 200, answer.text


@pytest.fixture
def owner(open_barbican):
    """Of project `mine`."""
    return Owner(open_barbican, **{"X-Project-Id": "mine", "X-User-Id": "me", "X-Roles": "creator,member"})


@pytest.fixture
def driver(open_barbican):
    return BarbicanDriver(KeyManager(open_barbican, timeout_s=PATIENCE_S))


def test_a_container_is_read_with_all_that_it_names(owner, driver):
    parts = {"certificate": "c", "private_key": "k", "intermediates": "i", "private_key_passphrase": "p"}
    found = driver.read(owner.container(**{name: owner.text(text) for name, text in parts.items()}), "mine")
    assert (found.certificate, found.private_key, found.intermediates, found.passphrase) == (b"c", b"k", b"i", b"p")
    found = driver.read(owner.container(certificate=owner.text(LEAF.pem.decode())), "mine")
    assert (found.certificate, found.private_key) == (LEAF.pem.strip(), b"")


def test_a_pkcs12_bundle_is_read_as_it_is(owner, driver):
    found = driver.read(owner.binary(bundle(LEAF)), "mine")
    assert read(found, "keypair", NOW).names == ("www.example.org",)


def test_what_is_not_there_is_said(owner, driver, open_barbican):
    for collection in ("secrets", "containers"):
        with pytest.raises(UnreadableError, match="has no"):
            driver.read(f"{open_barbican}/v1/{collection}/{uuid4()}", "mine")
    with pytest.raises(UnreadableError, match="no payload yet"):
        driver.read(owner.post("/v1/secrets", name="empty"), "mine")
    with pytest.raises(UnreadableError, match="no secret called certificate"):
        driver.read(owner.container("generic", key=owner.text("x")), "mine")
    gone = owner.text("x")
    holder = owner.container(certificate=gone)
    assert owner.http.delete(gone).status_code == 204
    with pytest.raises(UnreadableError):
        driver.read(holder, "mine")


def test_what_has_expired_is_not_there(owner, driver):
    soon = time.time() + 2
    reference = owner.text("x", expiration=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(soon)))
    until(lambda: time.time() > soon + 1, "it has expired")
    with pytest.raises(UnreadableError, match="expired"):
        driver.read(reference, "mine")


def test_only_the_configured_barbican_is_asked(owner, driver, open_barbican):
    reference = owner.text("x")
    path = reference.removeprefix(open_barbican)
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        host = f"http://127.0.0.1:{other.getsockname()[1]}"
        for wrong in (f"{host}{path}", path, f"{open_barbican}{path}/payload", f"{open_barbican}@evil{path}", "x"):
            with pytest.raises(UnreadableError, match="is no reference"):
                driver.read(wrong, "mine")
        with pytest.raises(BlockingIOError):
            other.accept()
    elsewhere = BarbicanDriver(
        KeyManager(open_barbican, ("https://keys.example:9311", open_barbican), timeout_s=PATIENCE_S)
    )
    assert elsewhere.read(f"https://keys.example:9311{path}", "mine").payload == b"x", "its other name"


@pytest.fixture(scope="module")
def alice(cloud, barbican):
    cloud.user("alice", "hers", "member")
    return Owner(barbican, **{"X-Auth-Token": cloud.token("alice", "hers")})


def test_who_keeps_a_secret_must_let_the_service_in(alice, cloud, barbican):
    driver = BarbicanDriver(KeyManager(barbican, keystone=cloud.us, timeout_s=PATIENCE_S))
    secrets = {name: alice.text(name) for name in ("certificate", "private_key")}
    reference = alice.container(**secrets)
    for closed in (reference, secrets["certificate"]):
        with pytest.raises(UnreadableError, match=f"openstack acl user add --user caryatid .*{closed}"):
            driver.read(closed, "hers")
    alice.let_in(cloud.service_id, reference)
    with pytest.raises(UnreadableError, match="openstack acl user add"):
        driver.read(reference, "hers")
    alice.let_in(cloud.service_id, *secrets.values())
    assert driver.read(reference, "hers").private_key == b"private_key"


def test_a_token_that_is_not_believed_any_more_is_replaced(alice, cloud, barbican):
    driver = BarbicanDriver(KeyManager(barbican, keystone=cloud.us, timeout_s=PATIENCE_S))
    reference = alice.text("x")
    alice.let_in(cloud.service_id, reference)
    driver.read(reference, "hers")
    token = driver._tokens.valid()
    assert driver._tokens.valid() == token, "it is kept"
    cloud.revoke(token)
    assert driver.read(reference, "hers").payload == b"x"


def test_a_wrong_password_is_the_operators_affair(alice, cloud, barbican):
    driver = BarbicanDriver(KeyManager(barbican, keystone=replace(cloud.us, password="wrong"), timeout_s=PATIENCE_S))
    with pytest.raises(SecretsError, match="Keystone does not know the user caryatid") as refused:
        driver.read(alice.text("x"), "hers")
    assert not isinstance(refused.value, UnreadableError), "it passes when it is mended"
    assert "wrong" not in str(refused.value)


ANSWERS = {
    "broken": (500, b"{}", {}),
    "busy": (429, b"{}", {}),
    "elsewhere": (302, b"", {"Location": "http://127.0.0.1:1/"}),
    "huge": (200, b"{" + b" " * 300_000 + b"}", {}),
    "squeezed": (200, b"\x1f\x8bnonsense", {"Content-Encoding": "gzip"}),
    "nonsense": (200, b"<html>", {}),
    "list": (200, b"[]", {}),
    "odd": (200, b'{"content_types": 7}', {}),
}
PERMANENT = {"elsewhere", "odd"}


class Odd(BaseHTTPRequestHandler):
    """Answers as its name is."""

    def do_GET(self):
        status, body, headers = ANSWERS[self.headers["X-Project-Id"]]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def odd():
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("how", ANSWERS)
def test_whatever_is_answered_it_ends_in_words(odd, how):
    with pytest.raises(SecretsError) as refused:
        BarbicanDriver(KeyManager(odd)).read(f"{odd}/v1/secrets/{uuid4()}", how)
    assert isinstance(refused.value, UnreadableError) == (how in PERMANENT), refused.value
    assert str(refused.value).endswith(".")


def test_who_does_not_answer_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SecretsError, match="no answer in time"):
            BarbicanDriver(KeyManager(url, timeout_s=1)).read(f"{url}/v1/secrets/{uuid4()}", "mine")
    with pytest.raises(SecretsError, match="cannot be asked"):
        BarbicanDriver(KeyManager(url, timeout_s=1)).read(f"{url}/v1/secrets/{uuid4()}", "mine")
