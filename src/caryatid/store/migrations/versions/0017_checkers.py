# SPDX-License-Identifier: Apache-2.0
"""Checkers that have enrolled, tokens for them, and dry runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("enrolment", sa.Column("region_id", sa.String(36)))
    op.create_table(
        "gslb_enrolled",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("region_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("issuer", sa.String(64)),
        sa.Column("trusts", DOCUMENT, nullable=False),
        sa.Column("ends_at", sa.Float(53), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gslb_enrolled")),
    )
    op.create_table(
        "gslb_trial",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("region_id", sa.String(36), nullable=False),
        sa.Column("wanted", DOCUMENT, nullable=False),
        sa.Column("checker", sa.String(36)),
        sa.Column("until", sa.Float(53), nullable=False),
        sa.Column("tried", DOCUMENT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gslb_trial")),
    )
    op.create_index("ix_gslb_trial_region", "gslb_trial", ["region_id"])
