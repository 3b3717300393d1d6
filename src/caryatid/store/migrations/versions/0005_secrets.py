# SPDX-License-Identifier: Apache-2.0
"""Secrets that are kept here, and containers of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    for name in ("secret", "container"):
        op.create_table(
            name,
            sa.Column("id", ID, nullable=False),
            sa.Column("created_at", TIME, nullable=False),
            sa.Column("updated_at", TIME, nullable=True),
            sa.Column("project_id", ID, nullable=False),
            sa.Column("spec", DOCUMENT, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        )
        op.create_index(f"ix_{name}_project", name, ["project_id", "created_at", "id"])
        op.create_index(f"ix_{name}_age", name, ["created_at", "id"])
    op.create_table(
        "payload",
        sa.Column("secret_id", ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("secret_id", name="pk_payload"),
    )
