# SPDX-License-Identifier: Apache-2.0
"""The operating status of a load balancer, asked of the Octavia that has it. What an API does not say counts for
nothing: the load balancer may serve while its API is away."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from caryatid.model.gslb.parameters import OctaviaLb as Parameters

from .base import BYTES_MAX, Failed, Means, Place, Unable, read, reason_of
from .http import PORTS, Asked, authority, exchanged, head

WELL: Final = frozenset({"ONLINE", "DEGRADED"})
FOUND, NOT_FOUND = 200, 404
API: Final = "the load-balancing API"


class OctaviaLb:
    elsewhere = True

    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = wanted = read(Parameters, parameters)
        url = urlsplit(wanted.url)
        if not url.hostname or url.username is not None or url.scheme not in PORTS:
            raise ValueError("url")
        self._host, self._port = url.hostname, url.port or PORTS[url.scheme]
        self._tls = None
        if url.scheme == "https":
            self._tls = means.contexts.of(verify=wanted.verify_tls, authorities=wanted.authorities)
        path = f"{url.path.rstrip('/').removesuffix('/v2')}/v2/lbaas/loadbalancers/{wanted.id}"
        headers = {"Accept": "application/json", **({"X-Auth-Token": wanted.token} if wanted.token else {})}
        self._request = head("GET", path, authority(self._host, self._port, url.scheme), headers)
        self._means = means

    async def ask(self, place: Place) -> None:
        place.measured = False
        asked = Asked(await self._means.reach(self._host), self._port, self._host, self._tls)
        try:
            got = await exchanged(place, asked, self._request, wants_body=True)
        except Failed as failed:
            raise Unable(f"{API}: {failed}") from failed
        except OSError as error:
            raise Unable(f"{API}: {reason_of(error)}") from error
        except asyncio.CancelledError:
            place.doing = f"{API}: {place.doing}"
            raise
        if got.status == NOT_FOUND:
            raise Failed(f"{API} knows no load balancer {self._wanted.id}")
        if got.status != FOUND:
            raise Unable(f"{API} answers {got.status}, expected {FOUND}")
        status = _status(bytes(got.body[:BYTES_MAX]))
        if status not in WELL:
            raise Failed(f"operating status {status}, expected ONLINE or DEGRADED")


def _status(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["loadbalancer"]["operating_status"])
    except (ValueError, KeyError, TypeError):
        raise Unable(f"{API} answers, but not as Octavia does") from None
