# SPDX-License-Identifier: Apache-2.0
"""What a refused request is answered: two shapes, as on the v2 wire (facts: octavia.md §2.3).

A, from what a resource says: `{"faultcode", "faultstring", "debuginfo"}`. B, from what comes before it (paths,
negotiation, paging, a parent that is not there): `{"code", "title", "description"}`.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from caryatid import log
from caryatid.api.call import answer
from caryatid.errors import Busy, CaryatidError, Refused, TooMany, Unauthorized

SERVER = 500
BROKEN = "Something went wrong here; the log of the service says what, under the request id of this answer."


class BeforeResource(CaryatidError):
    """Refused before any resource was asked; answered in shape B."""

    def __init__(
        self, status: int, description: str, *, title: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.headers = headers or {}


class ParentNotFound(BeforeResource):
    """What the path says the resource belongs to is not there."""

    def __init__(self, title: str, key: str) -> None:
        super().__init__(404, f"{title} {key} not found.", title=HTTPStatus.BAD_REQUEST.phrase)


def answer_error(error: Exception, request_id: str) -> Response:
    """The answer to a request that ended in `error`."""
    status, text, headers = refusal(error, request_id)
    if isinstance(error, BeforeResource):
        return answer(status, {"code": status, "title": error.title, "description": text}, headers)
    code = "Server" if status >= SERVER else "Client"
    return answer(status, {"faultcode": code, "faultstring": text, "debuginfo": None}, headers)


def refusal(error: Exception, request_id: str) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of that answer. What is no refusal is logged, and not told."""
    if isinstance(error, BeforeResource):
        return error.status, str(error), error.headers
    if not isinstance(error, CaryatidError):
        log.get().error("request failed", request_id=request_id, exc_info=error)
        return SERVER, BROKEN, {}
    if error.status >= SERVER and not isinstance(error, Busy):
        log.get().warning("request refused", request_id=request_id, reason=str(error))
    return error.status, text_of(error), headers_of(error)


def headers_of(error: CaryatidError) -> dict[str, str]:
    """What an answer says beside its body."""
    if error.status == Busy.status:
        return {"Retry-After": str(Busy.retry_after)}
    if isinstance(error, TooMany):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, Unauthorized) and error.challenge:
        return {"WWW-Authenticate": error.challenge}
    return {}


def text_of(error: CaryatidError) -> str:
    """Every fault, one on a line, each once."""
    if isinstance(error, Refused):
        return "\n".join(dict.fromkeys(fault.message for fault in error.faults))
    return str(error)
