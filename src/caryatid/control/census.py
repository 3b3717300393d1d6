# SPDX-License-Identifier: Apache-2.0
"""Metrics that are counted when somebody asks for them: what is in the database, which all processes share."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from caryatid import log, metrics
from caryatid.errors import CaryatidError
from caryatid.metrics import Metric
from caryatid.store import census
from caryatid.store.census import Counts
from caryatid.store.database import Database


class Census(Collector):
    """Every process that shows it counts all there is: of several, one is to be looked at (`max`), not their sum."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is counted to find out what would be."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Nothing, while the database does not answer."""
        try:
            with self._database.read() as tx:
                due, oldest_s, held = census.work(tx)
                found: list[tuple[Metric, Counts]] = [
                    (metrics.LOADBALANCERS, census.loadbalancers(tx)),
                    (metrics.AMPHORAE, census.amphorae(tx)),
                    (metrics.JOBS, census.jobs(tx)),
                    (metrics.WORK_DUE, {(): due}),
                    (metrics.WORK_OLDEST_SECONDS, {(): oldest_s}),
                    (metrics.WORK_HELD, {(): held}),
                    (metrics.EVENTS_HELD_SECONDS, {(): census.events_held_s(tx)}),
                    (metrics.MACHINES, census.machines(tx)),
                    (metrics.CLUSTER_SILENT_SECONDS, census.clusters_silent_s(tx)),
                ]
        except CaryatidError as error:
            log.get().warning("nothing counted", reason=str(error))
            return
        for metric, counts in found:
            family = GaugeMetricFamily(metric.name, metric.help, labels=list(metric.labels))
            for values, number in counts.items():
                family.add_metric([value or "" for value in values], number)
            yield family
