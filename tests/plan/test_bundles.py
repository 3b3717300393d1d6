# SPDX-License-Identifier: Apache-2.0
"""What a reference stands for is taken as HAProxy needs it, or refused with every reason; nothing else can happen."""

import base64
import random
import subprocess
from dataclasses import fields, replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, load_pem_private_key, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.model.bundle import Material
from caryatid.plan.bundles import Unusable, read
from tests.papers import DAY, NOW, bundle, key, paper, revocations

ROOT = paper("Root", authority=True)
MIDDLE = paper("Middle", ROOT, authority=True)
LOW = paper("Low", MIDDLE, authority=True)
LEAF = paper(issuer=LOW, names=["www.example.org", "*.example.net", "192.0.2.7", "2001:db8::7"])
CHAIN = (LOW, MIDDLE)
GOOD = Material(certificate=LEAF.pem, private_key=LEAF.key_pem, intermediates=LOW.pem + MIDDLE.pem)
STRANGER = paper("stranger")
LOST = paper("lost")


def reasons(material, purpose="keypair", now=NOW, **more):
    with pytest.raises(Unusable) as refused:
        read(material, purpose, now, **more)
    assert str(refused.value) == " ".join(refused.value.reasons)
    return refused.value.reasons


def certificates(pem):
    return [each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(pem.encode())]


def test_of_a_certificate_its_chain_and_key_haproxy_gets_one_text():
    made = read(GOOD, "keypair", NOW)
    assert certificates(made.pem) == ["CN=www.example.org", "CN=Low", "CN=Middle"]
    assert load_pem_private_key(made.pem[made.pem.index("-----BEGIN PRIVATE") :].encode(), None)
    assert made.subject == "CN=www.example.org"
    assert made.issuer == "CN=Low"
    assert made.names == ("www.example.org", "*.example.net", "192.0.2.7", "2001:db8::7")
    assert made.not_before == "2029-12-31T00:00:00.000000"
    assert made.not_after == "2030-01-31T00:00:00.000000"


def test_the_text_and_its_digest_depend_on_the_content_only():
    """Not on how, in which order and in what company it was kept."""
    good = read(GOOD, "keypair", NOW)
    whole = LEAF.key_as(PrivateFormat.TraditionalOpenSSL) + MIDDLE.pem + b"# of ours\n" + LOW.pem + LEAF.pem + LEAF.pem
    der = Material(certificate=LEAF.der, private_key=LEAF.key_der, intermediates=LOW.pem + MIDDLE.pem)
    seven = pkcs7.serialize_certificates([MIDDLE.certificate, LOW.certificate], Encoding.DER)
    seven_pem = pkcs7.serialize_certificates([MIDDLE.certificate, LOW.certificate], Encoding.PEM)
    kept = [
        Material(payload=whole),
        Material(certificate=whole),
        der,
        replace(der, intermediates=seven),
        replace(der, intermediates=seven_pem),
        Material(payload=bundle(LEAF, *CHAIN)),
        Material(payload=bundle(LEAF, MIDDLE, LOW, passphrase=b"secret"), passphrase=b"secret"),
        replace(GOOD, private_key=LEAF.key_as(PrivateFormat.PKCS8, b"secret"), passphrase=b"secret"),
        replace(GOOD, passphrase=b"not needed"),
    ]
    assert {read(each, "keypair", NOW) for each in kept} == {good}
    assert read(GOOD, "keypair", NOW + DAY).digest == good.digest


@pytest.mark.parametrize("order", list(permutations([LEAF, *CHAIN, ROOT])))
def test_a_chain_in_any_order_is_put_in_order(order):
    made = read(Material(payload=b"".join(each.pem for each in order) + LEAF.key_pem), "keypair", NOW)
    assert certificates(made.pem) == ["CN=www.example.org", "CN=Low", "CN=Middle", "CN=Root"]


def test_two_certificates_of_one_intermediate_may_both_be_there():
    """Cross-signed: both sign the leaf."""
    other = paper("Other root", authority=True)
    twin = paper("Low", other, own=LOW.key, authority=True)
    made = read(replace(GOOD, intermediates=twin.pem + LOW.pem + MIDDLE.pem), "keypair", NOW)
    assert certificates(made.pem) == ["CN=www.example.org", "CN=Low", "CN=Low", "CN=Middle"]


@pytest.mark.parametrize("kind", ["RSA-2048", "RSA-3072", "P-256", "P-384", "P-521", "Ed25519"])
def test_keys_that_haproxy_takes(kind):
    leaf = paper(own=key(kind))
    assert read(Material(certificate=leaf.pem, private_key=leaf.key_pem), "keypair", NOW).names == ("www.example.org",)


@pytest.mark.parametrize(
    ("kind", "problem"), [("RSA-1024", "has 1024 bits"), ("secp256k1", "curve secp256k1"), ("Ed448", "algorithm")]
)
def test_keys_that_nobody_should_use(kind, problem):
    leaf = paper(own=key(kind))
    (reason,) = reasons(Material(certificate=leaf.pem, private_key=leaf.key_pem))
    assert problem in reason


def test_a_weak_intermediate_is_as_bad():
    low = paper("Low", MIDDLE, own=key("RSA-1024"), authority=True)
    leaf = paper(issuer=low)
    material = Material(certificate=leaf.pem, private_key=leaf.key_pem, intermediates=low.pem + MIDDLE.pem)
    (reason,) = reasons(material)
    assert "CN=Low" in reason


def test_nobody_trusts_a_sha1_signature_but_ones_own():
    """The file has a certificate, its key, its issuer (signed by itself), and that one's key."""
    kept = (Path(__file__).parent / "sha1.pem").read_bytes()
    (reason,) = reasons(Material(payload=kept))
    assert reason == "The certificate 'CN=www.example.org' is signed with SHA1, which nobody trusts."
    alone = kept[kept.index(b"-----END PRIVATE KEY-----") + 26 :]
    assert read(Material(payload=alone), "keypair", NOW).subject == "CN=Old root"


def test_every_reason_is_said_at_once():
    bad = Material(certificate=LEAF.pem, private_key=LOST.key_pem, intermediates=MIDDLE.pem + b"x" + STRANGER.pem)
    said = " ".join(reasons(bad, now=NOW + 40 * DAY))
    assert "'CN=www.example.org' ended at 2030-01-31 00:00:00 UTC" in said
    assert "'CN=Middle' ended at" in said
    assert "'CN=Middle' signs none of the others" in said
    assert "'CN=stranger' signs none of the others" in said
    assert "The private key is not that of the certificate 'CN=www.example.org'" in said


def test_what_has_ended_or_not_begun_is_refused_with_the_moment():
    assert reasons(GOOD, now=LEAF.certificate.not_valid_after_utc)[0].endswith("ended at 2030-01-31 00:00:00 UTC.")
    assert reasons(GOOD, now=NOW - 2 * DAY)[0].endswith("begins only at 2029-12-31 00:00:00 UTC.")
    assert read(GOOD, "keypair", LEAF.certificate.not_valid_after_utc - timedelta(seconds=1))


def test_the_earliest_end_in_a_chain_counts():
    low = paper("Low", MIDDLE, end=NOW + DAY, authority=True)
    leaf = paper(issuer=low)
    material = Material(certificate=leaf.pem, private_key=leaf.key_pem, intermediates=low.pem)
    assert read(material, "keypair", NOW).not_after == "2030-01-02T00:00:00.000000"
    assert "'CN=Low' ended" in reasons(material, now=NOW + 2 * DAY)[0]


def test_a_name_may_be_all_that_an_intermediate_has_of_an_issuer():
    impostor = paper("Low", MIDDLE, own=key(which="impostor"), authority=True)
    (reason,) = reasons(replace(GOOD, intermediates=impostor.pem))
    assert reason == "The chain is broken: the certificate 'CN=Low' signs none of the others."


def test_an_encrypted_key_needs_its_passphrase():
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        locked = replace(GOOD, private_key=LEAF.key_as(form, b"secret"))
        assert reasons(locked) == ("The private key is encrypted, and no passphrase is given.",)
        wrong = reasons(replace(locked, passphrase=b"other"))
        assert wrong == ("The private key is encrypted, and not with the passphrase that is given.",)
        assert read(replace(locked, passphrase=b"secret"), "keypair", NOW) == read(GOOD, "keypair", NOW)


def test_a_bundle_needs_its_passphrase():
    locked = Material(payload=bundle(LEAF, *CHAIN, passphrase=b"secret"))
    assert "passphrase is not empty" in reasons(locked)[0]
    assert "passphrase is not the one that is given" in reasons(replace(locked, passphrase=b"other"))[0]


OPENSSL = (
    "",
    "-legacy",
    "-nomac",
    "-keypbe NONE -certpbe NONE",
    "-keypbe AES-128-CBC -certpbe AES-192-CBC",
    "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
    "-keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-RC2-128 -legacy",
    "-keypbe PBE-SHA1-RC2-40 -certpbe NONE -legacy",
)


@pytest.mark.parametrize("how", OPENSSL)
@pytest.mark.parametrize("passphrase", ["", "secret", "pässwört"])
def test_bundles_of_all_ages_are_opened(tmp_path, how, passphrase):
    """OpenSSL before 3 wrote as `-legacy` does; Octavia's users have such files, without a passphrase."""
    for name, pem in (("cert", LEAF.pem), ("chain", LOW.pem + MIDDLE.pem), ("key", LEAF.key_pem)):
        (tmp_path / name).write_bytes(pem)
    parts = ["-in", "cert", "-inkey", "key", "-certfile", "chain", "-out", "made", "-passout", f"pass:{passphrase}"]
    words = ["openssl", "pkcs12", "-export", *parts, *how.split()]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    made = (tmp_path / "made").read_bytes()
    good = read(GOOD, "keypair", NOW)
    assert read(Material(payload=made, passphrase=passphrase.encode()), "keypair", NOW) == good
    assert read(Material(certificate=made, passphrase=passphrase.encode()), "keypair", NOW) == good
    if "NONE" not in how:
        assert "passphrase is not the one" in reasons(Material(payload=made, passphrase=b"other"))[0]


@pytest.mark.parametrize(
    "how", ["-v2 aes-256-cbc", "-scrypt", "-v2 des3", "-v1 PBE-SHA1-3DES", "-v2prf hmacWithSHA512"]
)
def test_keys_are_unlocked_however_openssl_has_locked_them(tmp_path, how):
    (tmp_path / "key").write_bytes(LEAF.key_pem)
    words = ["openssl", "pkcs8", "-topk8", "-in", "key", "-passout", "pass:secret", *how.split()]
    locked = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True).stdout
    good = read(GOOD, "keypair", NOW)
    for form in (locked, der_of(locked)):
        assert read(replace(GOOD, private_key=form, passphrase=b"secret"), "keypair", NOW) == good
        wrong = reasons(replace(GOOD, private_key=form, passphrase=b"other"))
        assert wrong == ("The private key is encrypted, and not with the passphrase that is given.",)


def der_of(pem):
    """DER of a block of PEM."""
    return base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))


def test_nobody_makes_us_work_for_hours():
    """Rounds are the maker's choice; a file that asks for 8,388,607 is not opened, nor one with many locks."""
    few, dear = b"\x02\x03\x01\x00\x01", b"\x02\x03\x7f\xff\xff"
    made = bundle(LEAF, *CHAIN, passphrase=b"secret", rounds=65_537)
    assert made.count(few) >= 2
    for at in [place for place in range(len(made)) if made.startswith(few, place)][:2]:
        changed = made[:at] + dear + made[at + 5 :]
        assert "too many rounds" in reasons(Material(payload=changed, passphrase=b"secret"))[0]
    locked = LEAF.key_as(PrivateFormat.PKCS8, b"secret")
    many = replace(GOOD, private_key=locked * 5, passphrase=b"secret")
    assert "There are more than 4 encrypted private keys in it." in reasons(many)


@pytest.mark.parametrize("part", ["certificate", "private_key", "intermediates"])
def test_what_cannot_be_read_is_named(part):
    title = {"private_key": "private key", "intermediates": "chain of intermediates"}.get(part, part)
    said = f"The {title} cannot be read: PEM, DER or PKCS #12 is taken, whole."
    assert said in reasons(replace(GOOD, **{part: b"\x00\x01"}))
    torn = getattr(GOOD, part)[:200] + b"\n-----END CERTIFICATE-----\n"
    assert said in reasons(replace(GOOD, **{part: torn}))


def test_a_certificate_of_a_version_that_there_is_not_is_refused_in_words():
    der = x509.load_pem_x509_certificate(GOOD.certificate).public_bytes(Encoding.DER)
    assert b"\xa0\x03\x02\x01\x02" in der
    other = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    assert any("cannot be read" in reason for reason in reasons(replace(GOOD, certificate=other)))


def test_what_is_missing_is_named():
    assert reasons(Material()) == ("There is no certificate in it.", "There is no private key in it.")
    assert reasons(Material(certificate=LEAF.pem)) == ("There is no private key in it.",)
    assert reasons(Material(private_key=LEAF.key_pem)) == ("There is no certificate in it.",)
    assert reasons(Material(), "authorities") == ("There is no certificate in it.",)
    assert reasons(Material(), "revocations") == ("There is no list of revoked certificates in it.",)


def test_there_is_a_limit():
    (reason,) = reasons(Material(payload=LEAF.pem * 200))
    assert reason.startswith("It has ")
    papers = [paper(f"n{number}").der for number in range(25)]
    many = b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in papers)
    assert "more than 20 certificates" in reasons(Material(payload=many + LEAF.key_pem))[-1]


def test_a_damaged_key_is_found_though_its_public_half_is_right():
    rsa = paper(own=key("RSA-2048"))
    numbers = rsa.key.private_numbers()
    der = rsa.key_der
    exponent = numbers.d.to_bytes(256, "big")
    hurt = der
    for number in (exponent, numbers.dmp1.to_bytes(128, "big"), numbers.dmq1.to_bytes(128, "big")):
        hurt = hurt.replace(number, number[:-2] + bytes([number[-2] ^ 1]) + number[-1:])
    assert hurt != der
    assert "damaged" in reasons(Material(certificate=rsa.pem, private_key=hurt))[0]


def test_authorities_are_all_certificates_there_are():
    both = Material(payload=ROOT.pem + MIDDLE.pem)
    made = read(both, "authorities", NOW)
    assert certificates(made.pem) == ["CN=Root", "CN=Middle"]
    assert "PRIVATE" not in read(Material(payload=ROOT.pem + ROOT.key_pem), "authorities", NOW).pem
    assert read(Material(certificate=ROOT.der), "authorities", NOW).subject == "CN=Root"


def test_authorities_without_a_root_would_refuse_everybody():
    """Measured with HAProxy 2.6."""
    (reason,) = reasons(Material(payload=MIDDLE.pem + LOW.pem), "authorities")
    assert "up to the root" in reason
    assert read(Material(payload=MIDDLE.pem + STRANGER.pem), "authorities", NOW)


def test_authorities_are_refused_only_if_all_have_ended():
    old = paper("Old", end=NOW - timedelta(hours=1), authority=True)
    made = read(Material(payload=old.pem + ROOT.pem), "authorities", NOW)
    assert made.not_after == "2030-01-31T00:00:00.000000"
    assert "'CN=Old' ended" in reasons(Material(payload=old.pem), "authorities")[0]


def test_a_list_of_what_is_revoked_is_its_authoritys():
    listed = revocations(ROOT, LEAF)
    authorities = read(Material(payload=ROOT.pem), "authorities", NOW)
    for form in (Encoding.PEM, Encoding.DER):
        material = Material(payload=listed.public_bytes(form))
        made = read(material, "revocations", NOW, authorities=authorities)
        assert made == read(material, "revocations", NOW)
        assert (made.subject, made.not_after) == ("CN=Root", "2030-01-02T00:00:00.000000")
        other = read(Material(payload=STRANGER.pem), "authorities", NOW)
        assert "signed by none of the authorities" in reasons(material, "revocations", authorities=other)[0]


def test_every_authority_has_a_list_or_none():
    """Measured with HAProxy 2.6: where one of a chain has none, the client is refused."""
    authorities = read(Material(payload=MIDDLE.pem + ROOT.pem), "authorities", NOW)
    one, other = (revocations(each).public_bytes(Encoding.PEM) for each in (ROOT, MIDDLE))
    assert read(Material(payload=one + other), "revocations", NOW, authorities=authorities)
    (reason,) = reasons(Material(payload=one), "revocations", authorities=authorities)
    assert reason == "There is no list of the authority 'CN=Middle': every client of it would be refused."


def test_a_list_that_is_out_of_date_would_refuse_every_client():
    material = Material(payload=revocations(ROOT).public_bytes(Encoding.PEM))
    (reason,) = reasons(material, "revocations", now=NOW + 2 * DAY)
    assert reason.endswith("2030-01-02 00:00:00 UTC: every client would be refused.")
    (reason,) = reasons(material, "revocations", now=NOW - 2 * DAY)
    assert "begins only at" in reason


NOUGHT = st.sampled_from(
    [b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", b"\x30\x80\x02\x01\x03\x30"]
)
KNOWN = st.sampled_from([
    *(getattr(each, name) for each in (LEAF, LOW, ROOT, STRANGER) for name in ("pem", "der", "key_pem", "key_der")),
    bundle(LEAF, *CHAIN), bundle(LEAF, passphrase=b"secret"), LEAF.key_as(PrivateFormat.PKCS8, b"secret"),
    LEAF.key_as(PrivateFormat.TraditionalOpenSSL, b"secret"), revocations(ROOT).public_bytes(Encoding.PEM),
    revocations(ROOT).public_bytes(Encoding.DER), paper(own=key("RSA-1024")).pem, paper(own=key("RSA-2048")).key_der,
    pkcs7.serialize_certificates([LOW.certificate], Encoding.DER),
])  # fmt: skip


@st.composite
def hurt(draw):
    """Something known, cut, changed in places, or doubled."""
    data = bytearray(draw(KNOWN))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data) * draw(st.sampled_from([1, 1, 1, 2, 100]))


ANYTHING = NOUGHT | KNOWN | hurt() | st.binary(max_size=300)
MATERIAL = st.builds(Material, **{each.name: ANYTHING for each in fields(Material)})


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning", "ignore:PKCS#7")
@settings(deadline=None, max_examples=600)
@given(MATERIAL, st.sampled_from(["keypair", "authorities", "revocations"]), st.booleans())
def test_whatever_the_bytes_are_they_are_taken_or_refused_in_words(material, purpose, by_whom):
    authorities = read(Material(payload=ROOT.pem), "authorities", NOW) if by_whom else None
    try:
        made = read(material, purpose, NOW, authorities=authorities)
    except Unusable as refused:
        assert refused.reasons
        assert all(reason.endswith(".") and reason[0].isupper() for reason in refused.reasons)
    else:
        assert made.digest == read(Material(payload=made.pem.encode()), purpose, NOW).digest


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning", "ignore:PKCS#7")
def test_a_key_of_which_any_byte_is_wrong_breaks_nothing():
    """Numbers of an RSA key are not checked to be primes: what can be done with odd ones must still end, in words."""
    chance = random.Random(7)
    leaf = paper(own=key("RSA-2048"))
    good = leaf.key_der
    for _ in range(400):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] = chance.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
        try:
            read(Material(certificate=leaf.der, private_key=bytes(bad)), "keypair", NOW)
        except Unusable as refused:
            assert refused.reasons
