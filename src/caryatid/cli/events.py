# SPDX-License-Identifier: Apache-2.0
"""What has happened: a list, and what happens from now on."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event as Pause
from typing import Any, Final

import click
from rich.text import Text

from caryatid.model import EVENT, LOADBALANCER

from .client import Client, collection
from .failures import Unreachable
from .names import find
from .output import console, plain
from .session import Session, Values, command

LISTED: Final = ("at", "type", "resource", "by", "what")
LIST_DEFAULT: Final = 50
LIST_MAX: Final = 1000
RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 10.0
TYPE_WIDTH: Final = 25
NAMES_MAX: Final = 10_000
UNTOLD: Final = frozenset({"changed", "name", "fqdn", "address", "protocol_port", "why", "per_region"})
"""Of what an event tells: it stands elsewhere on the line, or is too long for one."""
Document = Mapping[str, Any]
Names = dict[str, str]
"""Id → what people call it."""


def list_() -> click.Command:
    """The newest events."""
    params: list[click.Parameter] = [
        *_filters(),
        click.Option(["since", "--since"], metavar="TIME", help="Only later ones: 2026-11-21T18:00:00, UTC."),
        click.Option(["until", "--until"], metavar="TIME", help="Only earlier ones."),
        click.Option(["after", "--after"], metavar="CURSOR", help="The first ones after this, not the newest."),
        click.Option(["limit", "--limit"], type=click.IntRange(1, LIST_MAX), default=LIST_DEFAULT, show_default=True,
                     help="How many at most."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        query = [*_query(session.client, values), ("limit", str(values["limit"]))]
        query += [(name, values[name]) for name in ("since", "until", "after") if values[name]]
        query += [] if values["after"] else [("newest", "true")]
        found = session.client.get(collection(EVENT), query)[EVENT.plural]
        names: Names = {}
        rows = found if session.output.format in ("json", "yaml") else [{**one, **told(one, names)} for one in found]
        session.output.many(rows, LISTED)

    return command("list", "The newest events, oldest first.", params, run)


def follow() -> click.Command:
    """Events as they happen."""
    params: list[click.Parameter] = [
        *_filters(),
        click.Option(["after", "--after"], metavar="CURSOR", help="Begin after this, not now."),
    ]

    def run(session: Session, values: Values) -> None:
        screen, names = console(), Names()
        try:
            for event in following(session.client, _query(session.client, values), values["after"] or ""):
                if session.output.format == "table":
                    screen.print(line(event, names))
                else:
                    print(json.dumps(event, ensure_ascii=False), flush=True)
        except KeyboardInterrupt:
            return

    words = "Events as they happen, until Ctrl-C; with --json one on a line. An API that goes away is waited for."
    return command("follow", words, params, run)


def following(
    client: Client,
    query: Sequence[tuple[str, str]],
    after: str = "",
    stop: Pause | None = None,
    away: Callable[[Unreachable], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Events as they happen, each once, from the cursor `after` on (or from now), until `stop` is set. An API that goes
    away is waited for, if it was there once; `away` is told each time.

    Raises Failure when it refuses, Unreachable when nobody answers at first.
    """
    stop = stop or Pause()
    place, met, pause_s = after, False, RETRY_S
    while not stop.is_set():
        try:
            for frame in client.frames(collection(EVENT), query, place):
                met, pause_s, place = True, RETRY_S, frame.key or place
                if frame.data:
                    yield json.loads(frame.data)
                if stop.is_set():
                    return
        except Unreachable as error:
            if not met:
                raise
            away(error)
        stop.wait(pause_s)
        pause_s = min(pause_s * 2, RETRY_MAX_S)


def told(event: Document, names: Names) -> dict[str, str]:
    """An event in the words of a table. `names`: of resources that earlier events have told of; this one's too, now."""
    detail, key = event.get("detail") or {}, event["resource_id"]
    if name := detail.get("name") or detail.get("fqdn") or _place(detail):
        if len(names) >= NAMES_MAX:
            names.clear()
        names[key] = str(name)
    return {
        "resource": names.get(key, key),
        "by": event["user_id"],
        "what": " ".join(_said(detail)),
    }


def _place(detail: Document) -> str:
    """What a member without a name is called."""
    address, port = detail.get("address"), detail.get("protocol_port")
    return f"{address}:{port}" if address and port else address or ""


def line(event: Document, names: Names) -> Text:
    """An event on one line of a screen."""
    words = told(event, names)
    return Text.assemble(
        (event["at"][11:19], "dim"), " ", (f"{event['type']:<{TYPE_WIDTH}}", _style(event)), " ",
        (words["resource"], "bold"), " ", words["what"], " ", (words["by"], "dim"),
    )  # fmt: skip


def _said(detail: Document) -> Iterator[str]:
    for name, (old, new) in (detail.get("changed") or {}).items():
        yield f"{name}: {plain(old) or 'none'} → {plain(new) or 'none'}"
    for name, value in detail.items():
        if name not in UNTOLD and value not in (None, "", "succeeded"):
            yield plain(value) if name in {"reason", "cause"} else f"{name}={plain(value)}"


def _style(event: Document) -> str:
    word = event["type"].rpartition(".")[2]
    changed = (event.get("detail") or {}).get("changed") or {}
    new = changed.get("operating_status", ["", ""])[1]
    if word in {"error", "lost", "expired", "revoked", "refused", "silent"} or new in {"ERROR", "DOWN", "FAIL_OPEN"}:
        return "red"
    if word in {"drift", "orphan", "stranger", "expiring", "freeze"} or new in {"DEGRADED", "DRAINING"}:
        return "yellow"
    return "green" if word in {"end", "back", "renewed"} or new == "ONLINE" else "cyan"


def _filters() -> list[click.Parameter]:
    return [
        click.Option(["types", "--type"], multiple=True, metavar="TYPE", help="Only these: lb.create, member.*"),
        click.Option(["lb", "--lb"], metavar="NAME_OR_ID", help="Only of this load balancer and what is below it."),
        click.Option(["resource_id", "--resource"], metavar="ID", help="Only of this resource."),
        click.Option(["resource_type", "--kind"], metavar="KIND", help="Only of resources of this kind."),
        click.Option(["user_id", "--user"], metavar="ID", help="Only what this user did, or system:worker, …"),
        click.Option(["project_id", "--of-project"], metavar="ID", help="Only of this project's resources."),
    ]


def _query(client: Client, values: Values) -> list[tuple[str, str]]:
    from .groups import ALIASES, GROUPS

    def kind(word: str) -> str:
        group = GROUPS.get(ALIASES.get(word, word))
        return group.kind if group else word

    query = [
        ("type", f"{kind(name.partition('.')[0])}.{name.partition('.')[2] or '*'}")
        for text in values["types"]
        for name in text.split(",")
    ]
    query += [(name, values[name]) for name in ("resource_id", "user_id", "project_id") if values[name]]
    if values["resource_type"]:
        query.append(("resource_type", kind(values["resource_type"])))
    if values["lb"]:
        query.append(("loadbalancer_id", find(client, LOADBALANCER, values["lb"])))
    return query


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("event", "list"): list_,
    ("event", "follow"): follow,
}
