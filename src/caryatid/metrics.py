# SPDX-License-Identifier: Apache-2.0
"""Every metric, once: which service shows it, name, help, labels. Each process shows its services' at `/metrics`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    gc_collector,
    platform_collector,
    process_collector,
)
from prometheus_client.registry import Collector

API, WORKER, HEALTH, HOUSEKEEPING, AGENT = "api", "worker", "health", "housekeeping", "agent"
CHECKER, CONDUCTOR = "checker", "conductor"
EVERYWHERE: Final = (API, WORKER, HEALTH, HOUSEKEEPING)
"""Services that have the database."""
FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Metric:
    """One line of the table."""

    name: str
    """As it is shown."""
    type: str
    help: str
    labels: Sequence[str]
    services: Sequence[str]
    collector: Collector | None = None
    """None: it is counted when somebody asks (control/census.py)."""


TABLE: Final[dict[str, Metric]] = {}
"""By name."""


def shown(services: Iterable[str], *counted: Collector) -> CollectorRegistry:
    """What a process of these services shows, and what is known of any process. `counted`: what counts when asked."""
    wanted = set(services)
    cast(Callable[[], None], disable_created_metrics)()
    registry = CollectorRegistry()
    process_collector.ProcessCollector(registry=registry)
    platform_collector.PlatformCollector(registry=registry)
    gc_collector.GCCollector(registry=registry)
    for metric in TABLE.values():
        if metric.collector is not None and wanted.intersection(metric.services):
            registry.register(metric.collector)
    for collector in counted:
        registry.register(collector)
    return registry


def _services(said: str | Sequence[str]) -> Sequence[str]:
    return (said,) if isinstance(said, str) else said


def _counter(services: str | Sequence[str], name: str, help: str, *labels: str) -> Counter:  # noqa: A002  its name
    made = Counter(name, help, labels, registry=None)
    TABLE[f"{name}_total"] = Metric(f"{name}_total", "counter", help, labels, _services(services), made)
    return made


def _gauge(services: str | Sequence[str], name: str, help: str, *labels: str) -> Gauge:  # noqa: A002  its name
    made = Gauge(name, help, labels, registry=None)
    TABLE[name] = Metric(name, "gauge", help, labels, _services(services), made)
    return made


def _histogram(
    services: str | Sequence[str],
    name: str,
    help: str,  # noqa: A002  its name
    *labels: str,
    buckets: Sequence[float] = FAST_S,
) -> Histogram:
    made = Histogram(name, help, labels, buckets=buckets, registry=None)
    TABLE[name] = Metric(name, "histogram", help, labels, _services(services), made)
    return made


def _counted(services: str | Sequence[str], name: str, help: str, *labels: str) -> Metric:  # noqa: A002  its name
    TABLE[name] = Metric(name, "gauge", help, labels, _services(services))
    return TABLE[name]


REQUESTS = _counter(API, "caryatid_api_requests", "Requests answered.", "method", "kind", "status")
REQUEST_SECONDS = _histogram(
    API,
    "caryatid_api_request_seconds",
    "From a request's coming in to its answer, by what sort it is: `show`, `list`, `change`, `wait` (it asked to be "
    "answered later), `other`. Streams end when their reader does, and are not counted.",
    "operation",
)
WAITING = _gauge(API, "caryatid_api_waiting", "Requests that wait until something is otherwise than it was.")
DATABASE_BUSY = _counter(EVERYWHERE, "caryatid_database_busy", "Transactions refused because the database was busy.")
DATABASE_SECONDS = _histogram(EVERYWHERE, "caryatid_database_write_seconds", "Time of one transaction that writes.")

RECONCILES = _counter(WORKER, "caryatid_reconciles", "Attempts to put a root into effect.", "outcome")
RECONCILE_SECONDS = _histogram(WORKER, "caryatid_reconcile_seconds", "Time of one attempt.", buckets=SLOW_S)
BREAKERS_OPEN = _gauge((WORKER, API), "caryatid_breakers_open", "Amphorae whose circuit breaker is open.")

GSLB_DECISIONS = _counter(
    WORKER,
    "caryatid_gslb_decisions",
    "Decisions about gslbs, by what came of them: `unchanged`, `published` (and seen on all name servers), `again`, "
    "`failed`, `lost` (to another process).",
    "outcome",
)
GSLB_PUBLISH_SECONDS = _histogram(
    WORKER, "caryatid_gslb_publish_seconds", "Time to tell the name servers of one zone, however many names at once."
)
GSLB_VERIFY_SECONDS = _histogram(
    WORKER, "caryatid_gslb_verify_seconds", "Time until all name servers of one zone were seen to answer so, or not."
)
GSLB_SECONDS = _histogram(
    WORKER,
    "caryatid_gslb_seconds",
    "From a gslb's being due to all name servers' answering as decided, where they were told something else.",
    buckets=SLOW_S,
)
GSLB_UNPUBLISHED = _gauge(
    WORKER, "caryatid_gslb_unpublished", "Gslbs whose name servers do not answer as decided, as last tried here."
)
GSLB_GUARDED = _gauge(
    WORKER, "caryatid_gslb_guarded", "Members kept in answers because too many go at once, as last seen here."
)
GSLB_STRAYS = _counter(
    HOUSEKEEPING,
    "caryatid_gslb_strays",
    "What an audit found on name servers that should not be there (`orphan`), or is `missing`, or `other` than it "
    "should be.",
    "what",
)
GSLB_FOLLOWED = _counter(
    HOUSEKEEPING,
    "caryatid_gslb_followed",
    "What those who know of members elsewhere said of them: they are `there`, or `missing`, or it was `silent`.",
    "outcome",
)

REPORTS = _counter(HEALTH, "caryatid_reports", "Datagrams from agents.", "verdict")
STATUSES_WRITTEN = _counter(HEALTH, "caryatid_statuses_written", "Operating statuses that have changed.")
HOSTS = _gauge(HEALTH, "caryatid_hosts", "Hosts, as this process hears them, if it is the one that judges.", "state")
FAILOVERS = _counter(
    (HEALTH, HOUSEKEEPING),
    "caryatid_failovers",
    "Amphorae that were found lost, and made due to be replaced.",
    "cause",
)
FAILOVERS_FROZEN = _gauge(
    HEALTH, "caryatid_failovers_frozen", "1 while nobody is held to be lost, because too many are silent."
)
STRANGERS = _counter(HEALTH, "caryatid_strangers", "Amphorae that hosts reported and that are not theirs.")

LOADBALANCERS = _counted(
    HOUSEKEEPING, "caryatid_loadbalancers", "Load balancers.", "provisioning_status", "operating_status"
)
AMPHORAE = _counted(HOUSEKEEPING, "caryatid_amphorae", "Amphorae.", "status")
WORK_DUE = _counted(HOUSEKEEPING, "caryatid_work_due", "Load balancers that are due and that nobody works on.")
WORK_OLDEST_SECONDS = _counted(
    HOUSEKEEPING, "caryatid_work_oldest_seconds", "For how long the one has been due that has waited longest; 0: none."
)
WORK_HELD = _counted(HOUSEKEEPING, "caryatid_work_held", "Load balancers that a worker works on.")
JOBS = _counted(HOUSEKEEPING, "caryatid_jobs", "Jobs that have not ended.", "state")
EVENTS_HELD_SECONDS = _counted(
    HOUSEKEEPING,
    "caryatid_events_held_seconds",
    "Age of the oldest event that cannot be shown yet, as an older transaction is under way (PostgreSQL); 0: none.",
)
ORPHANS = _gauge(HOUSEKEEPING, "caryatid_orphans", "Amphorae on hosts that should not have them, as last audited.")
DRIFTS = _counter(
    HOUSEKEEPING, "caryatid_drifts", "Load balancers that an audit found other than they should be, and made due."
)
TOMBSTONES = _gauge(HOUSEKEEPING, "caryatid_tombstones", "Deleted amphorae whose hosts have not yet confirmed it.")
SPARES = _gauge(HOUSEKEEPING, "caryatid_spares", "Amphorae that wait for load balancers.", "flavor", "state")
CERTIFICATES = _gauge(
    HOUSEKEEPING,
    "caryatid_certificates",
    "References in use (`all`), those that cannot be read or stand for something wrong now (`problem`), and those that "
    "end within so many days; in the process that watches them.",
    "which",
)
CERTIFICATE_EXPIRY_SECONDS = _gauge(
    HOUSEKEEPING, "caryatid_certificate_expiry_seconds", "Until the first certificate in use ends."
)
CERTIFICATE_READINGS = _counter(
    HOUSEKEEPING, "caryatid_certificate_readings", "References in use that were read again.", "outcome"
)
STAPLES = _counter(HOUSEKEEPING, "caryatid_ocsp_responses", "OCSP responses asked for.", "outcome")

WEBHOOKS = _counter(
    HOUSEKEEPING, "caryatid_webhook_deliveries", "Attempts to deliver an event to a subscription.", "outcome"
)
WEBHOOK_SECONDS = _histogram(
    HOUSEKEEPING,
    "caryatid_webhook_seconds",
    "From what has happened until it was delivered, at first try.",
    buckets=SLOW_S,
)
EVENT_FOLLOWERS = _gauge(API, "caryatid_event_followers", "Requests that wait for events, or stream them.")
EVENT_LAG = _histogram(
    API, "caryatid_event_lag_seconds", "From an event's being written to its being handed to followers."
)

RAPI_SECONDS = _histogram(
    HOUSEKEEPING,
    "caryatid_rapi_seconds",
    "From asking a cluster's RAPI to its answer, by what was asked for and what came of it: `ok`, or what was wrong.",
    "call",
    "outcome",
    buckets=SLOW_S,
)
RAPI_SLOTS = _gauge(HOUSEKEEPING, "caryatid_rapi_slots", "Requests to RAPIs that are under way.")
CLUSTER_JOBS = _counter(
    HOUSEKEEPING,
    "caryatid_cluster_jobs",
    "Jobs of ours in clusters that have ended: `create` or `delete`, and as what.",
    "act",
    "outcome",
)
MACHINES_LOST = _counter(
    HOUSEKEEPING,
    "caryatid_machines_lost",
    "Machines that were given up, and are replaced: `boot`, whose agents did not come in time; `gone`, the others.",
    "cause",
)
MACHINES = _counted(
    HOUSEKEEPING, "caryatid_machines", "Instances in clusters, by how far they are.", "cluster", "phase"
)
CLUSTER_SILENT_SECONDS = _counted(
    HOUSEKEEPING, "caryatid_cluster_silent_seconds", "Since a cluster's RAPI has last answered.", "cluster"
)

AGENT_AMPHORAE = _gauge(
    AGENT, "caryatid_agent_amphorae", "Amphorae of this host: `running`, or `down` though they should run.", "state"
)
AGENT_APPLIES = _counter(
    AGENT,
    "caryatid_agent_applies",
    "Configurations that were asked for, by how they came into effect: `unchanged`, `runtime` (without a reload), "
    "`reloaded`, `started`, `stopped`; or were not: `refused`, `overtaken`, `wanting` (keys), `broken`.",
    "how",
)
AGENT_APPLY_SECONDS = _histogram(AGENT, "caryatid_agent_apply_seconds", "Time to put one into effect.", buckets=SLOW_S)
AGENT_RESTARTS = _counter(AGENT, "caryatid_agent_restarts", "HAProxies that died by themselves.")
AGENT_DATAGRAMS = _counter(AGENT, "caryatid_agent_datagrams", "Reports sent, one each for every receiver.")

CHECKS = _counter(
    CHECKER,
    "caryatid_checks",
    "Checks of members made, by type, and what came of them: `up`, `down`, or `ours` (it could not be tried).",
    "type",
    "verdict",
)
CHECK_SECONDS = _histogram(CHECKER, "caryatid_check_seconds", "Time of a check, retries included.", "type")
CHECKS_LATE = _counter(CHECKER, "caryatid_checks_late", "Checks made more than an interval after they were due.")
CHECKS_HELD = _gauge(CHECKER, "caryatid_checks_held", "Checks that this checker makes again and again.")
CHECKS_BUFFERED = _gauge(CHECKER, "caryatid_checks_buffered", "Votes that the conductor does not have yet.")
CHECKER_QUARANTINED = _gauge(
    CHECKER, "caryatid_checker_quarantined", "1 while this checker doubts itself, and holds nothing."
)

CHECK_VOTES = _counter(
    CONDUCTOR, "caryatid_check_votes", "Votes of checkers: edges are those that say something new.", "outcome"
)
CHECK_SHARES_MOVED = _counter(CONDUCTOR, "caryatid_check_shares_moved", "Shares of checks that went to a checker.")
CHECK_WANTED_SECONDS = _histogram(
    CONDUCTOR, "caryatid_check_wanted_seconds", "Time to find out anew which checks all regions have to make."
)
CHECK_REFUSED = _counter(CONDUCTOR, "caryatid_check_requests_refused", "Requests of checkers that came too often.")
CHECK_WATCH_WOKEN = _counter(
    HOUSEKEEPING, "caryatid_check_watch_woken", "Gslbs looked at because votes had expired, or were confirmed again."
)
