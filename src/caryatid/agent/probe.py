# SPDX-License-Identifier: Apache-2.0
"""Whether another host's agent answers: a controller that does not hear it asks its neighbours."""

import asyncio
import ssl
from urllib.parse import urlsplit

from caryatid.wire.agent import Probe, Probed

DEADLINE_S = 0.8
"""Shorter than the controller's, so that it gets our answer."""


async def probe(wanted: Probe, context: ssl.SSLContext) -> Probed:
    """A handshake is enough: the kernel of a host whose agent hangs takes connections too, but does not speak TLS.

    Nothing is sent, and nothing of what comes is told: who may ask learns only whether somebody is there.
    """
    url = urlsplit(wanted.url)
    try:
        async with asyncio.timeout(DEADLINE_S):
            opening = asyncio.open_connection(url.hostname, url.port, ssl=context, server_hostname=wanted.host_id)
            _, writer = await opening
    except ssl.SSLError:
        return Probed(reachable=True)  # it speaks, if not as it should
    except (OSError, TimeoutError, ValueError):
        return Probed(reachable=False)
    writer.transport.abort()
    return Probed(reachable=True)
