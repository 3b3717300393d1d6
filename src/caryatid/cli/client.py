# SPDX-License-Identifier: Apache-2.0
"""Requests to the HTTP API, and what its answers mean to a command."""

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2

from caryatid.model.kind import Kind

from .credentials import HINT
from .failures import Failure, TryAgain, Unreachable

REQUEST_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
PAGE_SIZE = 1000
PORTS = {"http": 80, "https": 443}
PAGES_MAX = 10_000
VERSIONS = {"lbaas": "/v2", "octavia": "/v2", "gslb": ""}
"""First word of a kind's path → API version, if it is not in the path; everything else is our own, `/v1`."""

NOBODY: Mapping[str, str] = {}

Params = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One request, as it would be sent."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    params: Params = ()
    content: bytes | None = field(default=None, repr=False)
    """A body as it is, instead of a document; never printed."""
    content_type: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back: the document ({} if none) and the job that carries the change out, if there is one."""

    document: dict[str, Any]
    job_id: str | None = None


@dataclass(frozen=True)
class Frame:
    """One event of a stream."""

    key: str = ""
    """What to say to go on behind it; nothing: nothing new."""
    data: str = ""
    """Nothing: only the key."""


def collection(kind: Kind, parent_id: str | None = None) -> str:
    """Path of all of a kind (below one parent)."""
    path = kind.path.format(**{kind.parent: quote(parent_id or "", safe="")}) if kind.parent else kind.path
    return VERSIONS.get(path.split("/")[1], "/v1") + path


def item(kind: Kind, key: str, parent_id: str | None = None) -> str:
    """Path of one of a kind."""
    return f"{collection(kind, parent_id)}/{quote(key, safe='')}"


class Client:
    """Speaks to one API in the name of one project. Use as a context manager."""

    def __init__(self, url: str, project: str | None = None, who: Mapping[str, str] = NOBODY) -> None:
        """`who`: headers that say who asks."""
        self.url = url.rstrip("/")
        self.project = project
        self._who = who

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_http" in self.__dict__:
            self._http.close()

    @cached_property
    def _http(self) -> httpx2.Client:
        timeout = httpx2.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        project = {"X-Project-Id": self.project} if self.project else {}
        headers = {"Accept": "application/json", **project, **self._who}
        # a proxy of the environment cannot reach this machine's own addresses
        return httpx2.Client(timeout=timeout, headers=headers, trust_env=local_port(self.url) is None)

    def get(self, path: str, params: Params = ()) -> dict[str, Any]:
        """The document at `path`. Raises Failure and Unreachable, as everything here."""
        return self.send(Request("GET", path, params=params)).document

    def send(self, request: Request) -> Answer:
        """The answer to `request`, which was accepted."""
        try:
            response = self._http.request(
                request.method,
                self.url + request.path,
                json=request.body,
                content=request.content,
                headers={"Content-Type": request.content_type} if request.content_type else None,
                params=list(request.params) or None,
            )
        except httpx2.InvalidURL as error:
            raise Failure(f"{self.url} is not a URL: {error}.") from None
        except httpx2.TransportError as error:
            raise Unreachable(self._why_not(error)) from None
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            kind = TryAgain if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE else Failure
            raise kind(*_faults(response))
        return Answer(_document(response), response.headers.get("Caryatid-Job"))

    def frames(self, path: str, params: Params = (), after: str = "") -> Iterator[Frame]:
        """The events of a stream as they come, behind the one whose key is `after`, until the API ends it."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        try:
            with self._http.stream("GET", self.url + path, params=list(params) or None, headers=headers) as response:
                if response.status_code >= httpx2.codes.BAD_REQUEST:
                    response.read()
                    raise Failure(*_faults(response))
                yield from _frames(response.iter_lines())
        except httpx2.InvalidURL as error:
            raise Failure(f"{self.url} is not a URL: {error}.") from None
        except httpx2.TransportError as error:
            raise Unreachable(self._why_not(error)) from None

    def all(self, kind: Kind, params: Params = (), parent_id: str | None = None, limit: int | None = None) -> list[Any]:
        """Every one of a kind that `params` let through, page after page; at most `limit`."""
        found: list[Any] = []
        for page in self._pages(kind, collection(kind, parent_id), params, limit):
            found += page
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def _pages(self, kind: Kind, path: str, params: Params, limit: int | None) -> Iterator[list[Any]]:
        query: Params = [*params, ("limit", str(min(limit or PAGE_SIZE, PAGE_SIZE)))] if kind.links else params
        for _ in range(PAGES_MAX):
            document = self.get(path, query)
            page = document.get(kind.plural, [])
            yield page
            following = [link["href"] for link in document.get(kind.links, []) if link.get("rel") == "next"]
            if not following or not page:
                return
            # the query alone: behind a proxy the link's host may not be ours
            query = parse_qsl(urlsplit(following[0]).query, keep_blank_values=True)
        raise Failure(f"The list does not end after {PAGES_MAX} pages.")

    def _why_not(self, error: httpx2.TransportError) -> str:
        if isinstance(error, httpx2.UnsupportedProtocol):
            return f"{self.url} is not an address of an API: it begins with neither http:// nor https://."
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return f"Nothing answers at {self.url}. Is `caryatid up` running, and is --url or CARYATID_URL right?"
        why = "no answer in time" if isinstance(error, httpx2.TimeoutException) else str(error) or type(error).__name__
        return f"The connection to {self.url} broke: {why}."


def local_port(url: str) -> int | None:
    """The port of this machine that it names; None: it is another machine's."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    try:
        return port if ipaddress.ip_address(host).is_loopback else None
    except ValueError:
        return port if host == "localhost" else None


def _frames(lines: Iterable[str]) -> Iterator[Frame]:
    said: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            said[name] = value.removeprefix(" ")
        elif not line and said:
            yield Frame(said.get("id", ""), said.get("data", ""))
            said = {}


def _document(response: httpx2.Response) -> dict[str, Any]:
    if not response.content:
        return {}
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Failure(f"{response.request.url} answers, but not as this API does.")
    return document


def _faults(response: httpx2.Response) -> list[str]:
    """The reasons of a refusal, in either shape that the v2 wire has for them."""
    try:
        document = json.loads(response.content)
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    text = document.get("faultstring") or document.get("description") or response.reason_phrase
    lines = [line for line in str(text).splitlines() if line.strip()] or [f"HTTP {response.status_code}"]
    if response.status_code == httpx2.codes.UNAUTHORIZED:
        lines.append(HINT)
    if "Retry-After" in response.headers:
        lines.append(f"Try again in {response.headers['Retry-After']} seconds.")
    return lines
