# SPDX-License-Identifier: Apache-2.0
"""What a gslb is besides its attributes: how it and all that it uses are, why, and what was answered when."""

from collections.abc import Callable
from typing import Final

import click

from caryatid.model import GSLB

from .client import Client, Request, item
from .names import find
from .output import console
from .session import Session, Values, command, shown

HISTORY_DEFAULT: Final = 20
HISTORY_MAX: Final = 1000
UNFREEZE: Final = "/gslb/v1/guard/unfreeze"
ANSWER: Final = f"{GSLB.name}.answer"
LISTED: Final = ("at", "what", "change", "why")


def explain() -> click.Command:
    """What somebody would be answered, and why."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["client", "--client"], metavar="IP", help="Who asks: its address, or its resolver's."),
    ]

    def run(session: Session, values: Values) -> None:
        from .gslbtree import print_explained

        query = [("client", values["client"])] if values["client"] else []
        found = shown(session.client.get(f"{_path(session.client, values)}/explain", query), "explain")
        if session.output.format in ("json", "yaml"):
            session.output.one(found)
        else:
            print_explained(found, console())

    return command("explain", "What is answered, to whom, and why; with --client, to this one.", params, run)


def status() -> click.Command:
    """It and all that it uses, with what each region says."""

    def run(session: Session, values: Values) -> None:
        from .gslbtree import as_tree, look, regions

        tree = look(session.client, find(session.client, GSLB, values["which"]))
        if session.output.format in ("json", "yaml"):
            session.output.one(tree)
        else:
            console().print(as_tree(tree, regions(session.client)))

    words = "It and all that it uses, with statuses, and what each region says of each member."
    return command("status", words, [_which()], run)


def history() -> click.Command:
    """What was decided and answered, newest last."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["limit", "--limit"], type=click.IntRange(1, HISTORY_MAX), default=HISTORY_DEFAULT,
                     show_default=True, help="How many at most."),
        click.Option(["answers", "--answers"], is_flag=True, help="Only what was answered, not every status."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        from .gslbtree import told

        query = [("limit", str(HISTORY_MAX if values["answers"] else values["limit"]))]
        found = session.client.get(f"{_path(session.client, values)}/history", query)["history"]
        if values["answers"]:
            found = [one for one in found if one["type"] == ANSWER][-values["limit"] :]
        for_programs = session.output.format in ("json", "yaml")
        session.output.many(found if for_programs else [told(one) for one in found], LISTED)

    return command("history", "What was decided and answered when, and why; newest last.", params, run)


def sync() -> click.Command:
    """Published anew, though nothing has changed."""

    def run(session: Session, values: Values) -> None:
        session.finish(session.send(Request("POST", f"{_path(session.client, values)}/sync")))

    return command("sync", "Tell the name servers again, and ask them.", [_which()], run, changes=True)


def unfreeze() -> click.Command:
    """The operator's word against the guard."""

    def run(session: Session, _values: Values) -> None:
        session.finish(session.send(Request("PUT", UNFREEZE)))

    words = (
        "What the guard keeps in answers is down: for ten minutes members go out of them, however few regions agree on "
        "it."
    )
    return command("unfreeze", words, [], run, changes=True)


def watch() -> click.Command:
    """A live screen of gslbs."""
    params: list[click.Parameter] = [click.Option(["once", "--once"], is_flag=True, help="Print one screen and end.")]

    def run(session: Session, values: Values) -> None:
        from . import live
        from .gslbwatch import Board

        (live.show if values["once"] else live.watch)(session.client, Board())

    words = "A live screen of all gslbs, worst first: answers, statuses, why, and the last events. q or Ctrl-C ends it."
    return command("watch", words, params, run)


def _which() -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID")


def _path(client: Client, values: Values) -> str:
    return item(GSLB, find(client, GSLB, values["which"]))


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("gslb", "explain"): explain,
    ("gslb", "status"): status,
    ("gslb", "history"): history,
    ("gslb", "sync"): sync,
    ("gslb", "watch"): watch,
    ("gslb", "unfreeze"): unfreeze,
}
