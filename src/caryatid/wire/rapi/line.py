# SPDX-License-Identifier: Apache-2.0
"""A TLS connection to a RAPI: whom it may be, one deadline for all, closed on every path.

TLS is done in memory over a plain socket of ours, so that a connection which breaks at any moment (in the handshake
too) is closed here and never left to a garbage collector.
"""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

PIECE_BYTES = 1 << 16
ResultT = TypeVar("ResultT")


class Trust(NamedTuple):
    """Whom a server must be. Each is enough."""

    context: ssl.SSLContext
    pinned: frozenset[bytes] | None = None
    """The certificates (DER) of which it must show one; None: `context` has checked authority and name."""


class Untrusted(Exception):
    """It has another certificate than it must have."""


def trusts(ca_pem: str) -> tuple[Trust, ...]:
    """Whom servers must be: one whose certificate, for the name by which it is asked, is of these authorities; or one
    that shows one of these certificates itself, whatever its names. Empty: of those that the machine trusts.

    Raises ValueError for what is no PEM of certificates.
    """
    if not ca_pem.strip():
        return (Trust(ssl.create_default_context()),)
    certificates = x509.load_pem_x509_certificates(ca_pem.encode())
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)  # without what people write between
    named, known = _context(pem), _context(pem)
    known.check_hostname = False
    known.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    pinned = Trust(known, frozenset(one.public_bytes(Encoding.DER) for one in certificates))
    return (Trust(named), pinned) if any(map(_authority, certificates)) else (pinned,)


def _context(pem: str) -> ssl.SSLContext:
    """It verifies, not so strictly that a certificate which Ganeti makes would not pass."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        raise ValueError(f"The certificates cannot be used: {error.reason}.") from error
    return context


def _authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


class Line:
    """A connection until a moment. Leaving it closes what is open, whatever has happened."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def left_s(self) -> float:
        """Raises TimeoutError when nothing is."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def connect(self, addresses: list[tuple[Any, ...]]) -> None:
        """To the first address that takes it, in place of what was connected. Raises OSError."""
        problem: OSError = OSError("it has no address")
        for tried, (family, kind, protocol, _name, address) in enumerate(addresses):
            self.__exit__()
            left_s = self.left_s() / (len(addresses) - tried)
            self._socket = socket.socket(family, kind, protocol)
            self._socket.settimeout(left_s)
            try:
                self._socket.connect(address)
            except OSError as error:
                problem = error
            else:
                return
        raise problem

    def secure(self, trust: Trust, host: str) -> None:
        """Raises OSError; ssl.SSLCertVerificationError or Untrusted when it is somebody else."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._tls = trust.context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        try:
            self._through(tls.do_handshake)
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()  # the other side is told why
            raise
        if trust.pinned is not None and tls.getpeercert(binary_form=True) not in trust.pinned:
            raise Untrusted("it is another one than the cluster's")

    def write(self, content: bytes) -> None:
        tls = cast(ssl.SSLObject, self._tls)
        for begin in range(0, len(content), PIECE_BYTES):
            piece = content[begin : begin + PIECE_BYTES]
            self._through(lambda piece=piece: tls.write(piece))  # type: ignore[misc]  # memory takes all of it

    def read(self, most: int) -> bytes:
        """What there is, once there is something; empty: the other side has ended."""
        tls = cast(ssl.SSLObject, self._tls)
        try:
            return self._through(lambda: tls.read(most))
        except ssl.SSLZeroReturnError:
            return b""

    def _through(self, act: Callable[[], ResultT]) -> ResultT:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        connection = cast(socket.socket, self._socket)
        if self._outgoing.pending:
            connection.settimeout(self.left_s())
            connection.sendall(self._outgoing.read())

    def _fill(self) -> None:
        connection = cast(socket.socket, self._socket)
        # The server sends head and body in two small pieces, and the second only after we have acknowledged the first.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection.settimeout(self.left_s())
        piece = connection.recv(PIECE_BYTES)
        if piece:
            self._incoming.write(piece)
        else:
            self._incoming.write_eof()
