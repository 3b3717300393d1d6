# SPDX-License-Identifier: Apache-2.0
"""The pages of resources: what there is, and for each its attributes and every method of its paths."""

import re
from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from caryatid.api.app import operations
from caryatid.api.routing import Operation
from caryatid.cli.client import collection
from caryatid.cli.explain import ACCESS, Line, described, documents, lines
from caryatid.cli.groups import group_of
from caryatid.config import Settings
from caryatid.model import KINDS, RECORDS
from caryatid.model.flavor import FlavorData, ZoneData
from caryatid.model.kind import Attribute, Kind

from .markdown import code, table
from .methods import method

FOLDER = "api"
HEAD = ("Attribute", "Type", "Access", "Default", "Validation / Conversion", "Description")
SHORT = {ACCESS["change"]: "RW", ACCESS["create"]: "RW at create", ACCESS["generated"]: "RO", "by the path": "path"}
LEGEND = (
    "Access: **RW** is set at create and changed later, **RW at create** cannot be changed, **RO** is set by the "
    "service, **path** stands in the path; each by who may create, change or see the resource, or by the rule that is "
    "named. An attribute that is not given gets its default; so does one that is given as null, unless its description "
    "says otherwise. Anything else in a body is refused with 400."
)


def resources() -> Iterator[str]:
    """What there is, and where it is described."""
    yield "# Resources"
    yield (
        "Each page has the attributes of a resource, and every method of its paths: what it does, the policy rule that "
        "guards it, each status that it answers and when, and a request with its answer as a test has recorded them. "
        "The same for programs: `/openapi.json`; on a terminal: `caryatid explain KIND`."
    )
    kinds = {kind.title: kind for kind in (*KINDS, *RECORDS)}
    rows = [
        [f"[{tag}]({FOLDER}/{slug(tag)}.md)", ", ".join(_collections(found)), _about(kinds.get(tag), found)]
        for tag, found in _by_tag().items()
    ]
    yield table(["Resource", "Paths", "What it is"], rows)
    for title, attribute, schema in (
        ("Flavor data", "flavor_data", FlavorData),
        ("Zone data", "availability_zone_data", ZoneData),
    ):
        yield f"## {title}"
        yield f"What the JSON object in `{attribute}` may say to the provider `amphora`. All else is refused with 400."
        yield _keys(schema)


def pages() -> Iterator[tuple[str, Iterator[str]]]:
    """(name, parts) of the page of every resource."""
    kinds = {kind.title: kind for kind in (*KINDS, *RECORDS)}
    for tag, found in _by_tag().items():
        yield f"{FOLDER}/{slug(tag)}.md", _page(tag, kinds.get(tag), found)


def slug(tag: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", tag.lower()).strip("-")


def _by_tag() -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in operations(Settings(), None):  # type: ignore[arg-type]  nobody waits for news here
        found.setdefault(operation.tag, []).append(operation)
    return found


def _collections(found: Iterable[Operation]) -> list[str]:
    """The shortest of the paths, one for each tree of them."""
    paths: list[str] = []
    for operation in sorted(found, key=lambda one: len(one.path)):
        if not any(operation.path.startswith(path.rstrip("/") + "/") or operation.path == path for path in paths):
            paths.append(operation.path)
    return [code(path) for path in paths[:3]]


def _about(kind: Kind | None, found: list[Operation]) -> str:
    if kind is not None:
        return _prose(kind.model.__doc__)
    return "; ".join(dict.fromkeys(operation.summary for operation in found[:4])) + "."


def _page(tag: str, kind: Kind | None, found: list[Operation]) -> Iterator[str]:
    yield f"# {tag}"
    if kind is not None:
        yield from _described(kind)
    for operation in found:
        yield from method(operation)


def _described(kind: Kind) -> Iterator[str]:
    group = group_of(kind.name)
    path = collection(kind, f"{{{kind.parent}}}").replace("%7B", "{").replace("%7D", "}")
    yield _prose(kind.model.__doc__)
    envelope = (
        f"in the shapes of {kind.borrowed}, without an envelope" if kind.borrowed else f"envelope `{kind.wrapper}`"
    )
    facts = [f"Path `{path}`, {envelope}, in lists `{kind.plural}`."]
    facts += [f"Commands: `caryatid {group.name}`."] if group else []
    facts += ["Counted against the project's quota."] if kind.counted else []
    facts += [f"No two may have the same {', '.join(f'`{name}`' for name in names)}." for names in kind.unique]
    yield " ".join(facts)
    yield "## Attributes"
    yield _attributes(lines(kind))
    for name, inner in documents(kind):
        yield f"### Attributes of `{name}`"
        yield _attributes(inner)
    yield LEGEND


def _attributes(found: Iterable[Line]) -> str:
    rows = [
        [
            code(line.attribute),
            line.type,
            _access(line.set),
            line.default or "generated",
            line.limits or "any",
            line.description,
        ]
        for line in found
    ]
    return table(HEAD, rows)


def _access(said: str) -> str:
    """`by the service` → RO, with the rule of its own if there is one."""
    words, separator, rule = said.partition(" (rule ")
    return SHORT.get(words, words) + (f", rule `{rule.rstrip(')')}`" if separator else "")


def _keys(schema: type[BaseModel]) -> str:
    columns = ("attribute", "type", "default", "limits", "description")
    known = [described(Attribute(name, info)) for name, info in schema.model_fields.items()]
    rows = [[getattr(line, column) for column in columns] for line in known]
    return table(["Key", "Type", "Default", "Limits", "Description"], [[code(row[0]), *row[1:]] for row in rows])


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())
