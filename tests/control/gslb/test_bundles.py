# SPDX-License-Identifier: Apache-2.0
"""Certificates and authorities of checks: read at the wish, kept encrypted, sent where they are needed, renewed."""

import dataclasses
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from caryatid.config import Settings
from caryatid.control import initial, watch, writes
from caryatid.control.gslb import bundles, trials
from caryatid.control.gslb.checks import Checks
from caryatid.drivers.noop import WORLD
from caryatid.drivers.secrets.base import SecretsError, UnreadableError
from caryatid.errors import Forbidden, Refused
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION, GSLB_ZONE
from caryatid.model.bundle import Material
from caryatid.model.event import BEGINNING
from caryatid.model.policy import Caller
from caryatid.store import events, rows
from caryatid.store.database import Database
from caryatid.store.gslb import bundles as store
from caryatid.store.gslb import shares
from caryatid.wire.checks import SHARES, Done, Trials, Wanted
from tests.control.shelf import Shelf, fresh, keypair
from tests.doors import open_door
from tests.papers import DAY

NOW = datetime.now(UTC)
ADMIN = Caller("root", "p1", is_admin=True)
MINE = Caller("me", "p1", frozenset({"member"}))
OTHER = Caller("you", "p2", frozenset({"member"}))
CLIENT, CA = "k:client", "k:ca"
BOTH = {"client_cert_ref": CLIENT, "ca_ref": CA}
NOOP = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
ALL = range(SHARES)


class Service:
    """A name with a member, whose check shows a certificate; in two regions, of which one makes it."""

    def __init__(self, door, shelf):
        self.door, self.shelf = door, shelf
        self.here, self.far = (self.made(GSLB_REGION, name=name)["id"] for name in ("here", "far"))
        backend = self.made(GSLB_BACKEND, driver="noop")["id"]
        self.made(GSLB_ZONE, name="example.test.", backend_id=backend)
        wish = {"type": "https", "regions": [self.here], "parameters": {"path": "/alive", **BOTH}}
        self.monitor = self.made(GSLB_MONITOR, MINE, **wish)["id"]
        self.pool = self.made(GSLB_POOL, MINE, monitors=[{"monitor_id": self.monitor}])["id"]
        self.member = self.made(GSLB_MEMBER, MINE, self.pool, address="192.0.2.1")["id"]
        self.made(GSLB, MINE, fqdn="www.example.test.", pools=[{"pool_id": self.pool}])
        with door.database.read() as tx:
            self.master = door.vault.key(tx)
        self.checks = Checks(door.database, door.settings, self.master)

    def made(self, kind, caller=ADMIN, parent_id=None, **body):
        return writes.create(self.door, caller, kind, body, parent_id=parent_id).document

    def change(self, **body):
        return writes.change(self.door, MINE, GSLB_MONITOR, self.monitor, body).document

    def answer(self, region=None):
        self.checks.look()
        return self.checks.answer(region or self.here, ALL)

    def sent(self, region=None):
        return Wanted.model_validate_json(self.answer(region))

    def shown(self):
        with self.door.database.read() as tx:
            (found,) = bundles.with_certificates(tx, [rows.get(tx, GSLB_MONITOR, self.monitor)])
        return {one["purpose"]: one for one in found["certificates"]}

    def told(self):
        with self.door.database.read() as tx:
            found = [one for one in events.after(tx, BEGINNING) if one["kind"] == GSLB_MONITOR.name]
        return [(one["action"], one["detail"]["purpose"]) for one in found if "purpose" in (one["detail"] or {})]


@pytest.fixture
def shelf():
    made = Shelf()
    made.ca = fresh("The authority", authority=True)
    made.kept[CLIENT] = keypair(fresh("checks.example.org", made.ca), made.ca)
    made.kept[CA] = Material(payload=made.ca.pem)
    return made


@pytest.fixture
def door(tmp_path, database_url, shelf):
    WORLD.forget()
    database = Database(database_url)
    door = open_door(database, Settings(state_dir=tmp_path, certificate_check_s=0.000001, **NOOP))
    initial.ensure(door)
    yield dataclasses.replace(door, secrets=shelf)
    database.close()
    WORLD.forget()


@pytest.fixture
def service(door, shelf):
    return Service(door, shelf)


def faults(act, *arguments, **words):
    with pytest.raises(Refused) as caught:
        act(*arguments, **words)
    return {fault.attribute: fault for fault in caught.value.faults}


def test_a_check_comes_with_what_it_needs_by_digest_and_in_the_project_s_name(service, shelf):
    assert {project for _, project in shelf.read_for} == {"p1"}
    sent = service.sent()
    (check,) = sent.wanted
    assert check.parameters["path"] == "/alive"
    client, authorities = (sent.contents[check.parameters[name]] for name in ("client_cert_ref", "ca_ref"))
    assert client.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in client
    assert authorities == shelf.ca.pem.decode()


def test_only_regions_that_make_the_check_are_sent_it(service):
    assert service.sent(service.far).contents == {}
    assert b"contents" not in service.answer(service.far)
    assert service.sent().contents
    known = service.checks.answer(service.here, [one for one in ALL if one != service.sent().wanted[0].share])
    assert b"PRIVATE" not in known


def test_it_is_encrypted_where_it_is_kept_and_in_no_repr(service):
    with service.door.database.read() as tx:
        held = store.of(tx, [service.monitor])[service.monitor]
        kept = [str(row) for row in tx.connection.execute(text("SELECT * FROM gslb_bundle"))]
        documents = [rows.get(tx, GSLB_MONITOR, service.monitor), *events.after(tx, BEGINNING)]
    assert len(kept) == len(held) == 2
    for said in (*kept, *map(repr, held), *map(str, documents), repr(service.sent()), repr(service.checks)):
        assert "PRIVATE" not in said
        assert "BEGIN" not in said


def test_without_the_master_key_nothing_is_sent_but_that_it_is_wanted(service):
    service.checks = Checks(service.door.database, service.door.settings)
    sent = service.sent()
    assert (len(sent.wanted), sent.contents) == (1, {})


def test_a_dry_run_comes_with_it_and_is_kept_without(service):
    with service.door.database.transaction() as tx:
        shares.seat(tx, service.here, "c1", NOW.timestamp(), quarantined=False)
    trials.ask(service.door, service.monitor, address="192.0.2.9")
    with service.door.database.read() as tx:
        assert "PRIVATE" not in str(tx.connection.execute(text("SELECT * FROM gslb_trial")).all())
    given = trials.exchange(service.door.database, service.here, Done(checker="c1"), service.master)
    assert isinstance(given, Trials)
    (trial,) = given.trials
    assert "PRIVATE KEY" in given.contents[trial.check.parameters["client_cert_ref"]]
    assert given.contents.keys() == {trial.check.parameters[name] for name in BOTH}


def test_what_cannot_be_read_or_used_is_refused_and_named(service, shelf):
    shelf.kept["k:odd"] = Material(payload=b"no certificate")
    shelf.kept["k:away"] = SecretsError("It is away.")
    body = {"type": "tls", "parameters": {"client_cert_ref": "k:odd", "ca_ref": "k:nothing", "minimum_days": -1}}
    found = faults(writes.create, service.door, MINE, GSLB_MONITOR, body)
    assert found.keys() == {f"parameters.{name}" for name in body["parameters"]}
    assert found["parameters.ca_ref"].message.startswith("Could not retrieve certificate: k:nothing (ca_ref): ")
    away = {"parameters": {"client_cert_ref": "k:away"}}
    found = faults(writes.change, service.door, MINE, GSLB_MONITOR, service.monitor, away)
    assert found["parameters.client_cert_ref"].status == 503
    assert service.shown().keys() == {"keypair", "authorities"}


@pytest.mark.parametrize("kind", ["http", "tcp", "udp", "icmp", "dns", "octavia_lb", "exec", "passive"])
def test_checks_that_cannot_show_a_certificate_say_which_can(service, kind):
    found = faults(writes.create, service.door, ADMIN, GSLB_MONITOR, {"type": kind, "parameters": dict(BOTH)})
    for name in BOTH:
        assert "https, tls, grpc with tls, smtp with starttls" in found[f"parameters.{name}"].message


@pytest.mark.parametrize(("kind", "switch"), [("grpc", "tls"), ("smtp", "starttls")])
def test_what_may_be_said_over_tls_must_be(service, kind, switch):
    body = {"type": kind, "parameters": dict(BOTH)}
    found = faults(writes.create, service.door, MINE, GSLB_MONITOR, body)
    assert f"set {switch} to true" in found["parameters.ca_ref"].message
    body["parameters"][switch] = True
    assert writes.create(service.door, MINE, GSLB_MONITOR, body).document["parameters"] == body["parameters"]


def test_authorities_are_given_once_and_only_where_they_are_asked(service, shelf):
    twice = {"type": "tls", "parameters": {"ca_ref": CA, "authorities": shelf.ca.pem.decode()}}
    found = faults(writes.create, service.door, MINE, GSLB_MONITOR, twice)
    assert "authorities or ca_ref" in found["parameters.ca_ref"].message
    idle = {"type": "tls", "parameters": {"ca_ref": CA, "verify_tls": False}}
    assert "verify_tls" in faults(writes.create, service.door, MINE, GSLB_MONITOR, idle)["parameters.ca_ref"].message


def test_a_change_reads_what_is_new_and_forgets_what_is_not_named_any_more(service, shelf):
    shelf.read_for.clear()
    service.change(fall=5)
    service.change(parameters={"path": "/", "client_cert_ref": CLIENT, "ca_ref": CA})
    assert shelf.read_for == []
    shelf.kept["k:next"] = keypair(fresh("next.example.org", shelf.ca))
    service.change(parameters={"client_cert_ref": "k:next"})
    assert shelf.read_for == [("k:next", "p1")]
    assert {key: one["subject"] for key, one in service.shown().items()} == {"keypair": "CN=next.example.org"}
    service.change(parameters={})
    assert service.shown() == {}
    assert service.sent().contents == {}


def test_strangers_make_nobody_read(service, shelf):
    shelf.read_for.clear()
    with pytest.raises(Forbidden):
        writes.change(service.door, OTHER, GSLB_MONITOR, service.monitor, {"parameters": {"client_cert_ref": "k:x"}})
    assert shelf.read_for == []


def test_what_was_renewed_is_sent_as_another_check_and_an_event_says_so(service, shelf):
    before = service.sent()
    bundles.look(service.door)
    assert not service.checks.look()
    shelf.kept[CLIENT] = keypair(fresh("renewed.example.org", shelf.ca))
    bundles.look(service.door)
    after = service.sent()
    assert after.checks != before.checks
    assert after.wanted[0].version != before.wanted[0].version
    assert service.shown()["keypair"]["subject"] == "CN=renewed.example.org"
    assert service.told() == [("renewed", "keypair")]


def test_what_cannot_be_used_is_told_once_and_what_was_right_stays(service, shelf):
    before = service.sent()
    shelf.kept[CLIENT] = Material(payload=b"no certificate")
    shelf.kept[CA] = UnreadableError("Nothing is kept there.")
    for _ in "ab":
        bundles.look(service.door)
    assert service.sent() == before
    assert service.told() == [("refused", "keypair")]
    shown = service.shown()
    assert all(one["problem"] for one in shown.values())
    shelf.kept[CLIENT], shelf.kept[CA] = keypair(fresh("checks.example.org", shelf.ca)), Material(payload=shelf.ca.pem)
    bundles.look(service.door)
    assert [one["problem"] for one in service.shown().values()] == [None, None]


def test_what_cannot_be_looked_at_keeps_nobody_else_from_it(service, shelf, monkeypatch):
    other = service.made(GSLB_MONITOR, MINE, type="tls", parameters={"client_cert_ref": CLIENT})["id"]
    first = min(service.monitor, other)
    follow = bundles._follow

    def broken(tx, door, theirs, judged):
        if theirs[0].monitor_id == first:
            raise RuntimeError("It cannot be.")
        follow(tx, door, theirs, judged)

    monkeypatch.setattr(bundles, "_follow", broken)
    shelf.kept[CLIENT] = keypair(fresh("renewed.example.org", shelf.ca))
    bundles.look(service.door)
    with service.door.database.read() as tx:
        found = store.of(tx, [service.monitor, other])
    renewed = {key for key, held in found.items() if "CN=renewed.example.org" in {one.subject for one in held}}
    assert renewed == {service.monitor, other} - {first}
    assert all(one.checked_at for held in found.values() for one in held)


def test_that_it_ends_soon_is_said_once(service, shelf):
    soon = (NOW + DAY / 2).replace(tzinfo=None).isoformat()
    with service.door.database.transaction() as tx:
        changed = "UPDATE gslb_bundle SET not_after = :soon, not_before = :then WHERE purpose = 'keypair'"
        tx.connection.execute(text(changed), {"soon": soon, "then": "2026-01-01T00:00:00.000000"})
    for _ in "abc":
        bundles.look(service.door)
    assert service.told() == [("expiring", "keypair")]
    shelf.kept[CLIENT] = UnreadableError("Nothing is kept there.")
    with service.door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE gslb_bundle SET not_after = '2026-01-01T00:00:00.000000', not_before = "
                                   "'2025-01-01T00:00:00.000000' WHERE purpose = 'keypair'"))  # fmt: skip
    for _ in "ab":
        bundles.look(service.door)
    assert service.told()[1:] == [("expired", "keypair")]


def test_what_is_written_in_the_key_store_is_read_again_at_once(service):
    with service.door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE gslb_bundle SET checked_at = '2999-01-01T00:00:00.000000'"))
        assert store.due(tx, "2998", 10) == []
        assert store.look_again(tx, ["nothing"]) == 0
        assert store.look_again(tx, ["K:CLIENT"]) == 1
        assert [one.reference for one in store.due(tx, "2998", 10)] == [CLIENT]


def test_the_figures_of_certificates_count_them(service):
    watch.count(service.door)
    with service.door.database.read() as tx:
        assert len(store.ends(tx)) == 2


def test_it_goes_with_its_monitor(service):
    writes.change(service.door, MINE, GSLB_POOL, service.pool, {"monitors": []})
    writes.delete(service.door, MINE, GSLB_MONITOR, service.monitor)
    with service.door.database.read() as tx:
        assert store.of(tx, [service.monitor]) == {}
