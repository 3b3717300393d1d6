# SPDX-License-Identifier: Apache-2.0
"""What a wish's references stand for: read and checked before it is accepted, kept with it, handed to drivers."""

import dataclasses
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from caryatid.control import bundles, writes
from caryatid.control.attempt import Attempt
from caryatid.control.door import READING_MAX
from caryatid.control.reconcile import attend
from caryatid.control.vault import NoMasterKey
from caryatid.drivers.secrets.base import SecretsError
from caryatid.errors import Busy, Refused
from caryatid.model import CERTIFICATE, LISTENER, LOADBALANCER, POOL
from caryatid.model.bundle import Material
from caryatid.store import rows, work
from caryatid.store import tree as trees
from caryatid.store.claim import Again
from tests.control.shelf import Shelf, fresh, keypair, lists
from tests.papers import DAY, revocations

NOW = datetime.now(UTC)
WWW, API, CA, CRL = "k:www", "k:api", "k:ca", "k:crl"


@pytest.fixture
def ca():
    return fresh("The authority", authority=True)


@pytest.fixture
def shelf(ca):
    shelf = Shelf()
    shelf.kept[WWW] = keypair(fresh("www.example.org", ca, names=["www.example.org"]), ca)
    shelf.kept[API] = keypair(fresh("api.example.org", ca), ca)
    shelf.kept[CA] = Material(payload=ca.pem)
    shelf.kept[CRL] = lists(revocations(ca, begin=NOW - DAY, end=NOW + DAY))
    return shelf


@pytest.fixture
def door(door, shelf):
    return dataclasses.replace(door, secrets=shelf)


@pytest.fixture
def root_id(door, caller):
    wish = {"name": "l", "vip_subnet_id": "00000000-0000-4000-8000-000000000002"}
    return writes.create(door, caller, LOADBALANCER, wish).document["id"]


def listener(root_id, **more):
    wish = {"loadbalancer_id": root_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    return {**wish, "default_tls_container_ref": WWW, **more}


def pool(root_id, **more):
    wish = {"loadbalancer_id": root_id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    return {**wish, **more}


def faults(act, *args, **kwargs):
    with pytest.raises(Refused) as refused:
        act(*args, **kwargs)
    return refused.value


def kept(door, root_id):
    with door.database.read() as tx:
        return {one["reference"]: one for one in rows.find(tx, CERTIFICATE, loadbalancer_id=root_id)}


def tree_of(door, root_id):
    with door.database.read() as tx:
        return bundles.with_bundles(tx, door, trees.load(tx, root_id))


def test_what_a_listener_names_is_kept_with_it_and_handed_to_drivers(door, caller, root_id, drain, world):
    writes.create(door, caller, LISTENER, listener(root_id, sni_container_refs=[API, WWW]))
    drain()
    assert set(kept(door, root_id)) == {WWW, API}
    one = kept(door, root_id)[WWW]
    assert (one["subject"], one["names"], one["project_id"]) == ("CN=www.example.org", ["www.example.org"], "p1")
    (tree,) = world.trees.values()
    assert set(tree.bundles) == {(WWW, "keypair"), (API, "keypair")}
    assert "PRIVATE KEY" in tree.bundles[WWW, "keypair"].pem


def test_each_reference_is_read_once_for_the_project_that_owns_the_load_balancer(door, caller, root_id, shelf):
    writes.create(door, caller, LISTENER, listener(root_id, sni_container_refs=[API, WWW, API]))
    assert sorted(shelf.read_for) == [(API, "p1"), (WWW, "p1")]


def test_every_fault_of_every_attribute_is_told_at_once_with_the_wishs_own(door, caller, root_id, shelf):
    shelf.kept[API] = keypair(fresh("old.example.org", end=NOW - DAY / 2))
    shelf.kept[CA] = Material(payload=b"no certificate")
    wish = listener(
        root_id,
        default_tls_container_ref="k:gone",
        sni_container_refs=[API],
        client_ca_tls_container_ref=CA,
        protocol_port=0,
    )
    refused = faults(writes.create, door, caller, LISTENER, wish)
    said = {fault.attribute: fault.message for fault in refused.faults}
    assert refused.status == 400
    assert said["default_tls_container_ref"].startswith("Could not retrieve certificate: k:gone ")
    assert "ended at" in said["sni_container_refs"]
    assert said["client_ca_tls_container_ref"].startswith(f"Could not retrieve certificate: {CA} ")
    assert "protocol_port" in said
    assert kept(door, root_id) == {}


def test_a_key_store_that_does_not_answer_is_no_fault_of_the_wish(door, caller, root_id, shelf):
    shelf.kept[WWW] = SecretsError("The key store is away.")
    refused = faults(writes.create, door, caller, LISTENER, listener(root_id))
    assert refused.status == 503
    assert "The key store is away." in str(refused)


def test_a_driver_that_breaks_is_told_like_one_that_is_away(door, caller, root_id, shelf):
    def broken():
        raise ZeroDivisionError

    shelf.kept[WWW] = broken
    assert faults(writes.create, door, caller, LISTENER, listener(root_id)).status == 503


def test_a_key_store_that_hangs_is_not_waited_for(door, caller, root_id, shelf, monkeypatch):
    released = threading.Event()
    shelf.kept[API] = lambda: released.wait(30)
    monkeypatch.setattr(bundles, "DEADLINE_S", 0.2)
    refused = faults(writes.create, door, caller, LISTENER, listener(root_id, sni_container_refs=[API]))
    released.set()
    assert [fault.attribute for fault in refused.faults] == ["sni_container_refs"]
    assert refused.status == 503


def test_only_what_a_change_names_anew_is_read(door, caller, root_id, shelf):
    made = writes.create(door, caller, LISTENER, listener(root_id)).document
    shelf.read_for.clear()
    shelf.kept[WWW] = SecretsError("The key store is away.")
    writes.change(door, caller, LISTENER, made["id"], {"name": "x", "default_tls_container_ref": WWW})
    assert shelf.read_for == []
    writes.change(door, caller, LISTENER, made["id"], {"sni_container_refs": [API]})
    assert shelf.read_for == [(API, "p1")]
    assert set(tree_of(door, root_id).bundles) == {(WWW, "keypair"), (API, "keypair")}


def test_a_list_of_revoked_clients_must_be_of_those_who_sign_them(door, caller, root_id, shelf):
    other = fresh("Another", authority=True)
    shelf.kept["k:other-crl"] = lists(revocations(other, begin=NOW - DAY, end=NOW + DAY))
    shelf.kept["k:other-ca"] = Material(payload=other.pem)
    authenticated = listener(root_id, client_ca_tls_container_ref=CA, client_crl_container_ref="k:other-crl")
    (fault,) = faults(writes.create, door, caller, LISTENER, authenticated).faults
    assert fault.attribute == "client_crl_container_ref"
    made = writes.create(door, caller, LISTENER, {**authenticated, "client_crl_container_ref": CRL}).document
    for change in ({"client_crl_container_ref": "k:other-crl"}, {"client_ca_tls_container_ref": "k:other-ca"}):
        (fault,) = faults(writes.change, door, caller, LISTENER, made["id"], change).faults
        assert fault.attribute == "client_crl_container_ref"
    both = {"client_ca_tls_container_ref": "k:other-ca", "client_crl_container_ref": "k:other-crl"}
    writes.change(door, caller, LISTENER, made["id"], both)


def test_a_list_is_compared_with_what_its_authorities_are_now_or_were_if_nobody_can_say(door, caller, root_id, shelf):
    named = {"client_ca_tls_container_ref": CA, "client_crl_container_ref": CRL}
    made = writes.create(door, caller, LISTENER, listener(root_id, **named)).document
    shelf.kept["k:more"], old = shelf.kept[CRL], shelf.kept[CA]
    shelf.kept[CA] = SecretsError("The key store is away.")
    writes.change(door, caller, LISTENER, made["id"], {"client_crl_container_ref": "k:more"})
    other = fresh("Another", authority=True)
    shelf.kept[CA] = Material(payload=other.pem)
    shelf.kept["k:other-crl"] = lists(revocations(other, begin=NOW - DAY, end=NOW + DAY))
    writes.change(door, caller, LISTENER, made["id"], {"client_crl_container_ref": "k:other-crl"})
    assert tree_of(door, root_id).bundles[CA, "authorities"].subject == "CN=Another"
    shelf.kept[CA] = old
    (fault,) = faults(writes.change, door, caller, LISTENER, made["id"], {"client_crl_container_ref": "k:none"}).faults
    assert fault.attribute == "client_crl_container_ref"


def test_pools_name_references_too(door, caller, root_id, shelf):
    wish = pool(root_id, tls_container_ref=API, ca_tls_container_ref=CA, crl_container_ref="k:none")
    (fault,) = faults(writes.create, door, caller, POOL, wish).faults
    assert fault.attribute == "crl_container_ref"
    writes.create(door, caller, POOL, {**wish, "crl_container_ref": CRL})
    assert set(tree_of(door, root_id).bundles) == {(API, "keypair"), (CA, "authorities"), (CRL, "revocations")}


def test_nobody_who_may_not_wish_has_references_read(door, caller, root_id, shelf):
    made = writes.create(door, caller, LISTENER, listener(root_id)).document
    shelf.read_for.clear()
    stranger = dataclasses.replace(caller, is_admin=False, project_id="p2", roles=frozenset({"member"}))
    for act, args in (
        (writes.create, (LISTENER, listener(root_id))),
        (writes.change, (LISTENER, made["id"], {"default_tls_container_ref": API})),
    ):
        with pytest.raises(Exception, match="Policy"):
            act(door, stranger, *args)
    assert shelf.read_for == []


def test_what_cannot_be_unsealed_is_not_in_the_tree_and_a_wish_that_names_it_anew_mends_it(door, caller, root_id):
    made = writes.create(door, caller, LISTENER, listener(root_id, sni_container_refs=[API])).document
    with door.database.transaction() as tx:
        spoil = "UPDATE bundle SET sealed = x'00' WHERE certificate_id = :id"
        tx.connection.execute(text(spoil), {"id": kept(door, root_id)[API]["id"]})
    assert set(tree_of(door, root_id).bundles) == {(WWW, "keypair")}
    writes.change(door, caller, LISTENER, made["id"], {"sni_container_refs": []})
    writes.change(door, caller, LISTENER, made["id"], {"sni_container_refs": [API]})
    assert set(tree_of(door, root_id).bundles) == {(WWW, "keypair"), (API, "keypair")}


@pytest.fixture
def elsewhere(door, tmp_path):
    """A controller on another node, where nobody has copied the master key to."""
    settings = door.settings.model_copy(update={"state_dir": tmp_path / "elsewhere"})
    return dataclasses.replace(door, settings=settings)


def test_a_controller_without_the_master_key_accepts_no_reference_and_keeps_what_serves(
    door, elsewhere, caller, root_id, drain
):
    made = writes.create(door, caller, LISTENER, listener(root_id)).document
    drain()
    with pytest.raises(NoMasterKey) as refused:
        writes.create(elsewhere, caller, LISTENER, listener(root_id, protocol_port=8444))
    assert refused.value.status == 503
    writes.change(elsewhere, caller, LISTENER, made["id"], {"name": "x"})
    claim = work.claim(door.database, "test")
    assert isinstance(attend(elsewhere, Attempt(claim)), Again)


def test_nothing_is_left_of_a_load_balancer_that_is_gone(door, caller, root_id, drain):
    writes.create(door, caller, LISTENER, listener(root_id))
    drain()
    writes.delete(door, caller, LOADBALANCER, root_id, cascade=True)
    drain()
    with door.database.read() as tx:
        assert [
            tx.connection.execute(text(f"SELECT count(*) FROM {one}")).scalar() for one in ("certificate", "bundle")
        ] == [0, 0]


def test_no_private_key_is_in_the_database_in_clear_nor_shown_by_what_holds_it(door, caller, root_id, shelf, tmp_path):
    secret = fresh("marked.example.org", own=None)
    shelf.kept[WWW] = keypair(secret)
    writes.create(door, caller, LISTENER, listener(root_id))
    tree = tree_of(door, root_id)
    marked = tree.bundles[WWW, "keypair"].pem.partition("PRIVATE KEY-----\n")[2][:60]
    with door.database.transaction() as tx:
        tx.after_commit(lambda: None)
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("caryatid.db*"))
    assert marked
    assert marked.encode() not in everything
    assert marked not in repr(tree) + repr(shelf.kept[WWW]) + repr(
        bundles.fetch(door, "p1", [{"tls_container_ref": WWW}])
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_kept_under_a_reference_a_wish_is_accepted_or_refused(data, door, caller, root_id, shelf):
    good = shelf.kept[WWW]
    noise = st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(good.certificate)).map(lambda end: good.certificate[:end]),
        st.just(good.certificate),
        st.just(good.private_key),
        st.just(b"\x00" * 100_000),
    )
    part = dict.fromkeys(("certificate", "private_key", "passphrase", "intermediates", "payload"), noise)
    shelf.kept["k:noise"] = data.draw(st.builds(Material, **part))
    attribute = data.draw(st.sampled_from(("tls_container_ref", "ca_tls_container_ref", "crl_container_ref")))
    wish = pool(root_id, **({"ca_tls_container_ref": CA} if attribute == "crl_container_ref" else {}))
    try:
        made = writes.create(door, caller, POOL, {**wish, attribute: "k:noise"}).document
    except Refused as refused:
        assert {fault.attribute for fault in refused.faults} == {attribute}
        assert refused.status == 400
        assert "k:noise" not in kept(door, root_id)
    else:
        writes.delete(door, caller, POOL, made["id"])
        with door.database.transaction() as tx:
            tx.connection.execute(text("DELETE FROM certificate"))


def test_a_key_store_that_hangs_holds_up_few_wishes_and_the_others_are_told_to_try_again(door, caller, root_id, shelf):
    asked, answer = threading.Semaphore(0), threading.Event()

    def hang():
        asked.release()
        answer.wait(10)
        raise SecretsError("It is away.")

    shelf.kept["k:slow"] = hang
    ended = []

    def wish(port):
        try:
            writes.create(door, caller, LISTENER, listener(root_id, protocol_port=port, sni_container_refs=["k:slow"]))
        except Refused as refused:
            ended.append(refused.status)

    waiting = [threading.Thread(target=wish, args=(9000 + number,)) for number in range(READING_MAX)]
    for one in waiting:
        one.start()
    assert all(asked.acquire(timeout=10) for _ in waiting)
    with pytest.raises(Busy):
        writes.create(door, caller, LISTENER, listener(root_id))
    writes.create(door, caller, LISTENER, {"loadbalancer_id": root_id, "protocol": "HTTP", "protocol_port": 8080})
    answer.set()
    for one in waiting:
        one.join(20)
    assert ended == [503] * READING_MAX
    writes.create(door, caller, LISTENER, listener(root_id))
