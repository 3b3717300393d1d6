# SPDX-License-Identifier: Apache-2.0
"""What a controller shows, and whom it trusts; kept current for as long as the process runs."""

import ssl
import threading
from datetime import UTC, datetime

from caryatid import log
from caryatid.plan import certificates
from caryatid.plan.certificates import CONTROLLER, Identity
from caryatid.plan.trust import Trust
from caryatid.wire.tls import client_context, following, renewal_due, server_context

from .authority import Registry, trust_of

LOOK_S = 30.0
"""So often a controller looks for news; see plan.trust.INTRODUCING_MIN."""


class Credentials:
    """A certificate with role controller and its key, which is made here and is never on a disk."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
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
        identity = Identity(CONTROLLER, self._name)
        self.certificate = certificates.sign(trust.issuing, certificates.request(key), identity, now, days)
        shown = self.certificate + key
        self._client = client_context(trust.bundle, shown)
        self._server = server_context(trust.bundle, shown, strangers=True)
        self._trust = trust
