# SPDX-License-Identifier: Apache-2.0
"""Certificates in use, and what HAProxy is given for them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "certificate",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("checked_at", TIME, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_certificate"),
    )
    unique = ["loadbalancer_id", "reference", "purpose"]
    op.create_index("uq_certificate_loadbalancer_id_reference_purpose", "certificate", unique, unique=True)
    op.create_index("ix_certificate_project", "certificate", ["project_id", "created_at", "id"])
    op.create_index("ix_certificate_age", "certificate", ["created_at", "id"])
    op.create_index("ix_certificate_loadbalancer_id", "certificate", ["loadbalancer_id"])
    op.create_index("ix_certificate_checked_at", "certificate", ["checked_at"])
    op.create_table(
        "bundle",
        sa.Column("certificate_id", ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("staple", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("certificate_id", name="pk_bundle"),
    )
