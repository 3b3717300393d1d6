# SPDX-License-Identifier: Apache-2.0
"""The document is true: whatever a client sends that knows it, no 500, and no status or body that it does not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from caryatid.api.app import operations
from caryatid.config import Settings
from caryatid.model import KINDS, RECORDS
from caryatid.model.kind import Kind

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
UNDOCUMENTED = {("GET", "/openapi.json"), ("GET", "/docs")}


OPERATIONS = sorted({(one.method, one.path) for one in operations(Settings(), None)} - UNDOCUMENTED)


@pytest.fixture
def document(api):
    return schemathesis.openapi.from_asgi("/openapi.json", api.app)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_the_document_says(method, path, api, document):
    ids = api.populated()
    api.settle()

    @given(case=document[path][method].as_strategy())
    @examples(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def check(case):
        case.call_and_validate(checks=CHECKS)
        if case.path_parameters:
            case.path_parameters = existing(path, ids, case.path_parameters)
            case.call_and_validate(checks=CHECKS)

    check()


def existing(path, ids, generated):
    """Parameters that name what exists, where something does."""
    parts = path.split("/")
    found = {}
    for place, part in enumerate(parts):
        if part.startswith("{"):
            name = part.strip("{}")
            found[name] = ids.get(parts[place - 1], generated[name])
    return found


def test_every_attribute_of_every_body_is_described(api):
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    for kind in (*KINDS, *RECORDS):
        assert_described(kind, schemas[kind.model.__name__]["properties"])


def assert_described(kind: Kind, properties):
    undescribed = [name for name, said in properties.items() if not said.get("description")]
    assert not undescribed, f"{kind.name}: {undescribed}"


def test_the_page_for_people_needs_no_script_and_nothing_from_elsewhere(api):
    page = api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script" not in page.headers["content-security-policy"].replace("default-src 'none'", "")
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    for path in api.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page.text
