# SPDX-License-Identifier: Apache-2.0
"""Rate limit policies and their rules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    _table("ratelimitpolicy", "listener_id")
    _table("ratelimitrule", "ratelimitpolicy_id")


def _table(name: str, above: str) -> None:
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        sa.Column("project_id", ID, nullable=False),
        sa.Column(above, ID, nullable=False),
        sa.Column("created_generation", sa.BigInteger(), nullable=False),
        sa.Column("changed_generation", sa.BigInteger(), nullable=False),
        sa.Column("spec_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleted_generation", sa.BigInteger()),
        sa.Column("failed_generation", sa.BigInteger(), nullable=True),
        sa.Column("good_spec", DOCUMENT),
        sa.Column("reason", sa.Text()),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_project", name, ["project_id", "created_at", "id"])
    op.create_index(f"ix_{name}_age", name, ["created_at", "id"])
    op.create_index(f"ix_{name}_{above}", name, [above, "created_at", "id"])
    op.create_index(f"ix_{name}_loadbalancer_id", name, ["loadbalancer_id"])
    for word, column in (("gone", "deleted_generation"), ("refused", "failed_generation")):
        only = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_{name}_{word}", name, ["loadbalancer_id", column], sqlite_where=only, postgresql_where=only
        )
