# SPDX-License-Identifier: Apache-2.0
"""What a new installation has: a network to take addresses from, two flavors and a zone to choose from."""

import json
from contextlib import suppress
from typing import Any

from caryatid.model import AVAILABILITY_ZONE, AVAILABILITY_ZONE_PROFILE, FLAVOR, FLAVORPROFILE, NETWORK, SUBNET
from caryatid.model.kind import Kind
from caryatid.store import rows
from caryatid.store.database import Tx

from .door import PROVIDER, Door
from .receipt import DEFAULT_PROJECT, moment

NETWORK_ID = "00000000-0000-4000-8000-000000000001"
SUBNET_ID = "00000000-0000-4000-8000-000000000002"
FLAVORS = {"single": "SINGLE", "active-standby": "ACTIVE_STANDBY"}


def ensure(door: Door) -> None:
    """The initial objects exist. What an operator has since changed or deleted by hand is not brought back."""
    with suppress(rows.Duplicate), door.database.transaction() as tx:  # another process was first
        if rows.get(tx, NETWORK, NETWORK_ID) is not None:
            return
        _network(tx, door)
        for place, (name, topology) in enumerate(FLAVORS.items(), start=3):
            _flavor(tx, name, topology, place)
        _zone(tx)


def _network(tx: Tx, door: Door) -> None:
    at = moment()
    owned = {"project_id": DEFAULT_PROJECT, "created_at": at, "updated_at": at}
    _insert(tx, NETWORK, {"name": "default", "shared": True}, {"id": NETWORK_ID, **owned})
    subnet = {"name": "default", "cidr": door.settings.default_subnet_cidr, "network_id": NETWORK_ID}
    if door.settings.network_driver == "noop":
        subnet["attachment"] = "noop"
    _insert(tx, SUBNET, subnet, {"id": SUBNET_ID, **owned})


def _flavor(tx: Tx, name: str, topology: str, place: int) -> None:
    data = json.dumps({"loadbalancer_topology": topology})
    profile_id = _id(place * 2)
    profile = {"name": name, "provider_name": PROVIDER, "flavor_data": data}
    _insert(tx, FLAVORPROFILE, profile, {"id": profile_id})
    flavor = {
        "name": name,
        "description": "One amphora." if topology == "SINGLE" else "Two amphorae; one takes over from the other.",
        "flavor_profile_id": profile_id,
    }
    _insert(tx, FLAVOR, flavor, {"id": _id(place * 2 + 1)})


def _zone(tx: Tx) -> None:
    profile = {"name": "local", "provider_name": PROVIDER, "availability_zone_data": "{}"}
    _insert(tx, AVAILABILITY_ZONE_PROFILE, profile, {"id": _id(20)})
    zone = {"name": "local", "description": "Here.", "availability_zone_profile_id": _id(20)}
    _insert(tx, AVAILABILITY_ZONE, zone, {"id": _id(21)})


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _insert(tx: Tx, kind: Kind, body: dict[str, Any], given: dict[str, Any]) -> None:
    rows.insert(tx, kind, [kind.new(body, given)])
