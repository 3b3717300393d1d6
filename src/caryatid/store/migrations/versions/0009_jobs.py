# SPDX-License-Identifier: Apache-2.0
"""Jobs that can be followed, cancelled, repeated safely and archived."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID, TIME, WORD = sa.String(36), sa.String(26), sa.String(64)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEGUN = sa.text("ended_at IS NULL")
ENDED_BY = """
UPDATE job SET ended_fence = coalesce((SELECT max(attempt.fence) FROM attempt WHERE
  attempt.root_id = job.loadbalancer_id AND attempt.started_at <= job.ended_at), 0) WHERE ended_at IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("job", sa.Column("remedy", sa.Text()))
    op.add_column("job", sa.Column("ended_fence", sa.BigInteger()))
    op.add_column("job", sa.Column("undo", DOCUMENT))
    op.create_index("ix_job_ended", "job", ["ended_at"])
    op.execute(ENDED_BY)
    op.add_column("attempt", sa.Column("remedy", sa.Text()))
    for name in ("news", "done", "known"):
        op.add_column("attempt", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.drop_index("ix_attempt_age", "attempt")
    op.create_index("ix_attempt_generation", "attempt", ["root_id", "generation"])
    op.create_index("ix_attempt_ended", "attempt", ["ended_at"])
    op.create_index("ix_attempt_open", "attempt", ["root_id", "fence"], sqlite_where=BEGUN, postgresql_where=BEGUN)
    _archive()
    _idempotency()


def _archive() -> None:
    op.create_table(
        "job_archive",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("action", WORD, nullable=False),
        sa.Column("resource_type", WORD, nullable=False),
        sa.Column("resource_id", sa.String(255), nullable=False),
        sa.Column("loadbalancer_id", ID),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("outcome", WORD),
        sa.Column("reason", sa.Text()),
        sa.Column("remedy", sa.Text()),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_archive"),
    )
    op.create_index("ix_job_archive_age", "job_archive", ["created_at", "id"])
    op.create_index("ix_job_archive_project", "job_archive", ["project_id", "created_at", "id"])
    op.create_index("ix_job_archive_resource", "job_archive", ["resource_id"])
    op.create_index("ix_job_archive_loadbalancer", "job_archive", ["loadbalancer_id", "created_at", "id"])
    op.create_index("ix_job_archive_ended", "job_archive", ["ended_at"])


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", WORD, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("document", DOCUMENT),
        sa.PrimaryKeyConstraint("user_id", "project_id", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
