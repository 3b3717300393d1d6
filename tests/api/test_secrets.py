# SPDX-License-Identifier: Apache-2.0
"""Secrets are kept under Barbican's names; what they are is never told again, but to who serves their project."""

import base64
from pathlib import Path

import pytest

from caryatid.control.secrets import Keep
from caryatid.control.vault import Vault
from caryatid.drivers.secrets.base import SecretsError, UnreadableError
from caryatid.drivers.secrets.local import LocalDriver
from caryatid.model import CONTAINER, SECRET
from caryatid.store import rows, secrets
from caryatid.store.database import Database

MARK = "a-word-that-must-not-be-seen"
PROJECT = "3d1e5a0c9b7f4f6e8a2c4d6e8f0a1b2c"
OTHER = "11111111111141118111111111111111"
OURS = {"X-Project-Id": PROJECT}
THEIRS = {"X-Project-Id": OTHER}
NOWHERE = "11111111-1111-4111-8111-111111111111"


def refused(answer, status):
    """In the shape that Barbican's clients read."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"code", "title", "description"}
    assert MARK not in answer.text
    return answer.json()["description"]


def path(reference):
    return "/" + reference.split("/", 3)[3]


def store(api, headers=OURS, **body):
    made = api.post("/v1/secrets", json=body, headers=headers)
    assert made.status_code == 201, made.text
    reference = made.json()["secret_ref"]
    assert made.json().keys() == {"secret_ref"}
    assert made.headers["location"] == reference
    return reference


def text(api, payload=MARK, **body):
    return store(api, payload=payload, payload_content_type="text/plain", **body)


def keep(api):
    return Keep(api.door.database, api.door.vault)


def driver(api):
    return LocalDriver(keep(api))


def test_a_life_from_create_to_gone(any_api):
    api = any_api
    reference = text(api, name="key", secret_type="private", algorithm="rsa", bit_length=2048, mode="x")
    shown = api.get(path(reference), headers=OURS).json()
    assert shown["secret_ref"] == reference
    assert (shown["name"], shown["secret_type"], shown["bit_length"]) == ("key", "private", 2048)
    assert (shown["status"], shown["content_types"]) == ("ACTIVE", {"default": "text/plain"})
    assert MARK not in str(shown)
    assert driver(api).read(reference, PROJECT).payload == MARK.encode()
    assert api.delete(path(reference), headers=OURS).status_code == 204
    refused(api.get(path(reference), headers=OURS), 404)
    with pytest.raises(UnreadableError):
        driver(api).read(reference, PROJECT)
    with api.door.database.read() as tx:
        assert secrets.read(tx, reference.rpartition("/")[2]) is None


def test_what_a_secret_is_can_be_given_later_and_anew(api):
    """Barbican's own takes it once."""
    reference = store(api, name="later")
    assert "content_types" not in api.get(path(reference), headers=OURS).json()
    with pytest.raises(UnreadableError, match="no payload yet"):
        driver(api).read(reference, PROJECT)
    for payload in (b"one", b"\x00two\xff"):
        said = {**OURS, "Content-Type": "application/octet-stream"}
        assert api.put(path(reference), content=payload, headers=said).status_code == 204
        assert driver(api).read(reference, PROJECT).payload == payload
    said = {**OURS, "Content-Type": "application/octet-stream", "Content-Encoding": "base64"}
    assert api.put(path(reference), content=base64.b64encode(b"three"), headers=said).status_code == 204
    assert driver(api).read(reference, PROJECT).payload == b"three"
    shown = api.get(path(reference), headers=OURS).json()
    assert shown["content_types"] == {"default": "application/octet-stream"}
    assert shown["updated"] > shown["created"]


def test_nobody_reads_a_payload(api):
    reference = text(api)
    for accept in ("text/plain", "application/octet-stream", "application/json", "*/*"):
        answer = api.get(f"{path(reference)}/payload", headers={**OURS, "Accept": accept})
        assert "cannot be read" in refused(answer, 403)
    assert refused(api.get(f"/v1/secrets/{NOWHERE}/payload"), 404)


def test_what_is_stored_cannot_be_read_without_the_master_key(api, tmp_path):
    reference = text(api)
    api.post("/v1/secrets", json={"payload": MARK, "payload_content_type": "nonsense"}, headers=OURS)
    key = (tmp_path / "master.key").read_bytes()
    api.door.database.close()
    for file in filter(Path.is_file, tmp_path.iterdir()):
        assert MARK.encode() not in file.read_bytes(), file
    (tmp_path / "master.key").write_bytes(bytes(32))
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    other = LocalDriver(Keep(database, Vault(tmp_path)))
    with pytest.raises(SecretsError, match="master key"):
        other.read(reference, PROJECT)
    (tmp_path / "master.key").write_bytes(key)
    assert other.read(reference, PROJECT).payload == MARK.encode()
    database.close()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"payload": MARK}, "payload_content_type"),
        ({"payload": "", "payload_content_type": "text/plain"}, "empty"),
        ({"payload": MARK, "payload_content_type": "image/png"}, "content type"),
        ({"payload": MARK, "payload_content_type": "application/octet-stream"}, "base64"),
        (
            {"payload": MARK, "payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"},
            "not base64",
        ),
        ({"payload": [MARK], "payload_content_type": "text/plain"}, "payload"),
        ({"payload": MARK * 4000, "payload_content_type": "text/plain"}, "payload"),
        ({"payload": MARK * 2500, "payload_content_type": "text/plain"}, "65536"),
        ({"payload_content_type": "text/plain"}, "payload"),
        ({"secret_type": "nice"}, "secret_type"),
        ({"expiration": "tomorrow"}, "expiration"),
        ({"expiration": "2001-01-01T00:00:00"}, "future"),
        ({"id": NOWHERE}, "id"),
        (None, ""),
        ([], "object"),
    ],
)
def test_what_is_wrong_is_said_without_the_payload(api, body, why):
    assert why in refused(api.post("/v1/secrets", json=body, headers=OURS), 400)


def test_a_new_payload_must_be_right_too(api):
    reference = text(api)
    for content, kind in ((b"", "text/plain"), (b"x" * 70_000, "text/plain"), (b"x", "image/png"), (b"x", "")):
        answer = api.put(path(reference), content=content, headers={**OURS, "Content-Type": kind})
        assert refused(answer, 400)
    assert driver(api).read(reference, PROJECT).payload == MARK.encode()
    missing = api.put(f"/v1/secrets/{NOWHERE}", content=b"x", headers={**OURS, "Content-Type": "text/plain"})
    assert refused(missing, 404)


def test_a_secret_that_has_expired_is_read_no_more(api):
    reference = text(api, expiration="2100-01-01T00:00:00+02:00")
    assert api.get(path(reference), headers=OURS).json()["expiration"] == "2099-12-31T22:00:00.000000"
    assert driver(api).read(reference, PROJECT)
    key = reference.rpartition("/")[2]
    with api.door.database.transaction() as tx:
        row = SECRET.load(rows.get(tx, SECRET, key))
        rows.change(tx, SECRET, row.model_copy(update={"expiration": "2001-01-01T00:00:00"}), at=row.created_at)
    with pytest.raises(UnreadableError, match="has expired"):
        driver(api).read(reference, PROJECT)


def test_secrets_are_their_projects(api):
    reference = text(api)
    foreign = text(api, headers=THEIRS)
    with pytest.raises(UnreadableError):
        driver(api).read(foreign, PROJECT)
    listed = api.get("/v1/secrets", headers=OURS).json()
    assert ([one["secret_ref"] for one in listed["secrets"]], listed["total"]) == ([reference], 1)


def test_of_a_reference_the_path_counts(api):
    key = text(api).rpartition("/")[2]
    for before in ("", "http://127.0.0.1:9876", "https://keys.example:9311", "https://cloud.example/key-manager"):
        for after in ("", "/"):
            assert driver(api).read(f"{before}/v1/secrets/{key}{after}", PROJECT).payload == MARK.encode()
    for wrong in (key, f"/v2/secrets/{key}", f"/v1/orders/{key}", f"file:///v1/secrets/{key}", "/v1/secrets/x", ""):
        with pytest.raises(UnreadableError):
            driver(api).read(wrong, PROJECT)


def test_a_list_has_pages_and_filters(api):
    for number in range(5):
        store(api, name=f"s{number % 2}")
    listed = api.get("/v1/secrets?limit=2&offset=2&name=s0&sort=created:desc", headers=OURS).json()
    assert (len(listed["secrets"]), listed["total"]) == (1, 3)
    assert "next" not in listed
    assert listed["previous"].endswith("/v1/secrets?name=s0&sort=created%3Adesc&limit=2&offset=0")
    first = api.get("/v1/secrets?limit=2", headers=OURS).json()
    second = api.get(path(first["next"]), headers=OURS).json()
    assert not {one["secret_ref"] for one in first["secrets"]} & {one["secret_ref"] for one in second["secrets"]}
    assert len(api.get("/v1/secrets?limit=0", headers=OURS).json()["secrets"]) == 0
    for wrong in ("limit=x", "offset=-1", "sort=nothing", "colour=red"):
        assert refused(api.get(f"/v1/secrets?{wrong}", headers=OURS), 400)


def container(api, headers=OURS, type="certificate", **named):  # noqa: A002  the wire's word
    refs = [{"name": name, "secret_ref": reference} for name, reference in named.items()]
    return api.post("/v1/containers", json={"name": "c", "type": type, "secret_refs": refs}, headers=headers)


def test_a_container_stands_for_its_secrets(any_api):
    api = any_api
    named = {
        name: text(api, name) for name in ("certificate", "private_key", "intermediates", "private_key_passphrase")
    }
    made = container(api, **named)
    assert made.status_code == 201, made.text
    reference = made.json()["container_ref"]
    shown = api.get(path(reference), headers=OURS).json()
    assert {one["name"]: one["secret_ref"] for one in shown["secret_refs"]} == named
    assert (shown["type"], shown["name"], shown["container_ref"]) == ("certificate", "c", reference)
    read = driver(api).read(reference, PROJECT)
    assert (read.certificate, read.private_key, read.intermediates) == (
        b"certificate",
        b"private_key",
        b"intermediates",
    )
    assert (read.passphrase, read.payload) == (b"private_key_passphrase", b"")
    with pytest.raises(UnreadableError):
        driver(api).read(reference, OTHER)
    listed = api.get("/v1/containers?type=certificate", headers=OURS).json()
    assert [one["container_ref"] for one in listed["containers"]] == [reference]

    assert api.delete(path(named["intermediates"]), headers=OURS).status_code == 204, "as with Barbican"
    with pytest.raises(UnreadableError):
        driver(api).read(reference, PROJECT)
    assert api.delete(path(reference), headers=OURS).status_code == 204
    assert api.get(path(named["certificate"]), headers=OURS).status_code == 200, "secrets stay by themselves"


def test_a_container_names_what_its_project_has(api):
    mine, foreign = text(api), text(api, headers=THEIRS)
    assert refused(container(api, certificate=foreign), 404)
    assert refused(container(api, certificate=f"http://x/v1/secrets/{NOWHERE}"), 404)
    assert "no reference" in refused(container(api, certificate="nonsense"), 400)
    assert "called certificate" in refused(container(api, private_key=mine), 400)
    assert "called one of" in refused(container(api, certificate=mine, colour=mine), 400)
    assert refused(container(api, type="rsa", certificate=mine), 400)
    assert container(api, type="generic", colour=mine).status_code == 201
    twice = [{"name": "certificate", "secret_ref": mine}] * 2
    assert refused(api.post("/v1/containers", json={"type": "certificate", "secret_refs": twice}, headers=OURS), 400)


def test_where_secrets_are_kept_elsewhere_none_are_kept_here(api):
    object.__setattr__(api.door, "settings", api.door.settings.model_copy(update={"secrets_driver": "barbican"}))
    for kind in (SECRET, CONTAINER):
        answer = api.post(f"/v1{kind.path}", json={"type": "generic"} if kind is CONTAINER else {}, headers=OURS)
        assert "barbican" in refused(answer, 501)
