# SPDX-License-Identifier: Apache-2.0
"""What is kept here is what listeners get; a new payload is theirs at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from caryatid.control import bundles, secrets, writes
from caryatid.drivers.secrets.local import LocalDriver
from caryatid.errors import Refused
from caryatid.model import CERTIFICATE, LISTENER, LOADBALANCER, SECRET
from caryatid.model.policy import Caller
from caryatid.store import rows
from tests.papers import paper

NOW = datetime.now(UTC)
ADMIN = Caller("admin", None, is_admin=True)
SUBNET = "00000000-0000-4000-8000-000000000002"


def site(days=30):
    leaf = paper(begin=NOW - timedelta(days=1), end=NOW + timedelta(days=days))
    return leaf.pem + leaf.key_pem


@pytest.fixture
def keeping(door):
    """The door of an installation that keeps its secrets itself."""
    settings = door.settings.model_copy(update={"secrets_driver": "local"})
    kept = replace(door, settings=settings)
    return replace(kept, secrets=LocalDriver(secrets.Keep(kept.database, kept.vault)))


@pytest.fixture
def secret(keeping):
    """Id of a secret."""
    body = {"payload": site().decode(), "payload_content_type": "text/plain"}
    return secrets.create(keeping, ADMIN, body).document["id"]


def listener(door, reference):
    root = writes.create(door, ADMIN, LOADBALANCER, {"vip_subnet_id": SUBNET}).document
    body = {"loadbalancer_id": root["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    wanted = {**body, "default_tls_container_ref": reference}
    return writes.create(door, ADMIN, LISTENER, wanted).document


def certificates(door):
    with door.database.read() as tx:
        return rows.find(tx, CERTIFICATE)


def test_a_listener_has_what_its_reference_names_directly_or_by_a_container(keeping, secret):
    refs = [{"name": "certificate", "secret_ref": f"/v1/secrets/{secret}"}]
    container = secrets.create_container(keeping, ADMIN, {"type": "certificate", "secret_refs": refs}).document["id"]
    for path in (f"secrets/{secret}", f"containers/{container}"):
        made = listener(keeping, f"http://127.0.0.1:9876/v1/{path}")
        assert made["default_tls_container_ref"].endswith(path)
    assert [one["subject"] for one in certificates(keeping)] == ["CN=www.example.org"] * 2


def test_a_new_payload_is_read_at_once_whoever_names_it(keeping, secret):
    refs = [{"name": "certificate", "secret_ref": f"/v1/secrets/{secret}"}]
    container = secrets.create_container(keeping, ADMIN, {"type": "certificate", "secret_refs": refs}).document["id"]
    body = {"payload": site().decode(), "payload_content_type": "text/plain"}
    other = secrets.create(keeping, ADMIN, body).document["id"]
    for path in (f"secrets/{secret}", f"containers/{container}", f"secrets/{other}"):
        listener(keeping, f"/v1/{path}")
    secrets.write(keeping, ADMIN, secret, secrets.Payload(site(days=60), "text/plain"))
    waiting = {one["reference"] for one in certificates(keeping) if not one["checked_at"]}
    assert waiting == {f"/v1/secrets/{secret}", f"/v1/containers/{container}"}


def test_what_is_in_use_stays_in_use_when_its_secret_is_deleted(keeping, secret):
    made = listener(keeping, f"/v1/secrets/{secret}")
    secrets.delete(keeping, ADMIN, SECRET, secret)
    with keeping.database.read() as tx:
        wanted = [(made["default_tls_container_ref"], "keypair")]
        assert len(bundles.stored(tx, keeping, made["loadbalancer_id"], wanted)) == 1
    with pytest.raises(Refused, match="default_tls_container_ref"):
        listener(keeping, f"/v1/secrets/{secret}")
