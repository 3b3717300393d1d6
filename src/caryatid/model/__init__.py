# SPDX-License-Identifier: Apache-2.0
"""What exists: every kind of resource, declared once. Pure."""

from .amphora import AMPHORA
from .certificate import CERTIFICATE
from .flavor import AVAILABILITY_ZONE, AVAILABILITY_ZONE_PROFILE, FLAVOR, FLAVORPROFILE
from .healthmonitor import HEALTHMONITOR
from .host import HOST
from .job import JOB
from .kind import Kind
from .l7 import L7POLICY, L7RULE
from .listener import LISTENER
from .loadbalancer import LOADBALANCER
from .member import MEMBER
from .network import NETWORK, PORT, SUBNET
from .pool import POOL
from .quota import QUOTA
from .ratelimit import RATELIMITPOLICY, RATELIMITRULE
from .secret import CONTAINER, SECRET

KINDS: tuple[Kind, ...] = (
    LOADBALANCER,
    LISTENER,
    POOL,
    MEMBER,
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    RATELIMITPOLICY,
    RATELIMITRULE,
    AMPHORA,
    FLAVORPROFILE,
    FLAVOR,
    AVAILABILITY_ZONE_PROFILE,
    AVAILABILITY_ZONE,
    QUOTA,
    NETWORK,
    SUBNET,
    PORT,
    HOST,
    CERTIFICATE,
    SECRET,
    CONTAINER,
)
"""Everything that is kept as a row with a document."""

BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}

__all__ = [
    "AMPHORA",
    "AVAILABILITY_ZONE",
    "AVAILABILITY_ZONE_PROFILE",
    "BY_NAME",
    "CERTIFICATE",
    "CONTAINER",
    "FLAVOR",
    "FLAVORPROFILE",
    "HEALTHMONITOR",
    "HOST",
    "JOB",
    "KINDS",
    "L7POLICY",
    "L7RULE",
    "LISTENER",
    "LOADBALANCER",
    "MEMBER",
    "NETWORK",
    "POOL",
    "PORT",
    "QUOTA",
    "RATELIMITPOLICY",
    "RATELIMITRULE",
    "SECRET",
    "SUBNET",
    "Kind",
]
