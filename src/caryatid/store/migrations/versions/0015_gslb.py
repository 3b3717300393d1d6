# SPDX-License-Identifier: Apache-2.0
"""Global load balancing: gslbs and what they use, votes, what is remembered; jobs of roots of any kind."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    _jobs()
    _gslb()
    _gslb_pool()
    _gslb_member()
    _gslb_monitor()
    _gslb_region()
    _gslb_backend()
    _gslb_zone()
    _gslb_geomap()
    _gslb_use()
    _gslb_state()
    _gslb_status()
    _gslb_checker()
    _gslb_share()
    _gslb_vote()
    _gslb_remote()


def _jobs() -> None:
    for table in ("job", "job_archive"):
        op.add_column(table, sa.Column("root_id", ID))
        op.execute(f"UPDATE {table} SET root_id = loadbalancer_id")  # noqa: S608  names of ours
    op.drop_index("ix_job_open", "job")
    living = sa.text("ended_at IS NULL")
    op.create_index("ix_job_open", "job", ["root_id", "generation"], sqlite_where=living, postgresql_where=living)


def _gslb() -> None:
    op.create_table(
        "gslb",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("fqdn", sa.String(255), nullable=False),
        sa.Column("zone_id", ID, nullable=True),
        sa.Column("created_generation", sa.BigInteger(), nullable=False),
        sa.Column("changed_generation", sa.BigInteger(), nullable=False),
        sa.Column("spec_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleted_generation", sa.BigInteger(), nullable=True),
        sa.Column("failed_generation", sa.BigInteger(), nullable=False),
        sa.Column("good_spec", DOCUMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("observed_generation", sa.BigInteger(), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb"),
    )
    op.create_index("ix_gslb_age", "gslb", ["created_at", "id"])
    op.create_index("ix_gslb_project", "gslb", ["project_id", "created_at", "id"])
    where = sa.text("deleted_generation IS NULL")
    op.create_index("uq_gslb_fqdn", "gslb", ["fqdn"], unique=True, sqlite_where=where, postgresql_where=where)


def _gslb_pool() -> None:
    op.create_table(
        "gslb_pool",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_pool"),
    )
    op.create_index("ix_gslb_pool_age", "gslb_pool", ["created_at", "id"])
    op.create_index("ix_gslb_pool_project", "gslb_pool", ["project_id", "created_at", "id"])


def _gslb_member() -> None:
    op.create_table(
        "gslb_member",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("pool_id", ID, nullable=False),
        sa.Column("address", sa.String(64), nullable=True),
        sa.Column("loadbalancer_id", ID, nullable=True),
        sa.Column("region_id", ID, nullable=True),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_member"),
    )
    op.create_index("ix_gslb_member_age", "gslb_member", ["created_at", "id"])
    op.create_index("ix_gslb_member_loadbalancer_id", "gslb_member", ["loadbalancer_id"])
    op.create_index("ix_gslb_member_pool_id", "gslb_member", ["pool_id"])
    op.create_index("ix_gslb_member_project", "gslb_member", ["project_id", "created_at", "id"])


def _gslb_monitor() -> None:
    op.create_table(
        "gslb_monitor",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_monitor"),
    )
    op.create_index("ix_gslb_monitor_age", "gslb_monitor", ["created_at", "id"])
    op.create_index("ix_gslb_monitor_project", "gslb_monitor", ["project_id", "created_at", "id"])


def _gslb_region() -> None:
    op.create_table(
        "gslb_region",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_region"),
    )
    op.create_index("ix_gslb_region_age", "gslb_region", ["created_at", "id"])
    op.create_index("uq_gslb_region_name", "gslb_region", ["name"], unique=True)


def _gslb_backend() -> None:
    op.create_table(
        "gslb_backend",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_backend"),
    )
    op.create_index("ix_gslb_backend_age", "gslb_backend", ["created_at", "id"])


def _gslb_zone() -> None:
    op.create_table(
        "gslb_zone",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("backend_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_zone"),
    )
    op.create_index("ix_gslb_zone_age", "gslb_zone", ["created_at", "id"])
    op.create_index("ix_gslb_zone_backend_id", "gslb_zone", ["backend_id"])
    op.create_index("ix_gslb_zone_project", "gslb_zone", ["project_id", "created_at", "id"])
    op.create_index("uq_gslb_zone_name", "gslb_zone", ["name"], unique=True)


def _gslb_geomap() -> None:
    op.create_table(
        "gslb_geomap",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_geomap"),
    )
    op.create_index("ix_gslb_geomap_age", "gslb_geomap", ["created_at", "id"])
    op.create_index("ix_gslb_geomap_project", "gslb_geomap", ["project_id", "created_at", "id"])


def _gslb_use() -> None:
    op.create_table(
        "gslb_use",
        sa.Column("gslb_id", ID, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gslb_id", "kind", "id", name="pk_gslb_use"),
    )
    op.create_index("ix_gslb_use_part", "gslb_use", ["kind", "id"])


def _gslb_state() -> None:
    op.create_table(
        "gslb_state",
        sa.Column("gslb_id", ID, nullable=False),
        sa.Column("memory", DOCUMENT, nullable=False),
        sa.Column("published", DOCUMENT, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("published_at", TIME, nullable=True),
        sa.Column("why", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("gslb_id", name="pk_gslb_state"),
    )


def _gslb_status() -> None:
    op.create_table(
        "gslb_status",
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_gslb_status"),
    )


def _gslb_checker() -> None:
    op.create_table(
        "gslb_checker",
        sa.Column("id", ID, nullable=False),
        sa.Column("region_id", ID, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("quarantined", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gslb_checker"),
    )
    op.create_index("ix_gslb_checker_region", "gslb_checker", ["region_id"])


def _gslb_share() -> None:
    op.create_table(
        "gslb_share",
        sa.Column("region_id", ID, nullable=False),
        sa.Column("share", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("checker", ID, nullable=False),
        sa.Column("until", sa.Float(53), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("region_id", "share", name="pk_gslb_share"),
    )


def _gslb_vote() -> None:
    op.create_table(
        "gslb_vote",
        sa.Column("member_id", ID, nullable=False),
        sa.Column("monitor_id", ID, nullable=False),
        sa.Column("region_id", ID, nullable=False),
        sa.Column("word", sa.String(16), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("share", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("checker", ID, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("rtt_ms", sa.Float(53), nullable=True),
        sa.PrimaryKeyConstraint("member_id", "monitor_id", "region_id", name="pk_gslb_vote"),
    )
    op.create_index("ix_gslb_vote_share", "gslb_vote", ["region_id", "share"])


def _gslb_remote() -> None:
    op.create_table(
        "gslb_remote",
        sa.Column("region_id", ID, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("addresses", DOCUMENT, nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
        sa.Column("good_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("region_id", "loadbalancer_id", name="pk_gslb_remote"),
    )
