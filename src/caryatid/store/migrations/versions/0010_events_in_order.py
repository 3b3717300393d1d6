# SPDX-License-Identifier: Apache-2.0
"""Events are ordered by the transaction that wrote them, say who did it, and name their job."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event", sa.Column("xid", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("event", sa.Column("user_id", sa.String(255), nullable=False, server_default=""))
    op.add_column("event", sa.Column("request_id", sa.String(255), nullable=False, server_default=""))
    op.add_column("event", sa.Column("job_id", sa.String(36)))
    op.create_index("ix_event_xid_seq", "event", ["xid", "seq"])
    for name, column in (("ix_event_project", "project_id"), ("ix_event_resource", "resource_id")):
        op.drop_index(name, "event")
        op.create_index(name, "event", [column, "xid", "seq"])
    op.execute("UPDATE event SET action = replace(action, ' ', '_')")
