# SPDX-License-Identifier: Apache-2.0
"""Clusters of a Ganeti: what is wished of them, what was seen there; tokens for one amphora."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("enrolment", sa.Column("amphora_id", sa.String(36)))
    op.create_table(
        "cluster",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(26), nullable=False),
        sa.Column("updated_at", sa.String(26)),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
    )
    op.create_index("uq_cluster_name", "cluster", ["name"], unique=True)
    op.create_index("ix_cluster_age", "cluster", ["created_at", "id"])
    _machines()
    _jobs()
    _seen()


def _machines() -> None:
    op.create_table(
        "machine",
        sa.Column("amphora_id", sa.String(36), nullable=False),
        sa.Column("loadbalancer_id", sa.String(36)),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("wish", DOCUMENT, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("host_id", sa.String(36)),
        sa.Column("job_id", sa.BigInteger()),
        sa.Column("asked_at", sa.Float(53)),
        sa.Column("node", sa.String(255)),
        sa.Column("address", sa.String(64)),
        sa.Column("status", sa.String(64)),
        sa.Column("seen_at", sa.Float(53)),
        sa.Column("source", sa.String(64)),
        sa.Column("changed_at", sa.Float(53), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("remedy", sa.Text()),
        sa.Column("hopeless", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(53), nullable=False),
        sa.Column("deadline_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("amphora_id", name=op.f("pk_machine")),
    )
    for column in ("cluster_id", "loadbalancer_id", "host_id"):
        op.create_index(f"ix_machine_{column}", "machine", [column])


def _jobs() -> None:
    op.create_table(
        "cluster_job",
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("amphora_id", sa.String(36), nullable=False),
        sa.Column("loadbalancer_id", sa.String(36)),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("asked_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("log", DOCUMENT, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "job_id", name=op.f("pk_cluster_job")),
    )
    op.create_index("ix_cluster_job_amphora_id", "cluster_job", ["amphora_id"])
    op.create_index("ix_cluster_job_asked_at", "cluster_job", ["asked_at"])


def _seen() -> None:
    op.create_table(
        "cluster_seen",
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("answered_at", sa.Float(53)),
        sa.Column("config_at", sa.Float(53)),
        sa.Column("live_at", sa.Float(53)),
        sa.Column("seen", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_cluster_seen")),
    )
    op.create_table(
        "cluster_credential",
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_cluster_credential")),
    )
