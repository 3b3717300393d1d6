# SPDX-License-Identifier: Apache-2.0
"""Votes that users tell, what references of monitors stand for, and checkers one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gslb_vote", sa.Column("until", sa.Float(53)))
    op.create_index("ix_gslb_vote_until", "gslb_vote", ["until"])
    op.add_column("gslb_checker", sa.Column("enrolled_id", sa.String(36)))
    op.add_column("gslb_enrolled", sa.Column("seen_at", sa.String(26)))
    op.create_table(
        "gslb_bundle",
        sa.Column("monitor_id", sa.String(36), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("not_before", sa.String(26), nullable=False),
        sa.Column("not_after", sa.String(26), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("announced", sa.Integer()),
        sa.Column("checked_at", sa.String(26), nullable=False),
        sa.Column("changed_at", sa.Float(53), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("monitor_id", "purpose", name=op.f("pk_gslb_bundle")),
    )
    op.create_index("ix_gslb_bundle_checked_at", "gslb_bundle", ["checked_at"])
