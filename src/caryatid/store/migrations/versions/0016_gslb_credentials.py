# SPDX-License-Identifier: Apache-2.0
"""What is shown to DNS servers, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gslb_credential",
        sa.Column("backend_id", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("backend_id", name=op.f("pk_gslb_credential")),
    )
