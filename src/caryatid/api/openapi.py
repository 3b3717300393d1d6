# SPDX-License-Identifier: Apache-2.0
"""The document of the API (OpenAPI 3.1), made from the operations and the models; and a page for people."""

from collections.abc import Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from caryatid.model import KINDS, LOADBALANCER, RECORDS
from caryatid.model.kind import Kind
from caryatid.model.quota import Statistics
from caryatid.model.status import OPERATING, PROVISIONING

from .cloud import errors
from .conditions import PHRASES, conditions
from .etags import AGE, NOT_MODIFIED
from .octavia.compat import INTERNAL, older_names
from .octavia.nested import ABOVE, NESTS
from .routing import Body, Operation

Schema = dict[str, Any]
REF = "#/components/schemas/"
IDS = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}
LINK = {"type": "object", "properties": {"href": {"type": "string"}, "rel": {"enum": ["next", "previous"]}}}
MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?$"
JOB_HEADER = {"description": "The job that carries the change out: `/v1/jobs/{id}`.", "schema": {"type": "string"}}
CONDITIONAL = {
    304: ("If-None-Match", "Entity tags of what is known; if it is still so, 304 is answered, without a body."),
    412: ("If-Match", "Entity tags of what was read; if somebody has wished for another since, 412 is answered."),
}
TAG_HEADERS = {
    "ETag": {"description": "Names what is answered, for If-None-Match and If-Match.", "schema": {"type": "string"}},
    AGE: {
        "description": "How many milliseconds ago those were heard of who observe it; absent: never, or nobody does.",
        "schema": {"type": "integer"},
    },
}
REPEATING = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "If the request comes again under the same key within 24 h, it is not carried out again: the first "
    "answer is given again.",
    "schema": {"type": "string", "maxLength": 255, "pattern": "^[ -~]+$"},
}
REQUEST_ID_HEADER = {"description": "What the log calls this request.", "schema": {"type": "string"}}


def document(operations: Iterable[Operation], version: str) -> Schema:
    """The OpenAPI document of the operations."""
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Caryatid", "version": version, "description": _introduction()},
        "paths": paths,
        "components": {"schemas": components(), "responses": _errors()},
    }


def components() -> dict[str, Schema]:
    """The schemas that operations name."""
    models: list[Any] = [(Statistics, "validation")]
    for kind in (*KINDS, *RECORDS):
        models += [(kind.show_body, "validation")]
        if kind not in RECORDS:
            models += [(kind.create_body, "validation"), (kind.change_body, "validation")]
    _, found = models_json_schema(models, ref_template=REF + "{model}")
    schemas: dict[str, Schema] = _zoneless(found["$defs"])
    for kind in (*KINDS, *RECORDS):
        _as_shown(kind, schemas[kind.model.__name__])
    _add_older_names(schemas)
    schemas[f"{LOADBALANCER.model.__name__}Create"] = _populated(LOADBALANCER, schemas)
    return schemas | errors.described() | _others()


def _operation(operation: Operation) -> Schema:
    shown: Schema = {
        "summary": operation.summary,
        "operationId": _operation_id(operation),
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": {str(operation.success): _success(operation)}
        | {str(code): _refused(operation, code, reasons) for code, reasons in conditions(operation).items()},
    }
    if operation.deprecated:
        shown["deprecated"] = True
        shown["description"] = operation.deprecated.instead
    if operation.takes:
        shown["requestBody"] = {"required": True, "content": _content(operation.takes)}
    return shown


def _operation_id(operation: Operation) -> str:
    words = [part.strip("{}").replace(".", "_") for part in operation.path.split("/") if part]
    return "_".join([operation.method.lower(), *words])


def _path_parameters(operation: Operation) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in operation.names]


def _query_parameters(operation: Operation) -> list[Schema]:
    return [
        {"name": p.name, "in": "query", "description": p.description, "schema": dict(p.schema)} for p in operation.query
    ]


def _header_parameters(operation: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}
        for code, (name, said) in CONDITIONAL.items()
        if code in operation.errors
    ] + ([REPEATING] if operation.repeatable else [])


def _success(operation: Operation) -> Schema:
    shown: Schema = {
        "description": HTTPStatus(operation.success).phrase,
        "headers": {"X-Openstack-Request-Id": REQUEST_ID_HEADER},
    }
    if operation.job:
        shown["headers"]["Caryatid-Job"] = JOB_HEADER
    if NOT_MODIFIED in operation.errors:
        shown["headers"] |= TAG_HEADERS
    if operation.gives:
        shown["content"] = _content(operation.gives)
    return shown


def _content(body: Body) -> Schema:
    schema: Schema = {"$ref": REF + body.schema} if isinstance(body.schema, str) else dict(body.schema)
    if body.many:
        schema = {"type": "array", "items": schema}
    if body.wrapper:
        properties = {body.wrapper: schema}
        if body.links:
            properties[body.links] = {"type": "array", "items": LINK}
        schema = {"type": "object", "required": [body.wrapper], "properties": properties}
    return {media_type: {"schema": schema} for media_type in body.media_types}


def _refused(operation: Operation, code: int, reasons: Iterable[str]) -> Schema:
    shape = "" if code == NOT_MODIFIED else errors.name_of(operation.path)
    return {"$ref": f"#/components/responses/{shape}{code}", "description": " ".join(reasons)}


def _errors() -> dict[str, Schema]:
    """Every status, in every shape that it is answered in."""
    own: Schema = {"oneOf": [{"$ref": REF + "Fault"}, {"$ref": REF + "Error"}]}
    shapes = {"": own, **{name: {"$ref": REF + name} for name in errors.described()}}
    found = {
        f"{name}{code}": {"description": said, "content": {"application/json": {"schema": shape}}}
        for name, shape in shapes.items()
        for code, said in PHRASES.items()
        if code != NOT_MODIFIED
    }
    return {**found, str(NOT_MODIFIED): {"description": PHRASES[NOT_MODIFIED]}}


def _as_shown(kind: Kind, schema: Schema) -> None:
    """What the wire shows of others that refer here, and of references: lists of `{id}`, and the like."""
    properties: Schema = schema["properties"]
    schema.pop("required", None)
    for a in kind.shown:
        if a.back and a.back.one:
            properties[a.name] = {"type": "string", "format": "uuid", "description": a.description}
        elif a.back:
            properties[a.name] = {**IDS, "description": a.description}
        elif a.ref and a.ref.shown not in {None, "itself"}:
            properties[str(a.ref.shown)] = {**IDS, "description": a.description}
    for name in INTERNAL.get(kind.name, ()):
        properties.pop(name, None)


def _zoneless(schema: Any) -> Any:
    """Times of the wire have no zone, which a `date-time` (RFC 3339) must have."""
    if isinstance(schema, dict):
        if schema.get("format") == "date-time":
            schema = {**schema, "format": "local-date-time", "pattern": MOMENT}
        return {name: _zoneless(value) for name, value in schema.items()}
    return [_zoneless(value) for value in schema] if isinstance(schema, list) else schema


def _add_older_names(schemas: Mapping[str, Schema]) -> None:
    """Names that are taken and shown beside those of today."""
    for kind in (*KINDS, *RECORDS):
        for suffix in ("", "Create", "Change"):
            properties = schemas.get(f"{kind.model.__name__}{suffix}", {}).get("properties", {})
            for older, now in older_names(kind).items():
                if now in properties:
                    same = f"The same as {now}, its older name."
                    properties[older] = {**properties[now], "description": same, "deprecated": True}


def _populated(kind: Kind, schemas: Mapping[str, Schema]) -> Schema:
    """The body of a create of `kind` with all that it may nest."""
    schema = schemas[f"{kind.model.__name__}Create"]
    properties = dict(schema["properties"])
    for nest in NESTS[kind.name]:
        below = _populated(nest.kind, schemas)
        inner = {name: value for name, value in below["properties"].items() if name not in ABOVE}
        child = {"type": "object", "properties": inner, "additionalProperties": False}
        properties[nest.key] = {"type": "array", "items": child} if nest.many else child
    return {**schema, "properties": properties}


def _others() -> dict[str, Schema]:
    text, number = {"type": "string"}, {"type": "integer"}
    statuses = {
        "provisioning_status": {"enum": list(PROVISIONING), "description": _words(PROVISIONING)},
        "operating_status": {"enum": list(OPERATING), "description": _words(OPERATING)},
    }
    brief = {"id": text, "name": text, **statuses}
    member = _object({**brief, "address": text, "protocol_port": number})
    pool = _object({**brief, "health_monitor": _object({**brief, "type": text}), "members": _many(member)})
    listener = _object({**brief, "pools": _many(pool)})
    counters = dict.fromkeys(Statistics.model_fields, number)
    links = _many(_object({"href": text, "rel": text}))
    version = _object({"id": text, "status": text, "updated": text, "links": links})
    return {
        "StatusTree": _object({"loadbalancer": _object({**brief, "listeners": _many(listener)})}),
        "AmphoraStatistics": _object({"id": text, "listener_id": text, "loadbalancer_id": text, **counters}),
        "AmphoraDiagnostics": _object(
            {
                "id": text,
                "loadbalancer_id": {"type": ["string", "null"]},
                "compute_id": {"type": ["string", "null"]},
                "at": {**text, "description": "When it was asked, UTC."},
                "took_ms": {**number, "description": "How long the answer took."},
                "found": {"type": "object", "description": "What it said, in the words of its driver."},
            }
        ),
        "Versions": _object({"versions": _many(version)}),
        "Fault": {
            "type": "object",
            "description": "What a resource refuses.",
            "required": ["faultcode", "faultstring"],
            "properties": {
                "faultcode": {"enum": ["Client", "Server"]},
                "faultstring": {"type": "string", "description": "Every fault, one on a line."},
                "debuginfo": {"type": "null"},
            },
        },
        "Error": {
            "type": "object",
            "description": "What is refused before a resource is asked.",
            "required": ["code", "title", "description"],
            "properties": {"code": number, "title": text, "description": text},
        },
    }


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _words(words: Mapping[Any, str]) -> str:
    return " ".join(f"{word}: {meaning}" for word, meaning in words.items())


def _introduction() -> str:
    return (
        "Load balancing as a service. Every path below /v2/lbaas is also found below /v2.0/lbaas, /v2 and /v2.0, and "
        "/v2/octavia below /v2.0/octavia; a trailing slash or .json is allowed. Changes are accepted at any time and "
        "take effect in the background: provisioning_status says how far they are, the header Caryatid-Job names the "
        f"job. Statuses. {_words(PROVISIONING)} {_words(OPERATING)}"
    )


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "summary{cursor:pointer;padding:.3rem 0}code{background:#8882;padding:.1rem .3rem;border-radius:3px}"
    "table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{border-bottom:1px solid #8884;padding:.2rem .6rem;"
    "text-align:left;vertical-align:top}.m{display:inline-block;width:4.5rem;font-weight:600}"
)


def page(described: Mapping[str, Any]) -> str:
    """The document as one page of HTML that needs nothing else."""
    info = described["info"]
    rows = [(path, method, one) for path, methods in described["paths"].items() for method, one in methods.items()]
    tags = dict.fromkeys(one["tags"][0] for _, _, one in rows)
    tagged = {tag: "".join(_row(*row) for row in rows if row[2]["tags"][0] == tag) for tag in tags}
    parts = [f"<h2>{escape(tag)}</h2>{shown}" for tag, shown in tagged.items()]
    schemas = "".join(_schema(name, schema) for name, schema in sorted(described["components"]["schemas"].items()))
    return (
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f"<p><a href=openapi.json>openapi.json</a></p>{''.join(parts)}<h2>Documents</h2>{schemas}</html>"
    )


def _row(path: str, method: str, one: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(p.get('description', ''))}"
        for p in one["parameters"]
    )
    answers = "".join(f"<li><code>{code}</code> {_meaning(said)}" for code, said in one["responses"].items())
    takes = _link(one["requestBody"]["content"]) if "requestBody" in one else ""
    return (
        f"<details><summary><span class=m>{method.upper()}</span> <code>{escape(path)}</code> {escape(one['summary'])}"
        f"</summary>{takes}<table>{parameters}</table><ul>{answers}</ul></details>"
    )


def _meaning(said: Mapping[str, Any]) -> str:
    return escape(said["description"]) + " " + _link(said.get("content", {}))


def _link(content: Mapping[str, Any]) -> str:
    """Links to the documents that a content refers to."""
    names = sorted({part.split('"')[0] for part in str(content).replace("'", '"').split(REF)[1:]})
    return " ".join(f"<a href=#{name}>{name}</a>" for name in names)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(attribute)}</code><td>{escape(_type(what))}<td>{escape(str(what.get('default', '')))}"
        f"<td>{escape(what.get('description', ''))}"
        for attribute, what in schema.get("properties", {}).items()
    )
    summary = f"<summary><b>{name}</b> {escape(schema.get('description', ''))}</summary>"
    return f"<details id={name}>{summary}<table>{rows}</table></details>"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REF)
    limits = [f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxLength", "maxItems") if name in schema]
    inner = f" of {_type(schema['items'])}" if "items" in schema else ""
    return ", ".join([f"{schema.get('type', 'any')}{inner}", *limits])
