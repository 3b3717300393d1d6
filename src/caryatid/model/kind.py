# SPDX-License-Identifier: Apache-2.0
"""A kind of resource: its model, what the class cannot say, and what every surface reads off the two."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from annotated_types import MaxLen
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from caryatid.errors import Fault, Refused

from .field import DEFAULT, IGNORED, Access, Back, Key, Listed, Names, Ref, Secret
from .resource import Row

T = TypeVar("T")
OPEN = Access()


@dataclass(frozen=True)
class Attribute:
    """One attribute of a kind, with the words that describe it."""

    name: str
    info: FieldInfo

    @cached_property
    def access(self) -> Access:
        return self._mark(Access) or OPEN

    @cached_property
    def key(self) -> Key | None:
        return self._mark(Key)

    @cached_property
    def ref(self) -> Ref | None:
        return self._mark(Ref)

    @property
    def names(self) -> str | None:
        """The kind of what it names."""
        marked = self.ref or self._mark(Names)
        return marked.kind if marked else None

    @cached_property
    def back(self) -> Back | None:
        return self._mark(Back)

    @property
    def listed(self) -> bool:
        return self._mark(Listed) is not None

    @property
    def secret(self) -> bool:
        return self._mark(Secret) is not None

    @property
    def column(self) -> bool:
        return self.key is not None or self.ref is not None

    @property
    def required(self) -> bool:
        return self.info.is_required()

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True)

    @property
    def nullable(self) -> bool:
        return type(None) in get_args(self.info.annotation)

    @property
    def description(self) -> str:
        return self.info.description or ""

    @property
    def length_max(self) -> int:
        """Characters of a text; 0: no limit is said, or not here."""
        return next((each.max_length for each in self.info.metadata if isinstance(each, MaxLen)), 0)

    @cached_property
    def plain(self) -> Any:
        """The type under `X | None`, `list[X]` and annotations; `Literal[…]` as it is."""
        kind: Any = self.info.annotation
        while get_origin(kind) is not None and get_origin(kind) is not Literal:
            kind = next(part for part in get_args(kind) if part is not type(None))
        return kind

    @property
    def many(self) -> bool:
        parts = [self.info.annotation, *get_args(self.info.annotation)]
        return any(get_origin(part) is list for part in parts)

    @property
    def document(self) -> type[BaseModel] | None:
        """The class of a nested document, if the attribute holds one or a list of them."""
        return self.plain if isinstance(self.plain, type) and issubclass(self.plain, BaseModel) else None

    def _mark(self, marker: type[T]) -> T | None:
        return next((word for word in self.info.metadata if isinstance(word, marker)), None)


@dataclass(frozen=True)
class Kind:
    """A kind of resource. The five verbs, the table, the document and the commands are read off it."""

    name: str
    """Table, and resource word of the policy (`loadbalancer`)."""
    model: type[Row]
    title: str
    """How messages call it (`Load Balancer`)."""
    path: str
    """Of the collection, below the version: `/lbaas/pools/{pool_id}/members`."""
    envelope: str = ""
    """What wraps one on the wire, where it is not the name."""
    plural: str = ""
    """Envelope of many."""
    links: str = ""
    """Envelope of the paging links; empty: not paged."""
    borrowed: str = ""
    """Another service in whose shapes its paths speak (`Barbican`): under its names, without an envelope."""
    parent: str | None = None
    """The reference that a path gives (`pool_id`), not the body."""
    root: str | None = "loadbalancer"
    """The kind reconciled whole that this belongs to (itself, for a root); None: takes effect at once."""
    counted: bool = False
    """Limited by a project's quota."""
    policy: str = ""
    """Resource word of its policy rules, where it is not the name."""
    key: str = "id"
    """What a path names it by (an availability zone: `name`)."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Attributes that no two rows may share, rows being deleted not counted."""

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes.values())

    @cached_property
    def attributes(self) -> dict[str, Attribute]:
        return {name: Attribute(name, info) for name, info in self.model.model_fields.items()}

    @cached_property
    def columns(self) -> tuple[Attribute, ...]:
        return tuple(a for a in self if a.column)

    @cached_property
    def backs(self) -> tuple[Attribute, ...]:
        return tuple(a for a in self if a.back)

    @cached_property
    def creatable(self) -> dict[str, Attribute]:
        """What the body of a create may carry."""
        return {a.name: a for a in self if a.access.when != "generated" and not a.back and a.name != self.parent}

    @cached_property
    def changeable(self) -> dict[str, Attribute]:
        """What the body of a change may carry."""
        return {name: a for name, a in self.creatable.items() if a.access.when == "change"}

    @cached_property
    def shown(self) -> tuple[Attribute, ...]:
        """What an answer carries."""
        return tuple(a for a in self if a.access.shown and not a.secret and not (a.ref and a.ref.shown is None))

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Every attribute of the wire document that has a declared default."""
        return {a.name: a.default for a in self if not a.required and not a.back}

    @property
    def wrapper(self) -> str:
        """What wraps one on the wire."""
        return self.envelope or self.name

    @cached_property
    def owned(self) -> bool:
        return "project_id" in self.attributes

    @cached_property
    def is_root(self) -> bool:
        return self.root == self.name

    @cached_property
    def parent_kind(self) -> str | None:
        ref = self.attributes[self.parent].ref if self.parent else None
        return ref.kind if ref else None

    def new(self, body: Any, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Row:
        """The resource that the body of a create asks for.

        `given` is what the service sets itself (id, project, parent); `defaults` are the operator's, for what the
        body leaves out or nulls. Raises Refused with every fault.
        """
        wanted, faults = self._admit(body, self.creatable, defaults or {})
        return self._whole({**(defaults or {}), **wanted, **given}, faults)

    def change(self, document: Mapping[str, Any], body: Any, defaults: Mapping[str, Any] | None = None) -> Row:
        """`document` with the changes of `body`, checked as a whole. Raises Refused with every fault."""
        wanted, faults = self._admit(body, self.changeable, defaults or {})
        known = {name: value for name, value in document.items() if name in self.attributes}
        return self._whole({**known, **self.model.implied(wanted), **wanted}, faults)

    def load(self, document: Mapping[str, Any]) -> Row:
        """The resource of a document that was checked when it was written; not checked again.

        The document must name every attribute without a default; nested documents become their classes.
        """
        values = {**self.defaults, **document}
        for attribute in self._nested:
            value = values.get(attribute.name)
            values[attribute.name] = _nested(cast(type[BaseModel], attribute.document), value)
        row = self.model.__new__(self.model)
        object.__setattr__(row, "__dict__", values)
        object.__setattr__(row, "__pydantic_fields_set__", set())
        object.__setattr__(row, "__pydantic_extra__", None)
        object.__setattr__(row, "__pydantic_private__", None)
        return row

    @cached_property
    def create_body(self) -> type[BaseModel]:
        return self._body("Create", self.creatable)

    @cached_property
    def change_body(self) -> type[BaseModel]:
        return self._body("Change", self.changeable, optional=True)

    @cached_property
    def show_body(self) -> type[BaseModel]:
        return self._body("", {a.name: a for a in self.shown if not a.back and not (a.ref and a.ref.shown != "itself")})

    @cached_property
    def _nested(self) -> tuple[Attribute, ...]:
        return tuple(a for a in self if a.document and not a.back)

    def _admit(
        self, body: Any, allowed: Mapping[str, Attribute], defaults: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Fault]]:
        """The attributes of `body` that may be set here, nulls resolved; a fault for each other."""
        if not isinstance(body, Mapping):
            raise Refused(
                [Fault(f"Invalid input for field/attribute {self.name}. Value should be an object.", self.name)]
            )
        wanted: dict[str, Any] = {}
        faults = []
        for name, value in body.items():
            attribute = allowed.get(name)
            if attribute is None:
                faults.append(self._unknown(name))
            elif value is not None:
                wanted[name] = value
            elif attribute.access.on_null is DEFAULT:
                wanted[name] = defaults.get(name, None if attribute.required else attribute.default)
            elif attribute.access.on_null is not IGNORED:
                wanted[name] = attribute.access.on_null
        return wanted, faults

    def _unknown(self, name: str) -> Fault:
        why = ""
        if name in self.attributes:
            generated = self.attributes[name].access.when == "generated" or self.attributes[name].back
            why = " It is set by the service." if generated else " It cannot be changed."
        argument = f"{self.title.lower().replace(' ', '_')}.{self.wrapper}"
        return Fault(f"Unknown attribute for argument {argument}: {name}.{why}", name)

    def _whole(self, document: dict[str, Any], faults: list[Fault]) -> Row:
        try:
            row = self.model.model_validate(document)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=True)
            faults += [_fault(self._unsaid(detail)) for detail in wrong]
            bad = {str(detail["loc"][0]) for detail in wrong if detail["loc"]}
            row = self.model.model_construct(**{k: v for k, v in document.items() if k not in bad})
            for name in bad:
                row.__dict__.pop(name, None)
            with suppress(AttributeError):
                for fault in row.faults():
                    faults.append(fault)
            raise Refused(faults) from None
        faults += row.faults()
        if faults:
            raise Refused(faults)
        return row

    def _unsaid(self, detail: ErrorDetails) -> ErrorDetails:
        """What was found, without what must not be shown."""
        attribute = self.attributes.get(str(detail["loc"][0])) if detail["loc"] else None
        return {**detail, "input": "…"} if attribute is not None and attribute.secret else detail

    def _body(self, suffix: str, attributes: Mapping[str, Attribute], *, optional: bool = False) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for name, a in attributes.items():
            default = None if optional and a.required else (... if a.required else a.default)
            kind = a.info.rebuild_annotation() | None if optional or not a.required else a.info.rebuild_annotation()
            fields[name] = (kind, FieldInfo(default=default, description=a.description))
        config = ConfigDict(extra="forbid", title=f"{self.model.__name__}{suffix}")
        return create_model(f"{self.model.__name__}{suffix}", __config__=config, __doc__=self.model.__doc__, **fields)


def _nested(kind: type[BaseModel], value: Any) -> Any:
    if isinstance(value, list):
        return [_nested(kind, item) for item in value]
    return kind.model_construct(**value) if isinstance(value, dict) else value


WHY = {
    "missing": "Mandatory field missing.",
    "string_type": "Value should be string",
    "int_type": "Value should be integer",
    "int_from_float": "Value should be integer",
    "float_type": "Value should be a number",
    "list_type": "Value should be a list",
    "dict_type": "Value should be an object",
    "model_type": "Value should be an object",
    "model_attributes_type": "Value should be an object",
    "string_too_long": "Value should have a maximum character requirement of {max_length}",
    "string_too_short": "Value should have a minimum character requirement of {min_length}",
    "too_long": "Value should have at most {max_length} entries",
    "too_short": "Value should have at least {min_length} entries",
    "greater_than_equal": "Value should be greater or equal to {ge}",
    "greater_than": "Value should be greater than {gt}",
    "less_than_equal": "Value should be lower or equal to {le}",
    "string_pattern_mismatch": "Value should match the pattern {pattern}",
    "literal_error": "Value should be one of: {expected}",
    "extra_forbidden": "Unknown attribute",
    "value_error": "{error}",
}
"""pydantic's findings in the words of the v2 wire (facts: octavia.md §2.18)."""


def faults_of(error: ValidationError, within: str) -> Iterator[Fault]:
    """What pydantic has found in a document that stands in the attribute `within`."""
    for detail in error.errors(include_url=False, include_context=True):
        yield _fault({**detail, "loc": (within, *detail["loc"])})


def _fault(detail: ErrorDetails) -> Fault:
    name = ".".join(map(str, detail["loc"]))
    why = WHY.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
    value = None if detail["type"] == "missing" else detail.get("input")
    if value is None and detail["type"] != "missing":
        return Fault(f"Validation failure: None is not a valid option for {name}.", name)
    return Fault(f"Invalid input for field/attribute {name}. Value: '{_short(value)}'. {why}", name)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"  # noqa: PLR2004  an answer need not repeat a novel
