# SPDX-License-Identifier: Apache-2.0
"""Filters, sorting and pages: any attribute of any kind, with or without a column of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    not_,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from caryatid.errors import Fault, Refused
from caryatid.model import AMPHORA, BY_NAME, GSLB_ZONE, NETWORK, SUBNET
from caryatid.model.kind import Kind
from caryatid.model.types import FALSE, TRUE

from .database import POSTGRESQL, Tx
from .documents import reading
from .sql import among, inside, listed, scalar, storable, tagged
from .tables import TABLES, root_column

Direction = Literal["asc", "desc"]
Sort = tuple[str, Direction]
NULLS = frozenset({"null", "none"})
INTEGER_MAX = 2**63 - 1
SHAPES_CACHED = 512
NEVER: Any = object()
ASCII = frozenset({"id", "created_at"})
"""Sorted by an index as they are: every collation has them in this order."""
TAG_NAMES = ("tags", "tags-any", "not-tags", "not-tags-any")
BAD_NAME = "One or more arguments are either duplicate or invalid"
TYPES: dict[type, TypeEngine[Any]] = {str: String(), bool: Boolean(), int: BigInteger(), float: Float(53)}


@dataclass(frozen=True)
class Query:
    """Which rows, in which order, and which page of them.

    A filter's value is text, or a list of texts of which any will do; None is null.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    """All of them."""
    tags_any: Sequence[str] = ()
    """At least one."""
    not_tags: Sequence[str] = ()
    """Not all of them."""
    not_tags_any: Sequence[str] = ()
    """None of them."""
    sort: Sequence[Sort] = ()
    limit: int | None = None
    offset: int = 0
    """How many rows come before the page; instead of a marker."""
    marker: str | None = None
    """Id of the last row of the page before (of the first of the page after, with page_reverse)."""
    page_reverse: bool = False
    project_id: str | None = None
    """Only what is this project's, or shared with it."""
    changed_since: str | None = None
    """Only those that somebody has changed at this moment, or later."""
    parent_id: str | None = None


@dataclass(frozen=True)
class Value:
    """Something that rows can be compared by."""

    expression: ColumnElement[Any]
    plain: type
    nullable: bool


@dataclass(frozen=True, eq=False)
class Source:
    """What is listed: a select, and what its rows can be filtered and sorted by."""

    select: Select[Any]
    id: ColumnElement[Any]
    """What a marker names."""
    values: Mapping[str, Value]
    spec: ColumnElement[Any] | None
    """The document that has the tags."""
    project: ColumnElement[Any] | None
    parent: ColumnElement[Any] | None
    tie: tuple[Sort, ...]
    """Sort keys that are always appended; the last is unique."""
    dialect: str
    changed: ColumnElement[Any] | None = None
    """When somebody has changed a row last."""
    shared: ColumnElement[bool] | None = None
    """Rows that every project sees as if they were its own."""


@dataclass(frozen=True)
class Shape:
    """A query without its values: what a statement is built from, once."""

    equal: tuple[str, ...]
    nulls: tuple[str, ...]
    any_of: tuple[tuple[str, bool], ...]
    """Names, and whether null will do."""
    never: bool
    """Something is asked for that no row can have."""
    tags: tuple[int, ...]
    sort: tuple[Sort, ...]
    after: tuple[bool, ...] | None
    """Whether the marker's sort values are null; None: from the start."""
    limited: bool
    skips: bool
    project: bool
    parent: bool
    reverse: bool
    changed: bool


@cache
def source(name: str, dialect: str) -> Source:
    """What the rows of a kind can be filtered and sorted by: every attribute that is shown and has one value."""
    kind = BY_NAME[name]
    read = reading(name, dialect)
    values: dict[str, Value] = {}
    for attribute in kind:
        plain = scalar(attribute)
        if plain is None or attribute.secret or not attribute.access.shown:
            continue
        known = read.values.get(attribute.name)
        found = known if known is not None else inside(dialect, read.table.c.spec, attribute, plain)
        values[attribute.name] = Value(type_coerce(found, TYPES[plain]), plain, attribute.nullable)
    if kind.root and not kind.is_root:
        root = root_column(kind)
        values[root] = Value(read.table.c[root], str, nullable=False)
    unique = "id" if "id" in values else kind.key
    tie: tuple[Sort, ...] = tuple((column, "asc") for column in ("created_at", unique) if column in values)
    project, parent = _owners(kind)
    spec = read.table.c.spec if "tags" in kind.attributes else None
    changed = read.table.c.get("updated_at")
    shared = _shared(kind, dialect)
    return Source(read.select, read.table.c[kind.key], values, spec, project, parent, tie, dialect, changed, shared)


def _shared(kind: Kind, dialect: str) -> ColumnElement[bool] | None:
    """A shared network, and its subnets; a shared zone."""
    if kind is GSLB_ZONE:
        return inside(dialect, TABLES[kind.name].c.spec, kind.attributes["shared"], bool).is_(True)
    table = TABLES[NETWORK.name]
    shared = inside(dialect, table.c.spec, NETWORK.attributes["shared"], bool).is_(True)
    if kind is NETWORK:
        return shared
    if kind is SUBNET:
        networks = select(table.c.id).where(shared)
        return TABLES[SUBNET.name].c.network_id.in_(networks)
    return None


def _owners(kind: Kind) -> tuple[ColumnElement[Any] | None, ColumnElement[Any] | None]:
    table = TABLES[kind.name]
    parent = table.c[kind.parent] if kind.parent else None
    if kind is AMPHORA:  # belongs to its load balancer's project
        root = TABLES["loadbalancer"]
        return select(root.c.project_id).where(root.c.id == table.c.loadbalancer_id).scalar_subquery(), parent
    return (table.c.project_id if kind.owned else None), parent


def run(tx: Tx, of: Source, query: Query, **given: Any) -> list[Any]:
    """The rows of `of.select` that the query asks for, in its order; `given` are parameters of `of.select` itself.

    Raises Refused with every fault.
    """
    shape, values = _shape(of, query)
    values |= given
    if query.marker is not None:
        after = _marker(tx, of, shape, query.marker, values)
        shape = replace(shape, after=tuple(value is None for value in after))
        values |= {f"after_{place}": value for place, value in enumerate(after)}
    found = tx.connection.execute(_statement(of, shape), values).all()
    return list(found[::-1] if query.page_reverse else found)


def total(tx: Tx, of: Source, query: Query) -> int:
    """How many rows `query` lets through, on whatever page. Raises Refused with every fault."""
    shape, values = _shape(of, replace(query, limit=None, offset=0, marker=None))
    found = _statement(of, shape).with_only_columns(of.id, maintain_column_froms=True).order_by(None)
    return int(tx.connection.execute(select(func.count()).select_from(found.subquery()), values).scalar_one())


def _shape(of: Source, query: Query) -> tuple[Shape, dict[str, Any]]:
    """What the query is like, and the values in it. Raises Refused with every fault."""
    parts = _Parts(of)
    for name, wanted in query.filters.items():
        parts.compare(name, wanted)
    groups = (query.tags, query.tags_any, query.not_tags, query.not_tags_any)
    for place, tags in enumerate(groups):
        parts.tag(place, tags)
    parts.order(query.sort)
    if query.project_id is not None:
        parts.own("project", query.project_id, of.project)
    if query.parent_id is not None:
        parts.own("parent", query.parent_id, of.parent)
    if query.changed_since is not None:
        parts.values["since"] = query.changed_since
        if of.changed is None:
            parts.faults.append(Fault(BAD_NAME, "changed_since"))
    if parts.faults:
        raise Refused(parts.faults)
    if query.limit is not None:
        parts.values["limit"] = min(query.limit, INTEGER_MAX)
    if query.offset:
        parts.values["offset"] = min(query.offset, INTEGER_MAX)
    keys = tuple((name, _flip(way) if query.page_reverse else way) for name, way in parts.sort)
    shape = Shape(
        equal=tuple(sorted(parts.equal)),
        nulls=tuple(sorted(parts.nulls)),
        any_of=tuple(sorted(parts.any_of)),
        never=parts.never,
        tags=tuple(len(tags) for tags in groups),
        sort=keys,
        after=None,
        limited=query.limit is not None,
        skips=query.offset > 0,
        project=query.project_id is not None,
        parent=query.parent_id is not None,
        reverse=query.page_reverse,
        changed=query.changed_since is not None,
    )
    return shape, parts.values


class _Parts:
    """The parts of a shape, while a query is read."""

    def __init__(self, of: Source) -> None:
        self.of = of
        self.faults: list[Fault] = []
        self.values: dict[str, Any] = {}
        self.equal: list[str] = []
        self.nulls: list[str] = []
        self.any_of: list[tuple[str, bool]] = []
        self.sort: list[Sort] = []
        self.never = False

    def compare(self, name: str, wanted: Any) -> None:
        value = self.of.values.get(name)
        if value is None:
            self.faults.append(Fault(BAD_NAME, name))
            return
        several = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        known = [self._read(name, value, one) for one in several]
        null = any(one is None for one in known)
        good = [one for one in known if one is not None and one is not NEVER]
        if len(good) > 1 or (good and null):
            texts = [_text(one) for one in good]
            self.any_of.append((name, null))
            self.values[f"is_{name}"] = listed(self.of.dialect, texts)
        elif good:
            self.equal.append(name)
            self.values[f"is_{name}"] = good[0]
        elif null:
            self.nulls.append(name)
        else:
            self.never = True

    def tag(self, place: int, tags: Sequence[str]) -> None:
        if tags and self.of.spec is None:
            self.faults.append(Fault(BAD_NAME, TAG_NAMES[place]))
        for number, tag in enumerate(tags):
            self.values[f"tag_{place}_{number}"] = tag if storable(tag) else ""  # no tag is empty

    def order(self, sort: Sequence[Sort]) -> None:
        for name, way in sort:
            if name not in self.of.values:
                self.faults.append(Fault(f"Supplied sort key '{name}' is not valid.", name))
            elif name not in {known for known, _ in self.sort}:
                self.sort.append((name, way))
        self.sort += [(name, way) for name, way in self.of.tie if name not in {known for known, _ in self.sort}]

    def own(self, name: str, value: str, column: ColumnElement[Any] | None) -> None:
        self.never |= column is None or not storable(value)
        self.values[name] = value if storable(value) else ""

    def _read(self, name: str, value: Value, wanted: Any) -> Any:
        """The value that is meant; None: null; NEVER: one that no row can have."""
        text = str(wanted).strip()
        if wanted is None or (value.nullable and text.lower() in NULLS):
            return None
        if value.plain is bool and text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
        if value.plain is str:
            return wanted if storable(wanted) else NEVER
        try:
            number = float(text) if value.plain is float else int(text)
        except ValueError:
            self.faults.append(Fault(f"Invalid input for field/attribute {name}. Value: '{text}'.", name))
            return NEVER
        if value.plain is bool:
            self.faults.append(Fault(f"Invalid input for field/attribute {name}. Value: '{text}'.", name))
        return number if abs(number) <= INTEGER_MAX else NEVER


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flip(way: Direction) -> Direction:
    return "desc" if way == "asc" else "asc"


def _marker(tx: Tx, of: Source, shape: Shape, marker: str, values: Mapping[str, Any]) -> Sequence[Any]:
    """The values by which the marker's row is sorted. Raises Refused if there is no such row here."""
    row = None
    if storable(marker):
        statement = _marked(of, shape.sort, project=shape.project, parent=shape.parent)
        row = tx.connection.execute(statement, {**values, "marker": marker}).first()
    if row is None:
        raise Refused([Fault(f"Supplied pagination marker '{marker}' is not valid.", "marker")])
    return tuple(row)


@lru_cache(maxsize=SHAPES_CACHED)
def _marked(of: Source, sort: tuple[Sort, ...], *, project: bool, parent: bool) -> Select[Any]:
    keys = [_key(of, name) for name, _ in sort]
    statement = of.select.with_only_columns(*keys, maintain_column_froms=True)
    return statement.where(of.id == bindparam("marker"), *_owned(of, project=project, parent=parent))


@lru_cache(maxsize=SHAPES_CACHED)
def _statement(of: Source, shape: Shape) -> Select[Any]:
    where: list[ColumnElement[bool]] = [false()] if shape.never else []
    where += _owned(of, project=shape.project, parent=shape.parent)
    for name in shape.equal:
        value = of.values[name]
        where.append(value.expression == bindparam(f"is_{name}", type_=TYPES[value.plain]))
    where += [of.values[name].expression.is_(None) for name in shape.nulls]
    where += [_any_of(of, name, null=null) for name, null in shape.any_of]
    where += _tags(of, shape.tags)
    if shape.changed:
        where.append(of.changed >= bindparam("since", type_=String))
    if shape.after is not None:
        where.append(_beyond(of, shape.sort, shape.after))
    order = [_ordered(of, name, way) for name, way in shape.sort]
    statement = of.select.where(*where).order_by(*order)
    if not shape.limited:
        return statement
    limit = bindparam("limit", type_=BigInteger)
    offset = bindparam("offset", type_=BigInteger) if shape.skips else None
    if shape.sort[0][0] in ASCII:
        return statement.limit(limit).offset(offset)
    # no index has this order: SQLite would make every row whole, with all that refers to it, to sort and drop most
    page = statement.with_only_columns(of.id, maintain_column_froms=True).correlate(None).limit(limit).offset(offset)
    return of.select.where(of.id.in_(page)).order_by(*order)


def _owned(of: Source, *, project: bool, parent: bool) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if project and of.project is not None:
        own = of.project == bindparam("project", type_=String)
        where.append(own if of.shared is None else or_(own, of.shared))
    if parent and of.parent is not None:
        where.append(of.parent == bindparam("parent", type_=String))
    return where


def _any_of(of: Source, name: str, *, null: bool) -> ColumnElement[bool]:
    value = of.values[name]
    text: ColumnElement[Any] = cast(value.expression, String)
    if value.plain is bool:
        text = case((value.expression.is_(True), "true"), (value.expression.is_(False), "false"))
    these = among(of.dialect, text, f"is_{name}")
    return or_(these, value.expression.is_(None)) if null else these


def _tags(of: Source, counts: tuple[int, ...]) -> list[ColumnElement[bool]]:
    if of.spec is None:
        return []
    spec = of.spec
    groups = [
        [tagged(of.dialect, spec, f"tag_{place}_{number}") for number in range(count)]
        for place, count in enumerate(counts)
    ]
    every, some, not_every, not_some = groups
    where = list(every)
    where += [or_(*some)] if some else []
    where += [not_(and_(*not_every))] if not_every else []
    where += [not_(or_(*not_some))] if not_some else []
    return where


def _key(of: Source, name: str) -> ColumnElement[Any]:
    """What is sorted and compared by: the same order on both databases."""
    value = of.values[name]
    if value.plain is bool:
        return case((value.expression.is_(True), 1), (value.expression.is_(False), 0))
    if value.plain is str and of.dialect == POSTGRESQL and name not in ASCII:
        return value.expression.collate("C")
    return value.expression


def _ordered(of: Source, name: str, way: Direction) -> ColumnElement[Any]:
    """Null is less than anything."""
    key = _key(of, name)
    if not of.values[name].nullable:
        return key.asc() if way == "asc" else key.desc()
    return key.asc().nulls_first() if way == "asc" else key.desc().nulls_last()


def _beyond(of: Source, sort: tuple[Sort, ...], nulls: tuple[bool, ...]) -> ColumnElement[bool]:
    """Whether a row comes after the marker's."""
    keys = [_key(of, name) for name, _ in sort]
    after: list[ColumnElement[Any]] = [bindparam(f"after_{n}", type_=key.type) for n, key in enumerate(keys)]
    if len({way for _, way in sort}) == 1 and not any(of.values[name].nullable for name, _ in sort):
        left, right = tuple_(*keys), tuple_(*after)  # one range of an index
        return left > right if sort[0][1] == "asc" else left < right
    choices = []
    same: list[ColumnElement[bool]] = []
    for (_, way), key, value, null in zip(sort, keys, after, nulls, strict=True):
        choices.append(and_(*same, _past(key, value, way, null=null)))
        same.append(key.is_(None) if null else key == value)
    return or_(*choices)


def _past(key: ColumnElement[Any], value: ColumnElement[Any], way: Direction, *, null: bool) -> ColumnElement[bool]:
    if way == "asc":
        return key.is_not(None) if null else key > value
    return false() if null else or_(key < value, key.is_(None))
