# SPDX-License-Identifier: Apache-2.0
"""What hosts are known by (credentials, enrolment), what is left on them, and the secrets of the installation."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, delete, func, literal, select, update

from . import clock
from .database import POSTGRESQL, Tx
from .sql import insert, storable
from .tables import ENROLMENT, HOST_CREDENTIAL, SETTING, TABLES, TOMBSTONE

_LOCK = int.from_bytes(b"hosts")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a host proves itself with. Keys are encrypted by whoever writes them."""

    host_id: str
    heartbeat_key: bytes
    certificate_serial: str
    """Fingerprint of the certificate that it has shown last."""
    revoked: bool = False
    pending_serial: str | None = None
    """Fingerprint of the certificate that was made for it last, while it has not shown it."""
    issuer: str | None = None
    """Fingerprint of the authority of the certificate that it has shown last."""
    trusts: Sequence[str] | None = None
    """Fingerprints of the authorities of which it has said that it trusts them."""
    next_key: bytes | None = None
    """The heartbeat key that takes the place of the other once the host has said that it has it."""
    key_made_at: float | None = None
    """When `heartbeat_key` was made (seconds since the epoch); None: not known, and so due to be replaced."""

    def __repr__(self) -> str:
        return f"Credential({self.host_id!r})"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An amphora that may still run on a host which did not answer; its addresses are not given out again."""

    amphora_id: str
    host_id: str
    loadbalancer_id: str
    generation: int
    fence: int
    port_ids: Sequence[str] = ()


def lock(tx: Tx) -> None:
    """Until this transaction ends nobody else changes a host, or gives room on one to an amphora.

    To be had before the lock of any root. SQLite has one writer at a time as it is.
    """
    if tx.database.dialect == POSTGRESQL:
        tx.connection.execute(select(func.pg_advisory_xact_lock(literal(_LOCK, BigInteger))))


def lowest_bindable(tx: Tx) -> int:
    """The lowest port that some host's listeners may have; 1 if there is no host."""
    specs = tx.connection.execute(select(TABLES["host"].c.spec)).scalars()
    return min((int(spec.get("bindable_from", 1)) for spec in specs), default=1)


def write_credential(tx: Tx, credential: Credential) -> None:
    """The host is known by this, and no longer by what it was known by before."""
    values = {field.name: getattr(credential, field.name) for field in fields(credential)}
    statement = insert(tx.database.dialect, HOST_CREDENTIAL).values(values)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["host_id"], set_=values))


def credential(tx: Tx, host_id: str) -> Credential | None:
    """What the host is known by, revoked or not."""
    row = tx.connection.execute(select(HOST_CREDENTIAL).where(HOST_CREDENTIAL.c.host_id == host_id)).first()
    return Credential(*row) if row else None


def credentials(tx: Tx) -> list[Credential]:
    """What every host is known by."""
    rows = tx.connection.execute(select(HOST_CREDENTIAL).order_by(HOST_CREDENTIAL.c.host_id))
    return [Credential(*row) for row in rows]


def revoke(tx: Tx, host_id: str) -> bool:
    """The host is no longer believed; False: it is not known."""
    known = update(HOST_CREDENTIAL).where(HOST_CREDENTIAL.c.host_id == host_id)
    return bool(tx.connection.execute(known.values(revoked=True)).rowcount)


def key_is_old(tx: Tx, host_id: str) -> bool:
    """The host is given a new heartbeat key when it comes next; False: it is not known."""
    known = update(HOST_CREDENTIAL).where(HOST_CREDENTIAL.c.host_id == host_id, HOST_CREDENTIAL.c.revoked.is_(False))
    return bool(tx.connection.execute(known.values(key_made_at=None)).rowcount)


def purge_credentials(tx: Tx) -> int:
    """What hosts that are no more were known by is gone; how many they were."""
    living = select(TABLES["host"].c.id)
    gone = delete(HOST_CREDENTIAL).where(HOST_CREDENTIAL.c.host_id.not_in(living))
    return tx.connection.execute(gone).rowcount


def remove_credential(tx: Tx, host_id: str) -> None:
    tx.connection.execute(delete(HOST_CREDENTIAL).where(HOST_CREDENTIAL.c.host_id == host_id))


@dataclass(frozen=True, slots=True)
class Opened:
    """What a token was for."""

    region_id: str | None
    """Of the checker."""
    amphora_id: str | None
    """Whose machine the host is; None: nobody's."""


def open_enrolment(
    tx: Tx,
    token_id: str,
    secret: bytes,
    *,
    valid_s: float,
    region_id: str | None = None,
    amphora_id: str | None = None,
) -> None:
    """Whoever knows the secret (256 random bits, of which a hash is kept) may enrol once within `valid_s` seconds: as a
    checker of the region, as the machine of the amphora, or, without either, as a host."""
    row = {"token_id": token_id, "secret_hash": _hash(secret), "expires_at": clock.now(tx) + valid_s}
    row |= {"region_id": region_id, "amphora_id": amphora_id}
    tx.connection.execute(ENROLMENT.insert(), row)


def redeem(tx: Tx, token_id: str, secret: bytes) -> Opened | None:
    """The token for a host is used up; None: it is unknown, used, expired, for a checker, or the secret is wrong."""
    return _redeemed(tx, token_id, secret, ENROLMENT.c.region_id.is_(None))


def redeem_for_region(tx: Tx, token_id: str, secret: bytes) -> str | None:
    """The token for a checker is used up; its region. None: as above, or it is for a host."""
    opened = _redeemed(tx, token_id, secret, ENROLMENT.c.region_id.is_not(None))
    return opened.region_id if opened else None


def _redeemed(tx: Tx, token_id: str, secret: bytes, meant: ColumnElement[bool]) -> Opened | None:
    if not storable(token_id):
        return None
    now = clock.now(tx)
    open_ones = (ENROLMENT.c.token_id == token_id, ENROLMENT.c.used_at.is_(None), ENROLMENT.c.expires_at > now, meant)
    told = (ENROLMENT.c.secret_hash, ENROLMENT.c.region_id, ENROLMENT.c.amphora_id)
    known = tx.connection.execute(select(*told).where(*open_ones)).first()
    if not hmac.compare_digest(known.secret_hash if known else b"", _hash(secret)) or known is None:
        return None
    used = update(ENROLMENT).where(*open_ones).values(used_at=now)
    return Opened(known.region_id, known.amphora_id) if tx.connection.execute(used).rowcount else None


def purge_enrolments(tx: Tx) -> int:
    """Expired tokens are gone; how many they were."""
    return tx.connection.execute(delete(ENROLMENT).where(ENROLMENT.c.expires_at <= clock.now(tx))).rowcount


def setting(tx: Tx, name: str) -> bytes | None:
    """A value that the installation has made for itself; secrets are encrypted by whoever writes them."""
    return tx.connection.execute(select(SETTING.c.value).where(SETTING.c.name == name)).scalar()


def keep_setting(tx: Tx, name: str, value: bytes) -> bytes:
    """The value that counts: this one, or the one that another process was first to keep."""
    statement = insert(tx.database.dialect, SETTING).values(name=name, value=value)
    tx.connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    kept = setting(tx, name)
    return value if kept is None else kept


def write_setting(tx: Tx, name: str, value: bytes) -> None:
    """The value counts, whatever was kept before."""
    statement = insert(tx.database.dialect, SETTING).values(name=name, value=value)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def lock_setting(tx: Tx, name: str) -> None:
    """Nobody else changes it before the transaction ends."""
    tx.connection.execute(select(SETTING.c.name).where(SETTING.c.name == name).with_for_update())


def bury(tx: Tx, tombstone: Tombstone) -> None:
    """The amphora is to be removed when its host returns."""
    values: dict[str, Any] = {
        "host_id": tombstone.host_id,
        "loadbalancer_id": tombstone.loadbalancer_id,
        "generation": tombstone.generation,
        "fence": tombstone.fence,
        "port_ids": list(tombstone.port_ids),
    }
    statement = insert(tx.database.dialect, TOMBSTONE)
    statement = statement.values(amphora_id=tombstone.amphora_id, created_at=clock.now(tx), **values)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["amphora_id"], set_=values))


def tombstones(tx: Tx, *, host_id: str | None = None) -> list[Tombstone]:
    """What is to be removed from the host, or from all, oldest first."""
    names = ("amphora_id", "host_id", "loadbalancer_id", "generation", "fence", "port_ids")
    statement = select(*(TOMBSTONE.c[name] for name in names)).order_by(TOMBSTONE.c.created_at, TOMBSTONE.c.amphora_id)
    if host_id is not None:
        statement = statement.where(TOMBSTONE.c.host_id == host_id)
    return [Tombstone(*row) for row in tx.connection.execute(statement)]


def is_buried(tx: Tx, amphora_id: str) -> bool:
    """Whether its host still has to remove the amphora."""
    stone = select(TOMBSTONE.c.host_id).where(TOMBSTONE.c.amphora_id == amphora_id)
    return tx.connection.execute(stone).first() is not None


def remove_tombstone(tx: Tx, amphora_id: str) -> None:
    """The amphora is known to be gone."""
    tx.connection.execute(delete(TOMBSTONE).where(TOMBSTONE.c.amphora_id == amphora_id))


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
