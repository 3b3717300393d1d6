# SPDX-License-Identifier: Apache-2.0
"""What an operation was asked and answered, as the reference shows it: docs/reference/examples/."""

import json
import re
from pathlib import Path
from uuid import UUID, uuid5

from caryatid.control import initial

EXAMPLES = Path(__file__).parents[2] / "docs" / "reference" / "examples"
ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b")
MOMENT = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
ADDRESS = re.compile(r"\b127\.(98|99|100)\.\d+\.(?!0\b)\d+\b")
TOOK = re.compile(r'("took_ms": |"Caryatid-Status-Age": ")[\d.]+')
TOKEN = re.compile(r"\b(cyt_|whsec_)[\w+/=-]+")
TAG = re.compile(r'(?:[0-9a-f]+\.)?[0-9a-f]{16}(?=\\")')
CURSOR = re.compile(r"\b0\.(\d+)\.[0-9a-f]{8}\b")
SPACE = UUID("5ad1c0de-0000-4000-8000-000000000000")
KEPT = {initial.SUBNET_ID, initial.NETWORK_ID}
"""Ids that every installation has."""
HEADERS = ("Caryatid-Job", "Location", "ETag", "Caryatid-Status-Age", "Deprecation", "Sunset", "Retry-After")
OWN = {400, 403, 404, 409, 410, 501, 504}
"""What is refused in the operation's own words."""
LINES_MAX = 12
"""Of an answer in text."""


def example(answer, refusals):
    """`refusals`: answers by status."""
    request = answer.request
    found = {
        "method": request.method,
        "path": request.url.raw_path.decode(),
        "body": _content(request),
        "status": answer.status_code,
        "answer_headers": {name: answer.headers[name] for name in HEADERS if name in answer.headers},
        "answer": _content(answer),
        "refusals": {str(code): _content(one) for code, one in sorted(refusals.items()) if code in OWN},
    }
    return json.loads(steady(json.dumps(found, sort_keys=False)))


def path_of(operation):
    parts = [part.strip("{}") for part in operation.path.split("/") if part]
    return EXAMPLES / f"{'_'.join([operation.method.lower(), *parts]).replace('.', '_')}.json"


def steady(text):
    """The same for every run: ids are counted, and it is always the same moment."""
    known: dict[str, str] = {}

    def counted(found):
        key = str(UUID(found[0]))
        if key in KEPT:
            return found[0]
        known.setdefault(key, str(uuid5(SPACE, str(len(known)))))
        return known[key] if "-" in found[0] else known[key].replace("-", "")

    text = ID.sub(counted, text)
    text = MOMENT.sub(lambda found: "2026-11-21T12:00:00" + (".000000" if found[1] else ""), text)
    text = ADDRESS.sub(r"127.\1.0.10", text)
    text = TOOK.sub(r"\g<1>4", text)
    text = TOKEN.sub(lambda found: f"{found[1]}…", text)
    text = CURSOR.sub("0.42.5f3a9c01", text)
    return TAG.sub(lambda found: "8d1f3a5c7e90.1b2f0a9c3d4e5f60"[-len(found[0]) :], text)


def shape(value):
    """What of an answer must stay as it is: names and types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None if value is None else type(value).__name__


def alike(one, other):
    """Whether two shapes can be of one thing: null, an empty list and an empty object may be anything."""
    if one in (None, [], {}) or other in (None, [], {}):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return alike(one[0], other[0])
    return one == other


def _content(answer):
    """Of an answer, or a request."""
    if not answer.content:
        return None
    if answer.headers.get("content-type", "").startswith("application/json"):
        return json.loads(answer.content)
    return _text(answer.content)


def _text(content):
    if not content:
        return None
    lines = content.decode().splitlines()
    return "\n".join([*lines[:LINES_MAX], *(["…"] if len(lines) > LINES_MAX else [])])
