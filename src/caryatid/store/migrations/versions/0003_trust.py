# SPDX-License-Identifier: Apache-2.0
"""What is known of a host's certificates, of the authorities that it trusts, and its next heartbeat key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    for column in (
        sa.Column("pending_serial", sa.String(64)),
        sa.Column("issuer", sa.String(64)),
        sa.Column("trusts", DOCUMENT),
        sa.Column("next_key", sa.LargeBinary()),
        sa.Column("key_made_at", sa.Float(53)),
    ):
        op.add_column("host_credential", column)
