# SPDX-License-Identifier: Apache-2.0
"""Every metric, once: name, help, labels. Each process shows its own at `/metrics`."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("caryatid_api_requests", "Requests answered.", ["method", "kind", "status"])
RECONCILES = Counter("caryatid_reconciles", "Attempts to put a root into effect.", ["outcome"])
RECONCILE_SECONDS = Histogram("caryatid_reconcile_seconds", "Time of one attempt.")
REPORTS = Counter("caryatid_reports", "Datagrams from agents.", ["verdict"])
BREAKERS_OPEN = Gauge("caryatid_breakers_open", "Amphorae whose circuit breaker is open.")
ORPHANS = Gauge("caryatid_orphans", "Amphorae on hosts that should not have them, as last audited.")
DRIFTS = Counter("caryatid_drifts", "Load balancers that an audit found other than they should be, and made due.")
TOMBSTONES = Gauge("caryatid_tombstones", "Deleted amphorae whose hosts have not yet confirmed it.")
SPARES = Gauge("caryatid_spares", "Amphorae that wait for load balancers.", ["flavor", "state"])
FAILOVERS = Counter("caryatid_failovers", "Amphorae that were found lost, and made due to be replaced.", ["cause"])
FAILOVERS_FROZEN = Gauge("caryatid_failovers_frozen", "1 while nobody is held to be lost, because too many are silent.")
HOSTS = Gauge("caryatid_hosts", "Hosts, as this process hears them, if it is the one that judges.", ["state"])
STRANGERS = Counter("caryatid_strangers", "Amphorae that hosts reported and that are not theirs.")
CERTIFICATES = Gauge(
    "caryatid_certificates",
    "References in use (`all`), those that cannot be read or stand for something wrong now (`problem`), and those that "
    "end within so many days; in the process that watches them.",
    ["which"],
)
CERTIFICATE_EXPIRY_SECONDS = Gauge("caryatid_certificate_expiry_seconds", "Until the first certificate in use ends.")
CERTIFICATE_READINGS = Counter("caryatid_certificate_readings", "References in use that were read again.", ["outcome"])
STAPLES = Counter("caryatid_ocsp_responses", "OCSP responses asked for.", ["outcome"])
