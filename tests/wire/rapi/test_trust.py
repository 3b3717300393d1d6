# SPDX-License-Identifier: Apache-2.0
"""Whom we take for a cluster's RAPI."""

import pytest

from caryatid.wire.rapi.answers import Problem
from caryatid.wire.rapi.client import Rapi
from tests.wire.rapi.server import DAY, NOW, OWN, answering, certificate, serving

HERE = "127.0.0.1"
AUTHORITY = certificate("Authority", authority=True)
OTHER = certificate("Other authority", authority=True)


def said(shown, ca_pem):
    """To two requests, one after the other, by a server that shows this certificate."""
    with serving(answering(b"6"), shown) as server:
        asked = Rapi(server.url, "caryatid", "secret", ca_pem)
        return [asked.delete("one.example") for _ in range(2)]


def is_refused(shown, ca_pem):
    answers = said(shown, ca_pem)
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    return len(problems) == 2 and all("certificate is not trusted" in one.text for one in problems)


def pem(*papers):
    return "".join(one.pem.decode() for one in papers)


def test_the_cluster_s_own_certificate_is_enough_whatever_its_name():
    assert said(OWN, pem(OWN)) == [6, 6]


def test_a_certificate_of_the_authority_for_the_name_that_was_asked_for_is_trusted():
    assert said(certificate("rapi", AUTHORITY, names=[HERE]), pem(AUTHORITY)) == [6, 6]
    assert said(certificate("rapi", AUTHORITY, names=[HERE]), pem(OTHER, AUTHORITY)) == [6, 6]


def test_a_certificate_of_the_authority_for_another_name_is_not():
    assert is_refused(certificate("rapi", AUTHORITY, names=["192.0.2.1"]), pem(AUTHORITY))


def test_one_of_several_certificates_that_are_given_is_enough():
    assert said(OWN, pem(AUTHORITY, OWN)) == [6, 6]
    assert said(certificate("rapi", AUTHORITY, names=[HERE]), pem(OWN, AUTHORITY)) == [6, 6]


def test_what_is_signed_by_itself_as_openssl_does_it_is_the_cluster_s_own_too():
    assert said(AUTHORITY, pem(AUTHORITY)) == [6, 6]


def test_people_may_write_between_certificates():
    assert said(OWN, f"# für den Cluster\n{pem(OWN)}\nund noch eins:\n{pem(AUTHORITY)}") == [6, 6]


def test_a_certificate_that_an_authority_has_signed_can_be_given_alone():
    leaf = certificate("rapi", AUTHORITY, names=["192.0.2.1"])
    assert said(leaf, pem(leaf)) == [6, 6]


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(certificate("master.example", own=OTHER.key), id="the same name, another key"),
        pytest.param(certificate("rapi", OTHER, names=[HERE]), id="another authority's"),
        pytest.param(
            certificate("rapi", certificate("Authority", own=OTHER.key, authority=True), names=[HERE]), id="forged"
        ),
    ],
)
def test_nobody_else_is(shown):
    assert is_refused(shown, pem(OWN))
    assert is_refused(shown, pem(AUTHORITY))
    assert is_refused(shown, pem(AUTHORITY, OWN))


def test_what_is_not_good_any_more_is_not_trusted():
    old = certificate("old.example", begin=NOW - 2 * DAY, end=NOW - DAY)
    assert is_refused(old, pem(old))
    assert is_refused(certificate("rapi", AUTHORITY, names=[HERE], begin=NOW - 2 * DAY, end=NOW - DAY), pem(AUTHORITY))


def test_without_authorities_those_of_the_machine_decide():
    assert is_refused(OWN, "")
    assert is_refused(certificate("rapi", AUTHORITY, names=[HERE]), " \n")
