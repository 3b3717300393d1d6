# SPDX-License-Identifier: Apache-2.0
"""What clusters have beside the verbs of all kinds: how it is there, and what jobs did."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click

from caryatid.model import CLUSTER

from .client import Client, item
from .names import find
from .session import Session, Values, command, shown

JOBS_DEFAULT: Final = 20
JOBS_MAX: Final = 500
MACHINES: Final = ("name", "phase", "node", "status", "age_s", "reason", "remedy")
NODES: Final = ("name", "group", "offline", "drained", "free_memory_mib", "free_disk_mib")
TABLES: Final[Mapping[str, Sequence[str]]] = {"machines": MACHINES, "nodes": NODES}
JOBS: Final = ("job_id", "act", "status", "machine", "asked_at", "ended_at", "error")
LINES: Final = ("job_id", "at", "text")


def status() -> click.Command:
    """How it is there, and how old that is."""

    def run(session: Session, values: Values) -> None:
        found = shown(session.client.get(f"{_path(session.client, values)}/status"), "status")
        if session.output.format in ("json", "yaml"):
            session.output.one(found)
            return
        session.output.one(
            {**found["cluster"], **{name: found[name] for name in found if name not in (*TABLES, "cluster")}}
        )
        for name, columns in TABLES.items():
            if rows := found.get(name):
                session.output.many(rows, _filled(columns, rows))

    words = "How it is: whether its RAPI answers, its nodes, our machines there, and how old that knowledge is."
    return command("status", words, [_which()], run)


def jobs() -> click.Command:
    """What was done there."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["limit", "--limit"], type=click.IntRange(1, JOBS_MAX), default=JOBS_DEFAULT, show_default=True,
                     help="How many at most."),
        click.Option(["amphora", "--amphora"], metavar="ID", help="Only those about this amphora's machine."),
        click.Option(["log", "--log"], is_flag=True, help="Their logs, a line each."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        query = [("limit", str(values["limit"]))]
        query += [("amphora_id", values["amphora"])] if values["amphora"] else []
        found = session.client.get(f"{_path(session.client, values)}/jobs", query)["jobs"]
        if values["log"] and session.output.format not in ("json", "yaml"):
            lines = [{"job_id": job["job_id"], **line} for job in reversed(found) for line in job["log"]]
            session.output.many(lines, LINES)
        else:
            session.output.many(found, JOBS)

    words = "What jobs of ours did there, the newest first; from our copy, also when Ganeti has archived them."
    return command("jobs", words, params, run)


def _filled(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that some row says something in."""
    known = list(rows)
    return [name for name in columns if any(row.get(name) not in (None, "") for row in known)]


def _which() -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID")


def _path(client: Client, values: Values) -> str:
    return item(CLUSTER, find(client, CLUSTER, values["which"]))


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    (CLUSTER.name, "status"): status,
    (CLUSTER.name, "jobs"): jobs,
}
