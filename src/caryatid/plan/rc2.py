# SPDX-License-Identifier: Apache-2.0
"""RC2 (RFC 2268), to decrypt: broken, and still what protects certificates in PKCS #12 files of older programs.

The library has it with keys of 128 bits only; those files have 40.
"""

from collections.abc import Iterator

BLOCK = 8
KEY_BYTES = 128
WORD = 0xFFFF
SHIFTS = (1, 2, 3, 5)
ROUNDS = (5, 6, 5)
"""How many mixing rounds there are before, between and after the two mashing ones."""
TABLE = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)


def decrypt_cbc(key: bytes, start: bytes, data: bytes) -> bytes:
    """Without the padding taken off. Raises ValueError unless the data are whole blocks."""
    if len(data) % BLOCK:
        raise ValueError("These are no whole blocks.")
    words = _expanded(key)
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    plain = (_decrypted(words, block) for block in blocks)
    pairs = zip(plain, [start, *blocks], strict=False)
    return b"".join(bytes(a ^ b for a, b in zip(block, before, strict=True)) for block, before in pairs)


def _expanded(key: bytes) -> list[int]:
    """All bits of the key count."""
    size = len(key)
    known = bytearray(key)
    while len(known) < KEY_BYTES:
        known.append(TABLE[(known[-1] + known[-size]) & 0xFF])
    known[KEY_BYTES - size] = TABLE[known[KEY_BYTES - size]]
    for place in range(KEY_BYTES - size - 1, -1, -1):
        known[place] = TABLE[known[place + 1] ^ known[place + size]]
    return [known[place] | known[place + 1] << 8 for place in range(0, KEY_BYTES, 2)]


def _decrypted(words: list[int], block: bytes) -> bytes:
    state = [int.from_bytes(block[at : at + 2], "little") for at in range(0, BLOCK, 2)]
    left = iter(reversed(words))
    for number, rounds in enumerate(ROUNDS):
        if number:
            _unmash(words, state)
        for _ in range(rounds):
            _unmix(left, state)
    return b"".join(word.to_bytes(2, "little") for word in state)


def _unmix(left: Iterator[int], state: list[int]) -> None:
    for place in (3, 2, 1, 0):
        a, b, c = state[place - 1], state[place - 2], state[place - 3]
        shift = SHIFTS[place]
        turned = (state[place] >> shift | state[place] << 16 - shift) & WORD
        state[place] = (turned - next(left) - (a & b) - (~a & c)) & WORD


def _unmash(words: list[int], state: list[int]) -> None:
    for place in (3, 2, 1, 0):
        state[place] = (state[place] - words[state[place - 1] & 63]) & WORD
