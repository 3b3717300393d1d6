# SPDX-License-Identifier: Apache-2.0
"""A key store of tests: it has what it was given, and remembers what it was asked for."""

from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding

from caryatid.drivers.secrets.base import UnreadableError
from caryatid.model.bundle import Material
from tests.papers import DAY, paper

NOW = datetime.now(UTC)


class Shelf:
    def __init__(self):
        self.kept = {}
        """By reference: material, what is raised instead, or what is called for it."""
        self.read_for = []

    def read(self, reference, project_id):
        self.read_for.append((reference, project_id))
        found = self.kept.get(reference, UnreadableError("Nothing is kept there."))
        if isinstance(found, Exception):
            raise found
        return found() if callable(found) else found


def fresh(name, issuer=None, **given):
    """A certificate that holds now."""
    return paper(name, issuer, begin=NOW - DAY, end=given.pop("end", NOW + 30 * DAY), **given)


def keypair(one, *chain):
    return Material(certificate=one.pem, private_key=one.key_pem, intermediates=b"".join(each.pem for each in chain))


def lists(*all_lists):
    return Material(payload=b"".join(each.public_bytes(Encoding.PEM) for each in all_lists))
