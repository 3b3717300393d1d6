# SPDX-License-Identifier: Apache-2.0
"""Ganeti's remote API (RAPI, version 2) as far as we use it: what is asked, and what the answer means.

Nothing is tried twice here. What each call really answers, and when, is in docs/ganeti-rapi.md.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from . import reading
from .answers import FINAL, Info, Instance, Job, Live, Node, Problem, Waited, Wanted
from .exchange import Answer, Exchange, Lost

SLOTS = 4
"""Requests at a time: a RAPI serves 20 for all who ask it."""
TIMEOUT_S = 10.0
WAIT_S = 10.0
"""For which a RAPI keeps who waits for a job when there is nothing new."""
INSTANCE = ("name", "uuid", "pnode", "snodes", "admin_state", "tags", "nic.ips", "ctime", "mtime")
"""Of these no node is asked."""
LIVE = ("name", "status", "pnode")
NODE = ("name", "group", "offline", "drained", "vm_capable", "mfree", "dfree", "tags")
JOB = ("id", "status", "summary", "received_ts", "start_ts", "end_ts", "oplog", "opresult")
UNFINISHED = ("id", "status", "summary", "ops")
AnswerT = TypeVar("AnswerT")
Body = dict[str, Any]
Tell = Callable[[str, str, float], None]


def _nobody(_call: str, _outcome: str, _seconds: float) -> None:
    """Is told nothing."""


class Rapi:
    """The RAPI of one cluster. Any thread may use it, SLOTS of them at a time.

    Each method answers within `timeout_s` (`wait`: WAIT_S later), waiting for a slot and looking up the host's name
    included. Its answer is a value, or the Problem: nothing of the network's is raised. A certificate that is not
    trusted is `unreachable`, and the text says so (`certificate is not trusted`).
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        ca_pem: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        tell: Tell = _nobody,
    ) -> None:
        """`ca_pem`: PEM of the authorities that its certificate is checked against, or of that certificate itself (its
        names are not compared then); empty: the machine's authorities. `tell` gets of each request the call's name, its
        outcome (`ok`, or the trouble), and the seconds that it took. Raises ValueError for no URL or no PEM."""
        self._exchange = Exchange(url, user, password, ca_pem)
        self._timeout_s = timeout_s
        self._tell = tell
        self._slots = threading.BoundedSemaphore(SLOTS)

    def info(self) -> Info | Problem:
        """The cluster itself. Two requests."""
        features = self._get("features", "/2/features", reading.strings)
        if isinstance(features, Problem):
            return features
        return self._get("info", "/2/info", lambda answer: reading.info(answer, features))

    def nodes(self) -> Sequence[Node] | Problem:
        """All of them, with what they have free now: each is asked, so this is slow where one is."""
        return self._query("nodes", "node", NODE, None, reading.nodes)

    def instances(self, tag: str) -> Sequence[Instance] | Problem:
        """Those with this tag, as the configuration has them: no node is asked."""
        return self._query("instances", "instance", INSTANCE, ["=[]", "tags", tag], reading.instances)

    def live(self, tag: str) -> Sequence[Live] | Problem:
        """How those with this tag are: their nodes are asked, so this is slow where one is."""
        return self._query("live", "instance", LIVE, ["=[]", "tags", tag], reading.lives)

    def create(self, wanted: Wanted) -> int | Problem:
        """The job that makes the instance, or fails to: a name that is taken is the job's error too.

        `ambiguous`, and `broken`: the job may be there; look for the name before asking again.
        """
        return self._ask("create", "POST", "/2/instances", dict(wanted.body), reading.number)

    def delete(self, name: str) -> int | Problem:
        """The job that removes the instance; where there is none, it fails."""
        return self._ask("delete", "DELETE", f"/2/instances/{quote(name, safe='')}", None, reading.number)

    def job(self, job_id: int) -> Job | Problem:
        """One job with its log, archived ones too. Its status is empty when the cluster does not know it."""
        return self._get("job", f"/2/jobs/{int(job_id)}", lambda answer: reading.job(answer, job_id))

    def jobs(self, ids: Sequence[int]) -> Sequence[Job] | Problem:
        """All of these with their logs, archived ones too, in one request; unknown ones have no status."""
        if not ids:
            return ()
        return self._query("jobs", "job", JOB, ["|", *(["=", "id", int(one)] for one in ids)], reading.jobs)

    def unfinished(self) -> Sequence[Job] | Problem:
        """Jobs that have not ended, everybody's, with the names of their instances; without logs."""
        ended = ["|", *(["=", "status", status] for status in sorted(FINAL))]
        return self._query("unfinished", "job", UNFINISHED, ["!", ended], reading.jobs)

    def wait(self, job_id: int, status: str, serial: int) -> Waited | Problem:
        """Returns once the job's status is not `status` any more, or it has lines after `serial`; after WAIT_S anyway,
        and at once when it has ended. `status` empty and `serial` 0: nothing is known yet. A job that is archived or
        unknown is `missing`.
        """
        previous = [status] if status else None
        body = {"fields": ["status"], "previous_job_info": previous, "previous_log_serial": serial}
        path = f"/2/jobs/{int(job_id)}/wait"
        waited = self._ask("wait", "GET", path, body, lambda answer: reading.waited(answer, status), WAIT_S)
        return reading.missing_job(waited) if isinstance(waited, Problem) else waited

    def cancel(self, job_id: int) -> bool | Problem:
        """Whether the job will not run. One that has begun cannot be stopped."""
        return self._ask("cancel", "DELETE", f"/2/jobs/{int(job_id)}", None, reading.cancelled)

    def _get(self, call: str, path: str, read: Callable[[Any], AnswerT]) -> AnswerT | Problem:
        return self._ask(call, "GET", path, None, read)

    def _query(
        self, call: str, resource: str, fields: Sequence[str], chosen: Any, read: Callable[[Any], AnswerT]
    ) -> AnswerT | Problem:
        body: Body = {"fields": list(fields)} | ({"qfilter": chosen} if chosen else {})
        path = f"/2/query/{resource}"
        return self._ask(call, "PUT", path, body, lambda answer: read(reading.rows(answer, fields)))

    def _ask(
        self, call: str, method: str, path: str, body: Body | None, read: Callable[[Any], AnswerT], more_s: float = 0.0
    ) -> AnswerT | Problem:
        begun = time.monotonic()
        answer = self._once(method, path, body, self._timeout_s + more_s)
        result = self._understood(method, path, answer, read)
        outcome = result.trouble if isinstance(result, Problem) else "ok"
        self._tell(call, outcome, time.monotonic() - begun)
        return result

    def _once(self, method: str, path: str, body: Body | None, timeout_s: float) -> Answer | Lost:
        content = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + timeout_s
        if not self._slots.acquire(timeout=timeout_s):
            return Lost(f"{SLOTS} requests are under way, and none ended within {timeout_s:g} s", asked=False)
        try:
            return self._exchange.ask(method, path, content, deadline)
        finally:
            self._slots.release()

    def _understood(
        self, method: str, path: str, answer: Answer | Lost, read: Callable[[Any], AnswerT]
    ) -> AnswerT | Problem:
        where = f"RAPI {self._exchange.place}: {method} {path}"
        changes = method in {"POST", "DELETE"}
        if isinstance(answer, Lost):
            return Problem("ambiguous" if answer.asked and changes else "unreachable", f"{where}: {answer.why}.")
        if answer.status != reading.OK:
            return reading.problem(answer.status, answer.content, where)
        try:
            return read(json.loads(answer.content))
        except reading.MISREAD:
            return Problem("broken", f"{where}: the answer makes no sense.", answer.status)
