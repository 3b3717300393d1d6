# SPDX-License-Identifier: Apache-2.0
"""What lets a checker in, and a dry run from every region."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION

from .client import Client, Request, item
from .names import find
from .session import Session, Values, command, shown

SEEN: Final = ("region", "vote", "rtt_ms", "reason")


def token() -> click.Command:
    """What one checker, or one installation that reports, can enrol with."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["path", "--file"], type=click.Path(path_type=Path), metavar="FILE",
                     help="Where to write it (0600); default: standard output."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        key = find(session.client, GSLB_REGION, values["which"])
        answer = session.client.send(Request("POST", f"{item(GSLB_REGION, key)}/tokens"))
        secret = str(shown(answer.document, "token")["token"])
        if values["path"] is None:
            click.echo(secret)
            return
        try:
            descriptor = os.open(values["path"], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise click.UsageError(f"{values['path']}: {error.strerror}.") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)

    return command("token", "Make a token with which one checker can enrol, once, within the hour.", params, run)


def test() -> click.Command:
    """Tried once from every region; nothing is remembered."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["address", "--address"], help="What to try: an address, or a name."),
        click.Option(["port", "--port"], type=click.IntRange(1, 65535), help="Of that."),
        click.Option(["pool", "--pool"], metavar="NAME_OR_ID", help="Or a member: the pool that it is in,"),
        click.Option(["member", "--member"], metavar="NAME_OR_ID", help="and its name."),
    ]

    def run(session: Session, values: Values) -> None:
        key = find(session.client, GSLB_MONITOR, values["which"])
        request = Request("POST", f"{item(GSLB_MONITOR, key)}/test", {"test": _wanted(session.client, values)})
        found = shown(session.client.send(request).document, "test")
        if session.output.format in ("json", "yaml"):
            session.output.one(found)
        else:
            session.output.many(found["regions"], SEEN)

    return command("test", "Try it once, from each of its regions, and tell what was found.", params, run)


def _wanted(client: Client, values: Values) -> dict[str, Any]:
    if values["member"] is not None:
        if values["pool"] is None:
            raise click.UsageError("--member needs --pool.")
        return {"member_id": find(client, GSLB_MEMBER, values["member"], find(client, GSLB_POOL, values["pool"]))}
    if values["address"] is None:
        raise click.UsageError("Give --address, or --pool and --member.")
    return {"address": values["address"], **({"port": values["port"]} if values["port"] else {})}


def _which() -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID")


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("gslb-region", "token"): token,
    ("gslb-monitor", "test"): test,
}
