# SPDX-License-Identifier: Apache-2.0
"""A kind's attributes in words, read off their declarations: for `caryatid explain` and for the reference pages."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, TypeAdapter

from caryatid.model.field import DEFAULT, IGNORED
from caryatid.model.kind import Attribute, Kind

from .options import FILLED_IN
from .output import ordered

ACCESS = {"generated": "by the service", "create": "at create", "change": "at create, by change"}
BOUNDS = {
    "minimum": "≥ {}",
    "ge": "≥ {}",
    "maximum": "≤ {}",
    "le": "≤ {}",
    "maxLength": "≤ {} characters",
    "minItems": "≥ {} entries",
    "maxItems": "≤ {} entries",
    "pattern": "matches `{}`",
}
"""Words of a JSON schema, and pydantic's own where spellings are forgiven before a limit is applied."""
COLUMNS = ("attribute", "type", "set", "default", "limits", "description")


@dataclass(frozen=True)
class Line:
    """One attribute in words."""

    attribute: str
    type: str
    set: str
    default: str
    limits: str
    description: str


def lines(kind: Kind) -> Iterator[Line]:
    """What answers and bodies of the kind may carry, what it is called first."""
    for name in ordered(kind.attributes):
        attribute = kind.attributes[name]
        if attribute.access.shown or name in kind.creatable:
            yield line(kind, attribute)


def line(kind: Kind, attribute: Attribute) -> Line:
    found = described(attribute)
    return replace(found, set="by the path") if attribute.name == kind.parent else found


def described(attribute: Attribute) -> Line:
    """The attribute in words, wherever it stands."""
    schema = _schema(attribute)
    access = ACCESS[attribute.access.when]
    if attribute.access.rule:
        access += f" (rule {attribute.access.rule})"
    return Line(
        attribute.name,
        _answer_type(attribute, schema) + (" or null" if attribute.nullable else ""),
        access,
        _default(attribute),
        "; ".join(_limits(schema)),
        " ".join(attribute.description.split()) + _on_wire(attribute) + _on_null(attribute),
    )


def documents(kind: Kind) -> Iterator[tuple[str, list[Line]]]:
    """The documents inside attributes: name, and their attributes in words."""
    for attribute in kind:
        if attribute.document and not attribute.back:
            fields = attribute.document.model_fields.items()
            yield attribute.name, [line(kind, Attribute(name, info)) for name, info in fields]


def print_kind(kind: Kind) -> None:
    """Its attributes as a table on the screen."""
    from rich import box
    from rich.table import Table

    from .output import console

    screen = console()
    screen.print(f"[bold]{kind.title}[/bold]: {kind.model.__doc__ or ''}")
    for name, found in (("", list(lines(kind))), *documents(kind)):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name or None, title_justify="left")
        for column in COLUMNS:
            table.add_column(column, overflow="fold", style="bold" if column == "attribute" else "")
        for words in found:
            table.add_row(*(getattr(words, column) for column in COLUMNS))
        screen.print(table, markup=False)


def _schema(attribute: Attribute) -> Mapping[str, Any]:
    """JSON schema of the attribute's values, null apart."""
    schema = TypeAdapter(attribute.info.rebuild_annotation()).json_schema()
    return _without_null(schema, schema.get("$defs", {}))


def _without_null(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        return {"type": "document", "title": schema["$ref"].rpartition("/")[2]}
    inner = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    if inner is not schema:
        inner = {**schema, **_without_null(inner, defs)}
    if "items" in inner:
        inner = {**inner, "items": _without_null(inner["items"], defs)}
    return inner


def _answer_type(attribute: Attribute, schema: Mapping[str, Any]) -> str:
    return 'list of {"id"}' if attribute.back and not attribute.back.one else _type(schema)


def _type(schema: Mapping[str, Any]) -> str:
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "enum" in schema or "const" in schema:
        return "word" if all(isinstance(word, str) for word in _words(schema)) else "number"
    if schema.get("type") == "object":
        return "object" if "properties" in schema else "object of texts"
    words = {"string": "text", "document": "object"}
    return str(schema.get("format") or words.get(schema.get("type", ""), schema.get("type", "any")))


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    if words := _words(schema):
        yield ", ".join(map(str, words))
    if schema.get("minLength", 0) == 1:
        yield "not empty"
    for name, text in BOUNDS.items():
        if name in schema:
            yield text.format(schema[name])
    for limit in _limits(schema["items"]) if "items" in schema else ():
        yield f"each {limit}"


def _words(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _default(attribute: Attribute) -> str:
    if attribute.access.when == "generated" or attribute.back:
        return ""
    if attribute.name in FILLED_IN:
        return "see description"
    return "required" if attribute.required else json.dumps(attribute.default, default=_plain)


def _plain(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else str(value)


def _on_wire(attribute: Attribute) -> str:
    """How answers show it, where that is not its name."""
    shown = attribute.ref.shown if attribute.ref else "itself"
    if shown is None:
        return " Not in answers."
    if shown != "itself":
        return f' Answers show it as `{shown}`: `[{{"id": …}}]`.'
    return "" if attribute.access.shown else " Not in answers."


def _on_null(attribute: Attribute) -> str:
    """What an explicit null means, where it is not the default."""
    on_null = attribute.access.on_null
    if on_null is DEFAULT or attribute.access.when == "generated":
        return ""
    return " Null is ignored." if on_null is IGNORED else f" Null means {json.dumps(on_null)}."
