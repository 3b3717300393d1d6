# SPDX-License-Identifier: Apache-2.0
"""What a page says of one method of one path."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from caryatid.api.conditions import conditions
from caryatid.api.resources import PAGING, TAGS
from caryatid.api.routing import Operation, Parameter
from caryatid.model.policy import TEXTS

from .markdown import code, table

EXAMPLES = Path(__file__).parents[1] / "reference" / "examples"
OF_LISTS = {parameter.name: parameter for parameter in (*TAGS, *PAGING)}
FILTER = "Only those with this: "


def method(operation: Operation) -> Iterator[str]:
    yield f"## {operation.method} {operation.path}"
    yield " ".join(_facts(operation))
    yield from _query(operation)
    yield _statuses(operation)
    yield from _example(operation)


def _facts(operation: Operation) -> Iterator[str]:
    yield f"{operation.summary}."
    if operation.deprecated:
        until = f", and from {operation.deprecated.sunset} on may not be there" if operation.deprecated.sunset else ""
        yield f"**Advised against** since {operation.deprecated.since}{until}: {operation.deprecated.instead}"
    if operation.open:
        yield "Answered to anybody."
    elif operation.rule:
        yield f"Policy rule `{operation.rule}`: `{TEXTS[operation.rule]}`."
    else:
        yield "Answered to whoever is known."


def _query(operation: Operation) -> Iterator[str]:
    """Its parameters; of what every list has, only the names."""
    filters = [one.name for one in operation.query if one.description.startswith(FILTER)]
    common = [one.name for one in operation.query if OF_LISTS.get(one.name) == one and one.name not in filters]
    own = [one for one in operation.query if one.name not in {*filters, *common}]
    if own:
        yield table(["Parameter", "Type", "Meaning"], [[code(one.name), _type(one), one.description] for one in own])
    if filters:
        yield f"Filters, by attribute: {', '.join(map(code, filters))}."
    if len(common) > 1:
        yield f"[As of every list](../lists.md): {', '.join(map(code, common))}."
    elif common:
        yield f"`fields`: {OF_LISTS['fields'].description}"


def _type(parameter: Parameter) -> str:
    schema = parameter.schema
    limits = [f"≥ {schema['minimum']}"] if "minimum" in schema else []
    limits += [f"≤ {schema['maximum']}"] if "maximum" in schema else []
    limits += [f"default {json.dumps(schema['default'])}"] if "default" in schema else []
    return ", ".join([str(schema.get("type", "any")), *limits])


def _statuses(operation: Operation) -> str:
    job = " `Caryatid-Job` names the job that carries it out." if operation.job else ""
    rows = [[str(operation.success), f"{HTTPStatus(operation.success).phrase}.{job}"]]
    rows += [[str(status), " ".join(reasons)] for status, reasons in conditions(operation).items()]
    return table(["Status", "When"], rows)


def _example(operation: Operation) -> Iterator[str]:
    parts = [part.strip("{}") for part in operation.path.split("/") if part]
    file = EXAMPLES / f"{'_'.join([operation.method.lower(), *parts]).replace('.', '_')}.json"
    if not file.exists():
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    yield f"```http\n{kept['method']} {kept['path']}\n{_body(kept['body'])}```"
    headers = "".join(f"{name}: {value}\n" for name, value in kept["answer_headers"].items())
    status = HTTPStatus(kept["status"])
    yield f"```http\nHTTP/1.1 {status.value} {status.phrase}\n{headers}{_body(kept['answer'])}```"
    refused = [[code(status), _sentence(said)] for status, said in kept["refusals"].items() if _sentence(said)]
    if refused:
        yield table(["Status", "For example"], refused)


def _body(content: Any) -> str:
    if content is None:
        return ""
    text = content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
    return f"\n{text}\n"


def _sentence(said: Any) -> str:
    if not isinstance(said, dict):
        return ""
    text = str(said.get("faultstring") or said.get("description") or "")
    return text.replace("\n", " ").replace("<", "&lt;")
