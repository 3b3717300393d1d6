# SPDX-License-Identifier: Apache-2.0
"""The line to a cluster's RAPI: to whom it goes, whether it answers, and when it is tried again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from caryatid import log, metrics
from caryatid.model.cluster import Cluster
from caryatid.plan.ganeti.remedies import of_problem
from caryatid.store.ganeti.seen import Seen
from caryatid.wire.rapi.answers import Problem
from caryatid.wire.rapi.client import Rapi

BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 4.0
BELIEVED: Final = 2
"""So many questions in a row without an answer, and the cluster is said to be away."""
State = Literal["ONLINE", "ERROR", "OFFLINE"]


@dataclass(frozen=True)
class Health:
    """Whether the RAPI answers. Times are seconds since the epoch."""

    state: State = "OFFLINE"
    since: float = 0.0
    reason: str | None = None
    """Why it does not, and what helps."""
    answered_at: float | None = None


class Connection:
    """One thread's; the RAPI itself may be used by several."""

    def __init__(self, name: str, rapi: Callable[..., Rapi] = Rapi) -> None:
        self.health = Health()
        self._connect = rapi
        self._name = name
        self._rapi: Rapi | None = None
        self._made_of: tuple[str, ...] = ()
        self._failures = 0
        self._again_at = 0.0
        self._answered = False

    def remember(self, seen: Seen) -> None:
        """So it was, for whoever watched before."""
        self.health = Health(seen.status, seen.since, seen.reason, seen.answered_at)

    def rapi(self, cluster: Cluster, password: str) -> Rapi | Problem:
        """That of the cluster as it is wanted now."""
        made_of = (cluster.rapi_url, cluster.rapi_user, password, cluster.rapi_ca)
        if self._rapi is None or made_of != self._made_of:
            self._made_of, self._failures, self._again_at, self._answered = made_of, 0, 0.0, False
            try:
                self._rapi = self._connect(*made_of, tell=_tell)
            except ValueError as error:
                self._rapi = None
                return Problem("refused", f"The cluster's rapi_url or rapi_ca cannot be used: {error}")
        return self._rapi

    @property
    def well(self) -> bool:
        """It has answered us last."""
        return self._failures == 0 and self._answered

    @property
    def pause_s(self) -> float:
        """Until it may be asked again."""
        return max(0.0, self._again_at - time.monotonic())

    def answered(self, now: float) -> bool:
        """It has; True: for the first time, or the first time again."""
        back = self.health.state != "ONLINE"
        if back:
            log.get().info("cluster answers", cluster=self._name)
        self._failures, self._again_at, self._answered = 0, 0.0, True
        self.health = Health("ONLINE", now if back else self.health.since, None, now)
        return back

    def failed(self, problem: Problem, now: float) -> None:
        """It has not; it is left alone for a while, longer each time."""
        self._failures += 1
        self._again_at = time.monotonic() + min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0 ** min(self._failures - 1, 10))
        known = self.health.state == "ONLINE" and self._failures < BELIEVED
        if known:
            return
        why = of_problem(problem)
        if self.health.state != "ERROR":
            log.get().warning("cluster does not answer", cluster=self._name, reason=why.reason, remedy=why.remedy)
        since = self.health.since if self.health.state == "ERROR" else now
        self.health = Health("ERROR", since, f"{why.reason} {why.remedy}", self.health.answered_at)


def _tell(call: str, outcome: str, seconds: float) -> None:
    metrics.RAPI_SECONDS.labels(call, outcome).observe(seconds)
