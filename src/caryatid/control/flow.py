# SPDX-License-Identifier: Apache-2.0
"""TaskFlow runs the steps; it does not decide them.

Any list of steps becomes a linear flow of one task class, run serially and in memory. Correctness never depends on
a revert: what was begun outside is known from the database, and a next attempt takes it up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import taskflow.engines
from taskflow import task
from taskflow.patterns import linear_flow
from taskflow.types import notifier

from caryatid import tracing
from caryatid.plan.steps import Step

from .perform import NotYetError

WORDS = {"RUNNING": "begin", "SUCCESS": "done", "FAILURE": "failed"}


class Act(task.Task):  # type: ignore[misc]  # TaskFlow has no types
    """One step, performed."""

    def __init__(self, number: int, step: Step, perform: Callable[[Step], None]) -> None:
        super().__init__(name=f"{number} {step}")
        self._step = step
        self._perform = perform

    def execute(self) -> None:
        with tracing.span(f"step {type(self._step).__name__}", step=str(self._step)):
            self._perform(self._step)


def prepare() -> None:
    """The first flow of a process looks for its engine among all that is installed, which takes a third of a second and
    more. Afterwards none has to."""
    _engine(linear_flow.Flow("nothing"))


def run(steps: Sequence[Step], perform: Callable[[Step], None], log: Callable[[str], None]) -> None:
    """Every step has been performed, in order, each said to `log` as it begins and ends.

    Raises what the first failing `perform` raised; the steps after it were not begun.
    """
    if not steps:
        return
    flow: Any = linear_flow.Flow("reconcile")
    for number, step in enumerate(steps, start=1):
        flow.add(Act(number, step, perform))
    engine = _engine(flow)
    engine.atom_notifier.register(notifier.Notifier.ANY, _said_to(log))
    engine.run()


def _engine(flow: Any) -> Any:
    return taskflow.engines.load(flow, engine="serial")


def _said_to(log: Callable[[str], None]) -> Callable[[str, dict[str, Any]], None]:
    def say(state: str, details: dict[str, Any]) -> None:
        word = WORDS.get(state)
        waits = state == "FAILURE" and details["result"].check(NotYetError)  # whoever gets that says how far it is
        if word is not None and not waits:
            log(f"{details['task_name'].split(' ', 1)[1]}: {word}")

    return say
