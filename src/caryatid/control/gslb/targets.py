# SPDX-License-Identifier: Apache-2.0
"""Which addresses members may have here, and be checked at."""

from caryatid.config import Settings
from caryatid.control.door import Door
from caryatid.model import SUBNET
from caryatid.model.gslb.targets import Targets
from caryatid.store import rows
from caryatid.store.database import Tx

LOOPBACK = "loopback"


def targets(tx: Tx, door: Door) -> Targets:
    """What may be named as a member."""
    return Targets(allowed(tx, door.settings), refused(door.settings))


def allowed(tx: Tx, settings: Settings) -> list[str]:
    """What the operator says; and where addresses of load balancers are this machine's own, those."""
    own = [subnet["cidr"] for subnet in rows.find(tx, SUBNET) if subnet["attachment"] == LOOPBACK]
    return [*cidrs(settings.gslb_allowed_targets), *own]


def refused(settings: Settings) -> list[str]:
    return cidrs(settings.gslb_refused_targets)


def cidrs(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
