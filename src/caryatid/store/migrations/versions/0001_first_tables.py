# SPDX-License-Identifier: Apache-2.0
"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
WORD = sa.String(64)
NAME = sa.String(255)
SECONDS = sa.Float(53)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    _loadbalancer()
    _listener()
    _pool()
    _member()
    _healthmonitor()
    _l7policy()
    _l7rule()
    _amphora_and_host()
    _flavors()
    _zones()
    _networks()
    _port_and_quota()
    _work()
    _jobs()
    _events()
    _seen()
    _hosts()


def _generations() -> list[sa.Column[Any]]:
    return [
        sa.Column("created_generation", sa.BigInteger(), nullable=False),
        sa.Column("changed_generation", sa.BigInteger(), nullable=False),
        sa.Column("spec_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleted_generation", sa.BigInteger()),
        sa.Column("good_spec", DOCUMENT),
        sa.Column("reason", sa.Text()),
    ]


def _index(name: str, table: str, columns: list[str], *, unique: bool = False, where: str | None = None) -> None:
    only = sa.text(where) if where else None
    op.create_index(name, table, columns, unique=unique, sqlite_where=only, postgresql_where=only)


def _index_gone_and_refused(table: str) -> None:
    for name, column in (("gone", "deleted_generation"), ("refused", "failed_generation")):
        _index(f"ix_{table}_{name}", table, ["loadbalancer_id", column], where=f"{column} IS NOT NULL")


def _loadbalancer() -> None:
    op.create_table(
        "loadbalancer",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("vip_address", WORD, nullable=True),
        sa.Column("vip_subnet_id", ID, nullable=True),
        sa.Column("vip_network_id", ID, nullable=True),
        sa.Column("flavor_id", ID, nullable=True),
        sa.Column("availability_zone", NAME, nullable=True),
        sa.Column("failed_generation", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("observed_generation", sa.BigInteger(), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_loadbalancer"),
    )
    _index("ix_loadbalancer_age", "loadbalancer", ["created_at", "id"])
    _index("ix_loadbalancer_flavor_id", "loadbalancer", ["flavor_id"])
    _index("ix_loadbalancer_project", "loadbalancer", ["project_id", "created_at", "id"])


def _listener() -> None:
    op.create_table(
        "listener",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("default_pool_id", ID, nullable=True),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_listener"),
    )
    _index("ix_listener_age", "listener", ["created_at", "id"])
    _index("ix_listener_default_pool_id", "listener", ["default_pool_id"])
    _index_gone_and_refused("listener")
    _index("ix_listener_loadbalancer_id", "listener", ["loadbalancer_id"])
    _index("ix_listener_project", "listener", ["project_id", "created_at", "id"])


def _pool() -> None:
    op.create_table(
        "pool",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_pool"),
    )
    _index("ix_pool_age", "pool", ["created_at", "id"])
    _index_gone_and_refused("pool")
    _index("ix_pool_loadbalancer_id", "pool", ["loadbalancer_id"])
    _index("ix_pool_project", "pool", ["project_id", "created_at", "id"])


def _member() -> None:
    op.create_table(
        "member",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("pool_id", ID, nullable=False),
        sa.Column("address", WORD, nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_member"),
    )
    _index("ix_member_age", "member", ["created_at", "id"])
    _index_gone_and_refused("member")
    _index("ix_member_loadbalancer_id", "member", ["loadbalancer_id"])
    _index("ix_member_pool_id", "member", ["pool_id"])
    _index("ix_member_project", "member", ["project_id", "created_at", "id"])
    _index(
        "uq_member_pool_id_address_protocol_port",
        "member",
        ["pool_id", "address", "protocol_port"],
        unique=True,
        where="deleted_generation IS NULL",
    )


def _healthmonitor() -> None:
    op.create_table(
        "healthmonitor",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("pool_id", ID, nullable=False),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_healthmonitor"),
    )
    _index("ix_healthmonitor_age", "healthmonitor", ["created_at", "id"])
    _index_gone_and_refused("healthmonitor")
    _index("ix_healthmonitor_loadbalancer_id", "healthmonitor", ["loadbalancer_id"])
    _index("ix_healthmonitor_pool_id", "healthmonitor", ["pool_id"])
    _index("ix_healthmonitor_project", "healthmonitor", ["project_id", "created_at", "id"])
    _index("uq_healthmonitor_pool_id", "healthmonitor", ["pool_id"], unique=True, where="deleted_generation IS NULL")


def _l7policy() -> None:
    op.create_table(
        "l7policy",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("listener_id", ID, nullable=False),
        sa.Column("redirect_pool_id", ID, nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_l7policy"),
    )
    _index("ix_l7policy_age", "l7policy", ["created_at", "id"])
    _index_gone_and_refused("l7policy")
    _index("ix_l7policy_listener_id", "l7policy", ["listener_id"])
    _index("ix_l7policy_loadbalancer_id", "l7policy", ["loadbalancer_id"])
    _index("ix_l7policy_project", "l7policy", ["project_id", "created_at", "id"])
    _index("ix_l7policy_redirect_pool_id", "l7policy", ["redirect_pool_id"])


def _l7rule() -> None:
    op.create_table(
        "l7rule",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("l7policy_id", ID, nullable=False),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        *_generations(),
        sa.PrimaryKeyConstraint("id", name="pk_l7rule"),
    )
    _index("ix_l7rule_age", "l7rule", ["created_at", "id"])
    _index_gone_and_refused("l7rule")
    _index("ix_l7rule_l7policy_id", "l7rule", ["l7policy_id"])
    _index("ix_l7rule_loadbalancer_id", "l7rule", ["loadbalancer_id"])
    _index("ix_l7rule_project", "l7rule", ["project_id", "created_at", "id"])


def _amphora_and_host() -> None:
    op.create_table(
        "amphora",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=True),
        sa.Column("compute_id", NAME, nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_amphora"),
    )
    _index("ix_amphora_age", "amphora", ["created_at", "id"])
    _index("ix_amphora_loadbalancer_id", "amphora", ["loadbalancer_id"])
    op.create_table(
        "host",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_host"),
    )
    _index("ix_host_age", "host", ["created_at", "id"])


def _flavors() -> None:
    op.create_table(
        "flavorprofile",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flavorprofile"),
    )
    op.create_table(
        "flavor",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("flavor_profile_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flavor"),
    )
    _index("ix_flavor_flavor_profile_id", "flavor", ["flavor_profile_id"])
    _index("uq_flavor_name", "flavor", ["name"], unique=True)


def _zones() -> None:
    op.create_table(
        "availability_zone_profile",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_availability_zone_profile"),
    )
    op.create_table(
        "availability_zone",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("availability_zone_profile_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_availability_zone"),
    )
    _index("ix_availability_zone_availability_zone_profile_id", "availability_zone", ["availability_zone_profile_id"])
    _index("uq_availability_zone_name", "availability_zone", ["name"], unique=True)


def _networks() -> None:
    op.create_table(
        "network",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_network"),
    )
    _index("ix_network_age", "network", ["created_at", "id"])
    _index("ix_network_project", "network", ["project_id", "created_at", "id"])
    op.create_table(
        "subnet",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("network_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subnet"),
    )
    _index("ix_subnet_age", "subnet", ["created_at", "id"])
    _index("ix_subnet_network_id", "subnet", ["network_id"])
    _index("ix_subnet_project", "subnet", ["project_id", "created_at", "id"])


def _port_and_quota() -> None:
    op.create_table(
        "port",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("subnet_id", ID, nullable=False),
        sa.Column("network_id", ID, nullable=False),
        sa.Column("ip_address", WORD, nullable=False),
        sa.Column("device_id", NAME, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_port"),
    )
    _index("ix_port_age", "port", ["created_at", "id"])
    _index("ix_port_network_id", "port", ["network_id"])
    _index("ix_port_project", "port", ["project_id", "created_at", "id"])
    _index("ix_port_subnet_id", "port", ["subnet_id"])
    _index("uq_port_subnet_id_ip_address", "port", ["subnet_id", "ip_address"], unique=True)
    op.create_table(
        "quota",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quota"),
    )
    _index("ix_quota_project", "quota", ["project_id", "id"])
    _index("uq_quota_project_id", "quota", ["project_id"], unique=True)


def _work() -> None:
    op.create_table(
        "work",
        sa.Column("root_id", ID, nullable=False),
        sa.Column("root_kind", WORD, nullable=False),
        sa.Column("due_at", SECONDS, nullable=True),
        sa.Column("lease_until", SECONDS, nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("asks", sa.BigInteger(), nullable=False),
        sa.Column("pending_since", SECONDS, nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("worker", NAME, nullable=True),
        sa.PrimaryKeyConstraint("root_id", name="pk_work"),
    )
    _index("ix_work_due_at", "work", ["due_at"])
    op.create_table(
        "lease",
        sa.Column("name", NAME, nullable=False),
        sa.Column("holder", NAME, nullable=False),
        sa.Column("until", SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=False),
        sa.Column("action", WORD, nullable=False),
        sa.Column("resource_type", WORD, nullable=False),
        sa.Column("resource_id", NAME, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", WORD, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    _index("ix_job_age", "job", ["created_at", "id"])
    _index("ix_job_loadbalancer", "job", ["loadbalancer_id", "created_at", "id"])
    _index("ix_job_open", "job", ["loadbalancer_id", "generation"], where="ended_at IS NULL")
    _index("ix_job_project", "job", ["project_id", "created_at", "id"])
    _index("ix_job_resource", "job", ["resource_id"])
    op.create_table(
        "attempt",
        sa.Column("root_id", ID, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", WORD, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("log", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("root_id", "fence", name="pk_attempt"),
    )
    _index("ix_attempt_age", "attempt", ["started_at"])


def _events() -> None:
    op.create_table(
        "event",
        sa.Column("seq", SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("resource_id", NAME, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("action", WORD, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=True),
        sa.Column("detail", DOCUMENT, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_event"),
        sqlite_autoincrement=True,
    )
    _index("ix_event_at", "event", ["at"])
    _index("ix_event_project", "event", ["project_id", "seq"])
    _index("ix_event_resource", "event", ["resource_id", "seq"])


def _seen() -> None:
    op.create_table(
        "observation",
        sa.Column("kind", WORD, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("seen_at", SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_observation"),
    )
    _index("ix_observation_loadbalancer", "observation", ["loadbalancer_id"])
    op.create_table(
        "statistic",
        sa.Column("listener_id", ID, nullable=False),
        sa.Column("amphora_id", ID, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("epoch", WORD, nullable=False),
        sa.Column("active_connections", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("total_connections", sa.BigInteger(), nullable=False),
        sa.Column("request_errors", sa.BigInteger(), nullable=False),
        sa.Column("base_bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("base_bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("base_total_connections", sa.BigInteger(), nullable=False),
        sa.Column("base_request_errors", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("listener_id", "amphora_id", name="pk_statistic"),
    )
    _index("ix_statistic_amphora", "statistic", ["amphora_id"])
    _index("ix_statistic_loadbalancer", "statistic", ["loadbalancer_id"])


def _hosts() -> None:
    op.create_table(
        "tombstone",
        sa.Column("amphora_id", ID, nullable=False),
        sa.Column("host_id", NAME, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("port_ids", DOCUMENT, nullable=False),
        sa.Column("created_at", SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("amphora_id", name="pk_tombstone"),
    )
    _index("ix_tombstone_host", "tombstone", ["host_id"])
    op.create_table(
        "host_credential",
        sa.Column("host_id", NAME, nullable=False),
        sa.Column("heartbeat_key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate_serial", WORD, nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", name="pk_host_credential"),
    )
    op.create_table(
        "enrolment",
        sa.Column("token_id", NAME, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", SECONDS, nullable=False),
        sa.Column("used_at", SECONDS, nullable=True),
        sa.PrimaryKeyConstraint("token_id", name="pk_enrolment"),
    )
    op.create_table(
        "setting",
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_setting"),
    )
