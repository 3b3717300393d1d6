# SPDX-License-Identifier: Apache-2.0
"""Hundreds of listeners with a certificate each, all of which are renewed under traffic: what it costs, who notices."""

import asyncio
import contextlib
import json
import multiprocessing
import socket
import ssl
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.backends import Backends
from bench.figures import Figure
from bench.installation import Installation, installation, whole
from bench.waiting import cpu_s, until

PORT = 10_000
KEPT = 40
"""Connections that stay open all the time."""
PAUSE_S = 0.02
CLIENT_S = 20.0
GENERATIONS = ("first", "second")


@dataclass
class Tally:
    """What clients saw."""

    kept: int = 0
    """Requests on connections that stay open."""
    dropped: int = 0
    """Of those connections."""
    new: int = 0
    """Requests on connections of their own."""
    failed: int = 0
    """Of those."""


def run(*, quick: bool) -> Iterator[Figure]:
    count = 50 if quick else 500
    with Backends() as backends, installation() as made:
        references = [_secret(made, GENERATIONS[0]) for _ in range(count)]
        address = _loadbalancer(made, references, backends.make("one").port)["vip_address"]
        (haproxy,) = made.haproxies().values()
        worked = {"agent": made.services()["agent"], "HAProxy": haproxy.workers[0]}
        with clients(address, count) as seen:
            before = {name: cpu_s(pid) for name, pid in worked.items()}
            for reference in references:
                body = _pem(GENERATIONS[1])
                answer = made.api.put(reference, content=body, headers={"Content-Type": "text/plain"})
                assert answer.status_code == 204, answer.text
            for port in range(PORT, PORT + count):
                until(lambda: _shown(address, port) == GENERATIONS[1], f"the new one is shown on {port}", 300, 0.2)  # noqa: B023
            used = {name: (cpu_s(pid) - before[name]) * 1000 / count for name, pid in worked.items()}
        assert made.haproxies()[haproxy.amphora_id].workers == haproxy.workers, "HAProxy has reloaded"
        name = f"{count} listeners, every certificate renewed"
        yield Figure(f"{name}: open connections dropped", seen.dropped, f"of {KEPT}", 0, note=f"{seen.kept:,} requests")
        yield Figure("… requests on new connections that failed", seen.failed, f"of {seen.new:,}", 0)
        yield Figure("… time in the agent, a certificate", _taken_ms(made) / count, "ms", 5, note="HAProxy's included")
        yield Figure("… CPU of the agent, a certificate", used["agent"], "ms", note="with taking what was sent")
        yield Figure("… CPU of HAProxy, a certificate", used["HAProxy"], "ms", note="traffic included")


@contextlib.contextmanager
def clients(address: str, ports: int) -> Iterator[Tally]:
    """TLS clients in a process of their own, from the first answer on all of them until the end of the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    stop = context.Event()
    process = context.Process(target=_ask_on, args=(address, ports, stop, there))
    process.start()
    seen = Tally()
    try:
        assert here.poll(CLIENT_S * 2), "clients do not get through"
        here.recv()
        yield seen
        stop.set()
        assert here.poll(CLIENT_S * 2), "clients do not end"
        for name, value in here.recv().items():
            setattr(seen, name, value)
    finally:
        stop.set()
        process.join(CLIENT_S)
        process.kill()


def _ask_on(address: str, ports: int, stop: Event, pipe: Any) -> None:
    asyncio.run(_clients(address, ports, stop, pipe))


async def _clients(address: str, ports: int, stop: Event, pipe: Any) -> None:
    tally = Tally()
    opened = [await _connect(address, PORT + number % ports) for number in range(KEPT)]
    for connection in opened:
        await _ask(connection)
    pipe.send("ready")
    await asyncio.gather(*(_keep(one, stop, tally) for one in opened), _renew(address, ports, stop, tally))
    pipe.send(asdict(tally))


async def _keep(connection: Any, stop: Event, tally: Tally) -> None:
    """Ask on the same connection, again and again."""
    while not stop.is_set():
        try:
            await _ask(connection)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            tally.dropped += 1
            return
        tally.kept += 1
        await asyncio.sleep(PAUSE_S * KEPT / 4)


async def _renew(address: str, ports: int, stop: Event, tally: Tally) -> None:
    """Ask on a new connection each time, one port after the other."""
    number = 0
    while not stop.is_set():
        number += 1
        tally.new += 1
        try:
            connection = await _connect(address, PORT + number % ports)
            await _ask(connection)
            connection[1].transport.abort()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            tally.failed += 1
        await asyncio.sleep(PAUSE_S)


async def _connect(address: str, port: int) -> Any:
    async with asyncio.timeout(CLIENT_S):
        return await asyncio.open_connection(address, port, ssl=_context(), server_hostname="www.example")


async def _ask(connection: Any) -> None:
    reader, writer = connection
    async with asyncio.timeout(CLIENT_S):
        writer.write(b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    if b" 200 " not in head:
        raise OSError(head.decode())


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _shown(address: str, port: int) -> str:
    """Common name of the certificate that a new client is shown."""
    with (
        socket.create_connection((address, port), CLIENT_S) as connection,
        _context().wrap_socket(connection, server_hostname="www.example") as secure,
    ):
        certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
    return certificate.subject.rfc4514_string().removeprefix("CN=")


def _loadbalancer(made: Installation, references: list[str], member: int) -> dict[str, Any]:
    """With a listener for each certificate, all with the same pool; ACTIVE."""
    asked = whole(made.subnet_id(), [member], listener={"protocol_port": PORT - 1})
    pool = asked["listeners"][0]["default_pool"]
    secured = {"protocol": "TERMINATED_HTTPS", "default_pool": {"name": pool["name"]}}
    asked["listeners"] = [
        {**secured, "name": f"w{number}", "protocol_port": PORT + number, "default_tls_container_ref": reference}
        for number, reference in enumerate(references)
    ]
    asked["pools"] = [pool]
    found = made.post("loadbalancers", {"loadbalancer": asked})
    return made.active(f"loadbalancers/{found['id']}", 300, 0.2)


def _secret(made: Installation, name: str) -> str:
    body = {"name": name, "payload": _pem(name), "payload_content_type": "text/plain"}
    answer = made.api.post("/v1/secrets", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


def _pem(name: str) -> str:
    """A certificate that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=60))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return (certificate + private).decode()


def _taken_ms(made: Installation) -> float:
    """Time in which the agent put configurations into effect at run time, all together."""
    lines = (json.loads(line) for line in made.log_path.read_text().splitlines() if line.startswith("{"))
    said = (line for line in lines if line.get("event") == "installed" and line["how"] == "runtime")
    return float(sum(line["took_ms"] for line in said))
