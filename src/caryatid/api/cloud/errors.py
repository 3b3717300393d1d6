# SPDX-License-Identifier: Apache-2.0
"""What is refused, in the words of the service that a path belongs to: Keystone's, Neutron's, or else our own."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from caryatid.api.call import answer
from caryatid.api.octavia.errors import answer_error, refusal

Shape = Callable[[int, str], dict[str, Any]]
TEXT = {"type": "string"}


def _keystone(status: int, text: str) -> dict[str, Any]:
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": text}}


def _neutron(status: int, text: str) -> dict[str, Any]:
    kind = "".join(word.capitalize() for word in HTTPStatus(status).phrase.split())
    return {"NeutronError": {"type": kind, "message": text, "detail": ""}}


SHAPES: dict[str, tuple[str, Shape]] = {
    "identity": ("KeystoneError", _keystone),
    "network": ("NeutronError", _neutron),
}
"""Below the first segment of a path: the name that the document gives to the shape, and what makes it."""


def name_of(path: str) -> str:
    """What the document calls the shape of what is refused below the path; empty: it is our own."""
    return SHAPES.get(path.split("/")[1], ("", None))[0]


def told(path: str, error: Exception, request_id: str) -> Response:
    """The answer to a request for `path` that ended in `error`."""
    found = SHAPES.get(path.split("/")[1])
    if found is None:
        return answer_error(error, request_id)
    status, text, headers = refusal(error, request_id)
    return answer(status, found[1](status, text), headers)


def described() -> dict[str, dict[str, Any]]:
    """How the document describes the shapes."""
    keystone = {"code": {"type": "integer"}, "title": TEXT, "message": TEXT}
    neutron = {"type": TEXT, "message": TEXT, "detail": TEXT}
    return {
        "KeystoneError": _wrapped("error", keystone, "What is refused, as Keystone says it."),
        "NeutronError": _wrapped("NeutronError", neutron, "What is refused, as Neutron says it."),
    }


def _wrapped(name: str, properties: dict[str, Any], description: str) -> dict[str, Any]:
    inner = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "object", "description": description, "required": [name], "properties": {name: inner}}
