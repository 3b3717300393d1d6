# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/*.md from the declarations in the code. `--check` writes nothing and fails if a page is old."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

import caryatid.__main__  # noqa: F401  the services add their commands
from caryatid import errors
from caryatid.cli.client import collection
from caryatid.cli.explain import COLUMNS, Line, described, documents, lines
from caryatid.cli.failures import EXIT_CODES
from caryatid.cli.groups import group_of
from caryatid.cli.main import cli
from caryatid.cli.session import change_options, connection_options
from caryatid.config import Settings
from caryatid.model import JOB, KINDS
from caryatid.model.flavor import FlavorData, ZoneData
from caryatid.model.kind import Attribute, Kind
from caryatid.model.policy import ANYWHERE, AT_HOME, RULES
from caryatid.model.status import OPERATING, PROVISIONING

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `make docs` from the code; changes here are lost. -->"
HTTP_CODES: dict[int, str] = {
    400: "The request is at fault. `faultstring` has every fault, one a line.",
    401: "Nobody known is asking.",
    403: "Policy does not allow it, or a quota is met.",
    404: "What the path or a reference in the body names is not there.",
    405: "The path is right, the method is not; `Allow` says which are.",
    406: "The client takes no JSON.",
    408: "The body of the request did not arrive in time.",
    409: "It is being deleted, is in use, or something else is like it already. Never because a change is pending.",
    413: "The body of the request is larger than `body_size_max`.",
    415: "The body of the request is no JSON.",
    500: "A fault of ours; the log has it under the `X-Openstack-Request-Id` of the answer.",
    501: "The driver here cannot do this; the answer says what.",
    503: "Busy; try again after `Retry-After` seconds.",
}


def resources() -> Iterator[str]:
    """Every attribute of every kind."""
    yield "# Resources"
    yield (
        "Every attribute of every resource. *Set* says who sets it and when; what is not set at create or by change is "
        "refused with 400. An attribute that is not given gets its default; so does one that is given as null, unless "
        "its description says otherwise. The same as a JSON schema: `/openapi.json`; on a terminal: `caryatid explain "
        "KIND`."
    )
    for kind in (*KINDS, JOB):
        yield from _resource(kind)
    for title, attribute, schema in (
        ("Flavor data", "flavor_data", FlavorData),
        ("Zone data", "availability_zone_data", ZoneData),
    ):
        yield f"## {title}"
        yield f"What the JSON object in `{attribute}` may say to the provider `amphora`. All else is refused with 400."
        yield _keys(schema)


def _keys(schema: type[BaseModel]) -> str:
    columns = ("attribute", "type", "default", "limits", "description")
    known = [described(Attribute(name, info)) for name, info in schema.model_fields.items()]
    rows = [[getattr(line, column) for column in columns] for line in known]
    return table(["Key", "Type", "Default", "Limits", "Description"], [[_code(row[0]), *row[1:]] for row in rows])


def _resource(kind: Kind) -> Iterator[str]:
    group = group_of(kind.name)
    path = collection(kind, f"{{{kind.parent}}}").replace("%7B", "{").replace("%7D", "}")
    yield f"## {kind.title}"
    yield " ".join((kind.model.__doc__ or "").split())
    envelope = (
        f"in the shapes of {kind.borrowed}, without an envelope" if kind.borrowed else f"envelope `{kind.wrapper}`"
    )
    facts = [f"Path `{path}`, {envelope}, in lists `{kind.plural}`."]
    facts += [f"Commands: `caryatid {group.name}`."] if group else []
    facts += ["Counted against the project's quota."] if kind.counted else []
    facts += [f"No two may have the same {', '.join(f'`{name}`' for name in names)}." for names in kind.unique]
    yield " ".join(facts)
    yield _attributes(lines(kind))
    for name, inner in documents(kind):
        yield f"### {kind.title}: `{name}`"
        yield _attributes(inner)


def _attributes(found: Iterable[Line]) -> str:
    rows = [[getattr(line, column) for column in COLUMNS] for line in found]
    return table([column.capitalize() for column in COLUMNS], [[_code(row[0]), *row[1:]] for row in rows])


def statuses() -> Iterator[str]:
    """The words of provisioning_status and operating_status."""
    yield "# Statuses"
    yield (
        "Two questions, two words: is what is shown in effect (`provisioning_status`), and does it work "
        "(`operating_status`)?"
    )
    yield "## provisioning_status"
    yield table(["Status", "Meaning"], [[_code(word), text] for word, text in PROVISIONING.items()])
    yield "## operating_status"
    yield table(["Status", "Meaning"], [[_code(word), text] for word, text in OPERATING.items()])


def policy() -> Iterator[str]:
    """Which roles may do what."""
    yield "# Policy"
    yield (
        "Every request is checked against one rule, by Octavia's names. *Anywhere*: roles that may do it to what any "
        "project owns. *At home*: roles that may do it to what their own project owns, or what nobody owns."
    )
    rows = []
    for rule, who in RULES.items():
        rows.append([_code(rule), _words(ANYWHERE[who]), _words(AT_HOME.get(who, ()))])
    yield table(["Rule", "Anywhere", "At home"], rows)


def settings() -> Iterator[str]:
    """What an operator may decide."""
    yield "# Settings"
    yield (
        "Each from the first place that names it: an option of the command, the environment, a TOML file (`--config` "
        "or `CARYATID_CONFIG`), the default. Names that are not here are refused."
    )
    rows = []
    for name, info in Settings.model_fields.items():
        default = "" if info.default_factory else _code(json.dumps(info.default))
        description = " ".join((info.description or "").split())
        rows.append([_code(name), _code(f"CARYATID_{name.upper()}"), default, description])
    yield table(["Setting", "Environment", "Default", "Meaning"], rows)


def failures() -> Iterator[str]:
    """What goes wrong, by HTTP status and by exit code."""
    yield "# Errors"
    yield "## Of the API"
    yield (
        'Answers of a resource are `{"faultcode", "faultstring", "debuginfo"}`; those from before any resource is '
        'asked (paths, negotiation, paging) are `{"code", "title", "description"}`. Both shapes are Octavia\'s. Every '
        "answer has `X-Openstack-Request-Id`."
    )
    yield table(["Status", "Meaning"], [[str(code), text] for code, text in HTTP_CODES.items()])
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.CaryatidError)]
    missing = {one.status for one in classes} - {*HTTP_CODES}
    if missing:
        raise SystemExit(f"HTTP_CODES says nothing of {sorted(missing)}.")
    yield "## Of commands"
    yield table(["Exit code", "Meaning"], [[str(code), text] for code, text in EXIT_CODES.items()])


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands"
    yield (
        "`--help` says the same. Wherever an id is asked for, a name does if only one has it; a member may also be "
        "called by its `address:port`. Exit codes: [errors](errors.md#of-commands)."
    )
    yield "## Options of every command that speaks to the API"
    yield _options(connection_options())
    yield "Commands that change something also take:"
    yield _options(change_options(frozenset()))
    common: set[str | None] = {param.name for param in (*connection_options(), *change_options(frozenset()))}
    top = click.Context(cli, info_name="caryatid")
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is not None and not command.hidden:
            yield from _command(click.Context(command, parent=top, info_name=name), common, 2)


def _command(context: click.Context, common: set[str | None], depth: int) -> Iterator[str]:
    command = context.command
    yield f"{'#' * depth} {context.command_path}"
    yield " ".join((command.help or "").split())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _command(click.Context(inner, parent=context, info_name=name), common, depth + 1)
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{context.command_path} {usage}\n```"
    own = [param for param in command.params if isinstance(param, click.Option) and param.name not in common]
    if own:
        yield _options(own)


def _options(params: Sequence[click.Parameter]) -> str:
    rows = []
    for param in params:
        if isinstance(param, click.Option) and not param.hidden:
            names = ", ".join(_code(name) for name in (*param.opts, *param.secondary_opts))
            rows.append([names, _takes(param), param.help or ""])
    return table(["Option", "Takes", "Meaning"], rows)


def _takes(param: click.Option) -> str:
    if param.is_flag:
        return ""
    if isinstance(param.type, click.Choice):
        words = " ".join(_code(str(choice)) for choice in param.type.choices)
    else:
        words = param.metavar or param.type.name
    return words + (", repeatable" if param.multiple else "")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    body = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escaped(str(text)) for text in row) + " |" for row in body)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text}`"


def _words(words: Iterable[str]) -> str:
    return ", ".join(_code(word) for word in sorted(words))


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "resources.md": resources,
    "statuses.md": statuses,
    "policy.md": policy,
    "settings.md": settings,
    "errors.md": failures,
    "commands.md": commands,
}


def pages() -> dict[str, str]:
    """Name and text of every page, as the code says now."""
    return {name: "\n\n".join([NOTE, *parts()]) + "\n" for name, parts in PAGES.items()}


def old(directory: Path = REFERENCE) -> list[str]:
    """Names of pages that differ from what the code says, or are of nothing any more."""
    now = pages()
    kept = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.md")}
    return sorted(name for name in {*now, *kept} if now.get(name) != kept.get(name))


def main() -> None:
    changed = old()
    if "--check" in sys.argv[1:]:
        if changed:
            sys.exit(f"Old: {', '.join(changed)}. Run `make docs`.")
        return
    REFERENCE.mkdir(exist_ok=True)
    now = pages()
    for name in changed:
        path = REFERENCE / name
        if name in now:
            path.write_text(now[name], encoding="utf-8")
        else:
            path.unlink()
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
