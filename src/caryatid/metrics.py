# SPDX-License-Identifier: Apache-2.0
"""Every metric, once: name, help, labels. Each process shows its own at `/metrics`."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("caryatid_api_requests", "Requests answered.", ["method", "kind", "status"])
RECONCILES = Counter("caryatid_reconciles", "Attempts to put a root into effect.", ["outcome"])
RECONCILE_SECONDS = Histogram("caryatid_reconcile_seconds", "Time of one attempt.")
REPORTS = Counter("caryatid_reports", "Datagrams from agents.", ["verdict"])
BREAKERS_OPEN = Gauge("caryatid_breakers_open", "Amphorae whose circuit breaker is open.")
TOMBSTONES = Gauge("caryatid_tombstones", "Deleted amphorae whose hosts have not yet confirmed it.")
