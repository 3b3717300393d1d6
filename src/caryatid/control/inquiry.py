# SPDX-License-Identifier: Apache-2.0
"""Asking after a silent host: its own agent, and other hosts' agents, at the same time and with one deadline."""

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any, Literal

from caryatid.model.host import Host
from caryatid.plan.silence import ASKED_AT_ONCE, OTHERS_MAX, Answer
from caryatid.wire.agent import AgentAbsent, AgentClient, AgentError, AgentTimeout, AgentUnreachable, Probe

DEADLINE_S = 1.0
"""For an answer, from the beginning of the asking."""
Word = Literal["answers", "refuses", "silent"]
Reach = Callable[[Host], Word]
"""What the host's agent says to us; its machine refuses where nobody listens. May block."""
ReachFrom = Callable[[Host, Host], bool | None]
"""Whether the agent of the second host answers that of the first; None: the first cannot be asked. May block."""


class Inquiry:
    """Asks in threads of its own; nobody who begins an asking waits for its end."""

    def __init__(self, reach: Reach, reach_from: ReachFrom) -> None:
        self._reach = reach
        self._reach_from = reach_from
        self._asking: set[str] = set()
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._askers = ThreadPoolExecutor(ASKED_AT_ONCE, "inquiry")
        self._callers = ThreadPoolExecutor(ASKED_AT_ONCE * (OTHERS_MAX + 1), "calls")

    def begin(self, host: Host, others: Sequence[Host]) -> None:
        """The host is asked after, unless it is being asked after already."""
        with self._lock:
            if host.id in self._asking:
                return
            self._asking.add(host.id)
        self._askers.submit(self._ask, host, others)

    def take(self) -> dict[str, Answer]:
        """The answers that have come since it was called last, by host."""
        with self._lock:
            answers, self._answers = self._answers, {}
        return answers

    def close(self) -> None:
        """Nobody is asked any more; what was begun is not waited for."""
        for pool in (self._askers, self._callers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, host: Host, others: Sequence[Host]) -> None:
        begun = time.monotonic()
        direct = self._callers.submit(self._reach, host)
        from_others = [self._callers.submit(self._reach_from, other, host) for other in others]
        waited: list[Future[Any]] = [direct, *from_others]
        wait(waited, DEADLINE_S)
        said = tuple(word for word in map(_word, from_others) if word is not None)
        word = _word(direct)
        answer = Answer(begun, time.monotonic(), word == "answers", said, len(others), refused=word == "refuses")
        with self._lock:
            self._asking.discard(host.id)
            self._answers[host.id] = answer


def _word(future: Future[Any]) -> Any:
    """None: no answer in time, or it failed in a way that nobody thought of."""
    return future.result() if future.done() and not future.cancelled() and future.exception() is None else None


def by_agents(context: Callable[[], ssl.SSLContext]) -> Inquiry:
    """Asks agents, over connections made for the purpose: one that was kept proves nothing."""

    def client(host: Host) -> closing[AgentClient]:
        return closing(
            AgentClient(host.agent_url, host.id, context(), DEADLINE_S, connect_timeout_s=DEADLINE_S),
        )

    def reach(host: Host) -> Word:
        try:
            with client(host) as agent:
                agent.info()
        except AgentAbsent:
            return "refuses"
        except (AgentUnreachable, AgentTimeout):
            return "silent"
        except AgentError:
            return "answers"  # whatever it said
        return "answers"

    def reach_from(other: Host, host: Host) -> bool | None:
        try:
            with client(other) as agent:
                return agent.probe(Probe(host_id=host.id, url=host.agent_url.rstrip("/"))).reachable
        except (AgentError, ValueError):
            return None

    return Inquiry(reach, reach_from)
