# SPDX-License-Identifier: Apache-2.0
"""Projects, users, their roles and tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.String(26)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _kind(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=True),
        *columns,
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_age", name, ["created_at", "id"])


def upgrade() -> None:
    _kind(
        "project",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
    )
    op.create_index("uq_project_name", "project", ["name"], unique=True)
    _kind(
        "user",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("default_project_id", ID, nullable=True),
    )
    op.create_index("uq_user_name", "user", ["name"], unique=True)
    op.create_index("ix_user_default_project_id", "user", ["default_project_id"])
    _kind(
        "role",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
    )
    op.create_index("uq_role_user_id_project_id_role", "role", ["user_id", "project_id", "role"], unique=True)
    _kind(
        "token",
        sa.Column("user_id", ID, nullable=True),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.Column("session", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_index("uq_token_digest", "token", ["digest"], unique=True)
    op.create_index("ix_token_expires_at", "token", ["expires_at"])
    for name in ("role", "token"):
        op.create_index(f"ix_{name}_project", name, ["project_id", "created_at", "id"])
        op.create_index(f"ix_{name}_project_id", name, ["project_id"])
        op.create_index(f"ix_{name}_user_id", name, ["user_id"])
    op.create_table(
        "password",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_password"),
    )
