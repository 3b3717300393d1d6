# SPDX-License-Identifier: Apache-2.0
"""OCSP responses are fetched from a real responder, kept with their certificates, and handed to drivers."""

import base64
import dataclasses
from datetime import UTC, datetime

import pytest
from cryptography.x509 import ocsp
from sqlalchemy import text

from caryatid.control import stapling, watch, writes
from caryatid.model import CERTIFICATE, LISTENER, LOADBALANCER
from caryatid.model.bundle import Material
from caryatid.model.event import BEGINNING
from caryatid.store import events, rows
from tests.control.shelf import Shelf, fresh
from tests.responder import Responder

NOW = datetime.now(UTC)
WWW = "k:www"


@pytest.fixture
def responder(tmp_path):
    started = Responder(tmp_path, fresh("The authority", authority=True))
    yield started
    started.stop()


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def door(door, shelf):
    more = {"ocsp_stapling": True, "ocsp_private_responders": True, "certificate_check_s": 0.000001}
    return dataclasses.replace(door, secrets=shelf, settings=door.settings.model_copy(update=more))


def changed(door, **more):
    return dataclasses.replace(door, settings=door.settings.model_copy(update=more))


def material(paper, ca):
    return Material(certificate=paper.pem, private_key=paper.key_pem, intermediates=ca.pem)


@pytest.fixture
def listener(door, caller):
    """A function: a listener with that certificate."""

    def made(paper, ca):
        door.secrets.kept[WWW] = material(paper, ca)
        wish = {"name": "l", "vip_subnet_id": "00000000-0000-4000-8000-000000000002"}
        root_id = writes.create(door, caller, LOADBALANCER, wish).document["id"]
        wish = {"loadbalancer_id": root_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
        return writes.create(door, caller, LISTENER, {**wish, "default_tls_container_ref": WWW}).document

    return made


def certificate(door):
    with door.database.read() as tx:
        (found,) = rows.find(tx, CERTIFICATE)
    return found


def due_now(door):
    """Time has passed."""
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE certificate SET spec = json_set(spec, '$.staple_due', '2020')"))


def shown(world):
    """What the amphora shows."""
    (tree,) = world.trees.values()
    staple = tree.bundles[WWW, "keypair"].staple
    return ocsp.load_der_ocsp_response(base64.b64decode(staple)) if staple else None


def test_a_response_is_fetched_and_handed_to_the_amphora(door, listener, responder, world, drain):
    www = responder.issue()
    listener(www, responder.ca)
    stapling.staple(door)
    drain()
    assert shown(world).serial_number == www.certificate.serial_number
    assert certificate(door)["stapled_until"] > f"{NOW:%Y}"
    stapling.staple(door)
    assert drain() == []


def test_what_is_renewed_gets_a_response_of_its_own(door, listener, responder, world, drain):
    first, second = responder.issue(), responder.issue()
    listener(first, responder.ca)
    stapling.staple(door)
    door.secrets.kept[WWW] = material(second, responder.ca)
    watch.look(door)
    drain()
    assert shown(world) is None
    stapling.staple(door)
    drain()
    assert shown(world).serial_number == second.certificate.serial_number


def test_a_response_that_still_holds_stays_while_the_responder_is_away(door, listener, responder, world, drain):
    www = responder.issue()
    listener(www, responder.ca)
    stapling.staple(door)
    drain()
    responder.stop()
    due_now(door)
    stapling.staple(door)
    assert drain() == []
    assert shown(world)
    assert "cannot be asked" in certificate(door)["unstapled"]


def test_a_revoked_certificate_is_told_of_and_shows_nothing(door, listener, responder, world, drain):
    www = responder.issue()
    listener(www, responder.ca)
    stapling.staple(door)
    responder.revoke(www)
    for _ in range(2):
        due_now(door)
        stapling.staple(door)
    drain()
    assert shown(world) is None
    assert "was revoked at" in certificate(door)["unstapled"]
    with door.database.read() as tx:
        assert [event["action"] for event in events.after(tx, BEGINNING) if event["kind"] == "certificate"] == [
            "revoked"
        ]


def test_a_responder_at_a_private_address_is_not_asked_unless_that_is_allowed(door, listener, responder):
    www = responder.issue()
    listener(www, responder.ca)
    stapling.staple(changed(door, ocsp_private_responders=False))
    assert "public address" in certificate(door)["unstapled"]
    assert certificate(door)["stapled_until"] is None


def test_where_stapling_is_off_nothing_is_shown_and_what_demands_it_is_told_of(door, listener, responder, world, drain):
    www = responder.issue(demanding=True)
    listener(www, responder.ca)
    stapling.staple(door)
    drain()
    assert shown(world)
    off = changed(door, ocsp_stapling=False)
    stapling.staple(off)
    drain()
    assert shown(world) is None
    assert "demands" in certificate(door)["unstapled"]
    stapling.staple(door)
    drain()
    assert shown(world)
    assert certificate(door)["unstapled"] is None


def test_what_names_no_responder_is_left_alone(door, listener, drain):
    ca = fresh("The authority", authority=True)
    listener(fresh("www.example.org", ca), ca)
    drain()
    for _ in range(2):
        stapling.staple(door)
    assert drain() == []
    assert certificate(door)["unstapled"] is None
