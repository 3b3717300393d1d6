# SPDX-License-Identifier: Apache-2.0
"""Migrations: the tables that this version needs, made or brought up to date; and a copy from before."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import NullPool

from . import events
from .database import POSTGRESQL, SQLITE, normal
from .ganeti import tables as _ganeti  # noqa: F401  declares some of them
from .gslb import tables as _gslb  # noqa: F401  declares the last of them
from .tables import METADATA

SCRIPTS: Final = Path(__file__).parent / "migrations"
LOCK: Final = 0x63617279617469  # "caryati": one process migrates, the others wait
LOCK_TIMEOUT_S: Final = 60


def upgrade(url: str, revision: str = "head") -> None:
    """The database has the tables of this version (or of an older `revision`); a new SQLite file is its owner's alone.

    Any number of processes may call it at once, but one thread of each: Alembic keeps what it works on in modules.
    """
    target = normal(url)
    if target.get_backend_name() == SQLITE:
        path = Path(target.database or "")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    with _connected(url, "BEGIN IMMEDIATE") as connection:
        if connection.dialect.name == POSTGRESQL:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        if pending(connection):
            command.upgrade(_config(connection), revision)
        if not pending(connection):
            events.adopt(connection)


def check(url: str) -> bool:
    """Whether the database has the tables of this version."""
    target = normal(url)
    if target.get_backend_name() == SQLITE and not Path(target.database or "").exists():
        return False
    with _connected(url) as connection:
        return not pending(connection)


def backup(url: str, directory: Path) -> Path | None:
    """A copy of the SQLite file, made while it may be in use, if there is something to migrate in it; else None.

    PostgreSQL is backed up by its own tools (pg_dump).
    """
    target = normal(url)
    path = Path(target.database or "")
    if target.get_backend_name() != SQLITE or not path.exists() or not path.stat().st_size or check(url):
        return None
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = directory / f"{path.stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{path.suffix}"
    copy.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as destination:
        source.backup(destination)
    return copy


def differences(url: str) -> list[Any]:
    """How the tables in the database differ from those that the code declares; [] if they do not."""
    with _connected(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, METADATA))


def pending(connection: Connection) -> bool:
    """Whether there is something to migrate."""
    script = ScriptDirectory.from_config(_config(connection))
    return MigrationContext.configure(connection).get_current_heads() != tuple(script.get_heads())


@contextmanager
def _connected(url: str, begin: str = "BEGIN") -> Iterator[Connection]:
    """A transaction; `begin` is how SQLite's begins, so that others wait from its start."""
    target = normal(url)
    sqlite = target.get_backend_name() == SQLITE
    arguments = {"isolation_level": None, "timeout": LOCK_TIMEOUT_S} if sqlite else {}
    engine = create_engine(target, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    if sqlite:
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
