# SPDX-License-Identifier: Apache-2.0
"""What refers to a row is found in its order of age, from the index alone."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFERENCES = (
    ("healthmonitor", "pool_id"),
    ("l7policy", "listener_id"),
    ("l7rule", "l7policy_id"),
    ("listener", "default_pool_id"),
    ("listener", "loadbalancer_id"),
    ("member", "pool_id"),
    ("pool", "loadbalancer_id"),
)


def upgrade() -> None:
    for table, column in REFERENCES:
        name = f"ix_{table}_{column}"
        op.drop_index(name, table)
        op.create_index(name, table, [column, "created_at", "id"])
