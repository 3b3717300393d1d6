# SPDX-License-Identifier: Apache-2.0
"""How secrets are kept in the database: encrypted under a master key, which is in a file on the controllers only."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caryatid.errors import CaryatidError
from caryatid.store import hosts
from caryatid.store.database import Tx

FILE = "master.key"
KEY_BYTES = 32
NONCE_BYTES = 12
PROOF = "master key"
"""Setting by which a controller knows that its master key is that of the others."""
PROVERS = (PROOF, "authority")
"""Settings that the right key unseals; the second is all that an older installation has."""


class NoMasterKey(CaryatidError):
    """What is in the database cannot be read here."""

    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The master key is not the one that this database was written with: restore `master.key` from a backup, or "
            "copy it from another controller."
        )


@dataclass(frozen=True)
class MasterKey:
    """Seals and unseals."""

    key: bytes = field(repr=False)

    def seal(self, name: str, plain: bytes) -> bytes:
        """`plain`, encrypted (AES-256-GCM) and bound to `name`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, plain, name.encode())

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """What `seal` was given. Raises NoMasterKey with another key or name."""
        try:
            return AESGCM(self.key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise NoMasterKey from None


class Vault:
    """Where the master key is. It is looked for when it is first needed: who never seals needs none. Threads may
    share it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._proven: MasterKey | None = None

    def key(self, tx: Tx) -> MasterKey:
        """The key with which this database was written. Raises NoMasterKey where there is none, or another."""
        return self._proven or self._found(tx, _read(self._path))

    def ensured(self, tx: Tx) -> MasterKey:
        """The same; the first of all controllers makes it. `tx` writes."""
        if self._proven is not None:
            return self._proven
        found = _read(self._path)
        if found is None and not _proofs(tx):
            found = _made(self._path)
        key = self._found(tx, found)
        key.unseal(PROOF, hosts.keep_setting(tx, PROOF, key.seal(PROOF, b"")))  # somebody else may have been first

        def remember() -> None:
            self._proven = key

        tx.after_commit(remember)
        return key

    def _found(self, tx: Tx, found: bytes | None) -> MasterKey:
        if found is None:
            raise NoMasterKey
        key = MasterKey(found)
        proofs = _proofs(tx)
        for name, sealed in proofs.items():
            key.unseal(name, sealed)
        if PROOF in proofs:
            self._proven = key
        return key


def _proofs(tx: Tx) -> dict[str, bytes]:
    return {name: sealed for name in PROVERS if (sealed := hosts.setting(tx, name)) is not None}


def _read(path: Path) -> bytes | None:
    """The key in the file; None: there is none. Raises CaryatidError for a file that holds something else."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(key) != KEY_BYTES:
        raise CaryatidError(f"{path} is not a master key: it has {len(key)} bytes instead of {KEY_BYTES}.")
    return key


def _made(path: Path) -> bytes | None:
    """A new key in the file, which comes to be whole or not at all; if another process is first, its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:  # mode 0600
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)
    return _read(path)
