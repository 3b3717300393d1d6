# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets and ports, under the same conventions at `/v1`.

Network clients find them at `/v2` too, to read: `openstack loadbalancer create` looks its subnet up there.
"""

from caryatid.model import NETWORK, PORT, SUBNET

from .resources import Resource, verbs
from .routing import Operation

VERSION = "/v1"
LOOKED_UP = "/v2"


def operations() -> list[Operation]:
    own = [operation for kind in (NETWORK, SUBNET, PORT) for operation in verbs(Resource(kind), VERSION)]
    looked_up = [
        operation for kind in (NETWORK, SUBNET, PORT) for operation in verbs(Resource(kind), LOOKED_UP, "list get")
    ]
    return [*own, *looked_up]
