# SPDX-License-Identifier: Apache-2.0
"""One authority takes the place of another, and nobody is lost by it, whenever it stops."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.plan import certificates, trust
from caryatid.plan.trust import Member, Trust

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LONG = timedelta(days=1)


@pytest.fixture(scope="module")
def steady():
    return Trust(certificates.new_authority("Caryatid", NOW), since=NOW)


def member(name, known, issuer):
    return Member(name, known.fingerprints, issuer)


def test_the_new_one_issues_when_every_host_trusts_it(steady):
    begun = trust.begin(steady, NOW)
    assert (begun.phase, begun.issuer) == ("introducing", steady.issuer)
    knows, not_yet = member("h1", begun, steady.issuer), member("h2", steady, steady.issuer)
    assert trust.waiting(begun, [knows, not_yet]) == ["h2"]
    assert trust.advance(begun, [knows, not_yet], NOW + LONG) == begun
    replacing = trust.advance(begun, [knows], NOW + LONG)
    assert replacing.phase == "replacing"
    assert replacing.issuer not in steady.fingerprints
    assert replacing.fingerprints == begun.fingerprints


def test_the_old_one_goes_when_every_host_has_a_certificate_of_the_new_one(steady):
    begun = trust.begin(steady, NOW)
    replacing = trust.advance(begun, [], NOW + LONG)
    renewed, not_yet = member("h1", begun, replacing.issuer), member("h2", begun, steady.issuer)
    assert trust.waiting(replacing, [renewed, not_yet]) == ["h2"]
    assert trust.advance(replacing, [renewed, not_yet], NOW + 2 * LONG) == replacing
    done = trust.advance(replacing, [renewed], NOW + 2 * LONG)
    assert (done.phase, done.fingerprints) == ("steady", {replacing.issuer})


def test_no_phase_is_shorter_than_others_need_to_hear_of_it(steady):
    begun = trust.begin(steady, NOW)
    assert trust.advance(begun, [], NOW + timedelta(minutes=4)) == begun
    replacing = trust.advance(begun, [], NOW + LONG)
    assert trust.advance(replacing, [], NOW + LONG + timedelta(minutes=60)) == replacing


def test_what_no_longer_issues_has_no_key_any_more(steady):
    replacing = trust.advance(trust.begin(steady, NOW), [], NOW + LONG)
    assert replacing.leaving.key_pem == b""
    assert steady.issuing.key_pem not in trust.dump(replacing)


def test_an_authority_is_replaced_well_before_its_end(steady):
    _, end = certificates.validity(steady.issuing.certificate_pem)
    assert not trust.rotation_due(steady, end - timedelta(days=800))
    assert trust.rotation_due(steady, end - timedelta(days=700))
    assert not trust.rotation_due(trust.begin(steady, NOW), end - timedelta(days=700))


def test_before_its_end_an_authority_makes_room_whoever_is_away():
    short = Trust(certificates.new_authority("Caryatid", NOW, days=10), since=NOW)
    begun = trust.begin(short, NOW)
    away = [member("h1", short, short.issuer)]
    assert trust.advance(begun, away, NOW + timedelta(days=8)) == begun
    replacing = trust.advance(begun, away, NOW + timedelta(days=9, hours=1))
    assert replacing.phase == "replacing"
    assert trust.advance(replacing, away, NOW + timedelta(days=9, hours=3)).phase == "steady"


def test_it_is_kept_as_it_is_in_every_phase(steady):
    begun = trust.begin(steady, NOW)
    for one in (steady, begun, trust.advance(begun, [], NOW + LONG)):
        assert trust.load(trust.dump(one)) == one


def test_the_single_authority_of_earlier_versions_is_read(steady):
    kept = trust.load(steady.issuing.certificate_pem + steady.issuing.key_pem)
    assert (kept.issuing, kept.phase) == (steady.issuing, "steady")


@settings(deadline=None, max_examples=60)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["visit", "advance", "begin"]), st.integers(0, 3), st.integers(1, 200)), max_size=40
    )
)
def test_whatever_the_order_hosts_and_controllers_always_accept_each_other(steady, acts):
    """Hosts visit when they like, or not at all. A host that has visited within the phase before trusts the issuing
    authority, and its own certificate is of one that is trusted."""
    now, known = NOW, steady
    hosts = dict.fromkeys(range(4), (steady.fingerprints, steady.issuer))
    for act, number, minutes in acts:
        now += timedelta(minutes=minutes)
        if act == "begin":
            known = trust.begin(known, now)
        elif act == "visit":
            issuer = known.issuer if known.phase == "replacing" else hosts[number][1]
            hosts[number] = (known.fingerprints, issuer)
        else:
            members = [Member(str(key), trusts, issuer) for key, (trusts, issuer) in hosts.items()]
            known = trust.advance(known, members, now)
        for trusts, issuer in hosts.values():
            assert known.issuer in trusts
            assert issuer in known.fingerprints
