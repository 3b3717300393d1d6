# SPDX-License-Identifier: Apache-2.0
"""What a controller shows, and whom it trusts; kept current for as long as the process runs."""

import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from caryatid import log
from caryatid.plan import certificates
from caryatid.plan.certificates import CONTROLLER, INSPECTOR, Identity
from caryatid.plan.trust import Trust
from caryatid.wire.tls import client_context, following, renewal_due, server_context

from .authority import Registry, trust_of

LOOK_S = 30.0
"""So often a controller looks for news; see plan.trust.INTRODUCING_MIN."""


class OnDemand:
    """Credentials for a process that may never need any, and only asks: made when they are asked for, with role
    inspector, and looked after from then on as often as they are asked for."""

    def __init__(self, registry: Callable[[], Registry], name: str) -> None:
        self._registry = registry
        self._name = name
        self._lock = threading.Lock()
        self._made: Credentials | None = None
        self._looked_at = 0.0

    def client(self) -> ssl.SSLContext:
        """As of Credentials. Raises CaryatidError where there is no master key."""
        with self._lock:
            now = time.monotonic()
            if self._made is None:
                self._made = Credentials(self._registry(), self._name, INSPECTOR)
            elif now >= self._looked_at + LOOK_S:
                self._made.look()
            else:
                return self._made.client()
            self._looked_at = now
            return self._made.client()


class Credentials:
    """A certificate with role controller, or another, and its key, which is made here and is never on a disk."""

    def __init__(self, registry: Registry, name: str, role: str = CONTROLLER) -> None:
        self._registry = registry
        self._name = name
        self._role = role
        self._lock = threading.Lock()
        self._make(trust_of(registry), datetime.now(UTC))

    def client(self) -> ssl.SSLContext:
        """For clients from now on; the same object until something changes."""
        return self._client

    def server(self) -> ssl.SSLContext:
        """For a server; follows every change."""
        return following(lambda: self._server)

    def look(self, now: datetime | None = None) -> None:
        """What has changed is taken up: authorities, and a certificate that is to be renewed."""
        now = now or datetime.now(UTC)
        with self._lock:
            trust = trust_of(self._registry)
            if trust != self._trust or renewal_due(self.certificate, now):
                self._make(trust, now)
                log.get().info("controller's certificate renewed", phase=trust.phase)

    def _make(self, trust: Trust, now: datetime) -> None:
        key, days = certificates.new_key(), self._registry.settings.certificate_days
        identity = Identity(self._role, self._name)
        self.certificate = certificates.sign(trust.issuing, certificates.request(key), identity, now, days)
        shown = self.certificate + key
        self._client = client_context(trust.bundle, shown)
        self._server = server_context(trust.bundle, shown, strangers=True)
        self._trust = trust
