# SPDX-License-Identifier: Apache-2.0
"""Subscriptions, how far each is, and what could not be delivered yet."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    _table("subscription")
    _table(
        "delivery",
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("next_at", TIME, nullable=True),
    )
    op.create_index("ix_delivery_subscription_id", "delivery", ["subscription_id"])
    op.create_index("ix_delivery_due", "delivery", ["subscription_id", "next_at"])
    unique = ["subscription_id", "event_id"]
    op.create_index("uq_delivery_subscription_id_event_id", "delivery", unique, unique=True)
    op.create_table(
        "subscription_state",
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("cursor", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", TIME, nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("failed_at", TIME, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_subscription_state"),
    )


def _table(name: str, *columns: sa.Column[str]) -> None:
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        *columns,
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_project", name, ["project_id", "created_at", "id"])
    op.create_index(f"ix_{name}_age", name, ["created_at", "id"])
