# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets, ports and hosts, under the same conventions at `/v1`.

Network clients find the first three at `/v2` too, to read: `openstack loadbalancer create` looks its subnet up there.
"""

from caryatid.model import HOST, NETWORK, PORT, SUBNET

from .resources import Resource, verbs
from .routing import Operation

VERSION = "/v1"
LOOKED_UP = "/v2"


def operations() -> list[Operation]:
    """Hosts come by enrolment; an operator sees, changes and removes them."""
    own = [operation for kind in (NETWORK, SUBNET, PORT) for operation in verbs(Resource(kind), VERSION)]
    looked_up = [
        operation for kind in (NETWORK, SUBNET, PORT) for operation in verbs(Resource(kind), LOOKED_UP, "list get")
    ]
    return [*own, *looked_up, *verbs(Resource(HOST), VERSION, "list get change delete")]
