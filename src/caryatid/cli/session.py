# SPDX-License-Identifier: Apache-2.0
"""What every command that speaks to the API has in common: its options, its client, its output."""

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, cast, get_args

import click

from . import credentials
from .client import Answer, Client, Request, local_port
from .output import Format, Output

DEFAULT_URL = "http://127.0.0.1:9876"
DEFAULT_TIMEOUT_S = 300.0
Values = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """One run of a command: whom it speaks to, how it prints, and whether it waits."""

    client: Client
    output: Output
    wait: bool = False
    dry_run: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S

    def send(self, request: Request) -> Answer | None:
        """The answer to `request`; None with --dry-run, which prints it instead."""
        if not self.dry_run:
            return self.client.send(request)
        query = "&".join(f"{name}={value}" for name, value in request.params)
        click.echo(f"{request.method} {self.client.url}{request.path}{'?' if query else ''}{query}")
        if request.body is not None:
            click.echo(json.dumps(request.body, indent=2, ensure_ascii=False))
        return None

    def finish(self, *answers: Answer | None) -> None:
        """With --wait: every job of `answers` is done. Raises Failure or WaitEnded."""
        from .progress import follow

        if self.wait:
            follow(self.client, [answer.job_id for answer in answers if answer and answer.job_id], self.timeout_s)


Run = Callable[[Session, Values], None]


def command(
    name: str, words: str, params: Sequence[click.Parameter], run: Run, *, changes: bool = False
) -> click.Command:
    """A command whose options open a session that `run` is given; `changes`: it can wait, and dry-run."""

    def callback(**values: Any) -> None:
        with session(values) as opened:
            run(opened, values)

    taken = {flag for param in params for flag in param.opts}
    common = [*connection_options(), *(change_options(taken) if changes else ())]
    return click.Command(name, params=[*params, *common], callback=callback, help=words)


class session:  # noqa: N801  reads as a verb
    """Takes the common options out of `values`; a context that gives the Session they mean."""

    def __init__(self, values: Values) -> None:
        chosen = cast(Format, "json" if values.pop("as_json") else values.pop("output"))
        values.pop("output", None)
        columns = tuple(word for text in values.pop("columns") for word in text.replace(",", " ").split())
        url = values.pop("at_url")
        who = credentials.headers(values.pop("token_file"), values.pop("login"), local_port(url))
        client = Client(url, values.pop("project"), who)
        rest = {name: values.pop(name) for name in ("wait", "dry_run", "timeout_s") if name in values}
        self.opened = Session(client, Output(chosen, columns), **rest)

    def __enter__(self) -> Session:
        return self.opened

    def __exit__(self, *error: object) -> None:
        self.opened.client.__exit__(*error)


def connection_options() -> list[click.Parameter]:
    """Where the API is, in whose name, and how answers are printed."""
    return [
        click.Option(["at_url", "--url"], envvar="CARYATID_URL", default=DEFAULT_URL, show_default=True,
                     show_envvar=True, metavar="URL", help="The API."),
        click.Option(["project", "--project"], envvar="CARYATID_PROJECT", show_envvar=True, help="In whose name."),
        click.Option(["token_file", "--token-file"], envvar="CARYATID_TOKEN_FILE", show_envvar=True, metavar="FILE",
                     help="File with the token to ask with; - is standard input. Else CARYATID_TOKEN is one."),
        click.Option(["login", "--login"], envvar="CARYATID_LOGIN", show_envvar=True, metavar="NAME",
                     help="Ask as this user; for its password CARYATID_PASSWORD is taken, or it is asked for."),
        click.Option(["output", "-o", "--output"], type=click.Choice(get_args(Format)), default="table",
                     show_default=True, help="How answers are printed."),
        click.Option(["as_json", "--json"], is_flag=True, help="The same as --output json."),
        click.Option(["columns", "--columns"], multiple=True, metavar="NAMES", help="Attributes to print, by commas."),
    ]  # fmt: skip


def change_options(taken: AbstractSet[str]) -> list[click.Parameter]:
    """Whether to wait for the change to be in effect. `taken`: options that mean something else already."""
    return [
        click.Option(["wait", "--wait"], is_flag=True, help="End when the change is in effect; shows progress."),
        timeout_option(taken),
        click.Option(["dry_run", "--dry-run"], is_flag=True, help="Print the request instead of sending it."),
    ]


def timeout_option(taken: AbstractSet[str] = frozenset()) -> click.Option:
    """The deadline of a wait; a health monitor's --timeout leaves it the longer name alone."""
    flags = [flag for flag in ("--timeout", "--wait-timeout") if flag not in taken]
    return click.Option(["timeout_s", *flags], type=click.FloatRange(min=0), default=DEFAULT_TIMEOUT_S,
                        show_default=True, metavar="SECONDS", help="How long to wait at most.")  # fmt: skip


def shown(document: Mapping[str, Any], wrapper: str) -> dict[str, Any]:
    """What is inside the envelope of an answer."""
    inner = document.get(wrapper)
    return dict(inner) if isinstance(inner, dict) else {}
