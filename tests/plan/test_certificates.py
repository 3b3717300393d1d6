# SPDX-License-Identifier: Apache-2.0
"""Our authority certifies who it says, not who a request says."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from caryatid.plan import certificates
from caryatid.plan.certificates import CertificateRefused, Identity

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOST = Identity("host", "6f6ad3a8-44a9-4f1f-93d7-46f0b60a7b6d")


@pytest.fixture(scope="module")
def authority():
    return certificates.new_authority("Caryatid", NOW)


def signed(authority, identity=HOST, days=30, name=""):
    csr = certificates.request(certificates.new_key(), name)
    return certificates.sign(authority, csr, identity, NOW, days)


def test_the_subject_is_what_the_authority_says_whatever_the_request_says(authority):
    pem = signed(authority, name="controller")
    assert certificates.identity_of(pem) == HOST
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST.id]


def test_only_controllers_are_named_controller(authority):
    pem = signed(authority, Identity("controller", "c1"))
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["c1", "controller"]
    for name in ("controller", "Controller", "host", "checker"):
        with pytest.raises(CertificateRefused):
            signed(authority, Identity("host", name))


@pytest.mark.parametrize("role", ["", "admin", "checker", "checker:", "checker:a b", "host:x", "controller:x", "Host"])
def test_there_are_no_other_roles(authority, role):
    with pytest.raises(CertificateRefused):
        signed(authority, Identity(role, "x"))


@pytest.mark.parametrize("identifier", ["", "a.b", "*", "a b", "-a", "a" * 64, "a\n"])
def test_an_id_is_one_dns_label(authority, identifier):
    with pytest.raises(CertificateRefused):
        signed(authority, Identity("host", identifier))


def test_a_checker_has_a_region(authority):
    identity = Identity("checker:eu-west_1", "k1")
    assert certificates.identity_of(signed(authority, identity)) == identity


def test_it_is_valid_for_the_days_asked_and_never_longer_than_the_authority(authority):
    begin, end = certificates.validity(signed(authority, days=30))
    assert begin < NOW
    assert end == NOW + timedelta(days=30)
    _, authority_end = certificates.validity(authority.certificate_pem)
    assert authority_end == NOW + timedelta(days=certificates.AUTHORITY_DAYS)
    _, end = certificates.validity(signed(authority, days=100_000))
    assert end == authority_end


def test_it_may_be_server_and_client_but_sign_nothing(authority):
    certificate = x509.load_pem_x509_certificate(signed(authority))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    certificate.verify_directly_issued_by(issuer)
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    pointer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert pointer.key_identifier == own.digest


@pytest.mark.parametrize("text", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END"])
def test_what_is_no_request_is_refused(authority, text):
    with pytest.raises(CertificateRefused):
        certificates.sign(authority, text, HOST, NOW, 30)


def test_a_request_that_its_key_did_not_sign_is_refused(authority):
    der = x509.load_pem_x509_csr(certificates.request(certificates.new_key())).public_bytes(serialization.Encoding.DER)
    broken = x509.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1])).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CertificateRefused):
        certificates.sign(authority, broken, HOST, NOW, 30)


def test_a_weak_key_is_refused(authority):
    key = rsa.generate_private_key(65537, 1024)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(CertificateRefused, match="2048"):
        certificates.sign(authority, csr.public_bytes(serialization.Encoding.PEM), HOST, NOW, 30)


def test_a_subject_with_two_roles_names_nobody(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    role = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "host")
    name = x509.Name([role, role, x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(CertificateRefused):
        certificates.identity_of(certificate.public_bytes(serialization.Encoding.PEM))


def test_the_fingerprint_is_of_the_der_form(authority):
    der = x509.load_pem_x509_certificate(authority.certificate_pem).public_bytes(serialization.Encoding.DER)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    assert certificates.fingerprint(authority.certificate_pem) == digest.finalize().hex()
