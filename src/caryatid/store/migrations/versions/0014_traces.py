# SPDX-License-Identifier: Apache-2.0
"""Which trace a job belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trace",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_trace"),
    )
    op.create_index("ix_trace_created_at", "trace", ["created_at"])
