# SPDX-License-Identifier: Apache-2.0
"""Members of which others know where and how they are: load balancers and ports elsewhere, and what plugins find."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
KNOWN = ("ip", "hostname", "load_balancer")
"""Types of members that are not asked for."""


def upgrade() -> None:
    followed = op.create_table(
        "gslb_followed",
        sa.Column("member_id", sa.String(36), nullable=False),
        sa.Column("addresses", DOCUMENT, nullable=False),
        sa.Column("word", sa.String(16)),
        sa.Column("reason", sa.Text()),
        sa.Column("problem", sa.Text()),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("moved_at", sa.Float(53), nullable=False),
        sa.Column("asked_at", sa.Float(53), nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
        sa.Column("good_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_gslb_followed")),
    )
    member = sa.table("gslb_member", sa.column("id"), sa.column("address"), sa.column("spec", DOCUMENT))
    found = op.get_bind().execute(sa.select(member.c.id, member.c.address, member.c.spec["type"].as_string())).all()
    never = dict.fromkeys(("since", "moved_at", "asked_at", "seen_at", "good_s"), 0.0)
    rows = [
        {"member_id": key, "addresses": [where], **never} for key, where, kind in found if where and kind not in KNOWN
    ]
    if rows:
        op.bulk_insert(followed, rows)
