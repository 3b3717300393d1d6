# SPDX-License-Identifier: Apache-2.0
"""DNS drivers at hand: what each can do, and one opened on each backend."""

import threading
from collections.abc import Mapping

from caryatid.drivers import NoSuchDriver, load
from caryatid.drivers.dns.base import Backend, DnsDriver
from caryatid.model.gslb.place import GslbBackend

OPEN_MAX = 1000
"""Drivers that are kept open, with their connections; beyond that all are opened anew."""


class Dns:
    """Finds drivers among the entry points. Safe to use from several threads."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Backend, DnsDriver]] = {}
        self._ready: set[tuple[str, str]] = set()
        """Backend and zone that was there when somebody looked."""
        self._lock = threading.Lock()

    def known(self, driver: str) -> bool:
        """Whether a driver is called so."""
        try:
            load("dns", driver)
        except NoSuchDriver:
            return False
        return True

    def open(self, backend: GslbBackend, credentials: Mapping[str, str]) -> DnsDriver:
        """The driver, ready to be used on that backend: the same as the last time, unless the backend has changed.
        Raises NoSuchDriver."""
        wanted = Backend(
            backend.id,
            backend.url or "",
            backend.server or "",
            backend.port,
            dict(credentials),
            backend.options,
            tuple((server.address, server.port) for server in backend.name_servers),
        )
        with self._lock:
            known = self._open.get(backend.id)
            if known is not None and known[0] == wanted:
                return known[1]
            if len(self._open) >= OPEN_MAX:
                self._open.clear()
            driver: DnsDriver = load("dns", backend.driver)(wanted)
            self._open[backend.id] = wanted, driver
            self._ready = {place for place in self._ready if place[0] != backend.id}
            return driver

    def ensure_zone(self, driver: DnsDriver, backend_id: str, zone: str) -> None:
        """The zone is there, as far as is known. Raises DnsError."""
        if (backend_id, zone) not in self._ready:
            driver.ensure_zone(zone)
            with self._lock:
                self._ready.add((backend_id, zone))

    def doubt_zone(self, backend_id: str, zone: str) -> None:
        """Something has failed: it is looked at again before the next is published."""
        with self._lock:
            self._ready.discard((backend_id, zone))
