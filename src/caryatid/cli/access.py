# SPDX-License-Identifier: Apache-2.0
"""What users and policies need beside the verbs that all kinds have."""

import click

from caryatid.model import USER

from .client import Request, item
from .failures import Failure
from .names import find
from .session import Session, Values, command


def set_password() -> click.Command:
    """A user has another password."""
    params: list[click.Parameter] = [
        click.Argument(["which"], metavar="NAME_OR_ID"),
        click.Option(["file", "--password-file"], type=click.File(), help="File with it; - is standard input."),
        click.Option(["remove", "--remove"], is_flag=True, help="It has none any more, and only tokens let it in."),
    ]

    def run(session: Session, values: Values) -> None:
        key = find(session.client, USER, values["which"])
        password = None if values["remove"] else "…" if session.dry_run else _password(values)
        session.finish(session.send(Request("PUT", item(USER, key), {USER.wrapper: {"password": password}})))

    words = (
        "Give a user another password, which is asked for. Who is no administrator changes its own, with --login; what "
        "clients have logged in for with the one before is worth nothing then."
    )
    return command("password", words, params, run, changes=True)


def _password(values: Values) -> str:
    if values["file"] is None:
        return str(click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
    password = str(values["file"].read()).removesuffix("\n")
    if not password:
        raise Failure("The file has no password in it.")
    return password
