# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets, ports and hosts, under the same conventions at `/v1`."""

from caryatid.model import HOST, NETWORK, PORT, SUBNET

from .resources import Resource, verbs
from .routing import Operation

VERSION = "/v1"


def operations() -> list[Operation]:
    """Hosts come by enrolment; an operator sees, changes and removes them."""
    own = [operation for kind in (NETWORK, SUBNET, PORT) for operation in verbs(Resource(kind), VERSION)]
    return [*own, *verbs(Resource(HOST), VERSION, "list get change delete")]
