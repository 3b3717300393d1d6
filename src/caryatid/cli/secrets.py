# SPDX-License-Identifier: Apache-2.0
"""Secrets and containers of them, as commands: their paths speak as Barbican's do, without envelopes.

What a secret is comes from a file or standard input, never from the command line, which everybody on a machine can see.
"""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import click

from caryatid.model import CONTAINER, SECRET
from caryatid.model.kind import Kind
from caryatid.model.secret import PARTS, ContainerType, SecretType, kept

from .client import Request, collection, item
from .failures import Failure
from .session import Session, Values, command

PAGE = 100
PAGES_MAX = 10_000
COLUMNS = {
    SECRET.name: ("secret_ref", "name", "secret_type", "content_types", "expiration"),
    CONTAINER.name: ("container_ref", "name", "type", "secret_refs"),
}
TEXT, BINARY = "text/plain", "application/octet-stream"
FROM = "File with the payload; - is standard input."


def create() -> click.Command:
    """A secret, with its payload or without."""
    params: list[click.Parameter] = [
        click.Argument(["name"], required=False),
        click.Option(["file", "--file"], type=click.File("rb"), help=FROM),
        click.Option(["type_", "--type", "--secret-type"], type=click.Choice(get_args(SecretType)), default="opaque",
                     show_default=True, help="What it is said to be."),
        click.Option(["expiration", "--expiration"], metavar="MOMENT", help="When it can no longer be read. UTC."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        wanted = {"name": values["name"] or "", "secret_type": values["type_"], "expiration": values["expiration"]}
        if values["file"]:
            wanted |= _payload(values["file"].read(), shown=not session.dry_run)
        _made(session, SECRET, {name: value for name, value in wanted.items() if value is not None})

    words = "Keep a secret: a certificate, a key, a PKCS #12 bundle. It cannot be read again, only be replaced (set)."
    return command("create", words, params, run, changes=True)


def set_() -> click.Command:
    """Another payload."""
    params: list[click.Parameter] = [
        _which(),
        click.Option(["file", "--file"], type=click.File("rb"), required=True, help=FROM),
    ]

    def run(session: Session, values: Values) -> None:
        path = _path(session, SECRET, values["which"])
        payload = values["file"].read()
        kind = TEXT if _is_text(payload) else BINARY
        session.send(Request("PUT", path, content=payload, content_type=kind))

    words = "Replace what a secret is: what listeners and pools have of it is renewed, without a connection lost."
    return command("set", words, params, run, changes=True)


def create_container() -> click.Command:
    """A container of secrets that are there."""
    params: list[click.Parameter] = [
        click.Argument(["name"], required=False),
        click.Option(["type_", "--type"], type=click.Choice(get_args(ContainerType)), default="certificate",
                     show_default=True, help="What it holds."),
        *(click.Option([name, f"--{name.replace('_', '-')}"], metavar="SECRET", help=f"The secret that is its {words}.")
          for name in PARTS for words in [name.replace("_", " ")]),
        click.Option(["others", "--secret"], multiple=True, metavar="NAME=SECRET", help="Another secret, of any name."),
    ]  # fmt: skip

    def run(session: Session, values: Values) -> None:
        named = [(name, values[name]) for name in PARTS if values[name]]
        for text in values["others"]:
            name, equals, which = text.partition("=")
            if not equals:
                raise click.UsageError(f"--secret takes NAME=SECRET, not {text}.")
            named.append((name, which))
        refs = [{"name": name, "secret_ref": _path(session, SECRET, which)} for name, which in named]
        _made(session, CONTAINER, {"name": values["name"] or "", "type": values["type_"], "secret_refs": refs})

    words = "Put secrets together: the container's reference is what listeners and pools name."
    return command("create", words, params, run, changes=True)


def list_(kind: Kind) -> click.Command:
    def run(session: Session, _values: Values) -> None:
        session.output.many([_readable(one) for one in _all(session, kind)], COLUMNS[kind.name])

    return command("list", f"List every {kind.title} of the project.", [], run)


def show(kind: Kind) -> click.Command:
    def run(session: Session, values: Values) -> None:
        session.output.one(_readable(session.client.get(_path(session, kind, values["which"]))))

    return command("show", f"Show what is known of a {kind.title}; never what it is.", [_which()], run)


def delete(kind: Kind) -> click.Command:
    def run(session: Session, values: Values) -> None:
        paths = [_path(session, kind, which) for which in values["which"]]
        for path in paths:
            session.send(Request("DELETE", path))

    words = "Delete; what listeners and pools have of it stays in use until they name something else."
    return command("delete", words, [_which(many=True)], run, changes=True)


def _made(session: Session, kind: Kind, wanted: Mapping[str, Any]) -> None:
    answer = session.send(Request("POST", collection(kind), wanted))
    if answer is not None:
        path = _path(session, kind, str(answer.document.get(f"{kind.name}_ref", "")))
        session.output.one(_readable(session.client.get(path)))


def _payload(payload: bytes, *, shown: bool) -> dict[str, str]:
    """`shown`: it goes to the service, and not to the screen."""
    if _is_text(payload):
        return {"payload": payload.decode() if shown else "…", "payload_content_type": TEXT}
    text = base64.b64encode(payload).decode()
    return {"payload": text if shown else "…", "payload_content_type": BINARY, "payload_content_encoding": "base64"}


def _is_text(payload: bytes) -> bool:
    try:
        return "\x00" not in payload.decode()
    except UnicodeDecodeError:
        return False


def _path(session: Session, kind: Kind, given: str) -> str:
    """Where the one is that the user calls by its reference, id or name. Raises Failure."""
    named = kept(given) or kept(f"/v1{kind.path}/{given}")
    if named is not None:
        return item(kind, named.id)
    found = [one for one in _all(session, kind, {"name": given}) if one.get("name") == given]
    references = [str(one[f"{kind.name}_ref"]) for one in found]
    if not references:
        raise Failure(f"{kind.title} {given} not found.")
    if len(references) > 1:
        raise Failure(f"{given} names more than one {kind.title}; give the reference:", *references)
    return _path(session, kind, references[0])


def _all(session: Session, kind: Kind, filters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(PAGES_MAX):
        query = [*(filters or {}).items(), ("limit", str(PAGE)), ("offset", str(len(found)))]
        page = session.client.get(collection(kind), query).get(kind.plural, [])
        found += page
        if len(page) < PAGE:
            return found
    raise Failure(f"The list does not end after {PAGES_MAX} pages.")


def _readable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only Barbican's clients ask for."""
    return {name: value for name, value in document.items() if name not in {"creator_id", "consumers", "status"}}


def _which(*, many: bool = False) -> click.Argument:
    metavar = "NAME_OR_REFERENCE" + ("…" if many else "")
    return click.Argument(["which"], metavar=metavar, nargs=-1 if many else 1, required=True)


COMMANDS: dict[tuple[str, str], Callable[[], click.Command]] = {
    (SECRET.name, "create"): create,
    (SECRET.name, "set"): set_,
    (CONTAINER.name, "create"): create_container,
    **{
        (kind.name, verb): partial(made, kind)
        for kind in (SECRET, CONTAINER)
        for verb, made in (("list", list_), ("show", show), ("delete", delete))
    },
}
