# SPDX-License-Identifier: Apache-2.0
"""Telling a passive monitor how members are; and checkers that are believed no longer."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from caryatid.model import GSLB_CHECKER, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION

from .client import Client, Request, item
from .failures import Failure
from .names import find, is_id
from .session import Session, Values, command, shown

COLUMNS: Final = ("member_id", "region_id", "vote", "until", "reason")


def tell() -> click.Command:
    """What users know of members."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["members", "--member"], multiple=True, required=True, metavar="NAME_OR_ID",
                     help="A member of a pool that uses the monitor; may be given again."),
        click.Option(["up", "--up/--down"], default=None, help="Whether it is well, as far as this monitor goes."),
        click.Option(["reason", "--reason"], default="", metavar="TEXT", help="Why; shown wherever the vote is."),
        click.Option(["region", "--region"], metavar="NAME_OR_ID", help="For which region; default: this one."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        if values["up"] is None:
            raise click.UsageError("Give --up or --down.")
        key = find(session.client, GSLB_MONITOR, values["which"])
        vote: dict[str, Any] = {"vote": "UP" if values["up"] else "DOWN", "reason": values["reason"]}
        if values["region"] is not None:
            vote["region_id"] = find(session.client, GSLB_REGION, values["region"])
        members = [_member(session.client, key, given) for given in values["members"]]
        body = {"votes": [{"member_id": member_id, **vote} for member_id in members]}
        answer = session.client.send(Request("PUT", f"{item(GSLB_MONITOR, key)}/votes", body))
        session.output.many(answer.document.get("votes", []), COLUMNS)

    words = "Tell a monitor of type passive how members are; names are answered so at once."
    return command("tell", words, params, run)


def revoke() -> click.Command:
    """A checker is refused from now on."""

    def run(session: Session, values: Values) -> None:
        key = find(session.client, GSLB_CHECKER, values["which"])
        answer = session.send(Request("PUT", f"{item(GSLB_CHECKER, key)}/revoke"))
        if answer is not None:
            session.finish(answer)
            session.output.one(shown(answer.document, GSLB_CHECKER.wrapper))

    words = "Believe it no longer, for good: it is refused at once, and others of its region do what it did."
    return command("revoke", words, [_which()], run, changes=True)


def _member(client: Client, monitor_id: str, given: str) -> str:
    """The id of the member that is called so in the pools that use the monitor. Raises Failure."""
    if is_id(given):
        return given
    found = list(_called(client, monitor_id, given))
    if len(found) == 1:
        return found[0]
    if not found:
        raise Failure(f"No pool that uses this monitor has a member {given}.")
    raise Failure(f"{given} names more than one {GSLB_MEMBER.title}; give the id:", *found)


def _called(client: Client, monitor_id: str, given: str) -> Iterator[str]:
    for pool in client.all(GSLB_POOL):
        if any(use["monitor_id"] == monitor_id for use in pool["monitors"]):
            members = client.all(GSLB_MEMBER, parent_id=pool["id"])
            yield from (one["id"] for one in members if given in (one["name"], one["address"], one["hostname"]))


def _which() -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID")


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("gslb-monitor", "tell"): tell,
    ("gslb-checker", "revoke"): revoke,
}
