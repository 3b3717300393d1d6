# SPDX-License-Identifier: Apache-2.0
"""The agent's API (see caryatid.wire.agent): authorise, read, call, answer."""

import re
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from caryatid import tracing
from caryatid.agent.host import Agent
from caryatid.agent.install import Broken, Outcome
from caryatid.agent.keys import Unfit
from caryatid.agent.probe import probe
from caryatid.wire.agent import VERSION, Applied, Configuration, Probe, Refusal, Secrets, Stale, Wanting
from caryatid.wire.body import ID_PATTERN
from caryatid.wire.network import Plug
from caryatid.wire.tls import Peer

BODY_BYTES_MAX = 16 << 20
CONTROLLER = "controller"
INSPECTOR = "inspector"
AMPHORA_ID = re.compile(ID_PATTERN)

WantedT = TypeVar("WantedT", Configuration, Plug, Secrets)
Handler = Callable[[Request], Awaitable[Response]]


def create_app(agent: Agent, client: Callable[[], ssl.SSLContext]) -> Starlette:
    """The ASGI application. Only a peer whose certificate has the role `controller` gets past its door; to look, also
    one with the role `inspector`.

    `client`: TLS with which this host calls others.
    """
    handlers = Handlers(agent, client)
    one = f"/{VERSION}/amphorae/{{amphora_id}}"
    table: list[tuple[str, str, Handler]] = [
        (f"/{VERSION}", "GET", handlers.info),
        (f"/{VERSION}/", "GET", handlers.info),
        (f"/{VERSION}/probe", "POST", handlers.probe),
        (f"/{VERSION}/amphorae", "GET", handlers.amphorae),
        (one, "GET", handlers.amphora),
        (one, "DELETE", handlers.delete),
        (f"{one}/network", "PUT", handlers.put_network),
        (f"/{VERSION}/leftovers", "GET", handlers.leftovers),
        (f"{one}/configuration", "PUT", handlers.put_configuration),
        (f"{one}/secrets", "PUT", handlers.put_secrets),
        (f"{one}/diagnostics", "GET", handlers.diagnostics),
    ]
    return Starlette(routes=[Route(path, _for_controllers(handler), methods=[verb]) for path, verb, handler in table])


class Handlers:
    """One method for each request that the agent answers."""

    def __init__(self, agent: Agent, client: Callable[[], ssl.SSLContext]) -> None:
        self._agent = agent
        self._client = client

    async def info(self, _: Request) -> Response:
        return _json(self._agent.info())

    async def probe(self, request: Request) -> Response:
        try:
            wanted = Probe.model_validate_json(await _body(request) or b"")
        except ValidationError as error:
            return _json(Refusal(reason=_faults(error)), 400)
        return _json(await probe(wanted, self._client()))

    async def amphorae(self, _: Request) -> Response:
        return _raw(orjson.dumps([amphora.state() for amphora in self._agent.amphorae.values()]))

    async def amphora(self, request: Request) -> Response:
        found = self._agent.amphorae.get(request.path_params["amphora_id"])
        return _json(await self._agent.details(found)) if found else _absent()

    async def diagnostics(self, request: Request) -> Response:
        found = self._agent.amphorae.get(request.path_params["amphora_id"])
        return _json(await self._agent.diagnostics(found)) if found else _absent()

    async def leftovers(self, _: Request) -> Response:
        """Names of network namespaces of ours without an amphora."""
        return _raw(orjson.dumps(self._agent.networks.leftovers(self._agent.amphorae)))

    async def put_network(self, request: Request) -> Response:
        wanted = await _wanted(request, Plug)
        if isinstance(wanted, Response):
            return wanted
        refusal = await self._agent.put_network(wanted)
        return _answer(refusal) if refusal else Response(status_code=204)

    async def put_configuration(self, request: Request) -> Response:
        wanted = await _wanted(request, Configuration)
        if isinstance(wanted, Response):
            return wanted
        return _answer(await self._agent.put_configuration(wanted))

    async def put_secrets(self, request: Request) -> Response:
        wanted = await _wanted(request, Secrets)
        if isinstance(wanted, Response):
            return wanted
        try:
            refusal = await self._agent.put_secrets(wanted)
        except Unfit as error:
            return _json(Refusal(reason=str(error)), 400)
        return _answer(refusal) if refusal else Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        try:
            numbers = [int(request.query_params[name]) for name in ("generation", "fence")]
        except (KeyError, ValueError):
            return _json(Refusal(reason="generation and fence must be given as integers."), 400)
        amphora_id = request.path_params["amphora_id"]
        if min(numbers) < 0 or not AMPHORA_ID.fullmatch(amphora_id):
            return _json(Refusal(reason="generation and fence must not be negative, and the id must be one."), 400)
        stale = await self._agent.delete(amphora_id, *numbers)
        return _json(stale, 412) if stale else Response(status_code=204)


async def _wanted(request: Request, kind: type[WantedT]) -> WantedT | Response:
    """The body of a request about one amphora, or the answer that it gets instead."""
    body = await _body(request)
    if body is None:
        return _json(Refusal(reason=f"The body is larger than {BODY_BYTES_MAX} bytes."), 413)
    try:
        wanted = kind.model_validate_json(body)
    except ValidationError as error:
        return _json(Refusal(reason=_faults(error)), 400)
    if wanted.amphora_id != request.path_params["amphora_id"]:
        return _json(Refusal(reason="The amphora_id of the body is not the one of the path."), 400)
    return wanted


def _answer(outcome: Outcome) -> Response:
    match outcome:
        case Applied():
            return _json(outcome)
        case Refusal():
            return _json(outcome, 422)
        case Stale():
            return _json(outcome, 412)
        case Wanting():
            return _json(outcome, 428)
        case Broken():
            return _json(Refusal(reason=outcome.reason), 503)


def _absent() -> Response:
    return _json(Refusal(reason="No such amphora."), 404)


def _for_controllers(handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        peer: Peer | None = request.scope.get("state", {}).get("peer")
        roles = (CONTROLLER, INSPECTOR) if request.method in ("GET", "HEAD") else (CONTROLLER,)
        if peer is None or peer.role not in roles:
            return _json(Refusal(reason="Only a controller may ask."), 403)
        with tracing.span(handler.__name__, parent=request.headers.get(tracing.HEADER, "")):
            return await handler(request)

    return guarded


async def _body(request: Request) -> bytes | None:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:20])


def _json(body: BaseModel, status: int = 200) -> Response:
    return _raw(body.__pydantic_serializer__.to_json(body), status)


def _raw(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")
