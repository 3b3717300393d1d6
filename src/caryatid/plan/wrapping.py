# SPDX-License-Identifier: Apache-2.0
"""What is encrypted under a passphrase: RFC 8018 (PBES2), RFC 7914 (scrypt), RFC 7292 (what PKCS #12 files had before).

How much work it is to make a key of a passphrase, whoever made the file has decided, and may have decided on hours in
which the library lets nothing else run. So it is done here, within limits, and where it takes longest others run.
"""

import hashlib
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from . import rc2
from .der import SEQUENCE, Element, sequence

ROUNDS_MAX = 5_000_000
"""Of PBKDF2: a second or two. Programs ask for 2,048 to 600,000."""
OLD_ROUNDS_MAX = 200_000
"""Of PKCS #12's own way, which is as slow as Python is. Programs asked for 1,024 to 100,000."""
SCRYPT_MAX = 1 << 21
"""Blocks to mix; programs ask for 2^17. Its memory: 128 bytes times the blocks at once."""
SCRYPT_BYTES_MAX = 1 << 26
PBES2, PBKDF2 = bytes.fromhex("2a864886f70d01050d"), bytes.fromhex("2a864886f70d01050c")
SCRYPT = bytes.fromhex("2b06010401da47040b")
HMAC = {bytes.fromhex(f"2a864886f70d02{number:02x}"): f"sha{bits}"
        for number, bits in ((7, 1), (8, 224), (9, 256), (10, 384), (11, 512))}  # fmt: skip
AES_CBC = {bytes.fromhex(f"6086480165030401{number:02x}"): size for number, size in ((2, 16), (22, 24), (42, 32))}
TRIPLE_DES = bytes.fromhex("2a864886f70d0307")
OLD = {bytes.fromhex(f"2a864886f70d010c01{number:02x}"): cipher
       for number, cipher in ((3, ("3DES", 24)), (4, ("3DES", 16)), (5, ("RC2", 16)), (6, ("RC2", 5)))}  # fmt: skip
FOR_KEY, FOR_START = 1, 2
SHA1_BLOCK = 64


class TooDear(ValueError):
    """More work is asked for than anybody needs."""


class Wrapped(NamedTuple):
    """Encrypted bytes, and how."""

    algorithm: Element
    data: bytes


def wrapped_key(der: bytes) -> Wrapped | None:
    """The encrypted private key (RFC 5958) that `der` is; None: it is something else."""
    try:
        algorithm, data = sequence(der).children
    except ValueError:
        return None
    return Wrapped(algorithm, data.octets) if algorithm.tag == SEQUENCE else None


def unwrap(wrapped: Wrapped, passphrase: bytes, *, ended: bool = True) -> bytes:
    """What was encrypted; with another passphrase, something else or ValueError. Raises TooDear.

    `ended`: PKCS #12's own way has two zeros at the end of a passphrase, but of an empty one some leave them out.
    """
    name, how = wrapped.algorithm.children[:2]
    if name.value == PBES2:
        derivation, cipher = how.children
        start = cipher.children[1].octets
        return _decrypted(cipher.children[0].value, _derived(derivation, cipher, passphrase), start, wrapped.data)
    if name.value not in OLD:
        raise ValueError("Such an encryption is not known.")
    salt, rounds = how.children
    if not 0 < rounds.number <= OLD_ROUNDS_MAX:
        raise TooDear
    kind, size = OLD[name.value]
    secret = passphrase.decode().encode("utf-16-be") + (b"\0\0" if ended else b"")
    key, start = (_old(secret, salt.octets, purpose, rounds.number, bytes_)
                  for purpose, bytes_ in ((FOR_KEY, size), (FOR_START, 8)))  # fmt: skip
    if kind == "RC2":
        return _unpadded(rc2.decrypt_cbc(key, start, wrapped.data), rc2.BLOCK)
    return _decrypted(TRIPLE_DES, key, start, wrapped.data)


def _derived(derivation: Element, cipher: Element, passphrase: bytes) -> bytes:
    size = AES_CBC.get(cipher.children[0].value, 24)
    name, how = derivation.children
    if name.value == PBKDF2:
        salt, rounds, *more = how.children
        if not 0 < rounds.number <= ROUNDS_MAX:
            raise TooDear
        function = [each.children[0].value for each in more if each.tag == SEQUENCE]
        digest = HMAC[function[0]] if function and function[0] in HMAC else "sha1"
        return hashlib.pbkdf2_hmac(digest, passphrase, salt.octets, rounds.number, size)
    if name.value != SCRYPT:
        raise ValueError("Such a derivation is not known.")
    salt, *costs = how.children
    n, r, p = (each.number for each in costs[:3])
    if not (n > 0 and r > 0 and p > 0 and n * r * p <= SCRYPT_MAX and 128 * n * r < SCRYPT_BYTES_MAX):
        raise TooDear
    return hashlib.scrypt(passphrase, salt=salt.octets, n=n, r=r, p=p, dklen=size, maxmem=2 * SCRYPT_BYTES_MAX)


def _decrypted(cipher: bytes, key: bytes, start: bytes, data: bytes) -> bytes:
    if cipher not in AES_CBC and cipher != TRIPLE_DES:
        raise ValueError("Such a cipher is not known.")
    algorithm = AES(key) if cipher in AES_CBC else TripleDES((key + key[:8])[:24])
    decryptor = Cipher(algorithm, CBC(start)).decryptor()
    return _unpadded(decryptor.update(data) + decryptor.finalize(), algorithm.block_size // 8)


def _unpadded(data: bytes, block: int) -> bytes:
    padding = PKCS7(block * 8).unpadder()
    return bytes(padding.update(data) + padding.finalize())


def _old(secret: bytes, salt: bytes, purpose: int, rounds: int, size: int) -> bytes:
    """RFC 7292, appendix B.2, with SHA-1."""
    block = bytearray(_filled(salt) + _filled(secret))
    made = b""
    while len(made) < size:
        digest = hashlib.sha1(bytes([purpose]) * SHA1_BLOCK + block, usedforsecurity=False).digest()
        for _ in range(rounds - 1):
            digest = hashlib.sha1(digest, usedforsecurity=False).digest()
        made += digest
        more = int.from_bytes(_filled(digest), "big") + 1
        for at in range(0, len(block), SHA1_BLOCK):
            total = int.from_bytes(block[at : at + SHA1_BLOCK], "big") + more
            block[at : at + SHA1_BLOCK] = (total % (1 << 8 * SHA1_BLOCK)).to_bytes(SHA1_BLOCK, "big")
    return made[:size]


def _filled(data: bytes) -> bytes:
    """Repeated to whole blocks."""
    if not data:
        return b""
    size = -(-len(data) // SHA1_BLOCK) * SHA1_BLOCK
    return (data * (size // len(data) + 1))[:size]
