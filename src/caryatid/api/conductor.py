# SPDX-License-Identifier: Apache-2.0
"""The conductor: the door for hosts. Enrolment by token; then each host, by its certificate, for itself only."""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from ssl import DER_cert_to_PEM_cert

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from caryatid.control import admission, authority
from caryatid.control.authority import Registry
from caryatid.errors import Forbidden
from caryatid.wire.conductor import VERSION, CertificateRequest, Enrolment, HostFacts, LateRequest

from .call import aside
from .inner import Handler, answered, body, told

HOST = "host"
PEM = "application/x-pem-file"


def create_app(registry: Registry, more: Sequence[Route] = ()) -> Starlette:
    """The application, with `more` (the door for checkers), to be served over TLS that asks for certificates, but lets
    strangers in (`strangers=True`): the peer stands in `scope["state"]["peer"]`."""
    door = Conductor(registry)
    one = f"/{VERSION}/hosts/{{host_id}}"
    table: list[tuple[str, str, Handler]] = [
        (f"/{VERSION}/ca", "GET", door.certificates_of_authorities),
        (f"/{VERSION}/enrolments", "POST", door.enrol),
        (one, "PUT", door.refresh),
        (f"{one}/certificate", "POST", door.renew),
        (f"{one}/late-certificate", "POST", door.renew_late),
    ]
    own = [Route(path, answered(handler), methods=[method]) for path, method, handler in table]
    return Starlette(routes=[*own, *more])


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
        wanted = await body(request, Enrolment)
        return told(await aside(admission.enrol, self._registry, wanted), 201)

    async def refresh(self, request: Request) -> Response:
        host_id = _own_id(request)
        facts, shown = await body(request, HostFacts), DER_cert_to_PEM_cert(request.scope["state"]["certificate"])
        now = datetime.now(UTC)
        return told(await aside(admission.refresh, self._registry, host_id, facts, shown.encode(), now))

    async def renew(self, request: Request) -> Response:
        host_id = _own_id(request)
        wanted = await body(request, CertificateRequest)
        return told(await aside(admission.renew, self._registry, host_id, wanted, datetime.now(UTC)), 201)

    async def renew_late(self, request: Request) -> Response:
        """A host whose certificate has ended shows none; it proves in the body that it has the key."""
        wanted = await body(request, LateRequest)
        host_id = request.path_params["host_id"]
        return told(await aside(admission.renew_late, self._registry, host_id, wanted, datetime.now(UTC)), 201)


def _own_id(request: Request) -> str:
    """The id in the path. Raises Forbidden unless the peer is that host."""
    host_id: str = request.path_params["host_id"]
    peer = request.scope.get("state", {}).get("peer")
    if peer is None or peer.role != HOST or not hmac.compare_digest(peer.id.encode(), host_id.encode()):
        raise Forbidden("A host speaks for itself only, with its own certificate.")
    return host_id
