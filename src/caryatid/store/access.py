# SPDX-License-Identifier: Apache-2.0
"""Who may ask: what is looked up of users, roles and tokens at every turn, and what goes with them. Their documents are
rows of their kinds."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Text, bindparam, delete, func, literal, select, union, update

from caryatid.model import KINDS
from caryatid.model.access import ADMIN

from .database import POSTGRESQL, Tx
from .sql import insert, storable
from .tables import PASSWORD, TABLES

PROJECTS, USERS, ROLES, TOKENS = (TABLES[name] for name in ("project", "user", "role", "token"))
HELD = (
    *("loadbalancer", "secret", "container", "network", "subnet", "port", "subscription"),
    *("gslb", "gslb_pool", "gslb_monitor", "gslb_geomap", "gslb_zone"),
)
"""Kinds of which a project that is to be deleted must have none."""


@dataclass(frozen=True)
class Shown:
    """A token that is believed, as far as itself, its user and its project go."""

    id: str
    user_id: str
    project_id: str
    roles: tuple[str, ...]
    """Those it is limited to; none: it is not."""
    expires_at: str | None
    last_used_at: str | None


@dataclass(frozen=True)
class Login:
    """A user, as far as logging in goes."""

    id: str
    enabled: bool
    default_project_id: str | None
    hash: str | None
    """Of its password; None: it has none."""


@dataclass(frozen=True)
class Place:
    """A project that is enabled, and what a user may do there."""

    id: str
    name: str
    roles: frozenset[str]


def lock(tx: Tx) -> None:
    """Nobody else changes users, roles or projects until this transaction ends. SQLite has one writer as it is."""
    if tx.database.dialect == POSTGRESQL:
        digest = hashlib.blake2b(digest_size=8, person=b"caryatid access").digest()
        tx.connection.execute(
            select(func.pg_advisory_xact_lock(literal(int.from_bytes(digest, signed=True), BigInteger)))
        )


def shown(tx: Tx, digest: str) -> Shown | None:
    """The token of this digest, if its user and its project are enabled; that it may have expired is not looked at."""
    row = tx.connection.execute(_SHOWN, {"digest": digest}).first()
    return Shown(row[0], row[1], row[2], tuple(row[3].get("roles", ())), row[4], row[5]) if row else None


def login(tx: Tx, name: str) -> Login | None:
    if not storable(name):
        return None
    row = tx.connection.execute(_LOGIN, {"name": name}).first()
    return Login(*row) if row else None


def places(tx: Tx, user_id: str) -> dict[str, Place]:
    """The projects, by id, in which the user has a role."""
    found: dict[str, Place] = {}
    for key, name, role in tx.connection.execute(_PLACES, {"user": user_id}):
        before = found.get(key, Place(key, name, frozenset()))
        found[key] = Place(key, name, before.roles | {role})
    return found


def project(tx: Tx, called: str) -> Place | None:
    """The enabled project of that id, or of that name."""
    if not storable(called):
        return None
    known = select(PROJECTS.c.id, PROJECTS.c.name).where(PROJECTS.c.enabled)
    for column in (PROJECTS.c.id, PROJECTS.c.name):
        row = tx.connection.execute(known.where(column == called)).first()
        if row:
            return Place(row[0], row[1], frozenset())
    return None


def named(tx: Tx, kind: str, name: str) -> str | None:
    """The id of the project or user of that name."""
    table = TABLES[kind]
    found: str | None = tx.connection.execute(select(table.c.id).where(table.c.name == name)).scalar()
    return found


def roles_in(tx: Tx, user_id: str, project_id: str) -> set[str]:
    """What the user may do in the project, were both enabled."""
    mine = (ROLES.c.user_id == user_id) & (ROLES.c.project_id == project_id)
    return set(tx.connection.execute(select(ROLES.c.role).where(mine)).scalars())


def enable(tx: Tx, user_id: str, project_id: str) -> None:
    """Both may be used again, if they could not."""
    for table, key in ((USERS, user_id), (PROJECTS, project_id)):
        tx.connection.execute(update(table).where(table.c.id == key).values(enabled=True))


def note_use(tx: Tx, token_id: str, at: str) -> None:
    tx.connection.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(last_used_at=at))


def write_password(tx: Tx, user_id: str, hashed: str | None) -> None:
    """It is the user's password from now on; None: the user has none."""
    if hashed is None:
        tx.connection.execute(delete(PASSWORD).where(PASSWORD.c.user_id == user_id))
        return
    statement = insert(tx.database.dialect, PASSWORD).values(user_id=user_id, hash=hashed)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_={"hash": hashed}))


def administrators(tx: Tx) -> int:
    """How many users may do everything."""
    statement = select(func.count(ROLES.c.user_id.distinct())).select_from(_ASSIGNED)
    statement = statement.where(ROLES.c.role == ADMIN, PROJECTS.c.enabled, USERS.c.enabled)
    return int(tx.connection.execute(statement).scalar_one())


def forget_user(tx: Tx, user_id: str) -> None:
    """Its roles, tokens and password are gone."""
    tx.connection.execute(delete(PASSWORD).where(PASSWORD.c.user_id == user_id))
    for table in (ROLES, TOKENS):
        tx.connection.execute(delete(table).where(table.c.user_id == user_id))


def forget_project(tx: Tx, project_id: str) -> None:
    """Roles in it, tokens for it and its quota are gone; it is nobody's default."""
    for table in (ROLES, TOKENS, TABLES["quota"]):
        tx.connection.execute(delete(table).where(table.c.project_id == project_id))
    mine = USERS.c.default_project_id == project_id
    tx.connection.execute(update(USERS).where(mine).values(default_project_id=None))


def forget_sessions(tx: Tx, user_id: str) -> None:
    """What clients have got for its password is gone."""
    tx.connection.execute(delete(TOKENS).where(TOKENS.c.user_id == user_id, TOKENS.c.session))


def forget_tokens(tx: Tx, user_id: str, project_id: str) -> None:
    """The user's tokens for the project are gone."""
    mine = (TOKENS.c.user_id == user_id) & (TOKENS.c.project_id == project_id)
    tx.connection.execute(delete(TOKENS).where(mine))


def purge(tx: Tx, before: str) -> int:
    """Tokens that ended before then are gone; how many they were."""
    return tx.connection.execute(delete(TOKENS).where(TOKENS.c.expires_at < before)).rowcount


def held(tx: Tx, project_id: str) -> Iterator[str]:
    """The kinds of which the project still has something."""
    for name in HELD:
        table = TABLES[name]
        if tx.connection.execute(select(table.c.id).where(table.c.project_id == project_id).limit(1)).first():
            yield name


def owners(tx: Tx) -> set[str]:
    """Ids of all projects that own anything."""
    named = [kind.name for kind in KINDS if kind.owned and kind.name not in {"role", "token"}]
    statement = union(*(select(TABLES[name].c.project_id) for name in named))
    return {key for (key,) in tx.connection.execute(statement) if key}


_ASSIGNED = ROLES.join(USERS, USERS.c.id == ROLES.c.user_id).join(PROJECTS, PROJECTS.c.id == ROLES.c.project_id)
_PLACES = (
    select(PROJECTS.c.id, PROJECTS.c.name, ROLES.c.role)
    .select_from(_ASSIGNED)
    .where(ROLES.c.user_id == bindparam("user"), PROJECTS.c.enabled)
    .order_by(PROJECTS.c.name)
)
_LOGIN = (
    select(USERS.c.id, USERS.c.enabled, USERS.c.default_project_id, PASSWORD.c.hash)
    .select_from(USERS.outerjoin(PASSWORD, PASSWORD.c.user_id == USERS.c.id))
    .where(USERS.c.name == bindparam("name", type_=Text))
)


def _shown() -> Any:
    known = TOKENS.c
    source = TOKENS.join(USERS, USERS.c.id == known.user_id).join(PROJECTS, PROJECTS.c.id == known.project_id)
    columns = (known.id, known.user_id, known.project_id, known.spec, known.expires_at, known.last_used_at)
    found = select(*columns).select_from(source)
    return found.where(known.digest == bindparam("digest"), USERS.c.enabled, PROJECTS.c.enabled)


_SHOWN = _shown()
