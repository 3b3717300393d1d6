# SPDX-License-Identifier: Apache-2.0
"""What subscriptions can do beside the verbs that all kinds have."""

from collections.abc import Callable
from typing import Any

import click

from caryatid.model import DELIVERY, SUBSCRIPTION

from .client import Request, item
from .failures import Failure
from .names import find
from .output import ordered
from .session import Session, Values, command, shown

LISTED = ordered(["id", *(attribute.name for attribute in DELIVERY if attribute.listed and attribute.name != "id")])


def deliveries() -> click.Command:
    """What a receiver has not accepted."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["state", "--state"], type=click.Choice(["pending", "dead"]), help="Only those."),
        click.Option(["limit", "--limit"], type=click.IntRange(min=1), help="How many at most."),
    ]

    def run(session: Session, values: Values) -> None:
        key = find(session.client, SUBSCRIPTION, values["which"])
        query = [("state", values["state"])] if values["state"] else []
        session.output.many(session.client.all(DELIVERY, query, key, values["limit"]), LISTED)

    return command("deliveries", "List what its receiver has not accepted.", params, run)


def replay() -> click.Command:
    """Something is sent again."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["since", "--since"], metavar="TIME", help="All that has happened since (UTC)."),
        click.Option(["after", "--after"], metavar="EVENT", help="All that comes after the event of this id; 0: all."),
        click.Option(["deliveries", "--delivery"], multiple=True, metavar="ID", help="These of the dead deliveries."),
    ]

    def run(session: Session, values: Values) -> None:
        wanted = {name: values[name] for name in ("since", "after") if values[name]}
        if values["deliveries"]:
            wanted["deliveries"] = list(values["deliveries"])
        _post(session, values, "replay", wanted)

    words = "Send again what its receiver has not accepted and is not tried any more (dead), or what was sent already."
    return command("replay", words, params, run, changes=True)


def test() -> click.Command:
    """Something is sent, to see whether the receiver works."""

    def run(session: Session, values: Values) -> None:
        found = _post(session, values, "test", None)
        if found is not None and not found.get("delivered"):
            raise Failure(str(found.get("reason")))

    return command("test", "Send something to its receiver, and tell what is answered.", [_which()], run, changes=True)


def secret() -> click.Command:
    """Deliveries are signed with another secret."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["file", "--secret-file"], type=click.File(), help="File with it; - is standard input. Else one "
                     "is made, and shown."),
        click.Option(["overlap_s", "--overlap"], type=click.IntRange(min=0), metavar="SECONDS",
                     help="How long it is signed with the old one, too; a day, if nothing is said."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        wanted: dict[str, Any] = {} if values["overlap_s"] is None else {"overlap_s": values["overlap_s"]}
        if values["file"] is not None:
            wanted["secret"] = "…" if session.dry_run else str(values["file"].read()).strip()
        _post(session, values, "secret", wanted, SUBSCRIPTION.wrapper)

    words = "Sign with another secret. Receivers that check with either take what is sent for as long as they overlap."
    return command("secret", words, params, run, changes=True)


def _post(session: Session, values: Values, act: str, wanted: Any, wrapper: str = "") -> dict[str, Any] | None:
    """What the act answers, printed; None: it was not sent."""
    key = find(session.client, SUBSCRIPTION, values["which"])
    answer = session.send(Request("POST", f"{item(SUBSCRIPTION, key)}/{act}", wanted))
    if answer is None:
        return None
    found = shown(answer.document, wrapper or act)
    session.output.one(found)
    return found


def _which() -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID")


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    (SUBSCRIPTION.name, "deliveries"): deliveries,
    (SUBSCRIPTION.name, "replay"): replay,
    (SUBSCRIPTION.name, "test"): test,
    (SUBSCRIPTION.name, "secret"): secret,
}
