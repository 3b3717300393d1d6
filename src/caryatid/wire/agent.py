# SPDX-License-Identifier: Apache-2.0
"""The agent's API: its bodies, and the controller's client for it.

Version 1, under `/1`, over mutual TLS. Both sides ignore members they do not know, so that N and N-1 work together.
"""

import ssl
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import httpx2
from pydantic import Field, TypeAdapter, ValidationError

from caryatid import tracing
from caryatid.errors import CaryatidError
from caryatid.wire.body import AmphoraId, Body
from caryatid.wire.datagrams import Datagrams
from caryatid.wire.network import Plug

VERSION = 1
How = Literal["unchanged", "runtime", "reloaded", "started", "stopped"]
DIRECTORY_TOKEN = "@DIR@"  # noqa: S105 - a placeholder
RUN_TOKEN = "@RUN@"  # noqa: S105 - a placeholder
KEYS_TOKEN = "@KEYS@"  # noqa: S105 - a placeholder
CONNECT_TIMEOUT_S = 2.0
AnswerT = TypeVar("AnswerT")
READ_TIMEOUT_S = 20.0
FileName = Field(pattern=r"^[a-z0-9-]{1,64}\.(pem|list)$")
KeyName = Field(pattern=r"^[a-z0-9-]{1,64}\.pem(\.ocsp)?$")
Digest = Field(pattern=r"^[0-9a-f]{64}$")
KEYS_MAX = 4000
"""Names of contents in one configuration."""
SECRETS_BYTES_MAX = 8 << 20
"""Of contents in one request, JSON and all; the rest goes in another."""


class Server(NamedTuple):
    """One `server` line as data, so that the agent can apply a difference without a reload."""

    backend: str
    """Name of the proxy: `<pool id>:<listener id>`."""
    name: str
    """The member's id."""
    address: str
    port: int
    weight: int
    """0 to 256; 0 takes no new sessions."""
    enabled: bool
    options: str
    """The static part of the line (`check`, `backup`, `send-proxy`…), as `add server` takes it."""


class Configuration(Body):
    """All that one amphora shall be.

    `text` is HAProxy's configuration. `@DIR@` stands for the amphora's directory, `@RUN@` for the one of its
    sockets, `@MAXCONN:N@` for N or what the host's limit of open files allows, if less. A line `# <kind> <id>`
    precedes the lines of each object. `base_hash` covers everything but `servers`. `(fence, generation)` never falls.
    """

    amphora_id: str = AmphoraId
    loadbalancer_id: str = AmphoraId
    generation: int = Field(ge=0)
    fence: int = Field(ge=0)
    text: str
    servers: list[Server]
    hash: str = Field(min_length=1, max_length=128)
    base_hash: str = Field(min_length=1, max_length=128)
    keepalived: str = ""
    """keepalived's configuration, with the same tokens; empty: the amphora is not one of a pair."""
    nftables: str = ""
    """A ruleset for `nft -f` in the amphora's namespace, replacing what was there; empty: none."""
    datagrams: Datagrams | None = None
    """What the agent fills and reads in that ruleset; None: nothing. Neither hash covers it."""
    files: dict[Annotated[str, FileName], str] = {}
    """What `text` names under `@DIR@/`, nothing secret, by name; a name stands for one content."""
    keys: Annotated[dict[Annotated[str, KeyName], Annotated[str, Digest]], Field(max_length=KEYS_MAX)] = {}
    """What `text` names under `@KEYS@/`, by name: the SHA-256 of the content that it shall have, which is sent apart
    (`Secrets`). Covered by `hash`, not by `base_hash`: HAProxy takes another content at run time. `<name>.ocsp` is what
    is stapled to the certificate `<name>`; `text` does not name it."""


class Secrets(Body):
    """PUT /1/amphorae/{id}/secrets: contents that a configuration names in `keys`. Kept in memory alone."""

    amphora_id: str = AmphoraId
    loadbalancer_id: str = AmphoraId
    generation: int = Field(ge=0)
    fence: int = Field(ge=0)
    contents: dict[Annotated[str, Digest], str] = Field(repr=False)
    """By SHA-256 (of what stands here, in UTF-8), hexadecimal: PEM, or an OCSP response in DER and base64."""


class Wanting(Body):
    """428: not applied, as these contents (by SHA-256) are not here. They are to be sent, and it to be asked again."""

    wanting: list[Annotated[str, Digest]]


class Applied(Body):
    """The configuration is in effect, and how it came to be."""

    hash: str
    how: How


class Refusal(Body):
    """HAProxy does not take the configuration; the last good one stays. `culprits` are ids of the objects at fault."""

    reason: str
    culprits: list[str] = []


class Stale(Body):
    """A newer (fence, generation) was seen before."""

    reason: str
    fence: int = 0
    """Of the newest."""


class AmphoraState(Body):
    """One amphora as its agent knows it.

    `running` says that it does what its configuration asks for: a process lives, or no listener needs one.
    """

    amphora_id: str
    loadbalancer_id: str
    hash: str
    base_hash: str
    generation: int
    fence: int
    running: bool
    pid: int | None = None
    """The HAProxy master."""
    started_at: float | None = None
    """Seconds since the epoch."""


class AmphoraDetails(AmphoraState):
    """One amphora, and its processes."""

    reloads: int = 0
    workers: list[int] = []
    restarts: int = 0
    """Unexpected deaths of its HAProxy that this agent has seen."""
    interfaces: dict[str, list[str]] = {}
    """In its network namespace: the addresses on each, VIPs that it has now among them."""
    claims: bool = False
    """It has its VIPs because it was told to, and nobody else has been seen with them. A pair decides by itself."""


class Certificate(Body):
    """One that HAProxy has in memory, as it says itself."""

    name: str
    """Of its file."""
    status: str = ""
    """Used, or not."""
    subject: str = ""
    names: str = ""
    """`DNS:www.example, …`."""
    serial: str = ""
    not_after: str = ""


class Diagnostics(Body):
    """What an operator asks for when an amphora misbehaves."""

    info: dict[str, str] = {}
    """`show info`."""
    proxies: list[dict[str, Any]] = []
    """A summary of `show stat`: name, kind, status, sessions."""
    check: str = ""
    """What `haproxy -c` says of the stored configuration; empty if nothing."""
    output: str = ""
    """The last lines that HAProxy wrote."""
    namespace: str = ""
    """The network namespace that it is in; empty: the host's own."""
    role: str = ""
    """What VRRP makes of it."""
    certificates: list[Certificate] = []
    worker_started_at: float | None = None
    """Seconds since the epoch: the last reload, if there was one."""


class AgentInfo(Body):
    """The agent and its host."""

    version: int
    host_id: str
    agent_version: str
    haproxy_version: str
    bindable_from: int
    boot_id: int
    """Milliseconds since the epoch when this agent started; never falls."""
    amphorae: int


class Probe(Body):
    """POST /1/probe: whether this host reaches the agent of another."""

    host_id: str = AmphoraId
    url: str = Field(pattern=r"^https://[^\s/@?#]{1,240}$")
    """Of that agent: a name or address, and a port."""


class Probed(Body):
    """The answer. Whatever that agent answers counts; that it does not let us in too."""

    reachable: bool


APPLIED = TypeAdapter(Applied)
WANTING = TypeAdapter(Wanting)
PROBED = TypeAdapter(Probed)
AGENT_INFO = TypeAdapter(AgentInfo)
AMPHORA_STATES = TypeAdapter(list[AmphoraState])
AMPHORA_DETAILS = TypeAdapter(AmphoraDetails)
DIAGNOSTICS = TypeAdapter(Diagnostics)


class AgentError(CaryatidError):
    """The agent did not do what was asked."""


class AgentUnreachable(AgentError):
    """No connection, or it broke. Whether the request had an effect is unknown."""


class AgentAbsent(AgentUnreachable):
    """Its machine refuses the connection: nobody listens there now."""


class AgentTimeout(AgentError):
    """No answer in time. Whether the request had an effect is unknown."""


class AgentUnauthorized(AgentError):
    """The agent does not accept this certificate, or we do not accept its."""


class AgentStale(AgentError):
    """A newer (fence, generation) was there before: whoever asked must stop. `fence`: of the newest."""

    def __init__(self, reason: str, fence: int) -> None:
        super().__init__(reason)
        self.fence = fence


class AgentWanting(AgentError):
    """Not applied: the agent does not have these contents (by SHA-256)."""

    def __init__(self, wanting: tuple[str, ...]) -> None:
        super().__init__(f"The agent lacks {len(wanting)} of the contents that the configuration names.")
        self.wanting = wanting


class AgentRefused(AgentError):
    """HAProxy refused the configuration; the last good one stays in effect."""

    def __init__(self, reason: str, culprits: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.culprits = culprits


class AgentClient:
    """Talks to the agent of one host. Threads may share it; connections are kept alive.

    The agent's certificate must name `host_id`. Every method raises an `AgentError`.
    """

    def __init__(
        self,
        url: str,
        host_id: str,
        context: ssl.SSLContext,
        read_timeout_s: float = READ_TIMEOUT_S,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._timeout = httpx2.Timeout(read_timeout_s, connect=connect_timeout_s)
        self._http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/{VERSION}",
            verify=context,
            timeout=self._timeout,
            trust_env=False,
            limits=httpx2.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60),
        )
        self._extensions = {"sni_hostname": host_id}

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def info(self, timeout_s: float | None = None) -> AgentInfo:
        """The agent and its host."""
        return _read(AGENT_INFO, self._call("GET", "", timeout_s=timeout_s))

    def probe(self, probe: Probe) -> Probed:
        """Whether the host reaches that other agent now."""
        return _read(PROBED, self._call("POST", "/probe", content=probe.model_dump_json().encode()))

    def put_configuration(self, configuration: Configuration, timeout_s: float | None = None) -> Applied:
        """Afterwards the amphora runs exactly this. May be repeated. AgentWanting: once the contents are sent."""
        path = f"/amphorae/{configuration.amphora_id}/configuration"
        content = configuration.__pydantic_serializer__.to_json(configuration)
        return _read(APPLIED, self._call("PUT", path, content=content, timeout_s=timeout_s))

    def put_secrets(self, secrets: Secrets) -> None:
        """Afterwards the host has these contents, in memory, for a configuration that follows. May be repeated.

        At most SECRETS_BYTES_MAX at once.
        """
        content = secrets.__pydantic_serializer__.to_json(secrets)
        self._call("PUT", f"/amphorae/{secrets.amphora_id}/secrets", content=content)

    def delete_amphora(self, amphora_id: str, generation: int, fence: int, timeout_s: float | None = None) -> None:
        """Afterwards nothing of the amphora is left on the host. May be repeated, also if it never was there."""
        params = {"generation": generation, "fence": fence}
        self._call("DELETE", f"/amphorae/{amphora_id}", params=params, timeout_s=timeout_s)

    def put_network(self, plug: Plug) -> None:
        """Afterwards the amphora is connected so. May be repeated."""
        content = plug.__pydantic_serializer__.to_json(plug)
        self._call("PUT", f"/amphorae/{plug.amphora_id}/network", content=content)

    def amphorae(self, timeout_s: float | None = None) -> list[AmphoraState]:
        """All amphorae of the host."""
        return _read(AMPHORA_STATES, self._call("GET", "/amphorae", timeout_s=timeout_s))

    def amphora(self, amphora_id: str, timeout_s: float | None = None) -> AmphoraDetails | None:
        """One amphora; None if the host does not have it."""
        answer = self._call("GET", f"/amphorae/{amphora_id}", absent_ok=True, timeout_s=timeout_s)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _read(AMPHORA_DETAILS, answer)

    def diagnostics(self, amphora_id: str, timeout_s: float | None = None) -> Diagnostics | None:
        """What HAProxy says about itself; None if the host does not have this amphora."""
        answer = self._call("GET", f"/amphorae/{amphora_id}/diagnostics", absent_ok=True, timeout_s=timeout_s)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _read(DIAGNOSTICS, answer)

    def _call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: dict[str, int] | None = None,
        timeout_s: float | None = None,
        absent_ok: bool = False,
    ) -> httpx2.Response:
        timeout = self._timeout if timeout_s is None else httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        request = self._http.build_request(
            method,
            path,
            content=content,
            params=params,
            timeout=timeout,
            headers={"Content-Type": "application/json"} if content else None,
            extensions={**self._extensions, "timeout": timeout.as_dict()},
        )
        with tracing.span(f"agent {method}", path=path, host=self._extensions["sni_hostname"]):
            if trace := tracing.current():
                request.headers[tracing.HEADER] = trace
            answer = self._send_twice(request)
        if answer.is_success or (absent_ok and answer.status_code == HTTPStatus.NOT_FOUND):
            return answer
        raise _error(answer)

    def _send_twice(self, request: httpx2.Request) -> httpx2.Response:
        """A kept connection may have died unnoticed; all our requests may be repeated, so one more try is safe."""
        try:
            return self._http.send(request)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            pass
        except (httpx2.TransportError, OSError) as error:
            raise _transport_error(error) from error
        try:
            return self._http.send(request)
        except (httpx2.TransportError, OSError) as error:
            raise _transport_error(error) from error


def _read(kind: TypeAdapter[AnswerT], answer: httpx2.Response) -> AnswerT:
    try:
        return kind.validate_json(answer.content)
    except ValidationError:
        raise AgentError("The agent's answer cannot be understood.") from None


def _transport_error(error: Exception) -> AgentError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AgentUnauthorized(f"The agent's certificate is not accepted: {cause.verify_message}.")
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return AgentUnauthorized(f"The agent does not accept this certificate: {cause.reason}.")
        if isinstance(cause, ConnectionRefusedError):
            return AgentAbsent("The agent cannot be reached: its machine refuses the connection.")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        return AgentUnreachable("The agent does not take connections.")
    if isinstance(error, httpx2.TimeoutException):
        return AgentTimeout("The agent did not answer in time.")
    return AgentUnreachable(f"The agent cannot be reached: {error}.")


def _error(answer: httpx2.Response) -> AgentError:
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AgentUnauthorized("The agent does not accept this certificate.")
    if answer.status_code == HTTPStatus.PRECONDITION_REQUIRED:
        return AgentWanting(tuple(_read(WANTING, answer).wanting))
    try:
        refusal = Refusal.model_validate_json(answer.content)
    except ValueError:
        return AgentError(f"The agent answered {answer.status_code}.")
    if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
        return AgentStale(refusal.reason, Stale.model_validate_json(answer.content).fence)
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return AgentRefused(refusal.reason, tuple(refusal.culprits))
    return AgentError(f"The agent answered {answer.status_code}: {refusal.reason}")
