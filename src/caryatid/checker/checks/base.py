# SPDX-License-Identifier: Apache-2.0
"""What a check is given, and what it may answer."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from caryatid.model.gslb.parameters import Ported, Said, Secured
from caryatid.model.resource import Document
from caryatid.wire.tls import use_credentials

BYTES_MAX: Final = 64 << 10
"""Of what somebody answers, that is read."""
AT_ONCE_BYTES: Final = 4 << 10
"""Of text that is searched without another thread."""
OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)
"""Errors of this machine, whoever was to be asked. Not among them: that there is no way, which is how a place that is
cut off looks."""
ERRORS_ARE_TOLD: Final = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
"""IP_RECVERR and IPV6_RECVERR: also those that say that there is no way (ip(7))."""
CONTEXTS_MAX: Final = 256

DocumentT = TypeVar("DocumentT", bound=Document)


class Failed(Exception):
    """The member did not pass: str() says what was seen, and what was expected."""


class Unable(Exception):
    """The checker could not try, or may not: this says nothing of the member."""


class NotAllowed(Unable):
    """Nothing may be sent there."""


@dataclass(slots=True)
class Place:
    """Where a check is made."""

    address: str
    """That may be spoken to: no other may."""
    port: int | None
    """The member's."""
    name: str
    """What the member is called: a name, or an address."""
    timeout_s: float
    """For all of the check; it is ended (CancelledError) when that is over."""
    doing: str = "looking up its name"
    """What is waited for: told when time is over."""
    ours: bool = True
    """What breaks now says nothing of the member: it is not yet, or not itself, asked."""
    measured: bool = True
    """How long it took says how far the member is."""


class Check(Protocol):
    """Of one monitor; many members may be asked at once.

    One that asks somebody else about the member has `elsewhere = True`: the member's address is then not looked up, and
    that somebody gives no answer is not held against the member.
    """

    async def ask(self, place: Place) -> None:
        """The member has passed. Raises Failed, Unable, OSError (also ssl.SSLError)."""


class Contexts:
    """TLS as monitors want it: each kind made once, and what it needs of the key store, in memory alone."""

    def __init__(self, contents: Mapping[str, str] | None = None) -> None:
        """`contents`: digest → PEM, of what monitors name."""
        self._made: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._known: Mapping[str, str] = contents or {}

    def know(self, contents: Mapping[str, str]) -> bool:
        """What monitors name stands for this, and for nothing else: what was made of something else is gone. Whether
        anything is."""
        gone = self._known.keys() - contents.keys()
        self._known = dict(contents)
        if gone:
            self._made = {key: made for key, made in self._made.items() if gone.isdisjoint(key)}
        return bool(gone)

    def secured(self, wanted: Secured, protocols: tuple[str, ...] = (), *, shows: bool = True) -> ssl.SSLContext:
        """As the parameters say. `shows`: with the certificate that is to be shown. Raises Unable."""
        shown = wanted.client_cert_ref if shows else None
        authorities, verify = wanted.authorities, wanted.verify_tls
        return self.of(verify=verify, authorities=authorities, protocols=protocols, ca=wanted.ca_ref, shown=shown)

    def of(
        self,
        *,
        verify: bool,
        authorities: str | None = None,
        protocols: tuple[str, ...] = (),
        ca: str | None = None,
        shown: str | None = None,
    ) -> ssl.SSLContext:
        """`ca`, `shown`: digests of authorities, and of the certificate that is shown. Raises Unable for one that is
        not known."""
        key = (verify, authorities, protocols, ca, shown)
        if key not in self._made:
            trusted = authorities if ca is None else self._content(ca)
            credentials = None if shown is None else self._content(shown)
            if len(self._made) >= CONTEXTS_MAX:
                self._made.clear()
            self._made[key] = _context(verify, trusted, protocols, credentials)
        return self._made[key]

    def _content(self, digest: str) -> str:
        found = self._known.get(digest)
        if found is None:
            raise Unable("a certificate that the monitor names has not come from the conductor")
        return found


def _context(
    verify: bool,  # noqa: FBT001
    authorities: str | None,
    protocols: tuple[str, ...],
    credentials: str | None,
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities) if verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if credentials is not None:
        use_credentials(context, credentials.encode())
    return context


@dataclass(slots=True)
class Programs:
    """Of the operator of a checker."""

    allowed: frozenset[str] = frozenset()
    """Paths of those that may be started."""
    running: int = 0


@dataclass(frozen=True, slots=True)
class Means:
    """What a checker has for its checks."""

    reach: Callable[[str], Awaitable[str]]
    """The address of a name or address that somebody named, if it may be spoken to. Raises Unable, Failed."""
    contexts: Contexts
    searching: Executor
    """Where long texts are searched."""
    programs: Programs

    async def found(self, place: Place, pattern: Any, text: bytes) -> bool:
        """Whether the compiled pattern is in the text. That others' searches take all the time is no member's fault."""
        if len(text) <= AT_ONCE_BYTES:
            return pattern.search(text) is not None
        doing, place.doing, place.ours = place.doing, "searching what it answered", True
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.searching, pattern.search, text)
        place.doing, place.ours = doing, False
        return found is not None


Made = Callable[[Mapping[str, Any], Means], Check]
"""What an entry point names. Raises ValueError for parameters that are not right."""


def read(document: type[DocumentT], parameters: Mapping[str, Any]) -> DocumentT:
    """Raises ValueError, which names what is wrong, but shows nothing of it."""
    try:
        return document.model_validate(dict(parameters))
    except ValidationError as error:
        wrong = {".".join(map(str, detail["loc"])) for detail in error.errors(include_url=False, include_input=False)}
        raise ValueError(", ".join(sorted(wrong))) from None


def port_of(wanted: Ported, place: Place) -> int:
    """Of a check that has no usual one. Raises Unable."""
    port = wanted.port or place.port
    if port is None:
        raise Unable("neither the monitor nor the member has a port")
    return port


def sent(wanted: Said) -> bytes:
    return bytes.fromhex(wanted.send_hex) if wanted.send_hex else (wanted.send or "").encode()


def datagrams(place: Place, port: int) -> socket.socket:
    """A socket that hears the member alone, and what is said of it (ICMP): nobody listens there, there is no way."""
    six = ":" in place.address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(*ERRORS_ARE_TOLD[six], 1)
        made.setblocking(False)
        made.connect((place.address, port))
    except OSError:
        made.close()
        raise
    return made


@asynccontextmanager
async def connected(
    place: Place, port: int, *, tls: ssl.SSLContext | None = None, name: str = "", limit: int = BYTES_MAX
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, which is cut when it is left. `name`: as TLS asks for it."""
    place.doing = "connecting, with TLS" if tls else "connecting"
    named = name if tls else None
    reader, writer = await asyncio.open_connection(place.address, port, ssl=tls, server_hostname=named, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def reason_of(error: OSError) -> str:
    """The error as a sentence about a member."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not good: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {(error.reason or type(error).__name__).lower().replace('_', ' ')}"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "it reset the connection"
        case _ if error.errno:
            return os.strerror(error.errno).lower()
        case _:
            return str(error) or type(error).__name__
