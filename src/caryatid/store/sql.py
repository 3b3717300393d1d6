# SPDX-License-Identifier: Apache-2.0
"""The few things that SQLite and PostgreSQL say differently."""

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

import orjson
from sqlalchemy import ARRAY, ColumnElement, Select, String, Table, any_, bindparam, case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import UserDefinedType

from caryatid.model.kind import Attribute

from .database import POSTGRESQL

READ_AS: dict[type, str] = {str: "as_string", bool: "as_boolean", int: "as_integer", float: "as_float"}


def among(dialect: str, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Whether the column is one of the parameter `name`, given as `listed` makes it: one statement for any number."""
    if dialect == POSTGRESQL:
        return column == any_(bindparam(name, type_=ARRAY(String)))
    return column.in_(select(func.json_each(bindparam(name, type_=String)).table_valued("value").c.value))


def listed(dialect: str, values: Iterable[str]) -> Any:
    """The parameter for `among`."""
    found = list(values)
    return found if dialect == POSTGRESQL else orjson.dumps(found).decode()


class _Ids(UserDefinedType[list[str]]):
    """A list of ids as SQLite gives it, in JSON."""

    cache_ok = True

    def result_processor(self, _dialect: Any, _coltype: object) -> Any:
        return orjson.loads


def listing(dialect: str, ids: Select[Any]) -> ColumnElement[list[str]]:
    """The ids that a select gives, in its order, as one value; none: an empty list."""
    if dialect == POSTGRESQL:
        return func.array(ids.scalar_subquery(), type_=ARRAY(String))
    found = ids.subquery()
    return select(func.json_group_array(found.c.id, type_=_Ids())).scalar_subquery()


def scalar(attribute: Attribute) -> type | None:
    """The plain type that an attribute's values have; None: lists, mappings and documents."""
    kind: Any = attribute.info.annotation
    parts = [part for part in get_args(kind) if part is not type(None)]
    if type(None) in get_args(kind) and len(parts) == 1:
        kind = parts[0]
    if get_origin(kind) in {list, dict} or attribute.document or attribute.back:
        return None
    plain = attribute.plain
    if get_origin(plain) is Literal:
        return type(get_args(plain)[0])
    return plain if plain in READ_AS else None


def inside(dialect: str, spec: ColumnElement[Any], attribute: Attribute, plain: type) -> ColumnElement[Any]:
    """The attribute's value within the document; its declared default where an older document does not name it."""
    value: ColumnElement[Any] = getattr(spec[attribute.name], READ_AS[plain])()
    if attribute.required or attribute.default is None:
        return value
    if not attribute.nullable:
        return func.coalesce(value, attribute.default)
    present: ColumnElement[bool]
    if dialect == POSTGRESQL:
        present = func.jsonb_exists(spec, attribute.name)
    else:
        present = func.json_type(spec, f"$.{attribute.name}").is_not(None)
    return case((present, value), else_=attribute.default)  # a null that was asked for stays


def tagged(dialect: str, spec: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether the document's tags have the one that the parameter `name` gives."""
    if dialect == POSTGRESQL:
        tags = func.coalesce(func.jsonb_extract_path(spec, "tags"), func.jsonb_build_array())
        return func.jsonb_exists(tags, bindparam(name, type_=String))
    each = func.json_each(spec, "$.tags").table_valued("value")
    return select(1).select_from(each).where(each.c.value == bindparam(name, type_=String)).exists()


def insert(dialect: str, table: Table) -> Any:
    """An INSERT that has `on_conflict_do_update`."""
    return postgresql.insert(table) if dialect == POSTGRESQL else sqlite.insert(table)


def storable(text: object) -> bool:
    """Whether the database can compare with it: text without NUL or half characters."""
    if not isinstance(text, str) or "\x00" in text:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in text) if not text.isascii() else True
