# SPDX-License-Identifier: Apache-2.0
"""The database: transactions that write, snapshots that read, and what happens after a commit."""

import socket
import sqlite3
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from caryatid import metrics
from caryatid.errors import Busy

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
BUSY_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 60_000
STATEMENTS_CACHED: Final = 1024
SPARE_CONNECTIONS: Final = 16
BUSY_STATES: Final = frozenset({"55P03", "57014", "40P01", "40001", "53300", "57P01", "57P02", "57P03", "25P03"})
"""SQLSTATEs after which the same transaction may succeed: locks, deadlock, too many connections, restarts."""
_SNAPSHOT = text("SELECT CAST(pg_current_snapshot() AS text)")


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction under way. What `after_commit` was given runs once it is committed, and not otherwise."""

    connection: Connection
    database: "Database"
    acts: list[Callable[[], None]] = field(default_factory=list)
    woken: set[str] = field(default_factory=set)
    """Channels that this transaction has notified already."""

    def after_commit(self, act: Callable[[], None]) -> None:
        self.acts.append(act)


class Database:
    """A SQLite file or a PostgreSQL database, by SQLAlchemy URL. May be used from any thread.

    Whatever would go well another time (a lock held too long, a lost connection) is raised as errors.Busy.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = normal(url)
        self.dialect = self.url.get_backend_name()
        self.path = Path(self.url.database or "")
        """The SQLite file."""
        self._engine = _engine(self.url, pool_size)
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._writer = self._engine
        self._reader = self._engine.execution_options(**(snapshot if self.dialect == POSTGRESQL else {}))
        self._instant = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._witness: sqlite3.Connection | None = None
        self._witnessing = threading.Lock()
        self.doorbell: socket.socket | None = None
        """Where wake-ups are sent from, between processes that share a SQLite file."""
        if self.dialect == SQLITE:
            self.doorbell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Everything or nothing; on SQLite one at a time, on PostgreSQL READ COMMITTED with locks on rows."""
        with metrics.DATABASE_SECONDS.time(), _busy(), self._writer.connect() as connection, connection.begin():
            self._begin(connection, "BEGIN IMMEDIATE")
            tx = Tx(connection, self)
            yield tx
        for act in tx.acts:
            act()

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent snapshot."""
        with _busy(), self._reader.connect() as connection, connection.begin():
            self._begin(connection, "BEGIN")
            yield Tx(connection, self)

    def version(self) -> Hashable:
        """The same twice, in one process: nothing was committed between. Microseconds on SQLite (`PRAGMA
        data_version`, which tells a connection of what others have committed); one question to PostgreSQL."""
        with _busy():
            if self.dialect == POSTGRESQL:
                with self._instant.connect() as connection:
                    return str(connection.execute(_SNAPSHOT).scalar_one())
            with self._witnessing:
                if self._witness is None:
                    self._witness = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                return int(self._witness.execute("PRAGMA data_version").fetchone()[0])

    def _begin(self, connection: Connection, how: str) -> None:
        """sqlite3 would begin only at the first change, and then find its snapshot outdated. Said to the driver itself:
        an event of the engine's would make every statement slower."""
        if self.dialect == SQLITE:
            driver: Any = connection.connection.driver_connection
            driver.execute(how)

    def close(self) -> None:
        """No connection is left open; the database can no longer be used."""
        self._engine.dispose()
        if self._witness is not None:
            self._witness.close()
        if self.doorbell is not None:
            self.doorbell.close()


def normal(url: str) -> URL:
    """The URL with the driver that we bring. Raises ValueError for other databases."""
    parts = make_url(url)
    if parts.get_backend_name() == POSTGRESQL:
        return parts.set(drivername="postgresql+psycopg")
    if parts.get_backend_name() == SQLITE and parts.database and parts.database != ":memory:":
        return parts.set(drivername="sqlite+pysqlite")
    raise ValueError("The database must be a SQLite file (sqlite:///…) or PostgreSQL (postgresql://…).")


def _engine(url: URL, pool_size: int) -> Engine:
    shared: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_size": pool_size,
        "max_overflow": SPARE_CONNECTIONS,
        "pool_timeout": BUSY_TIMEOUT_S,
        "json_serializer": _dumps,
        "json_deserializer": orjson.loads,
        "query_cache_size": STATEMENTS_CACHED,
        "hide_parameters": True,
    }
    if url.get_backend_name() == POSTGRESQL:
        options = f"-c lock_timeout={BUSY_TIMEOUT_S}s -c statement_timeout={STATEMENT_TIMEOUT_MS}"
        arguments = {"connect_timeout": BUSY_TIMEOUT_S, "options": options, "application_name": "caryatid"}
        return create_engine(url, connect_args=arguments, **shared)
    arguments = {
        "check_same_thread": False,
        "timeout": BUSY_TIMEOUT_S,
        "cached_statements": STATEMENTS_CACHED,
        "isolation_level": None,
    }
    engine = create_engine(url, connect_args=arguments, **shared)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "temp_store=MEMORY", "cache_size=-16384"):
        connection.execute(f"PRAGMA {pragma}")


def _dumps(value: Any) -> str:
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} is not JSON")


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError:
        metrics.DATABASE_BUSY.inc()
        raise Busy("All database connections are in use. Try again.") from None
    except sqlite3.OperationalError as error:
        if _locked(error):
            metrics.DATABASE_BUSY.inc()
            raise Busy("The database is busy. Try again.") from None
        raise
    except DBAPIError as error:
        if error.connection_invalidated or _locked(error.orig):
            metrics.DATABASE_BUSY.inc()
            raise Busy("The database is busy. Try again.") from None
        raise


def _locked(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    state = getattr(error, "sqlstate", None)
    if state is None:  # the server could not be reached, or went away
        return type(error).__name__ in {"OperationalError", "ConnectionTimeout"}
    return state in BUSY_STATES or state.startswith("08")
