# SPDX-License-Identifier: Apache-2.0
"""OCSP responses: what is asked, and what may be shown. Whatever comes back, nothing else is raised than Unstapled."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from caryatid.model.bundle import Material
from caryatid.plan import bundles, stapling
from caryatid.plan.stapling import Revoked, Unstapled
from tests.papers import DAY, NOW, Paper, key, paper

URL = "http://ocsp.example.org/"


def issued(issuer, *extensions, name="www.example.org"):
    """A certificate with further extensions."""
    own = key(which=name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 30 * DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Paper(builder.sign(issuer.key, hashes.SHA256()), own)


def at(url):
    where = x509.UniformResourceIdentifier(url)
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)])


CA = paper("The authority", authority=True)
WWW = issued(CA, at(URL))


def bundle(leaf, *chain):
    material = Material(leaf.pem, leaf.key_pem, intermediates=b"".join(one.pem for one in chain))
    return bundles.read(material, "keypair", NOW)


BUNDLE = bundle(WWW, CA)


def response(leaf=WWW, issuer=CA, by=None, **given):
    """DER."""
    status = given.get("status", ocsp.OCSPCertStatus.GOOD)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf.certificate,
        issuer.certificate,
        given.get("algorithm", hashes.SHA1()),
        status,
        given.get("since", NOW - DAY),
        given.get("until", NOW + DAY),
        NOW - DAY if revoked else None,
        None,
    )
    signer = by or issuer
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if by is not None:
        builder = builder.certificates([by.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_responder_that_the_certificate_names_is_asked_about_it():
    asked = stapling.question(BUNDLE)
    assert asked.url == URL
    assert ocsp.load_der_ocsp_request(asked.request).serial_number == WWW.certificate.serial_number


def test_who_names_no_responder_is_not_asked_about():
    assert stapling.question(bundle(paper("www", CA), CA)) is None


def test_without_the_issuer_nobody_can_be_asked():
    with pytest.raises(Unstapled, match="issuer"):
        stapling.question(bundle(WWW))


def test_a_certificate_can_demand_a_response():
    assert not stapling.is_demanded(BUNDLE)
    assert stapling.is_demanded(bundle(issued(CA, x509.TLSFeature([x509.TLSFeatureType.status_request])), CA))


def test_a_right_answer_may_be_shown_while_it_holds():
    staple = stapling.read(BUNDLE, response(), NOW)
    assert (staple.since, staple.until) == (NOW - DAY, NOW + DAY)


def test_whom_the_issuer_lets_answer_may():
    delegate = issued(CA, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), name="responder")
    assert stapling.read(BUNDLE, response(by=delegate), NOW).until == NOW + DAY


@pytest.mark.parametrize(
    "answer",
    [
        response(by=issued(CA, name="nobody in particular")),
        response(by=paper("another authority", authority=True)),
        response(leaf=issued(CA, at(URL), name="other")),
        response(algorithm=hashes.SHA256()),
        response(status=ocsp.OCSPCertStatus.UNKNOWN),
        response(until=None),
        response(until=NOW - timedelta(seconds=1)),
        response(since=NOW + timedelta(hours=1)),
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
        response()[:-1] + bytes([response()[-1] ^ 1]),
    ],
)
def test_any_other_answer_may_not(answer):
    with pytest.raises(Unstapled):
        stapling.read(BUNDLE, answer, NOW)


def test_that_a_certificate_is_revoked_is_told_apart():
    with pytest.raises(Revoked, match="was revoked at"):
        stapling.read(BUNDLE, response(status=ocsp.OCSPCertStatus.REVOKED), NOW)


GOOD = response()


@given(st.data())
def test_whatever_is_answered_is_a_response_or_refused(data):
    cut = data.draw(st.integers(0, len(GOOD)))
    noise = data.draw(
        st.one_of(st.just(GOOD[:cut]), st.binary(max_size=200), st.just(GOOD[:cut] + b"\x00" + GOOD[cut:]))
    )
    try:
        staple = stapling.read(BUNDLE, noise, NOW)
    except Unstapled:
        return
    assert staple.until == NOW + DAY
