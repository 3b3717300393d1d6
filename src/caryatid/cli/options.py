# SPDX-License-Identifier: Apache-2.0
"""An attribute as an option of a command, and what the user gave for it as a value on the wire."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel

from caryatid.model.field import DEFAULT
from caryatid.model.kind import Attribute, Kind

from .client import Client
from .groups import group_of
from .names import find, referred

Shape = Literal["flag", "choice", "whole", "number", "pairs", "text"]
SWITCHES = {"admin_state_up", "enabled"}
"""Attributes that are also set by --enable and --disable."""
TAKEN = {"url", "project", "port"}
"""What options of every command are called; and a number that is not the port of a network."""
OTHERWISE = {"url": "api_url"}
"""What attributes are called that have the name of such an option."""
LONG = 65_536
"""Characters of texts from which on they may be read from files."""
FILLED_IN = {"project_id", "ip_address"}
"""Attributes without a default that the service finds itself, if they are not given."""


class Pairs(click.ParamType[dict[str, Any]]):
    """A document: `key=value,key=value`, or JSON. A first word by itself is the value of its first attribute, another
    one says that something is so (`--monitor web,observe-only`)."""

    def __init__(self, document: type[BaseModel] | None = None) -> None:
        known = [Attribute(*one) for one in document.model_fields.items()] if document else []
        self._first = known[0].name if known else ""
        self._flags = {attribute.name for attribute in known if attribute.plain is bool}
        leads = bool(known and known[0].names)
        self.name = f"{self._first.removesuffix('_id')},key=value,…" if leads else "key=value,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        if value.lstrip().startswith("{"):
            return self._json(value, param, ctx)
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if self._first and pairs and not pairs[0][1]:
            pairs[0] = (self._first, "=", pairs[0][0])
        flags = self._flags
        pairs = [(name, "=", "true") if name.strip().replace("-", "_") in flags and not equals else (name, equals, text)
                 for name, equals, text in pairs]  # fmt: skip
        wrong = [name for name, equals, _ in pairs if not equals or not name.strip()]
        if wrong:
            self.fail(f"{', '.join(wrong)}: expected key=value,key=value or a JSON object.", param, ctx)
        return {name.strip(): text.strip() for name, _, text in pairs}

    def _json(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            return dict(json.loads(value))
        except (ValueError, TypeError) as error:
            self.fail(f"not a JSON object: {error}.", param, ctx)


class Long(click.ParamType[str]):
    """A text that is too long to be typed (certificates): `@FILE` reads it from a file."""

    name = "text|@FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.startswith("@"):
            return str(value)
        with click.File().convert(value[1:], param, ctx) as file:
            return str(file.read())


class Kept(click.File):
    """A file with what must not be an option, as whoever lists processes would see it: a document in JSON, or one line
    of text (a password)."""

    def __init__(self, *, document: bool) -> None:
        super().__init__()
        self._document = document

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with super().convert(value, param, ctx) as file:
            text = file.read()
        return self._read(value, text) if self._document else self._line(value, text)

    def _line(self, value: Any, text: str) -> str:
        line = text.removesuffix("\n").removesuffix("\r")
        if not line or "\n" in line:
            self.fail(f"{value} should have one line in it.")
        return line

    def _read(self, value: Any, text: str) -> dict[str, Any]:
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError):
            self.fail(f"{value} is no JSON object.")


@dataclass(frozen=True)
class Setting:
    """An attribute that a command can set."""

    attribute: Attribute

    @cached_property
    def shape(self) -> Shape:
        plain = self.attribute.plain
        if _is_mapping(self.attribute.info.annotation) or self.attribute.document:
            return "pairs"
        if get_origin(plain) is Literal:
            return "choice"
        shapes: dict[Any, Shape] = {bool: "flag", int: "whole", float: "number"}
        return shapes.get(plain, "text")

    @property
    def flags(self) -> list[str]:
        """What the user may write, the usual spelling first."""
        name = self.attribute.name
        names = [name]
        if name.endswith("_ids") and self.attribute.names:
            names = [name.removesuffix("_ids"), f"{name.removesuffix('_ids')}s", name]
        elif referred(self.attribute) and name.endswith("_id") and name.removesuffix("_id") not in TAKEN:
            names.insert(0, name.removesuffix("_id"))
        elif self.attribute.many and name.endswith("s") and name.removesuffix("s") not in TAKEN:
            names.insert(0, f"{name.removesuffix('ies')}y" if name.endswith("ies") else name.removesuffix("s"))
        if name in OTHERWISE:
            return [f"--{OTHERWISE[name].replace('_', '-')}"]
        ref = self.attribute.ref
        same = ref and name.removesuffix("_id").replace("_", "") == ref.kind.replace("_", "")
        group = group_of(ref.kind) if ref and same else None
        if group and group.name not in [*names, *TAKEN]:
            names.insert(0, group.name)
        return [f"--{name.replace('_', '-')}" for name in names]

    @property
    def required(self) -> bool:
        """A create needs it."""
        return self.attribute.required and self.attribute.name not in FILLED_IN

    def option(self, *, creates: bool = False) -> click.Option:
        """The option that sets it. It is never required by itself: `missing` names all that are, at once."""
        name = self.attribute.name
        words = " ".join(self.attribute.description.split()) + (" [required]" if creates and self.required else "")
        if self.shape == "flag":
            switch = ["--enable/--disable"] if name in SWITCHES else []
            flag = self.flags[0].removeprefix("--")
            return click.Option([name, f"--{flag}/--no-{flag}", *switch], default=None, help=words)
        many = self.attribute.many
        if self.attribute.secret:
            document = self.shape == "pairs"
            words += f" {'A JSON object' if document else 'A line'} in a file; - is standard input."
            kept = Kept(document=document)
            return click.Option([name, f"{self.flags[0]}-file"], type=kept, metavar="FILE", default=None, help=words)
        return click.Option([name, *self.flags], type=self._type(), multiple=many, default=None, help=words)

    def switch(self) -> click.Option:
        """The option of `unset` that puts it back to its default."""
        name = self.attribute.name
        return click.Option([name, *self.flags], is_flag=True, default=False, help=self.attribute.description)

    def value(self, given: Any, client: Client) -> Any:
        """What is sent for what the user gave. Looks names up."""
        if self.attribute.many:
            return [self._one(one, client) for one in given]
        return self._one(given, client)

    def _one(self, given: Any, client: Client) -> Any:
        kind = referred(self.attribute)
        if kind is not None and isinstance(given, str):
            return find(client, kind, given)
        document = self.attribute.document
        if document is None or not isinstance(given, dict):
            return given
        return dict(self._nested(document, name, value, client) for name, value in given.items())

    def _nested(self, document: type[BaseModel], given: str, value: Any, client: Client) -> tuple[str, Any]:
        """One attribute of a document within: its name on the wire and its value. A list has `+` between."""
        for name, info in document.model_fields.items():
            setting = Setting(Attribute(name, info))
            if given.replace("_", "-") in (flag.removeprefix("--") for flag in setting.flags):
                if setting.attribute.many and isinstance(value, str):
                    value = [word for word in value.split("+") if word]
                return name, setting.value(value, client)
        return given, value

    @property
    def unset_value(self) -> Any:
        """What is sent to put it back to its default: null, unless null means something else."""
        if self.attribute.access.on_null is DEFAULT:
            return None
        return self.attribute.default

    def _type(self) -> click.ParamType[Any]:
        if self.shape == "choice":
            return click.Choice(get_args(self.attribute.plain), case_sensitive=False)
        types: dict[Shape, click.ParamType[Any]] = {
            "whole": click.INT,
            "number": click.FLOAT,
            "pairs": Pairs(self.attribute.document),
        }
        return types.get(self.shape, Long() if self.attribute.length_max >= LONG else click.STRING)


def settings(attributes: Mapping[str, Attribute]) -> dict[str, Setting]:
    """The attributes that commands can set. What is secret is never an option: it is read from files."""
    return {name: Setting(attribute) for name, attribute in attributes.items()}


def body(kind: Kind, values: Mapping[str, Any], client: Client) -> dict[str, Any]:
    """What `values` of options ask for, as attributes on the wire. What was not given is not there."""
    known = settings(kind.creatable)
    given = {name: value for name, value in values.items() if name in known and value not in (None, ())}
    return {name: known[name].value(value, client) for name, value in given.items()}


def missing(kind: Kind, values: Mapping[str, Any]) -> None:
    """Raises UsageError naming every option that a create needs and does not have."""
    needed = [setting for setting in settings(kind.creatable).values() if setting.required]
    needed = [setting for setting in needed if values.get(setting.attribute.name) in (None, ())]
    if needed:
        raise click.UsageError("Missing options: " + ", ".join(setting.flags[0] for setting in needed))


def _is_mapping(annotation: Any) -> bool:
    return any(get_origin(part) is dict for part in (annotation, *get_args(annotation)))
