# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS between our processes: contexts that trust our own authority only, and who the peer is.

Certificates and authorities are replaced without a restart: each handshake of a server's uses the context that is
current (`following`), and whoever makes clients asks for theirs anew.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, NamedTuple, cast

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

BACKLOG = 512
KEEP_ALIVE_S = 75
SHUTDOWN_S = 3


class Peer(NamedTuple):
    """Whom a verified certificate names: organisation and common name of its subject."""

    role: str
    """`host`, `controller` or `checker:<region>`."""
    id: str


def server_context(authority_pem: str, credentials: bytes, *, strangers: bool = False) -> ssl.SSLContext:
    """For a server. Clients must show a certificate of our authority; with `strangers` they may also show none.

    `credentials`: certificate and private key, both PEM, one after the other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, authority_pem)
    context.verify_mode = ssl.CERT_OPTIONAL if strangers else ssl.CERT_REQUIRED
    context.num_tickets = 0
    use_credentials(context, credentials)
    return context


def client_context(authority_pem: str, credentials: bytes | None = None) -> ssl.SSLContext:
    """For a client. The server's certificate must be of our authority and name whom the client asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, authority_pem)
    if credentials is not None:
        use_credentials(context, credentials)
    return context


def following(current: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context for a server each of whose handshakes is done with what `current` gives then.

    A context can be given further authorities, but none can be taken from it.
    """
    door = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = current()
    door.minimum_version, door.verify_flags, door.verify_mode = now.minimum_version, now.verify_flags, now.verify_mode
    door.num_tickets = 0

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _door: ssl.SSLContext) -> None:
        connection.context = current()

    door.sni_callback = choose
    return door


def renewal_due(certificate_pem: bytes, now: datetime) -> bool:
    """A third to a half of its life is left, or less. Where between is the certificate's own, so that not all come at
    once."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    spread = certificate.fingerprint(hashes.SHA256())[0] / 255
    return end - now < (end - begin) * (2 + spread) / 6


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the certificate's DER form, in lower-case hexadecimal."""
    return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()


def use_credentials(context: ssl.SSLContext, credentials: bytes) -> None:
    """Show this certificate from the next handshake on. The key goes through memory only, never over a disk."""
    descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, credentials)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _harden(context: ssl.SSLContext, authority_pem: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority_pem)


def peer_of(certificate: dict[str, Any] | None) -> Peer | None:
    """Read `SSLObject.getpeercert()`. None without a certificate, or if its subject is not one role and one id."""
    if not certificate:
        return None
    found: dict[str, list[str]] = {"organizationName": [], "commonName": []}
    for relative in certificate.get("subject", ()):
        for name, value in relative:
            found.setdefault(name, []).append(value)
    roles, ids = found["organizationName"], found["commonName"]
    return Peer(roles[0], ids[0]) if len(roles) == len(ids) == 1 else None


class PeerProtocol(HttpToolsProtocol):
    """Puts the peer into the state of each request's scope (`scope["state"]["peer"]`: Peer or None), and beside it the
    certificate that it has shown (`certificate`: DER or None)."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        secured = transport.get_extra_info("ssl_object")
        peer = peer_of(secured.getpeercert()) if secured is not None else None
        shown = secured.getpeercert(binary_form=True) if peer else None
        self.app_state = {**self.app_state, "peer": peer, "certificate": shown}
        super().connection_made(cast("asyncio.Transport", transport))


class Server(uvicorn.Server):
    """A server inside a process that has its own way with signals."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def server(app: Any, context: ssl.SSLContext) -> Server:
    """An HTTPS server for an internal API: `await server.serve(sockets=[…])`; it ends when `should_exit` is set."""
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_context_factory=lambda _config, _default: context,
    )
    return Server(config)


def listening_socket(address: str, port: int) -> socket.socket:
    """A TCP socket that listens; port 0 chooses one. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Connections inherit it. Without, an answer in two segments waits 40 ms for the peer's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
