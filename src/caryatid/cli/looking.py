# SPDX-License-Identifier: Apache-2.0
"""Commands that look at more than one resource: `status` and `explain`."""

from collections.abc import Callable

import click

from .groups import ALIASES, GROUPS
from .names import LISTED
from .session import Session, Values, command


def status() -> click.Command:
    """Everything on one screen."""
    params: list[click.Parameter] = [
        click.Option(["watch", "--watch"], is_flag=True, help="Again and again, until Ctrl-C."),
        click.Option(["interval_s", "--interval"], type=click.FloatRange(min=0.2), default=2.0, show_default=True,
                     metavar="SECONDS", help="How often, with --watch."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        from . import overview

        if session.output.format in ("json", "yaml"):
            session.output.one(overview.document(overview.look(session.client)))
        elif values["watch"]:
            overview.keep_showing(session.client, values["interval_s"])
        else:
            overview.show(session.client)

    words = "Everything on one screen, worst first: load balancers and what is below them, hosts, jobs not finished."
    return command("status", words, params, run)


def watch() -> click.Command:
    """A live screen, fed by the events."""
    params: list[click.Parameter] = [click.Option(["once", "--once"], is_flag=True, help="Print one screen and end.")]

    def run(session: Session, values: Values) -> None:
        from . import live, watch

        (live.show if values["once"] else live.watch)(session.client, watch.Board())

    words = "A live screen of load balancers, worst first, jobs under way and the last events. q or Ctrl-C ends it."
    return command("watch", words, params, run)


def explain() -> click.Command:
    """The attributes of a kind; needs no API."""
    kinds = {name: LISTED[group.kind] for name, group in GROUPS.items() if group.kind in LISTED}

    def run(kind: str) -> None:
        from .explain import print_kind

        print_kind(kinds[ALIASES.get(kind, kind)])

    words = "The attributes of a kind: type, who sets it, default, limits, meaning."
    argument = click.Argument(["kind"], type=click.Choice([*kinds, *ALIASES]), metavar="KIND")
    return click.Command("explain", params=[argument], callback=run, help=f"{words}\n\nKINDs: {', '.join(kinds)}.")


COMMANDS: dict[str, Callable[[], click.Command]] = {"status": status, "watch": watch, "explain": explain}
