# SPDX-License-Identifier: Apache-2.0
"""What doors for our own processes have in common: bodies within bounds, and an answer whatever happens."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Final, TypeVar

from anyio import fail_after
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from caryatid import log
from caryatid.errors import Busy, CaryatidError, Fault, Refused, TooMany
from caryatid.wire.conductor import Problem

from .call import JSON

BODY_BYTES_MAX: Final = 65_536
BODY_DEADLINE_S: Final = 10
BROKEN: Final = "Something went wrong here; the log of the conductor says what."

BodyT = TypeVar("BodyT", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


def answered(handler: Handler) -> Handler:
    """The same, with an answer whatever happens. What came in is never repeated in it: it may hold a secret."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            raise
        except CaryatidError as error:
            later = isinstance(error, Busy | TooMany)
            headers = {"Retry-After": str(getattr(error, "retry_after", 1))} if later else None
            return told(Problem(reason=str(error)), error.status, headers)
        except Exception as error:  # noqa: BLE001  the one place where whatever went wrong becomes an answer
            log.get().error("conductor request failed", path=request.url.path, exc_info=error)
            return told(Problem(reason=BROKEN), 500)

    return answer


async def body(request: Request, kind: type[BodyT], most: int = BODY_BYTES_MAX) -> BodyT:
    """What came, `most` bytes of it. Raises Refused."""
    content = bytearray()
    try:
        with fail_after(BODY_DEADLINE_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise refused(f"The body is larger than {most} bytes.", 413)
    except TimeoutError:
        raise refused(f"The body did not arrive within {BODY_DEADLINE_S} s.", 408) from None
    try:
        return kind.model_validate_json(bytes(content))
    except ValidationError as error:
        where = (f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors())
        raise refused("; ".join(where), 400) from None


def refused(reason: str, status: int) -> Refused:
    return Refused([Fault(reason, status=status)])


def told(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return written(body.model_dump_json().encode(), status, headers)


def written(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON that is written already."""
    response = Response(content, status, headers)
    response.raw_headers.append(JSON)
    return response
