# SPDX-License-Identifier: Apache-2.0
"""The tables: one for each kind, read off its attributes, and those of the store's own."""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from caryatid.model import KINDS
from caryatid.model.kind import Attribute, Kind

ID_LENGTH: Final = 36
TIME_LENGTH: Final = 26
WORD_LENGTH: Final = 64

Generation = BigInteger
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)
# No foreign keys between documents: rows that are going stay beside new ones for a while, trees are inserted in any
# order, and what may be deleted while something refers to it is a rule of the model, checked under the root's lock.


def root_column(kind: Kind) -> str:
    """Name of the column that holds the id of the root (of a root: its own id)."""
    return "id" if kind.is_root else f"{kind.root}_id"


def _type(attribute: Attribute) -> TypeEngine[Any]:
    if attribute.ref is not None:
        return String(ID_LENGTH)
    if attribute.plain is bool:
        return Boolean()
    if attribute.plain is int:
        return Integer()
    return String(attribute.key.text if attribute.key else None)


def _own_columns(kind: Kind) -> list[Column[Any]]:
    """The columns that attributes have, the one of the root apart."""
    root = f"{kind.root}_id" if kind.root else None
    return [Column(a.name, _type(a), nullable=a.nullable) for a in kind.columns if a.name not in {"id", root}]


def _generations(kind: Kind) -> list[Column[Any]]:
    """What status and good form are derived from (decisions 1 and 2)."""
    columns: list[Column[Any]] = [
        Column("created_generation", Generation, nullable=False),
        Column("changed_generation", Generation, nullable=False),  # of the last change of it or of what is below it
        Column("spec_generation", Generation, nullable=False),  # of the last change of its own document
        Column("deleted_generation", Generation),
        Column("failed_generation", Generation, nullable=not kind.is_root),
        Column("good_spec", Document),  # the last document in effect before this one
        Column("reason", Text),
    ]
    if kind.is_root:
        columns += [
            Column("generation", Generation, nullable=False),
            Column("observed_generation", Generation, nullable=False),
        ]
    elif kind.root:
        columns.append(Column(f"{kind.root}_id", String(ID_LENGTH), nullable=False))
    return columns


BACKED = {(a.back.kind, a.back.via) for kind in KINDS for a in kind if a.back}
"""References that the documents of those referred to list, oldest first: read from the index alone."""


def _indexes(kind: Kind, table: Table) -> None:
    for columns in kind.unique:
        living = table.c.deleted_generation.is_(None) if kind.root else None
        name = f"uq_{kind.name}_{'_'.join(columns)}"
        Index(name, *(table.c[c] for c in columns), unique=True, sqlite_where=living, postgresql_where=living)
    age = [table.c[name] for name in ("created_at", "id") if name in table.c]
    if kind.owned:
        Index(f"ix_{kind.name}_project", table.c.project_id, *age)
    if "created_at" in table.c:
        Index(f"ix_{kind.name}_age", *age)
    for attribute in kind.columns:
        if attribute.ref is not None:
            listed = age if (kind.name, attribute.name) in BACKED else []
            Index(f"ix_{kind.name}_{attribute.name}", table.c[attribute.name], *listed)
    if kind.root:
        _index_what_settling_looks_for(kind, table)


def _index_what_settling_looks_for(kind: Kind, table: Table) -> None:
    root = table.c[root_column(kind)]
    if root.name not in kind.attributes:
        Index(f"ix_{kind.name}_{root.name}", root)
    if not kind.is_root:
        gone, refused = table.c.deleted_generation.is_not(None), table.c.failed_generation.is_not(None)
        Index(f"ix_{kind.name}_gone", root, table.c.deleted_generation, sqlite_where=gone, postgresql_where=gone)
        failed = table.c.failed_generation
        Index(f"ix_{kind.name}_refused", root, failed, sqlite_where=refused, postgresql_where=refused)


def _table(kind: Kind) -> Table:
    table = Table(
        kind.name,
        METADATA,
        Column("id", String(ID_LENGTH), primary_key=True),
        *_own_columns(kind),
        *(_generations(kind) if kind.root else []),
        Column("spec", Document, nullable=False),
    )
    _indexes(kind, table)
    return table


TABLES: dict[str, Table] = {kind.name: _table(kind) for kind in KINDS}
Index("ix_amphora_status", TABLES["amphora"].c.status)  # how many are being built
Index("ix_certificate_checked_at", TABLES["certificate"].c.checked_at)  # which are to be read again
Index("ix_delivery_due", TABLES["delivery"].c.subscription_id, TABLES["delivery"].c.next_at)
Index("ix_amphora_compute_id", TABLES["amphora"].c.compute_id)  # how many a host carries, and which
Index("ix_token_expires_at", TABLES["token"].c.expires_at)  # which have ended
Index("ix_gslb_member_loadbalancer_id", TABLES["gslb_member"].c.loadbalancer_id)  # who is told of its status

WORK = Table(
    "work",
    METADATA,
    Column("root_id", String(ID_LENGTH), primary_key=True),
    Column("root_kind", String(WORD_LENGTH), nullable=False),
    Column("due_at", Float(53)),
    Column("lease_until", Float(53)),
    Column("fence", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("asks", BigInteger, nullable=False),
    Column("pending_since", Float(53)),
    Column("priority", Integer, nullable=False),
    Column("worker", String(255)),
    Index("ix_work_due_at", "due_at"),
)


def _receipt() -> list[Column[Any]]:
    """What is kept of a job for as long as it is kept."""
    return [
        Column("id", String(ID_LENGTH), primary_key=True),
        Column("project_id", String(ID_LENGTH)),
        Column("user_id", String(255), nullable=False),
        Column("request_id", String(255), nullable=False),
        Column("action", String(WORD_LENGTH), nullable=False),
        Column("resource_type", String(WORD_LENGTH), nullable=False),
        Column("resource_id", String(255), nullable=False),
        Column("root_id", String(ID_LENGTH)),
        Column("loadbalancer_id", String(ID_LENGTH)),  # the root, if it is one
        Column("generation", Generation, nullable=False),
        Column("created_at", String(TIME_LENGTH), nullable=False),
        Column("ended_at", String(TIME_LENGTH)),
        Column("outcome", String(WORD_LENGTH)),
        Column("reason", Text),
        Column("remedy", Text),
    ]


def _progress() -> list[Column[Any]]:
    """How far an attempt is: steps done, of those known."""
    return [Column("done", Integer, nullable=False), Column("known", Integer, nullable=False)]


JOB = Table(
    "job",
    METADATA,
    *_receipt(),
    Column("ended_fence", BigInteger),  # of the attempt that ended it; 0: none did
    Column("undo", Document),  # what cancelling it puts back
    Index("ix_job_age", "created_at", "id"),
    Index("ix_job_project", "project_id", "created_at", "id"),
    Index("ix_job_resource", "resource_id"),
    Index("ix_job_loadbalancer", "loadbalancer_id", "created_at", "id"),
    Index("ix_job_ended", "ended_at"),
)
_open = JOB.c.ended_at.is_(None)
Index("ix_job_open", JOB.c.root_id, JOB.c.generation, sqlite_where=_open, postgresql_where=_open)
JOB_ARCHIVE = Table(
    "job_archive",
    METADATA,
    *_receipt(),
    *_progress(),
    Column("attempts", Integer, nullable=False),
    Column("started_at", String(TIME_LENGTH)),
    Column("serial", BigInteger, nullable=False),
    Index("ix_job_archive_age", "created_at", "id"),
    Index("ix_job_archive_project", "project_id", "created_at", "id"),
    Index("ix_job_archive_resource", "resource_id"),
    Index("ix_job_archive_loadbalancer", "loadbalancer_id", "created_at", "id"),
    Index("ix_job_archive_ended", "ended_at"),
)
"""Jobs that ended long ago, without what their attempts said."""
ATTEMPT = Table(
    "attempt",
    METADATA,
    Column("root_id", String(ID_LENGTH), primary_key=True),
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    Column("generation", Generation, nullable=False),
    Column("started_at", String(TIME_LENGTH), nullable=False),
    Column("ended_at", String(TIME_LENGTH)),
    Column("outcome", String(WORD_LENGTH)),
    Column("reason", Text),
    Column("remedy", Text),
    Column("news", Integer, nullable=False),  # how often it has been written to
    *_progress(),
    Column("log", Document, nullable=False),
    Index("ix_attempt_generation", "root_id", "generation"),
    Index("ix_attempt_ended", "ended_at"),
)
_begun = ATTEMPT.c.ended_at.is_(None)
Index("ix_attempt_open", ATTEMPT.c.root_id, ATTEMPT.c.fence, sqlite_where=_begun, postgresql_where=_begun)
IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("user_id", String(255), primary_key=True),
    Column("project_id", String(ID_LENGTH), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(WORD_LENGTH), nullable=False),
    Column("created_at", String(TIME_LENGTH), nullable=False),
    Column("job_id", String(ID_LENGTH), nullable=False),
    Column("document", Document),
    Index("ix_idempotency_created_at", "created_at"),
)
"""What was given for requests that may come again under the same key."""
EVENT = Table(
    "event",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("xid", BigInteger, nullable=False, server_default="0"),
    Column("at", String(TIME_LENGTH), nullable=False),
    Column("kind", String(WORD_LENGTH), nullable=False),
    Column("resource_id", String(255), nullable=False),
    Column("project_id", String(ID_LENGTH)),
    Column("action", String(WORD_LENGTH), nullable=False),
    Column("loadbalancer_id", String(ID_LENGTH)),
    Column("user_id", String(255), nullable=False, server_default=""),
    Column("request_id", String(255), nullable=False, server_default=""),
    Column("job_id", String(ID_LENGTH)),
    Column("detail", Document),
    Index("ix_event_xid_seq", "xid", "seq"),
    Index("ix_event_at", "at"),
    Index("ix_event_project", "project_id", "xid", "seq"),
    Index("ix_event_resource", "resource_id", "xid", "seq"),
    sqlite_autoincrement=True,
)
OBSERVATION = Table(
    "observation",
    METADATA,
    Column("kind", String(WORD_LENGTH), primary_key=True),
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("loadbalancer_id", String(ID_LENGTH), nullable=False),
    Column("operating_status", String(16), nullable=False),
    Column("seen_at", Float(53), nullable=False),
    Index("ix_observation_loadbalancer", "loadbalancer_id"),
)
BINDING = Table(
    "binding",
    METADATA,
    Column("address", String(WORD_LENGTH), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("protocol", String(16), primary_key=True),
    Column("listener_id", String(ID_LENGTH), nullable=False),
    Column("loadbalancer_id", String(ID_LENGTH), nullable=False),
    Index("ix_binding_listener_id", "listener_id"),
    Index("ix_binding_loadbalancer_id", "loadbalancer_id"),
)
COUNTERS = ("bytes_in", "bytes_out", "total_connections", "request_errors")
"""Counters that grow; each is kept as of this life of the process (`x`) and of its earlier lives (`base_x`)."""
STATISTIC = Table(
    "statistic",
    METADATA,
    Column("listener_id", String(ID_LENGTH), primary_key=True),
    Column("amphora_id", String(ID_LENGTH), primary_key=True),
    Column("loadbalancer_id", String(ID_LENGTH), nullable=False),
    Column("epoch", String(WORD_LENGTH), nullable=False),
    Column("active_connections", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTERS),
    *(Column(f"base_{name}", BigInteger, nullable=False) for name in COUNTERS),
    Index("ix_statistic_loadbalancer", "loadbalancer_id"),
    Index("ix_statistic_amphora", "amphora_id"),
)
TOMBSTONE = Table(
    "tombstone",
    METADATA,
    Column("amphora_id", String(ID_LENGTH), primary_key=True),
    Column("host_id", String(255), nullable=False),
    Column("loadbalancer_id", String(ID_LENGTH), nullable=False),
    Column("generation", Generation, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("port_ids", Document, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Index("ix_tombstone_host", "host_id"),
)
HOST_CREDENTIAL = Table(
    "host_credential",
    METADATA,
    Column("host_id", String(255), primary_key=True),
    Column("heartbeat_key", LargeBinary, nullable=False),
    Column("certificate_serial", String(WORD_LENGTH), nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("pending_serial", String(WORD_LENGTH)),
    Column("issuer", String(WORD_LENGTH)),
    Column("trusts", Document),
    Column("next_key", LargeBinary),
    Column("key_made_at", Float(53)),
)
ENROLMENT = Table(
    "enrolment",
    METADATA,
    Column("token_id", String(255), primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("used_at", Float(53)),
    Column("region_id", String(ID_LENGTH)),  # of the checker that it lets in; null: it lets a host in
    Column("amphora_id", String(ID_LENGTH)),  # whose machine that host is; null: nobody's
)
SETTING = Table(
    "setting",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
BUNDLE = Table(
    "bundle",
    METADATA,
    Column("certificate_id", String(ID_LENGTH), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("staple", LargeBinary),
)
"""What HAProxy is given for each certificate: apart from its document, which many read."""
PAYLOAD = Table(
    "payload",
    METADATA,
    Column("secret_id", String(ID_LENGTH), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""What a secret is: apart from its document, which many read."""
PASSWORD = Table(
    "password",
    METADATA,
    Column("user_id", String(ID_LENGTH), primary_key=True),
    Column("hash", Text, nullable=False),
)
"""The argon2id hash of each user that has a password: apart from its document, which many read."""
PROGRESS = ("cursor", "old_secret_until", "delivered_at", "failed_at", "failures", "trouble")
"""Attributes of a subscription that are seen, not wanted (decision 13)."""
LOOKED_AT = (
    *("published_generation", "published_at", "status_reason", "per_region", "certificates", "checkers", "seen_at"),
)
"""Attributes of what global load balancing is made of that are seen, not wanted."""
SEEN_OF_CLUSTERS = ("operating_status", "status_reason", "software_version", "machines", "seen_at")
"""Attributes of Ganeti clusters that are seen, not wanted."""
SUBSCRIPTION_STATE = Table(
    "subscription_state",
    METADATA,
    Column("subscription_id", String(ID_LENGTH), primary_key=True),
    Column("cursor", String(WORD_LENGTH), nullable=False),
    Column("version", Integer, nullable=False),  # rises when somebody other than who delivers changes something
    Column("secret", LargeBinary, nullable=False),  # encrypted, as is the next
    Column("old_secret", LargeBinary),
    Column("old_secret_until", String(TIME_LENGTH)),
    Column("delivered_at", String(TIME_LENGTH)),
    Column("failed_at", String(TIME_LENGTH)),
    Column("failures", Integer, nullable=False),
    Column("trouble", Text),
)
TRACE = Table(
    "trace",
    METADATA,
    Column("job_id", String(ID_LENGTH), primary_key=True),
    Column("traceparent", String(WORD_LENGTH), nullable=False),
    Column("created_at", String(TIME_LENGTH), nullable=False),
    Index("ix_trace_created_at", "created_at"),
)
"""Which trace a job belongs to, where anybody wants traces."""
LEASE = Table(
    "lease",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until", Float(53), nullable=False),
)
