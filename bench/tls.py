# SPDX-License-Identifier: Apache-2.0
"""TLS through our HAProxy against the same HAProxy with a hand-written minimal configuration and the same certificate.

Handshakes (a connection each request, nothing taken up again) and requests (on connections that are kept), A B B A …
Neighbours are compared, so that what else the machine does matters less; CPU per operation is the steadier figure.
TLS 1.3, as `wrk` and OpenSSL agree on it.
"""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from bench.figures import Figure, median, spread
from bench.installation import Installation, installation
from bench.throughput import BACKEND, haproxy, wrk
from bench.waiting import cpu_s, free_port, until

BARE = """
global
    maxconn 9000
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend in
    bind {address}:8443 ssl crt {pem}
    default_backend out
backend out
    server one 127.0.0.1:{port}
"""
PORT = 8443
NAME = "www.example.org"
KEYS = {
    "EC P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
}
TRIES = {"handshakes": ("-H", "Connection: close"), "requests": ()}


@dataclass
class Side:
    """Where it listens, which process works, and what was measured, by what was tried."""

    address: str
    worker: int
    rates: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRIES})
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRIES})

    def measure(self, what: str, seconds: int) -> None:
        before = cpu_s(self.worker)
        rate, count = wrk(f"https://{self.address}:{PORT}/", seconds, *TRIES[what])
        self.rates[what].append(rate)
        self.cpu_us[what].append((cpu_s(self.worker) - before) * 1e6 / count)


def run(*, quick: bool) -> Iterator[Figure]:
    if shutil.which("wrk") is None:
        raise SystemExit("`wrk` is needed to measure TLS (Debian: apt-get install wrk).")
    pairs, seconds = (5, 1) if quick else (25, 1)
    for kind in KEYS:
        ours, bare = _measured(kind, pairs, seconds)
        for what in TRIES:
            yield from _compared(f"TLS 1.3 {what}, {kind}", what, ours, bare)


def _measured(kind: str, pairs: int, seconds: int) -> tuple[Side, Side]:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(installation())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cb", dir="/tmp")))
        port, pem = free_port(), directory / "own.pem"
        pem.write_text(_keypair(kind))
        stack.enter_context(haproxy(directory, "backend", BACKEND.format(port=port)))
        ours = _ours(made, port, pem.read_text())
        address = ".".join([*ours.address.split(".")[:3], str((int(ours.address.split(".")[3]) + 1) % 250 + 1)])
        text = BARE.format(port=port, address=address, pem=pem)
        bare = Side(address, stack.enter_context(haproxy(directory, "bare", text)))
        for side in (ours, bare):
            until(lambda: _answers(side.address), "it serves")  # noqa: B023
        for number in range(pairs):
            for what in TRIES:
                for side in (ours, bare) if number % 2 else (bare, ours):
                    side.measure(what, seconds)
    return ours, bare


def _compared(name: str, what: str, ours: Side, bare: Side) -> Iterator[Figure]:
    ratios = [one / other for one, other in zip(ours.rates[what], bare.rates[what], strict=True)]
    rates = median(ours.rates[what]), median(bare.rates[what])
    note = f"medians {rates[0]:,.0f}/s and {rates[1]:,.0f}/s; ratios {spread(ratios, '')}"
    yield Figure(f"{name}: against bare HAProxy, median of ratios", median(ratios), "", 0.97, at_least=True, note=note)
    cpu_us = median(ours.cpu_us[what]), median(bare.cpu_us[what])
    note = f"{cpu_us[0]:.1f} µs against {cpu_us[1]:.1f} µs"
    yield Figure("… HAProxy's CPU for each, ratio of medians", cpu_us[0] / cpu_us[1], "", note=note)


def _ours(made: Installation, port: int, pem: str) -> Side:
    secret = {"name": "own", "payload": pem, "payload_content_type": "text/plain", "secret_type": "opaque"}
    reference = made.send("POST", "/v1/secrets", secret)
    listener = {"protocol": "TERMINATED_HTTPS", "protocol_port": PORT, "default_tls_container_ref": reference}
    loadbalancer = made.loadbalancer([port], listener=listener)
    return Side(loadbalancer["vip_address"], next(iter(made.haproxies().values())).workers[0])


def _answers(address: str) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex((address, PORT)) == 0


def _keypair(kind: str) -> str:
    key, now = KEYS[kind](), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (certificate.public_bytes(serialization.Encoding.PEM) + private).decode()
