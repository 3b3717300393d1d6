# SPDX-License-Identifier: Apache-2.0
"""What makes one of us: the certification authorities, tokens for new hosts, and the keys of those that are in.

The authority's key and hosts' heartbeat keys are in the database, encrypted under a master key that is in a file on the
controllers only. A controller's own key is made anew at each start and is never on a disk.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from caryatid.config import Settings
from caryatid.errors import CaryatidError
from caryatid.model import HOST
from caryatid.plan import certificates, trust
from caryatid.plan.trust import Trust
from caryatid.store import hosts, rows
from caryatid.store.database import Database, Tx
from caryatid.wire.conductor import EnrolmentToken, new_secret

from .vault import MasterKey, Vault

TOKEN_LIFE_S = 3600.0
AUTHORITY = "authority"


@dataclass(frozen=True)
class Registry:
    """What a controller needs to let hosts in."""

    database: Database
    settings: Settings
    master: MasterKey = field(repr=False)


def open_registry(database: Database, settings: Settings) -> Registry:
    """The registry of this installation. Master key and authority are made at the first start.

    Raises CaryatidError when the master key is not the one that the database was written with.
    """
    with database.transaction() as tx:
        registry = Registry(database, settings, Vault(settings.state_dir).ensured(tx))
        if hosts.setting(tx, AUTHORITY) is None:
            now = datetime.now(UTC)
            first = Trust(certificates.new_authority("Caryatid", now), since=now)
            hosts.keep_setting(tx, AUTHORITY, registry.master.seal(AUTHORITY, trust.dump(first)))
    trust_of(registry)
    return registry


def trust_of(registry: Registry) -> Trust:
    """The authorities, as they are now."""
    with registry.database.read() as tx:
        return read_trust(registry, tx)


def read_trust(registry: Registry, tx: Tx) -> Trust:
    sealed = hosts.setting(tx, AUTHORITY)
    if sealed is None:
        raise CaryatidError("The database has lost its authority: restore it from a backup.")
    return trust.load(registry.master.unseal(AUTHORITY, sealed))


def write_trust(registry: Registry, tx: Tx, new: Trust) -> None:
    hosts.write_setting(tx, AUTHORITY, registry.master.seal(AUTHORITY, trust.dump(new)))


def new_token(registry: Registry) -> EnrolmentToken:
    """A token with which one host can enrol, once, within the hour. Only a hash of its secret is kept."""
    token = EnrolmentToken(
        url=registry.settings.conductor_advertise or f"https://{registry.settings.conductor_listen}",
        authority=trust_of(registry).issuer,
        id=str(uuid4()),
        secret=new_secret(),
    )
    with registry.database.transaction() as tx:
        hosts.open_enrolment(tx, token.id, token.secret.encode(), valid_s=TOKEN_LIFE_S)
    return token


def is_known(registry: Registry, host_id: str) -> bool:
    """Whether the host has enrolled with this installation, and may still take part."""
    with registry.database.read() as tx:
        credential = hosts.credential(tx, host_id)
        return credential is not None and not credential.revoked and rows.get(tx, HOST, host_id) is not None


def heartbeat_keys(registry: Registry, host_id: str) -> tuple[bytes, ...]:
    """The keys with which the host may sign its reports: two while one takes the place of the other; none for a host
    that is not (or no longer) one of ours."""
    with registry.database.read() as tx:
        known = hosts.credential(tx, host_id)
    if known is None or known.revoked:
        return ()
    sealed = (known.heartbeat_key, known.next_key)
    return tuple(registry.master.unseal(host_id, key) for key in sealed if key is not None)
