# SPDX-License-Identifier: Apache-2.0
"""Where logs arrive, with a real HAProxy and real receivers of UDP, TCP and TLS."""

import datetime as dt
import ipaddress
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from caryatid.plan.haproxy import LogSettings, RenderSettings, render
from caryatid.syslog import senders
from caryatid.target import parse
from tests.plan.test_haproxy_behaviour import Balancer, Member, pool, serving, until, vip, web

NAME = "logs.example.org"
WAIT_S = 15


class Receiver:
    """What came, message by message."""

    def __init__(self) -> None:
        self.port = 0
        self.lines: list[str] = []
        self.refused = 0
        """Connections that came to nothing."""

    def having(self, *words: str) -> list[str]:
        return [line for line in self.lines if all(word in line for word in words)]


def certificate(directory: Path, name: str) -> Path:
    """A PEM file with a key and a certificate that signs itself, good for `name` and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def authority(path: Path) -> str:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.PEM).decode()


@contextmanager
def receiving(scheme: str, pem: Path | None = None, port: int = 0) -> Iterator[Receiver]:
    """A syslog receiver on 127.0.0.1; TCP and TLS frames as RFC 6587 counts them."""
    receiver = Receiver()

    class Datagrams(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            receiver.lines.append(self.request[0].decode(errors="replace"))

    class Frames(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(1):
                while not head.endswith(b" "):
                    head += self.rfile.read(1)
                receiver.lines.append(self.rfile.read(int(head)).decode(errors="replace"))

    class Streams(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def finish_request(self, request: Any, client: Any) -> None:
            try:
                request = context.wrap_socket(request, server_side=True) if context else request
                super().finish_request(request, client)
            except OSError:
                receiver.refused += 1
            finally:
                request.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if pem else None
    if context and pem:
        context.load_cert_chain(pem)
    server = (
        socketserver.UDPServer(("127.0.0.1", port), Datagrams)
        if scheme == "udp"
        else Streams(("127.0.0.1", port), Frames)
    )
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def member() -> Iterator[int]:
    """Port of an HTTP server on 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Member)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def logging(grow: Callable[[Any], Any], ports: list[int], settings: LogSettings, **listener: Any) -> Iterator[Balancer]:
    address = vip()
    tree = grow(web(address, [pool("a", ports, healthmonitor={"type": "TCP", "delay": 1})], **listener))
    with serving(render(tree, settings=RenderSettings(logs=settings)), address) as balancer:
        yield balancer


def settings_for(scheme: str, port: int, pem: Path | None, purpose: str = "tenant", **more: Any) -> LogSettings:
    trust = {"tls_ca": authority(pem), "tls_name": NAME} if pem else {}
    return LogSettings(**{purpose: parse(f"{scheme}://127.0.0.1:{port}")}, **trust, **more)


@pytest.mark.parametrize("scheme", ["udp", "tcp", "tls"])
def test_a_request_is_told_with_its_project_load_balancer_and_listener(
    grow: Any, id_of: Any, member: int, scheme: str, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, NAME) if scheme == "tls" else None
    with receiving(scheme, pem) as receiver:
        told = settings_for(scheme, receiver.port, pem)
        with logging(grow, [member], told) as balancer:
            assert until(lambda: balancer.get("/it's?a=%41")[0] == 200 and bool(receiver.having("GET /it's")), WAIT_S)
        line = receiver.having("GET /it's")[0]
        ids = [id_of("loadbalancer"), id_of("listener", "web"), "127.0.0.1"]
        assert re.search(r"^<134>1 \S+ \S+ haproxy \d+ - - 3d1e5a0c9b7f4f6e8a2c4d6e8f0a1b2c " + " ".join(ids), line)
        assert '"GET /it\'s?a=%41 HTTP/1.1" 200 ' in line
        assert f"{id_of('pool', 'a')}:{id_of('listener', 'web')} {id_of('member', 'a', 0)} " in line


def test_a_connection_is_told_where_no_http_is_spoken(grow: Any, id_of: Any, member: int) -> None:
    with receiving("udp") as receiver:
        told = settings_for("udp", receiver.port, None, format="{{ listener_id }} %ci %r %ST %B")
        tcp = {"protocol": "TCP", "default_pool": "a"}
        with logging(grow, [member], told, **tcp) as balancer:
            assert balancer.get()[0] == 200
            assert until(lambda: bool(receiver.having(id_of("listener", "web") + " 127.0.0.1 - - ")), WAIT_S)


def test_a_member_that_goes_is_told_to_operators_and_to_the_agent_and_no_flow_is(grow: Any, member: int) -> None:
    with socket.socket() as unused, receiving("tcp") as operators, receiving("udp") as tenants:
        unused.bind(("127.0.0.1", 0))
        told = LogSettings(
            admin=parse(f"tcp://127.0.0.1:{operators.port}"), tenant=parse(f"udp://127.0.0.1:{tenants.port}")
        )
        with agent(grow, [member, unused.getsockname()[1]], told) as (balancer, heard):
            assert until(lambda: bool(operators.having(" is DOWN")) and any(" is DOWN" in line for line in heard()), 15)
            for _ in range(20):
                assert balancer.get("/flow")[0] == 200
            assert until(lambda: len(tenants.having("/flow")) == 20, WAIT_S)
            assert not operators.having("/flow")
            assert not [line for line in heard() if "/flow" in line]


@contextmanager
def agent(grow: Any, ports: list[int], told: LogSettings) -> Iterator[tuple[Balancer, Callable[[], list[str]]]]:
    """With a socket where the agent has its own. It is there a moment after HAProxy; the first check is later."""
    with logging(grow, ports, told) as balancer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(balancer.run / "log.sock"))
        receiver.setblocking(False)
        found: list[str] = []

        def heard() -> list[str]:
            try:
                while True:
                    found.append(receiver.recv(65536).decode())
            except BlockingIOError:
                return found

        yield balancer, heard


@pytest.mark.parametrize("name", ["other.example.org", NAME])
def test_a_receiver_that_cannot_prove_itself_gets_nothing_and_requests_are_served(
    grow: Any, member: int, name: str, tmp_path: Path
) -> None:
    """Another name; or the right one, certified by somebody else."""
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shown = certificate(tmp_path, name)
    believed = shown if name != NAME else certificate(trusted, NAME)
    with receiving("tls", shown) as receiver:
        told = settings_for("tls", receiver.port, believed)
        with logging(grow, [member], told) as balancer:
            assert [balancer.get()[0] for _ in range(50)] == [200] * 50
            assert until(lambda: receiver.refused > 1, WAIT_S)
        assert receiver.lines == []


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_requests_are_served_while_nobody_takes_the_logs(grow: Any, member: int, scheme: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        told = settings_for(scheme, silent.getsockname()[1], None)
        with logging(grow, [member], told) as balancer:
            assert [balancer.get()[0] for _ in range(100)] == [200] * 100


def test_a_receiver_that_takes_a_connection_and_reads_nothing_stops_nobody(grow: Any, member: int) -> None:
    """More lines than its socket and the ring hold: the rest is lost."""
    long = "x" * 3000
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        told = settings_for("tcp", stuck.getsockname()[1], None, format="%r")
        with logging(grow, [member], told) as balancer:
            assert all(balancer.get(f"/{long}")[0] == 200 for _ in range(2000))
            assert re.search(r"logs-tenant-1 .* [1-9]\d* dropped", balancer.tell("show events"))


def test_a_receiver_that_comes_back_is_found_again(grow: Any, member: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as away:
        port = away.getsockname()[1]
    with logging(grow, [member], settings_for("tcp", port, None)) as balancer:
        assert balancer.get("/while-away")[0] == 200
        with receiving("tcp", port=port) as receiver:
            assert until(lambda: balancer.get("/back")[0] == 200 and bool(receiver.having("/back")), WAIT_S)


@pytest.mark.parametrize("scheme", ["udp", "tcp", "tls"])
def test_an_agents_own_lines_come_with_their_severity(scheme: str, tmp_path: Path) -> None:
    pem = certificate(tmp_path, NAME) if scheme == "tls" else None
    with receiving(scheme, pem) as receiver:
        (sender,) = senders(parse(f"{scheme}://127.0.0.1:{receiver.port}"), 1, pem, NAME)
        sender.put("error", "a configuration was refused")
        assert until(lambda: bool(receiver.having("a configuration was refused")), WAIT_S)
        assert receiver.lines[0].startswith("<139>1 ")
        sender.close()


def test_whoever_logs_does_not_wait_for_a_receiver_that_is_away() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        (sender,) = senders(parse(f"tcp://127.0.0.1:{silent.getsockname()[1]}"), 1, None, "")
        for number in range(5000):
            sender.put("info", f"line {number}")
        sender.close()
