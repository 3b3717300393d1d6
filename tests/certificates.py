# SPDX-License-Identifier: Apache-2.0
"""What a tree's references stand for, made for tests: certificates of one authority that are good today."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding

from caryatid.model.bundle import Bundle, Purpose, references
from caryatid.model.tree import Tree
from tests.papers import Paper, key, paper, revocations

NOW = datetime.now(UTC).replace(microsecond=0)
LATE = timedelta(days=60)


class Authority:
    """Signs certificates and revokes them."""

    def __init__(self, name: str = "Authority") -> None:
        self.paper = paper(name, own=key(which=f"authority {name}"), begin=NOW - LATE, end=NOW + LATE, authority=True)

    def sign(self, name: str, *names: str, days: float = 30, kind: str = "P-256") -> Paper:
        """A certificate for the DNS names, with the common name `name`."""
        ends = NOW + timedelta(days=days)
        return paper(name, self.paper, own=key(kind, name), begin=NOW - LATE, end=ends, names=names)

    def keypair(self, name: str, *names: str, kind: str = "P-256") -> Bundle:
        return bundle(self.file(self.sign(name, *names, kind=kind)), name, names)

    def file(self, leaf: Paper) -> str:
        """Certificate, chain and key, as clients and HAProxy read them."""
        return (leaf.pem + self.paper.pem + leaf.key_pem).decode()

    def authorities(self) -> Bundle:
        return bundle(self.paper.pem.decode(), "Authority")

    def revocations(self, *revoked: Paper) -> Bundle:
        lists = revocations(self.paper, *revoked, begin=NOW - LATE, end=NOW + LATE)
        return bundle(lists.public_bytes(Encoding.PEM).decode(), "Authority")

    def bundles(self, tree: Tree, **given: Bundle) -> Tree:
        """The tree with what its references stand for: `given`, by reference, else something new of the right sort,
        for the DNS name that the reference is."""
        rows = [node.listener for node in tree.listeners] + [node.pool for node in tree.pools]
        wanted = {one.key for row in rows for one in references(row)}
        return replace(tree, bundles={one: given.get(one[0]) or self._some(*one) for one in sorted(wanted)})

    def _some(self, reference: str, purpose: Purpose) -> Bundle:
        match purpose:
            case "keypair":
                return self.keypair(reference[:64], reference)
            case "authorities":
                return self.authorities()
            case "revocations":
                return self.revocations()


def bundle(pem: str, name: str, names: tuple[str, ...] = ()) -> Bundle:
    return Bundle(pem, sha256(pem.encode()).hexdigest(), f"CN={name}", "CN=Authority", names, "", "")
