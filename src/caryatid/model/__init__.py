# SPDX-License-Identifier: Apache-2.0
"""What exists: every kind of resource, declared once. Pure."""

from .access import ACCESS, PROJECT, ROLE, TOKEN, USER
from .amphora import AMPHORA
from .certificate import CERTIFICATE
from .cluster import CLUSTER
from .event import EVENT
from .flavor import AVAILABILITY_ZONE, AVAILABILITY_ZONE_PROFILE, FLAVOR, FLAVORPROFILE
from .gslb import (
    GSLB,
    GSLB_BACKEND,
    GSLB_CHECKER,
    GSLB_GEOMAP,
    GSLB_KINDS,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
)
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
from .subscription import DELIVERY, SUBSCRIPTION

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
    CLUSTER,
    CERTIFICATE,
    SECRET,
    CONTAINER,
    SUBSCRIPTION,
    DELIVERY,
    *ACCESS,
    *GSLB_KINDS,
)
"""Everything that is kept as a row with a document."""

RECORDS: tuple[Kind, ...] = (JOB, EVENT, GSLB_CHECKER)
"""What is told of what was done and has happened, and of who has come; nobody wishes for it."""

BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}

__all__ = [
    "ACCESS",
    "AMPHORA",
    "AVAILABILITY_ZONE",
    "AVAILABILITY_ZONE_PROFILE",
    "BY_NAME",
    "CERTIFICATE",
    "CLUSTER",
    "CONTAINER",
    "DELIVERY",
    "EVENT",
    "FLAVOR",
    "FLAVORPROFILE",
    "GSLB",
    "GSLB_BACKEND",
    "GSLB_CHECKER",
    "GSLB_GEOMAP",
    "GSLB_KINDS",
    "GSLB_MEMBER",
    "GSLB_MONITOR",
    "GSLB_POOL",
    "GSLB_REGION",
    "GSLB_ZONE",
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
    "PROJECT",
    "QUOTA",
    "RATELIMITPOLICY",
    "RATELIMITRULE",
    "RECORDS",
    "ROLE",
    "SECRET",
    "SUBNET",
    "SUBSCRIPTION",
    "TOKEN",
    "USER",
    "Kind",
]
