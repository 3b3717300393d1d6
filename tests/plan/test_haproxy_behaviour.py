# SPDX-License-Identifier: Apache-2.0
"""What a rendered configuration does, with a real HAProxy and real members."""

import http.client
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from caryatid.model.tree import Tree
from caryatid.plan.haproxy import Rendered, RenderSettings, render

Grow = Callable[[Any], Tree]
NUMBERS = count(1)
PORT = 18080
START_S = 20
TICK = threading.Event()


class Member(BaseHTTPRequestHandler):
    """Says who it is and what it was asked; `/missing` is 404, `/accepted` 202."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        said = {"port": self.server.server_address[1], "path": self.path, "headers": list(self.headers.items())}
        body = json.dumps(said).encode()
        self.send_response({"/missing": 404, "/accepted": 202}.get(self.path, 200))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"APP={self.server.server_address[1]}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Greeter(socketserver.BaseRequestHandler):
    """Says what it was told first, as a member behind the PROXY protocol sees it."""

    def handle(self) -> None:
        self.request.sendall(b"told: " + self.request.recv(256).hex().encode() + b"\n")


@pytest.fixture(scope="module")
def members() -> Iterator[list[int]]:
    """Ports of three HTTP servers on 127.0.0.1."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Member) for _ in range(3)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    yield [server.server_address[1] for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


class Balancer:
    """A running HAProxy, asked as a client or by its runtime socket."""

    def __init__(self, vip: str, run: Path) -> None:
        self.vip = vip
        self.run = run

    def get(self, path: str = "/", source: str = "127.0.0.1", port: int = PORT, **headers: str) -> tuple[int, Any, Any]:
        """Status, headers and body (read as JSON, where it is)."""
        connection = http.client.HTTPConnection(self.vip, port, timeout=5, source_address=(source, 0))
        try:
            sent = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
            connection.putrequest("GET", path, skip_host="Host" in sent)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            with suppress(ValueError):
                return answer.status, answer.headers, json.loads(body)
            return answer.status, answer.headers, body.decode()
        finally:
            connection.close()

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.settimeout(5)
            runtime.connect(str(self.run / "stats.sock"))
            runtime.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: runtime.recv(65536), b"")).decode()

    def status(self) -> dict[str, str]:
        """Of each server, by its id."""
        rows = [line.split(",") for line in self.tell("show stat").splitlines() if line and line[0] != "#"]
        return {row[1]: row[17] for row in rows if row[1] not in ("FRONTEND", "BACKEND")}


def vip() -> str:
    return f"127.78.{os.getpid() % 250 + 1}.{next(NUMBERS)}"


@contextmanager
def serving(rendered: Rendered, address: str, port: int = PORT) -> Iterator[Balancer]:
    run = Path(tempfile.mkdtemp(prefix="cy", dir="/tmp"))
    text = re.sub("@(DIR|RUN|KEYS)@", str(run), rendered.text)
    (run / "haproxy.cfg").write_text(re.sub(r"@MAXCONN:\d+@", "200", text))
    (run / "servers.state").write_text("1\n")
    for name, content in rendered.files.items():
        (run / name).write_text(content)
    for name, bundle in rendered.keys.items():
        (run / name).write_text(bundle.pem)
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(run / "haproxy.cfg")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        opened = run / "stats.sock"
        until(lambda: process.poll() is not None or (opened.exists() and reachable(address, port)), START_S)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield Balancer(address, run)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(run)


def reachable(address: str, port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex((address, port)) == 0


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        TICK.wait(0.01)
    return True


def pool(name: str, ports: list[int], **more: Any) -> dict[str, Any]:
    servers = [{"address": "127.0.0.1", "protocol_port": port} for port in ports]
    return {"name": name, "protocol": "HTTP", "members": servers, **more}


def web(address: str, pools: list[Any], **more: Any) -> dict[str, Any]:
    listener = {"name": "web", "protocol": "HTTP", "protocol_port": PORT, "default_pool": pools[0]["name"], **more}
    return {"loadbalancer": {"vip_address": address}, "listeners": [listener], "pools": pools}


@contextmanager
def balanced(grow: Grow, pools: list[Any], **listener: Any) -> Iterator[Balancer]:
    address = vip()
    with serving(render(grow(web(address, pools, **listener)), settings=RenderSettings()), address) as balancer:
        yield balancer


def rule(kind: str, compare: str, value: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, "compare_type": compare, "value": value, **({"key": key} if key else {}), **more}


ODD = "a b # it's \"q\" \\ $HOME ${HOME} %[src] %41 @DIR@ é"
MATCHES: list[tuple[dict[str, Any], dict[str, str], bool]] = [
    (rule("HOST_NAME", "EQUAL_TO", "www.example.org"), {"Host": "WWW.example.org"}, True),
    (rule("HOST_NAME", "EQUAL_TO", "www.example.org"), {"Host": "www.example.org:8080"}, True),
    (rule("HOST_NAME", "EQUAL_TO", "www.example.org:8080"), {"Host": "www.example.org:8080"}, True),
    (rule("HOST_NAME", "EQUAL_TO", "example.org"), {"Host": "www.example.org"}, False),
    (rule("HOST_NAME", "STARTS_WITH", "www."), {"Host": "www.example.org"}, True),
    (rule("HOST_NAME", "ENDS_WITH", ".org"), {"Host": "www.example.org:8080"}, True),
    (rule("HOST_NAME", "CONTAINS", "ample"), {"Host": "www.example.org"}, True),
    (rule("HOST_NAME", "REGEX", r"^w+\.[a-z]+\.org$"), {"Host": "www.example.org:8080"}, True),
    (rule("HOST_NAME", "REGEX", r"^x"), {"Host": "www.example.org"}, False),
    (rule("PATH", "EQUAL_TO", "/a"), {"path": "/a?b=c"}, True),
    (rule("PATH", "EQUAL_TO", "/a"), {"path": "/A"}, False),
    (rule("PATH", "STARTS_WITH", "/a/"), {"path": "/a/b"}, True),
    (rule("PATH", "ENDS_WITH", "/b"), {"path": "/a/b"}, True),
    (rule("PATH", "CONTAINS", "%41"), {"path": "/x%41y"}, True),
    (rule("PATH", "REGEX", r"^/\d{2,3}$"), {"path": "/123"}, True),
    (rule("PATH", "REGEX", r"^/\d{2,3}$"), {"path": "/1234"}, False),
    (rule("FILE_TYPE", "EQUAL_TO", "jpg"), {"path": "/a.b/c.jpg?x=y"}, True),
    (rule("FILE_TYPE", "EQUAL_TO", "jpg"), {"path": "/ajpg"}, False),
    (rule("FILE_TYPE", "REGEX", "(jpg|png)$"), {"path": "/a.png"}, True),
    (rule("HEADER", "EQUAL_TO", "b", "X-A"), {"X-A": "a, b"}, True),
    (rule("HEADER", "EQUAL_TO", ODD, "X-A"), {"X-A": ODD}, True),
    (rule("HEADER", "EQUAL_TO", "-i", "X-A"), {"X-A": "-i"}, True),
    (rule("HEADER", "STARTS_WITH", "a", "X-A"), {"X-A": "b"}, False),
    (rule("HEADER", "CONTAINS", "KHTML, like", "User-Agent"), {"User-Agent": "Z (KHTML, like G)"}, True),
    (rule("HEADER", "ENDS_WITH", "z", "X'`|~A"), {"X'`|~A": "xyz"}, True),
    (rule("HEADER", "REGEX", "^[ab]+$", "X-A"), {}, False),
    (rule("COOKIE", "EQUAL_TO", "1", "kind"), {"Cookie": "x=2; kind=1"}, True),
    (rule("COOKIE", "STARTS_WITH", "ab", "kind"), {"Cookie": "kind=abc"}, True),
    (rule("COOKIE", "ENDS_WITH", "bc", "kind"), {"Cookie": "kind=abc"}, True),
    (rule("COOKIE", "CONTAINS", "b", "kind"), {"Cookie": "kind=ac"}, False),
    (rule("COOKIE", "REGEX", "^[0-9]+$", "kind"), {"Cookie": "kind=42"}, True),
    (rule("SSL_CONN_HAS_CERT", "EQUAL_TO", "true"), {}, False),
    (rule("SSL_VERIFY_RESULT", "EQUAL_TO", "0"), {}, False),
    (rule("SSL_DN_FIELD", "CONTAINS", "a", "CN"), {}, False),
]


def test_requests_go_where_every_kind_of_rule_sends_them_inverted_or_not(grow: Grow, members: list[int]) -> None:
    cases = [(number, match, invert) for number, match in enumerate(MATCHES) for invert in (False, True)]
    policies = [
        {
            "action": "REDIRECT_TO_POOL",
            "redirect_pool": "chosen",
            "rules": [rule("HEADER", "EQUAL_TO", f"{number}{invert}", "X-Case"), {**said, "invert": invert}],
        }
        for number, (said, _, _), invert in cases
    ]
    pools = [pool("rest", members[:1]), pool("chosen", members[1:2])]
    with balanced(grow, pools, l7policies=policies) as balancer:
        for number, (said, request, matches), invert in cases:
            status, _, body = balancer.get(**{"X-Case": f"{number}{invert}", **request})
            went = status, body["port"]
            assert went == (200, members[1] if matches != invert else members[0]), (said, request, invert)


def test_all_rules_of_a_policy_must_hold_and_the_first_policy_in_order_decides(grow: Grow, members: list[int]) -> None:
    policies = [
        {"action": "REDIRECT_TO_POOL", "redirect_pool": "b", "rules": [rule("PATH", "STARTS_WITH", "/b")]},
        {"action": "REJECT", "rules": [rule("PATH", "CONTAINS", "b"), rule("HEADER", "EQUAL_TO", "1", "X-A")]},
        {"action": "REDIRECT_TO_URL", "redirect_url": "http://e/%41?%[src]'\"\\$HOME", "redirect_http_code": 307,
         "rules": [rule("PATH", "STARTS_WITH", "/url")]},
        {"action": "REDIRECT_PREFIX", "redirect_prefix": "https://e/%41",
         "rules": [rule("PATH", "STARTS_WITH", "/pre")]},
        {"action": "REDIRECT_TO_POOL", "redirect_pool": "b", "rules": [rule("PATH", "STARTS_WITH", "/last")]},
    ]  # fmt: skip
    with balanced(grow, [pool("a", members[:1]), pool("b", members[1:2])], l7policies=policies) as balancer:
        assert balancer.get("/b", X_A="1")[2]["port"] == members[1]
        assert balancer.get("/ab", X_A="1")[0] == 403
        assert balancer.get("/ab", X_A="2")[2]["port"] == members[0]
        status, headers, _ = balancer.get("/url")
        assert (status, headers["Location"]) == (307, "http://e/%41?%[src]'\"\\$HOME")
        status, headers, _ = balancer.get("/pre/x?y=z")
        assert (status, headers["Location"]) == (302, "https://e/%41/pre/x?y=z")
        assert balancer.get("/last")[2]["port"] == members[1]
        assert balancer.get("/")[2]["port"] == members[0]


def test_members_see_the_inserted_headers_and_rules_what_the_client_sent(grow: Grow, members: list[int]) -> None:
    names = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
    policies = [{"action": "REJECT", "rules": [rule("HEADER", "EQUAL_TO", "127.0.0.7", "X-Real-IP")]}]
    inserted = {"insert_headers": dict.fromkeys(names, "true"), "l7policies": policies}
    with balanced(grow, [pool("a", members[:1])], **inserted) as balancer:
        headers = balancer.get(source="127.0.0.7", X_Real_IP="6.6.6.6", X_Client_IP="6.6.6.6")[2]["headers"]
        seen = {name.lower(): [v for n, v in headers if n.lower() == name.lower()] for name in names}
        assert seen.pop("x-forwarded-port") == [str(PORT)]
        assert seen.pop("x-forwarded-proto") == ["http"]
        assert set(map(tuple, seen.values())) == {("127.0.0.7",)}
        assert balancer.get(X_Real_IP="127.0.0.7")[0] == 403


def test_only_allowed_networks_may_connect(grow: Grow, members: list[int]) -> None:
    cidrs = ["127.0.0.1/32", "127.0.7.0/24", *(f"10.0.{number}.0/24" for number in range(99))]
    with balanced(grow, [pool("a", members[:1])], allowed_cidrs=cidrs) as balancer:
        assert balancer.get(source="127.0.7.9")[0] == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            balancer.get(source="127.0.8.9")


def test_a_client_keeps_its_member_by_source_address(grow: Grow, members: list[int]) -> None:
    pools = [pool("a", members, lb_algorithm="SOURCE_IP")]
    with balanced(grow, pools) as balancer:
        went = {n: {balancer.get(source=f"127.0.9.{n}")[2]["port"] for _ in range(3)} for n in range(1, 25)}
        assert all(len(ports) == 1 for ports in went.values())
        assert len(set.union(*went.values())) > 1


def test_a_client_keeps_its_member_by_source_address_when_another_comes(grow: Grow, members: list[int]) -> None:
    def went(ports: list[int]) -> list[int]:
        with balanced(grow, [pool("a", ports, lb_algorithm="SOURCE_IP")]) as balancer:
            return [balancer.get(source=f"127.0.9.{n}")[2]["port"] for n in range(1, 41)]

    before, after = went(members[:2]), went(members)
    moved = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(moved) <= {members[2]}
    assert len(moved) < 30


@pytest.mark.parametrize("persistence", [
    {"type": "SOURCE_IP"}, {"type": "HTTP_COOKIE"}, {"type": "APP_COOKIE", "cookie_name": "APP"},
])  # fmt: skip
def test_a_client_comes_back_to_its_member(grow: Grow, members: list[int], persistence: Any) -> None:
    with balanced(grow, [pool("a", members, session_persistence=persistence)]) as balancer:
        _, headers, first = balancer.get()
        cookies = [value.split(";")[0] for value in headers.get_all("Set-Cookie")]
        others = [balancer.get(Cookie="; ".join(cookies))[2]["port"] for _ in range(6)]
        assert set(others) == {first["port"]}


def test_work_is_shared_by_weight_and_a_drained_or_disabled_member_gets_none(grow: Grow, members: list[int]) -> None:
    weights = zip(members, (3, 1, 0), strict=True)
    three = [{"address": "127.0.0.1", "protocol_port": port, "weight": weight} for port, weight in weights]
    with balanced(grow, [pool("a", [], members=three)]) as balancer:
        went = Counter(balancer.get()[2]["port"] for _ in range(8))
    assert went == {members[0]: 6, members[1]: 2}
    three[0]["admin_state_up"] = False
    with balanced(grow, [pool("a", [], members=three)]) as balancer:
        assert {balancer.get()[2]["port"] for _ in range(4)} == {members[1]}


def test_backups_serve_together_once_nobody_else_does(grow: Grow, members: list[int]) -> None:
    three = [{"address": "127.0.0.1", "protocol_port": port, "backup": n > 0} for n, port in enumerate(members)]
    with balanced(grow, [pool("a", [], members=three)]) as balancer:
        assert {balancer.get()[2]["port"] for _ in range(4)} == {members[0]}
    three[0]["admin_state_up"] = False
    with balanced(grow, [pool("a", [], members=three)]) as balancer:
        assert {balancer.get()[2]["port"] for _ in range(6)} == set(members[1:])


@pytest.mark.parametrize(
    ("protocol", "opening"), [("PROXY", b"PROXY TCP4 127.0.0.8 "), ("PROXYV2", b"\r\n\r\n\0\r\nQUIT\n!")]
)
def test_members_of_a_proxy_pool_are_told_the_client(grow: Grow, protocol: str, opening: bytes) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        pools = [pool("a", [server.server_address[1]], protocol=protocol)]
        with balanced(grow, pools, protocol="TCP") as balancer, socket.socket() as client:
            client.settimeout(5)
            client.bind(("127.0.0.8", 0))
            client.connect((balancer.vip, PORT))
            client.sendall(b"x")
            with client.makefile() as answers:
                told = bytes.fromhex(answers.readline().removeprefix("told: "))
        server.shutdown()
        thread.join()
    assert told.startswith(opening)
    assert b"127.0.0.8" in told or bytes([127, 0, 0, 8]) in told


def test_monitors_tell_good_members_from_bad(grow: Grow, members: list[int], id_of: Callable[..., str]) -> None:
    quick = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    wanted = {
        "tcp": ({"type": "TCP"}, "UP"),
        "tls": ({"type": "TLS-HELLO"}, "DOWN"),  # the members speak no TLS
        "https": ({"type": "HTTPS"}, "DOWN"),
        "good": ({"type": "HTTP", "url_path": "/x%41y?z='"}, "UP"),
        "missing": ({"type": "HTTP", "url_path": "/missing"}, "DOWN"),
        "expected": ({"type": "HTTP", "url_path": "/missing", "expected_codes": "404, 410"}, "UP"),
        "range": ({"type": "HTTP", "url_path": "/accepted", "expected_codes": "200-299"}, "UP"),
        "elsewhere": ({"type": "TCP"}, "DOWN"),
        "named": ({"type": "HTTP", "http_version": 1.1, "domain_name": "www.example.org"}, "UP"),
    }
    pools = [pool(name, members[:1], healthmonitor={**quick, **monitor}) for name, (monitor, _) in wanted.items()]
    pools[list(wanted).index("elsewhere")]["members"][0]["monitor_port"] = 1
    policies = [
        {"action": "REDIRECT_TO_POOL", "redirect_pool": name, "rules": [rule("PATH", "EQUAL_TO", f"/{name}")]}
        for name in list(wanted)[1:]
    ]
    expected = {id_of("member", name, 0): status for name, (_, status) in wanted.items()}
    with balanced(grow, pools, l7policies=policies) as balancer:
        assert until(lambda: balancer.status() == expected, 20), balancer.status()


@pytest.mark.parametrize(("how", "member"), [
    ({}, {}),
    ({"lb_algorithm": "SOURCE_IP"}, {"backup": True}),
    ({"lb_algorithm": "LEAST_CONNECTIONS", "session_persistence": {"type": "SOURCE_IP"}}, {"weight": 0}),
    ({"protocol": "PROXY", "healthmonitor": {"type": "TCP"}}, {}),
    ({"protocol": "PROXYV2", "healthmonitor": {"type": "HTTP"}}, {"monitor_port": 9, "monitor_address": "::1"}),
    ({"healthmonitor": {"type": "HTTPS", "http_version": 1.1, "domain_name": "a.org"}}, {"admin_state_up": False}),
    ({"healthmonitor": {"type": "TLS-HELLO"}}, {"address": "2001:db8::7"}),
])  # fmt: skip
def test_a_member_that_comes_later_is_added_at_run_time(grow: Grow, members: list[int], how: Any, member: Any) -> None:
    address = vip()
    before = pool("a", members[:1], **how)
    later = {**before, "members": [*before["members"], {"address": "127.0.0.1", "protocol_port": members[1], **member}]}
    one, two = (render(grow(web(address, [each])), settings=RenderSettings()) for each in (before, later))
    assert (one.base_hash == two.base_hash, one.hash == two.hash) == (True, False)
    assert two.servers[0] == one.servers[0]
    new = two.servers[1]
    host = f"[{new.address}]" if ":" in new.address else new.address
    with serving(one, address) as balancer:
        said = balancer.tell(f"add server {new.backend}/{new.name} {host}:{new.port} weight {new.weight} {new.options}")
        assert said.strip() == "New server registered."


def test_figures_of_haproxy_are_at_metrics_and_nowhere_else(grow: Grow) -> None:
    address = vip()
    listener = {"name": "figures", "protocol": "PROMETHEUS", "protocol_port": PORT}
    tree = grow({"loadbalancer": {"vip_address": address}, "listeners": [listener]})
    with serving(render(tree, settings=RenderSettings()), address) as balancer:
        status, _, text = balancer.get("/metrics")
        assert status == 200
        assert "haproxy_frontend_http_requests_total" in text
        assert balancer.get("/")[0] == 404
