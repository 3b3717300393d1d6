# SPDX-License-Identifier: Apache-2.0
"""Certificates in use are watched: renewed ones are taken, wrong ones are not, ends are told of."""

import dataclasses
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from caryatid import metrics
from caryatid.control import bundles, watch, writes
from caryatid.drivers.secrets.base import SecretsError, UnreadableError
from caryatid.model import CERTIFICATE, LISTENER, LOADBALANCER, POOL
from caryatid.model.bundle import Material
from caryatid.model.event import BEGINNING
from caryatid.store import bundles as store
from caryatid.store import events, rows
from caryatid.store import tree as trees
from tests.control.shelf import Shelf, fresh, keypair, lists
from tests.papers import DAY, revocations

NOW = datetime.now(UTC)
WWW, CA, CRL = "https://keys/v1/secrets/www", "k:ca", "k:crl"


@pytest.fixture
def ca():
    return fresh("The authority", authority=True)


@pytest.fixture
def shelf(ca):
    shelf = Shelf()
    shelf.ca = ca
    shelf.kept[WWW] = keypair(fresh("www.example.org", ca), ca)
    shelf.kept[CA] = Material(payload=ca.pem)
    shelf.kept[CRL] = lists(revocations(ca, begin=NOW - DAY, end=NOW + DAY))
    return shelf


@pytest.fixture
def door(door, shelf):
    often = door.settings.model_copy(update={"certificate_check_s": 0.000001})
    return dataclasses.replace(door, secrets=shelf, settings=often)


@pytest.fixture
def root_id(door, caller):
    wish = {"name": "l", "vip_subnet_id": "00000000-0000-4000-8000-000000000002"}
    return writes.create(door, caller, LOADBALANCER, wish).document["id"]


@pytest.fixture
def listener(door, caller, root_id, drain):
    wish = {"loadbalancer_id": root_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    made = writes.create(door, caller, LISTENER, {**wish, "default_tls_container_ref": WWW}).document
    drain()
    return made


def kept(door):
    with door.database.read() as tx:
        return {one["reference"]: one for one in rows.find(tx, CERTIFICATE)}


def pem(door, root_id, key=(WWW, "keypair")):
    with door.database.read() as tx:
        return bundles.with_bundles(tx, door, trees.load(tx, root_id)).bundles[key].pem


def told(door):
    with door.database.read() as tx:
        return [event["action"] for event in events.after(tx, BEGINNING) if event["kind"] == CERTIFICATE.name]


def test_a_renewed_certificate_is_put_in_use_without_a_new_generation(door, listener, shelf, world, drain):
    (before,) = world.trees.values()
    shelf.kept[WWW] = keypair(fresh("www.example.org", shelf.ca, end=NOW + 60 * DAY), shelf.ca)
    watch.look(door)
    assert len(drain()) == 1
    (after,) = world.trees.values()
    assert after.generation == before.generation
    assert after.bundles[WWW, "keypair"].digest != before.bundles[WWW, "keypair"].digest
    assert kept(door)[WWW]["not_after"] == after.bundles[WWW, "keypair"].not_after
    assert told(door) == ["renewed"]


def test_what_has_not_changed_makes_no_work(door, listener, drain):
    first = kept(door)[WWW]
    watch.look(door)
    assert drain() == []
    second = kept(door)[WWW]
    assert second["checked_at"] > first["checked_at"]
    assert {**second, "checked_at": ""} == {**first, "checked_at": ""}


def test_nothing_is_read_before_it_is_time(door, listener, shelf):
    seldom = dataclasses.replace(door, settings=door.settings.model_copy(update={"certificate_check_s": 600}))
    shelf.read_for.clear()
    watch.look(seldom)
    assert shelf.read_for == []


def test_what_is_kept_under_an_id_is_read_at_once_when_it_was_replaced(door, listener, shelf):
    seldom = dataclasses.replace(door, settings=door.settings.model_copy(update={"certificate_check_s": 600}))
    shelf.read_for.clear()
    with door.database.transaction() as tx:
        store.look_again(tx, ["other", "WWW"])
    watch.look(seldom)
    assert shelf.read_for == [(WWW, "p1")]


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (Material(payload=b"noise"), ["refused"]),
        (keypair(fresh("www.example.org", end=NOW - DAY / 2)), ["refused"]),
        (UnreadableError("Nothing is kept there."), []),
        (SecretsError("The key store is away."), []),
    ],
)
def test_whatever_goes_wrong_is_shown_and_what_was_right_stays(door, listener, shelf, drain, answer, event):
    root_id = kept(door)[WWW]["loadbalancer_id"]
    before, shelf.kept[WWW] = pem(door, root_id), answer
    for _ in range(3):
        watch.look(door)
    assert drain() == []
    assert pem(door, root_id) == before
    assert kept(door)[WWW]["problem"]
    assert told(door) == event


def test_a_problem_that_is_over_is_shown_no_more(door, listener, shelf):
    right, shelf.kept[WWW] = shelf.kept[WWW], SecretsError("The key store is away.")
    watch.look(door)
    shelf.kept[WWW] = right
    watch.look(door)
    assert kept(door)[WWW]["problem"] is None


def test_authorities_are_not_renewed_without_the_list_of_what_they_have_revoked(door, caller, root_id, shelf, ca):
    wish = {"loadbalancer_id": root_id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    wish |= {"ca_tls_container_ref": CA, "crl_container_ref": CRL}
    writes.create(door, caller, POOL, wish)
    before = pem(door, root_id, (CA, "authorities")), pem(door, root_id, (CRL, "revocations"))
    other = fresh("Another", authority=True)
    shelf.kept[CA] = Material(payload=other.pem)
    watch.look(door)
    assert (pem(door, root_id, (CA, "authorities")), pem(door, root_id, (CRL, "revocations"))) == before
    assert kept(door)[CA]["problem"] == kept(door)[CRL]["problem"]
    shelf.kept[CRL] = lists(revocations(other, begin=NOW - DAY, end=NOW + DAY))
    watch.look(door)
    assert pem(door, root_id, (CA, "authorities")) != before[0]
    assert pem(door, root_id, (CRL, "revocations")) != before[1]
    assert not any(one["problem"] for one in kept(door).values())


def test_authorities_and_their_list_are_read_together_whichever_is_due(door, caller, root_id, shelf):
    wish = {"loadbalancer_id": root_id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    wish |= {"ca_tls_container_ref": CA, "crl_container_ref": CRL}
    writes.create(door, caller, POOL, wish)
    seldom = dataclasses.replace(door, settings=door.settings.model_copy(update={"certificate_check_s": 600}))
    for due in (CA, CRL):
        other = fresh(f"Another than {due}", authority=True)
        shelf.kept[CA] = Material(payload=other.pem)
        shelf.kept[CRL] = lists(revocations(other, begin=NOW - DAY, end=NOW + DAY))
        with door.database.transaction() as tx:
            assert store.look_again(tx, [due]) == 1
        watch.look(seldom)
        found = kept(door)
        assert {one["subject"] for one in found.values()} == {other.certificate.subject.rfc4514_string()}
        assert not any(one["problem"] for one in found.values())


def test_the_end_of_what_is_in_use_is_told_once_for_each_warning(door, listener, monkeypatch):
    class Clock(datetime):
        days = 0.0

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.days * DAY

    monkeypatch.setattr(watch, "datetime", Clock)
    said = []
    for days in (0, 1, 22.5, 24, 25, 28.9, 29.2, 29.5, 30.5, 31):
        Clock.days = days
        watch.look(door)
        watch.look(door)
        said.append(len(told(door)))
    assert said == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert told(door) == ["expiring", "expiring", "expired"]


def test_what_nobody_names_any_more_is_gone_once_that_is_in_effect(door, caller, listener, root_id, drain):
    writes.delete(door, caller, LISTENER, listener["id"])
    watch.look(door)
    assert set(kept(door)) == {WWW}
    drain()
    watch.look(door)
    assert kept(door) == {}


def test_what_the_last_good_form_names_is_kept_while_it_serves(door, caller, listener, shelf, drain):
    shelf.kept["k:new"] = keypair(fresh("new.example.org", shelf.ca), shelf.ca)
    writes.change(door, caller, LISTENER, listener["id"], {"default_tls_container_ref": "k:new"})
    watch.look(door)
    assert set(kept(door)) == {WWW, "k:new"}
    drain()
    watch.look(door)
    assert set(kept(door)) == {"k:new"}


def test_what_was_lost_is_read_again(door, caller, listener, shelf, drain):
    shelf.kept["k:new"] = keypair(fresh("new.example.org", shelf.ca), shelf.ca)
    writes.change(door, caller, LISTENER, listener["id"], {"sni_container_refs": ["k:new"]})
    drain()
    with door.database.transaction() as tx:
        tx.connection.execute(text("DELETE FROM certificate WHERE reference = 'k:new'"))
        tx.connection.execute(text("UPDATE bundle SET sealed = x'00'"))
    watch.look(door)
    assert len(drain()) == 1
    root_id = kept(door)[WWW]["loadbalancer_id"]
    assert pem(door, root_id)
    assert pem(door, root_id, ("k:new", "keypair"))


def test_what_turns_out_to_be_lost_is_read_at_once(door, caller, listener, world, drain):
    seldom = dataclasses.replace(door, settings=door.settings.model_copy(update={"certificate_check_s": 600}))
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE bundle SET sealed = x'00'"))
    watch.look(seldom)
    assert drain() == []
    writes.change(door, caller, LISTENER, listener["id"], {"name": "x"})
    drain()
    watch.look(seldom)
    drain()
    (tree,) = world.trees.values()
    assert set(tree.bundles) == {(WWW, "keypair")}


def test_metrics_say_how_many_are_in_use_and_when_the_first_ends(door, listener, shelf):
    watch.count(door)
    assert metrics.CERTIFICATES.labels("all")._value.get() == 1
    assert metrics.CERTIFICATES.labels("7d")._value.get() == 0
    assert 29 < metrics.CERTIFICATE_EXPIRY_SECONDS._value.get() / 86400 <= 30
