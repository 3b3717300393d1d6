# SPDX-License-Identifier: Apache-2.0
"""Global load balancing: names that are answered with what is well (seed 002, Kosmos; facts: gslb.md §6)."""

from .checker import GSLB_CHECKER
from .gslb import GSLB
from .member import GSLB_MEMBER
from .monitor import GSLB_MONITOR
from .place import GSLB_BACKEND, GSLB_GEOMAP, GSLB_REGION, GSLB_ZONE
from .pool import GSLB_POOL

GSLB_KINDS = (GSLB, GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR, GSLB_REGION, GSLB_BACKEND, GSLB_ZONE, GSLB_GEOMAP)

__all__ = [
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
]
