# SPDX-License-Identifier: Apache-2.0
"""Somebody else's amphora driver, with nothing but the two methods that the interface (seed 003) asks for."""

import json
import os
from pathlib import Path

from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver
from caryatid.model.flavor import Capabilities


def _file():
    return Path(os.environ["ACME_FILE"])


def _known():
    return json.loads(_file().read_text()) if _file().exists() else {}


class AcmeDriver(AmphoraLoadBalancerDriver):
    """Writes what it was asked for into a file."""

    capabilities = Capabilities(
        listener_protocols=frozenset({"TCP"}),
        pool_protocols=frozenset({"TCP"}),
        algorithms=frozenset({"ROUND_ROBIN"}),
        monitor_types=frozenset({"TCP"}),
        topologies=frozenset({"SINGLE"}),
        l7_protocols=frozenset(),
    )

    def update(self, listener, vip):
        pool = listener.default_pool
        members = [f"{m.address}:{m.protocol_port}" for m in pool.members] if pool else []
        served = {"vip": vip.ip_address, "port": listener.listener.protocol_port, "members": members}
        _file().write_text(json.dumps(_known() | {listener.listener.id: served}))

    def delete(self, listener, vip):
        known = _known()
        known.pop(listener.id, None)
        _file().write_text(json.dumps(known))
