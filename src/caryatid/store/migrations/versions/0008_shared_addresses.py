# SPDX-License-Identifier: Apache-2.0
"""Load balancers share addresses that a host has anyhow, but not ports of them; what a host carries is an index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.String(36)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
SUBNET = sa.table("subnet", sa.column("id", ID), sa.column("spec", DOCUMENT))
PORT = sa.table(
    "port",
    *(sa.column(name, ID) for name in ("id", "subnet_id", "ip_address", "sharer", "device_id")),
    sa.column("spec", DOCUMENT),
)
LISTENER = sa.table(
    "listener",
    *(sa.column(name, ID) for name in ("id", "loadbalancer_id", "protocol")),
    *(sa.column(name, sa.Integer()) for name in ("protocol_port", "deleted_generation")),
)
BINDING = sa.table(
    "binding",
    *(sa.column(name, ID) for name in ("address", "protocol", "listener_id", "loadbalancer_id")),
    sa.column("port", sa.Integer()),
)


def upgrade() -> None:
    op.add_column("port", sa.Column("sharer", ID, nullable=False, server_default=""))
    op.drop_index("uq_port_subnet_id_ip_address", "port")
    op.create_index("uq_port_subnet_id_ip_address_sharer", "port", ["subnet_id", "ip_address", "sharer"], unique=True)
    op.create_index("ix_amphora_compute_id", "amphora", ["compute_id"])
    op.create_table(
        "binding",
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("listener_id", ID, nullable=False),
        sa.Column("loadbalancer_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("address", "port", "protocol", name="pk_binding"),
    )
    op.create_index("ix_binding_listener_id", "binding", ["listener_id"])
    op.create_index("ix_binding_loadbalancer_id", "binding", ["loadbalancer_id"])
    _share_what_is_there()


def _share_what_is_there() -> None:
    """Load balancers on subnets of attachment `host` share their addresses from now on, and have their ports there."""
    connection = op.get_bind()
    subnets = {key for key, spec in connection.execute(sa.select(SUBNET)) if spec.get("attachment") == "host"}
    for port in connection.execute(sa.select(PORT)).all():
        if port.subnet_id in subnets and port.device_id:
            if port.spec.get("device_owner") == "loadbalancer":
                connection.execute(sa.update(PORT).where(PORT.c.id == port.id).values(sharer=port.device_id))
            _bind(connection, port.ip_address, port.device_id)


def _bind(connection: sa.Connection, address: str, root_id: str) -> None:
    """What the load balancer listens on; a listener that is leaving may have a successor, which comes first."""
    mine = sa.select(LISTENER).where(LISTENER.c.loadbalancer_id == root_id)
    taken: set[tuple[int, str]] = set()
    for listener in connection.execute(mine.order_by(LISTENER.c.deleted_generation.is_not(None))).all():
        l4 = listener.protocol if listener.protocol in ("UDP", "SCTP") else "TCP"
        if (listener.protocol_port, l4) in taken:
            continue
        taken.add((listener.protocol_port, l4))
        place = {"address": address, "port": listener.protocol_port, "protocol": l4}
        connection.execute(sa.insert(BINDING).values(**place, listener_id=listener.id, loadbalancer_id=root_id))
