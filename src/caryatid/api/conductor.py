# SPDX-License-Identifier: Apache-2.0
"""The conductor: the door for hosts. Enrolment by token; then each host, by its certificate, for itself only."""

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from ssl import DER_cert_to_PEM_cert
from typing import TypeVar

from anyio import fail_after
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from caryatid import log
from caryatid.control import admission, authority
from caryatid.control.authority import Registry
from caryatid.errors import Busy, CaryatidError, Fault, Forbidden, Refused
from caryatid.wire.conductor import VERSION, CertificateRequest, Enrolment, HostFacts, LateRequest, Problem

from .call import JSON, aside

BODY_BYTES_MAX = 65_536
BODY_DEADLINE_S = 10
HOST = "host"
PEM = "application/x-pem-file"
BROKEN = "Something went wrong here; the log of the conductor says what."

BodyT = TypeVar("BodyT", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


def create_app(registry: Registry) -> Starlette:
    """The application, to be served over TLS that asks for certificates, but lets strangers in (`strangers=True`):
    the peer stands in `scope["state"]["peer"]`."""
    door = Conductor(registry)
    one = f"/{VERSION}/hosts/{{host_id}}"
    table: list[tuple[str, str, Handler]] = [
        (f"/{VERSION}/ca", "GET", door.certificates_of_authorities),
        (f"/{VERSION}/enrolments", "POST", door.enrol),
        (one, "PUT", door.refresh),
        (f"{one}/certificate", "POST", door.renew),
        (f"{one}/late-certificate", "POST", door.renew_late),
    ]
    return Starlette(routes=[Route(path, _answered(handler), methods=[method]) for path, method, handler in table])


class Conductor:
    """One method for each request."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def certificates_of_authorities(self, _request: Request) -> Response:
        """Anybody may have them; whoever has a token compares the fingerprint before anything else."""
        trust = await aside(authority.trust_of, self._registry)
        return Response(trust.bundle.encode() + trust.link_pem, media_type=PEM)

    async def enrol(self, request: Request) -> Response:
        """A new host; it has nothing but a token."""
        wanted = await _body(request, Enrolment)
        return _json(await aside(admission.enrol, self._registry, wanted), 201)

    async def refresh(self, request: Request) -> Response:
        host_id = _own_id(request)
        facts, shown = await _body(request, HostFacts), DER_cert_to_PEM_cert(request.scope["state"]["certificate"])
        now = datetime.now(UTC)
        return _json(await aside(admission.refresh, self._registry, host_id, facts, shown.encode(), now))

    async def renew(self, request: Request) -> Response:
        host_id = _own_id(request)
        wanted = await _body(request, CertificateRequest)
        return _json(await aside(admission.renew, self._registry, host_id, wanted, datetime.now(UTC)), 201)

    async def renew_late(self, request: Request) -> Response:
        """A host whose certificate has ended shows none; it proves in the body that it has the key."""
        wanted = await _body(request, LateRequest)
        host_id = request.path_params["host_id"]
        return _json(await aside(admission.renew_late, self._registry, host_id, wanted, datetime.now(UTC)), 201)


def _answered(handler: Handler) -> Handler:
    """The same, with an answer whatever happens. What came in is never repeated in it: it may hold a secret."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            raise
        except CaryatidError as error:
            headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else None
            return _json(Problem(reason=str(error)), error.status, headers)
        except Exception as error:  # noqa: BLE001  the one place where whatever went wrong becomes an answer
            log.get().error("conductor request failed", path=request.url.path, exc_info=error)
            return _json(Problem(reason=BROKEN), 500)

    return answer


def _own_id(request: Request) -> str:
    """The id in the path. Raises Forbidden unless the peer is that host."""
    host_id: str = request.path_params["host_id"]
    peer = request.scope.get("state", {}).get("peer")
    if peer is None or peer.role != HOST or not hmac.compare_digest(peer.id.encode(), host_id.encode()):
        raise Forbidden("A host speaks for itself only, with its own certificate.")
    return host_id


async def _body(request: Request, kind: type[BodyT]) -> BodyT:
    content = b""
    try:
        with fail_after(BODY_DEADLINE_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > BODY_BYTES_MAX:
                    raise _refused(f"The body is larger than {BODY_BYTES_MAX} bytes.", 413)
    except TimeoutError:
        raise _refused(f"The body did not arrive within {BODY_DEADLINE_S} s.", 408) from None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        where = (f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors())
        raise _refused("; ".join(where), 400) from None


def _refused(reason: str, status: int) -> Refused:
    return Refused([Fault(reason, status=status)])


def _json(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    response = Response(body.model_dump_json(), status, headers)
    response.raw_headers.append(JSON)
    return response
