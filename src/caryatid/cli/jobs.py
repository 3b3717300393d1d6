# SPDX-License-Identifier: Apache-2.0
"""What one can do with a job beside looking at it: wait for it, follow what is done for it, take it back."""

import json
import math
from collections.abc import Callable

import click

from caryatid.model import JOB

from .client import Request, item
from .progress import Lines, follow, line_text, news
from .session import Session, Values, command, shown, timeout_option


def wait() -> click.Command:
    """Jobs that were begun earlier."""

    def run(session: Session, values: Values) -> None:
        follow(session.client, values["which"], session.timeout_s)

    argument = click.Argument(["which"], nargs=-1, required=True, metavar="ID…")
    return command("wait", "End when the jobs have; shows progress.", [argument, timeout_option()], run)


def log() -> click.Command:
    """What was done for a job."""
    params: list[click.Parameter] = [
        click.Argument(["which"], metavar="ID"),
        click.Option(["follow", "-f", "--follow"], is_flag=True, help="Go on until the job ends."),
    ]

    def run(session: Session, values: Values) -> None:
        path = item(JOB, values["which"])
        if not values["follow"]:
            lines = session.client.get(f"{path}/log")["log"]
            if session.output.format == "table":
                click.echo("".join(f"{line_text(line)}\n" for line in lines), nl=False)
            else:
                session.output.many(lines, ("position", "at", "attempt", "text"))
            return
        seen = Lines()
        for job in news(session.client, values["which"], math.inf):
            for line in seen.new(job):
                click.echo(line_text(line) if session.output.format == "table" else json.dumps(dict(line)))

    words = "What was done for the job, a line each; with --follow as it is said, --json an object a line."
    return command("log", words, params, run)


def cancel() -> click.Command:
    """A failover that has not begun."""

    def run(session: Session, values: Values) -> None:
        answer = session.send(Request("PUT", f"{item(JOB, values['which'])}/cancel"))
        if answer is not None:
            session.output.one(shown(answer.document, JOB.wrapper))

    words = "Take a failover back that has not begun. Other changes are changed back instead."
    return command("cancel", words, [click.Argument(["which"], metavar="ID")], run, changes=True)


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("job", "wait"): wait,
    ("job", "log"): log,
    ("job", "cancel"): cancel,
}
