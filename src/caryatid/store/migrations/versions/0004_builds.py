# SPDX-License-Identifier: Apache-2.0
"""Amphorae by status: how many are being built is asked at every build."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_amphora_status", "amphora", ["status"])
