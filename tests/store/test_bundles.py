# SPDX-License-Identifier: Apache-2.0
from uuid import uuid4

import pytest

from caryatid.model import CERTIFICATE, LISTENER, POOL
from caryatid.model.certificate import Certificate
from caryatid.model.consequences import replace
from caryatid.store import bundles, rows
from caryatid.store.claim import Done

AT = "2026-11-20T19:05:25.000000"
LATER = "2026-11-20T19:15:25.000000"


@pytest.fixture
def add(database):
    """A function: a certificate of the load balancer; it, as it is kept."""

    def added(root_id, reference, purpose="keypair", **more):
        certificate = Certificate(
            id=str(uuid4()),
            project_id="p1",
            created_at=AT,
            loadbalancer_id=root_id,
            reference=reference,
            purpose=purpose,
            **{"checked_at": AT, "not_after": AT, **more},
        )
        with database.transaction() as tx:
            bundles.keep(tx, certificate, b"sealed")
            return bundles.one(tx, certificate.id)

    return added


def kept(database, root_id):
    with database.read() as tx:
        return sorted(bundles.of(tx, root_id), key=lambda one: one.certificate.reference)


def test_what_is_kept_is_had(database, garden, add):
    root, other = garden.root(), garden.root()
    first, _ = add(root, "a"), add(other, "a")
    assert kept(database, root) == [first]
    assert (first.sealed, first.staple, first.certificate.created_at) == (b"sealed", None, AT)


def test_what_is_kept_anew_takes_the_place_of_what_was_and_of_its_staple(database, garden, add):
    root = garden.root()
    one = add(root, "a").certificate
    with database.transaction() as tx:
        bundles.staple(tx, replace(one, stapled_until=LATER), b"response")
        assert bundles.one(tx, one.id).staple == b"response"
        bundles.keep(tx, replace(one, digest="d", updated_at=LATER), b"other")
    (found,) = kept(database, root)
    assert (found.certificate.digest, found.certificate.updated_at) == ("d", LATER)
    assert (found.sealed, found.staple) == (b"other", None)


def test_no_load_balancer_has_the_same_reference_twice_for_the_same(database, garden, add):
    root = garden.root()
    add(root, "a")
    add(root, "a", "authorities")
    with pytest.raises(rows.Duplicate):
        add(root, "a")


def test_those_that_were_read_longest_ago_are_due_first(database, garden, add):
    root = garden.root()
    for number in (3, 1, 2):
        add(root, f"r{number}", checked_at=f"2026-11-20T19:0{number}:00.000000")
    with database.transaction() as tx:
        assert [one.certificate.reference for one in bundles.due(tx, "2026-11-20T19:03:00", 10)] == ["r1", "r2"]
        assert [one.certificate.reference for one in bundles.due(tx, LATER, 1)] == ["r1"]
        bundles.looked_at(tx, [one.certificate.id for one in kept(database, root)], LATER)
        assert bundles.due(tx, LATER, 10) == []


@pytest.mark.parametrize("form", ["{}", "https://keys/v1/secrets/{}", "https://keys/v1/containers/{}/", "x{}?y"])
def test_what_refers_to_an_id_is_read_at_once_however_it_is_written(database, garden, add, form):
    root, key = garden.root(), str(uuid4())
    for reference in (form.format(key), form.format(key.upper()), form.format(key.replace("-", ""))):
        add(root, reference)
    add(root, form.format(str(uuid4())))
    with database.transaction() as tx:
        assert bundles.look_again(tx, []) == 0
        assert bundles.look_again(tx, ["%", str(uuid4()), key]) == 3
        assert len(bundles.due(tx, "2000", 10)) == 3


def test_who_names_what_is_known_in_every_form_that_serves(database, garden):
    root = garden.root()
    secure = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "a", "sni_container_refs": ["b", "c"]}
    listener = garden.add(LISTENER, root, **secure)
    pool = garden.add(POOL, root, tls_enabled=True, ca_tls_container_ref="a")
    garden.add(LISTENER, root, protocol_port=81)
    garden.settle(Done)
    garden.change(LISTENER, root, listener, default_tls_container_ref="d", sni_container_refs=[])
    with database.read() as tx:
        now, serving = bundles.uses(tx, [root]), bundles.uses(tx, [root], good=True)
        assert bundles.uses(tx, [str(uuid4())]) == []
    named = {(use.id, one.reference, one.purpose) for use in now for one in use.references}
    assert named == {(listener, "d", "keypair"), (pool, "a", "authorities")}
    before = {(listener, one, "keypair") for one in "abc"}
    assert {(use.id, one.reference, one.purpose) for use in serving for one in use.references} == named | before
    garden.settle(Done)
    with database.read() as tx:
        assert bundles.uses(tx, [root], good=True) == now


def test_nothing_is_left_of_what_is_removed(database, garden, add):
    root, other = garden.root(), garden.root()
    first, second = add(root, "a").certificate, add(root, "b").certificate
    stays = add(other, "a")
    with database.transaction() as tx:
        bundles.remove(tx, [first.id])
        assert [one.certificate for one in bundles.of(tx, root)] == [second]
        bundles.remove_all(tx, root)
        bundles.remove_all(tx, root)
    assert kept(database, root) == []
    assert kept(database, other) == [stays]
    with database.read() as tx:
        assert rows.count(tx, CERTIFICATE) == 1


def test_responses_are_due_when_it_is_time_or_when_nobody_has_asked_yet(database, garden, add):
    root = garden.root()
    for name, due in {"new": None, "off": "off", "never": "never", "due": AT, "later": LATER}.items():
        add(root, name, staple_due=due)
    add(root, "authority", "authorities")
    with database.read() as tx:
        on = {one.certificate.reference for one in bundles.unstapled(tx, AT, 10)}
        off = {one.certificate.reference for one in bundles.stapled(tx, 10)}
        ends = bundles.ends(tx)
    assert on == {"new", "off", "due"}
    assert off == {"new", "due", "later"}
    assert len(ends) == 6
    assert set(ends) == {(AT, None)}
