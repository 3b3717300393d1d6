# SPDX-License-Identifier: Apache-2.0
"""TLS towards members, with a real HAProxy in front of real ones: other HAProxies that say how they were spoken to."""

import json
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caryatid.model.bundle import Bundle
from caryatid.model.tree import Tree
from caryatid.plan.haproxy import Rendered, RenderSettings, Unrenderable, render
from tests.certificates import Authority
from tests.plan.test_haproxy_behaviour import (
    PORT,
    START_S,
    Balancer,
    Greeter,
    balanced,
    members,
    pool,
    reachable,
    serving,
    until,
    vip,
    web,
)
from tests.plan.tls import Client, authority, shown

__all__ = ["authority", "members", "shown"]
Grow = Callable[[Any], Tree]
SAYS = {
    "sni": "%[ssl_fc_sni]", "alpn": "%[ssl_fc_alpn]", "version": "%[ssl_fc_protocol]", "cipher": "%[ssl_fc_cipher]",
    "client": "%[ssl_c_s_dn(cn)]", "http": "%[req.ver]", "from": "%[src]",
}  # fmt: skip
QUICK = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}


@contextmanager
def member(own: Bundle, believed: Bundle, how: str = "alpn h2,http/1.1", verify: str = "optional") -> Iterator[int]:
    """A port of 127.0.0.1 that speaks TLS, `how` to, and answers how it was spoken to."""
    run = Path(tempfile.mkdtemp(prefix="cm", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (run / "answer").write_text(json.dumps(SAYS))
    (run / "own.pem").write_text(own.pem)
    (run / "ca.pem").write_text(believed.pem)
    (run / "haproxy.cfg").write_text(f"""
        defaults
            mode http
            timeout client 10s
            timeout connect 10s
            timeout server 10s
        frontend member
            bind 127.0.0.1:{port} ssl crt {run}/own.pem ca-file {run}/ca.pem verify {verify} {how}
            http-request return status 200 content-type application/json lf-file {run}/answer
        \n""")
    with (run / "said").open("w") as said:
        process = subprocess.Popen(["haproxy", "-db", "-f", run / "haproxy.cfg"], stderr=said)
    try:
        assert until(lambda: process.poll() is not None or reachable("127.0.0.1", port), START_S)
        assert process.poll() is None, (run / "said").read_text()
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(run)


@contextmanager
def before(grow: Grow, authority: Authority, pools: list[Any], *, given: Any = None, **listener: Any) -> Iterator[Any]:
    """A TLS listener in front of the pools."""
    address = vip()
    wanted = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "www.example", **listener}
    with serving(rendered(grow, authority, address, pools, given, **wanted), address) as balancer:
        yield Client(balancer)


def rendered(grow: Grow, by: Authority, address: str, pools: list[Any], given: Any = None, **listener: Any) -> Rendered:
    tree = by.bundles(grow(web(address, pools, **listener)), **(given or {}))
    return render(tree, settings=RenderSettings())


def to(port: int, **more: Any) -> dict[str, Any]:
    return pool("a", [port], tls_enabled=True, **more)


def test_the_name_that_the_client_asked_for_is_asked_of_the_member(grow: Grow, authority: Authority) -> None:
    own = authority.keypair("m", "www.example")
    with member(own, authority.authorities()) as port, before(grow, authority, [to(port)]) as client:
        said = client.ask()[1]
        assert (said["sni"], said["version"], said["client"]) == ("www.example", "TLSv1.3", "")


@pytest.mark.parametrize(("how", "wanted", "spoken"), [
    ("alpn h2,http/1.1", None, ("h2", "2.0")),
    ("alpn http/1.1", None, ("http/1.1", "1.1")),
    ("alpn h2,http/1.1", ["http/1.1"], ("http/1.1", "1.1")),
    ("", None, ("", "1.1")),
])  # fmt: skip
@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_what_is_spoken_to_members_is_agreed_with_them(
    grow: Grow, authority: Authority, how: str, wanted: Any, spoken: Any, option: str
) -> None:
    own = authority.keypair("m", "www.example")
    with (
        member(own, authority.authorities(), how) as port,
        before(grow, authority, [to(port, alpn_protocols=wanted)]) as client,
    ):
        said = client.ask(option)[1]
        assert (said["alpn"], said["http"]) == spoken


def test_versions_and_ciphers_are_the_pools(grow: Grow, authority: Authority) -> None:
    own = authority.keypair("m", "www.example")
    wanted = {"tls_versions": ["TLSv1.2"], "tls_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"}
    with member(own, authority.authorities()) as port, before(grow, authority, [to(port, **wanted)]) as client:
        said = client.ask()[1]
        assert (said["version"], said["cipher"]) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    with (
        member(own, authority.authorities(), "ssl-max-ver TLSv1.2") as port,
        before(grow, authority, [to(port, tls_versions=["TLSv1.3"])]) as client,
    ):
        assert client.ask()[0] == 503


@pytest.mark.parametrize("verify", ["none", "required"])
def test_our_certificate_is_shown(grow: Grow, authority: Authority, verify: str) -> None:
    own = authority.keypair("m", "www.example")
    given = {"ours": authority.keypair("balancer")}
    with member(own, authority.authorities(), verify="required") as port:
        pools = [to(port, tls_container_ref="ours", **({"ca_tls_container_ref": "ca"} if verify == "required" else {}))]
        with before(grow, authority, pools, given=given) as client:
            assert client.ask()[1]["client"] == "balancer"
        with before(grow, authority, [to(port)]) as client:
            assert client.ask()[0] != 200


def test_members_are_believed_by_their_certificates(grow: Grow, authority: Authority) -> None:
    stranger, revoked = Authority("Stranger"), authority.sign("r", "www.example")
    shows = {
        "good": authority.keypair("m", "www.example"),
        "stranger": stranger.keypair("m", "www.example"),
        "revoked": Bundle(authority.file(revoked), "", "", "", (), "", ""),
        "misnamed": authority.keypair("m", "other.example"),
    }
    given = {"crl": authority.revocations(revoked)}
    checked = {"ca_tls_container_ref": "ca", "crl_container_ref": "crl"}
    went = {}
    for name, own in shows.items():
        with (
            member(own, authority.authorities()) as port,
            before(grow, authority, [to(port, **checked)], given=given) as client,
        ):
            went[name] = client.ask()[0]
    assert went == {"good": 200, "stranger": 503, "revoked": 503, "misnamed": 503}


def test_without_authorities_any_certificate_will_do(grow: Grow, authority: Authority) -> None:
    own = Authority("Stranger").keypair("m", "other.example")
    with member(own, authority.authorities()) as port, balanced(grow, [to(port)]) as balancer:
        assert balancer.get()[0] == 200


def test_bytes_are_carried_over_tls_and_nothing_is_negotiated_for_them(grow: Grow, authority: Authority) -> None:
    own = authority.keypair("m", "www.example")
    with member(own, authority.authorities()) as port:
        with balanced(grow, [to(port, protocol="TCP")], protocol="TCP") as balancer:
            said = balancer.get()[2]
            assert (said["alpn"], said["version"], said["http"]) == ("", "TLSv1.3", "1.1")
        with balanced(grow, [to(port, protocol="TCP", alpn_protocols=["http/1.1"])], protocol="TCP") as balancer:
            assert balancer.get()[2]["alpn"] == "http/1.1"


@pytest.mark.parametrize("protocol", ["PROXY", "PROXYV2"])
def test_the_proxy_protocol_comes_before_tls_and_checks_pass_too(
    grow: Grow, authority: Authority, id_of: Callable[..., str], protocol: str
) -> None:
    own = authority.keypair("m", "www.example")
    pools = [to(0, protocol=protocol, healthmonitor={**QUICK, "type": "HTTP"})]
    with member(own, authority.authorities(), "accept-proxy alpn h2,http/1.1") as port:
        pools[0]["members"][0]["protocol_port"] = port
        with before(grow, authority, pools) as client:
            said = client.ask("--interface", "127.0.0.1")[1]
            assert (said["from"], said["alpn"]) == ("127.0.0.1", "h2")
            up = {id_of("member", "a", 0): "UP"}
            assert until(lambda: client.balancer.status() == up, 10), client.balancer.status()


def test_members_of_a_proxyv2_pool_are_told_who_the_client_is(
    grow: Grow, authority: Authority, shown: dict[str, Path]
) -> None:
    refs = {"client_authentication": "OPTIONAL", "client_ca_tls_container_ref": "authorities"}
    told: list[bytes] = []

    class Listener(Greeter):
        def handle(self) -> None:
            told.append(self.request.recv(1024))
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with before(grow, authority, [pool("a", [server.server_address[1]], protocol="PROXYV2")], **refs) as client:
            assert client.ask("--cert", str(shown["good"]))[0] == 200
            assert client.ask()[0] == 200
        server.shutdown()
        thread.join()
    assert all(opening.startswith(b"\r\n\r\n\0\r\nQUIT\n!") for opening in told)
    assert [b"TLSv1.3" in opening for opening in told] == [True, True]
    assert [b"Alice" in opening for opening in told] == [True, False]


def test_monitors_shake_hands_if_that_is_what_they_are_for(
    grow: Grow, authority: Authority, members: list[int], id_of: Callable[..., str]
) -> None:
    """Over pools that pass TLS through, too: a port that only takes connections is not enough."""
    strange = Authority("Stranger").authorities()
    with member(authority.keypair("m", "www.example"), authority.authorities()) as port:
        wanted: dict[str, tuple[int, dict[str, Any], dict[str, Any], str]] = {
            "hello": (port, {}, {"type": "TLS-HELLO"}, "UP"),
            "plain-hello": (members[0], {}, {"type": "TLS-HELLO"}, "DOWN"),
            "https": (port, {}, {"type": "HTTPS", "http_version": 1.1, "domain_name": "x.example"}, "UP"),
            "plain-https": (members[0], {}, {"type": "HTTPS"}, "DOWN"),
            "tcp": (members[0], {}, {"type": "TCP"}, "UP"),
            "tls-http": (port, {"tls_enabled": True}, {"type": "HTTP"}, "UP"),
            "tls-tcp": (port, {"tls_enabled": True}, {"type": "TCP"}, "UP"),
            "tls-believed": (port, {"tls_enabled": True, "ca_tls_container_ref": "ca"}, {"type": "HTTPS"}, "UP"),
            "tls-strange": (port, {"tls_enabled": True, "ca_tls_container_ref": "cb"}, {"type": "HTTPS"}, "DOWN"),
            "tls-named": (
                port, {"tls_enabled": True, "ca_tls_container_ref": "ca"},
                {"type": "HTTP", "http_version": 1.1, "domain_name": "www.example"}, "UP",
            ),
            "tls-misnamed": (
                port, {"tls_enabled": True, "ca_tls_container_ref": "ca"},
                {"type": "HTTP", "http_version": 1.1, "domain_name": "other.example"}, "DOWN",
            ),
        }  # fmt: skip
        for protocol in ("TCP", "HTTPS"):
            pools = [
                pool(name, [at], **how, protocol=protocol, healthmonitor={**QUICK, **monitor})
                for name, (at, how, monitor, _) in wanted.items()
            ]
            expected = {id_of("member", name, 0): status for name, (*_, status) in wanted.items()}
            address = vip()
            document = web(address, pools, protocol=protocol)
            document["listeners"] = [
                {"name": f"l{n}", "protocol": protocol, "protocol_port": PORT + n, "default_pool": one["name"]}
                for n, one in enumerate(pools)
            ]
            tree = authority.bundles(grow(document), cb=strange)
            with serving(render(tree, settings=RenderSettings()), address) as balancer:
                assert until(lambda: balancer.status() == expected, 20), named(balancer, wanted, id_of)  # noqa: B023


def named(balancer: Balancer, names: Any, id_of: Callable[..., str]) -> dict[str, str]:
    found = balancer.status()
    return {name: found.get(id_of("member", name, 0), "") for name in names}


@pytest.mark.parametrize(("how", "says"), [
    ({}, {"alpn": "h2"}),
    ({"tls_container_ref": "ours"}, {"client": "ours"}),
    ({"ca_tls_container_ref": "ca", "crl_container_ref": "crl"}, {}),
    ({"alpn_protocols": ["http/1.1"], "tls_versions": ["TLSv1.2"]}, {"alpn": "http/1.1", "version": "TLSv1.2"}),
    ({"tls_ciphers": "TLS_AES_256_GCM_SHA384", "tls_versions": ["TLSv1.3"]}, {"cipher": "TLS_AES_256_GCM_SHA384"}),
    ({"healthmonitor": {**QUICK, "type": "HTTPS", "http_version": 1.1, "domain_name": "www.example"}}, {}),
    ({"protocol": "PROXYV2"}, None),
])  # fmt: skip
def test_a_member_that_comes_later_is_spoken_to_alike_without_a_reload(
    grow: Grow, authority: Authority, how: Any, says: Any
) -> None:
    address, front = vip(), {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "www.example"}
    proxy = "accept-proxy " if says is None else ""
    with (
        member(authority.keypair("m", "www.example"), authority.authorities(), f"{proxy}alpn h2,http/1.1") as port,
        member(authority.keypair("n", "www.example"), authority.authorities(), f"{proxy}alpn h2,http/1.1") as later,
    ):
        first = to(port, **how)
        first["members"][0]["weight"] = 0
        both = {**first, "members": [*first["members"], {"address": "127.0.0.1", "protocol_port": later}]}
        old, new = (rendered(grow, authority, address, [each], **front) for each in (first, both))
        assert (old.base_hash == new.base_hash, old.hash == new.hash) == (True, False)
        added = new.servers[1]
        with serving(old, address) as balancer:
            for file in balancer.run.glob("*.pem"):  # HAProxy may not read them then: it has left its privileges
                file.unlink()
            at = f"{added.backend}/{added.name}"
            options = added.options.replace("@KEYS@", str(balancer.run))
            said = balancer.tell(f"add server {at} {added.address}:{added.port} weight 1 {options}")
            assert said.strip() == "New server registered."
            balancer.tell(f"enable health {at};enable server {at}")
            status, body, _ = Client(balancer).ask()
            assert status == 200
            assert {"sni": "www.example", **(says or {})}.items() <= body.items()


def test_a_member_that_comes_later_is_believed_no_more_easily(grow: Grow, authority: Authority) -> None:
    address, checked = vip(), {"ca_tls_container_ref": "ca"}
    with (
        member(authority.keypair("m", "www.example"), authority.authorities()) as port,
        member(Authority("Stranger").keypair("n", "www.example"), authority.authorities()) as later,
    ):
        first = to(port, **checked)
        first["members"][0]["weight"] = 0
        both = {**first, "members": [*first["members"], {"address": "127.0.0.1", "protocol_port": later}]}
        old, new = (rendered(grow, authority, address, [each]) for each in (first, both))
        with serving(old, address) as balancer:
            added, at = new.servers[1], f"{new.servers[1].backend}/{new.servers[1].name}"
            options = added.options.replace("@KEYS@", str(balancer.run))
            balancer.tell(f"add server {at} {added.address}:{added.port} weight 1 {options};enable server {at}")
            assert balancer.get()[0] == 503


def test_the_first_member_and_the_last_need_a_reload_where_files_are_named(grow: Grow, authority: Authority) -> None:
    """HAProxy loads what its servers name when it starts; at run time it takes only what it has loaded."""
    def bases(**how: Any) -> list[str]:
        pools = [pool("a", list(range(1, n + 1)), tls_enabled=True, **how) for n in range(3)]
        return [rendered(grow, authority, "127.0.0.1", [each]).base_hash for each in pools]

    none, one, two = bases(tls_container_ref="ours")
    assert (none == one, one == two) == (False, True)
    none, one, two = bases()
    assert (none == one, one == two) == (True, True)


@pytest.mark.parametrize(("change", "reload"), [
    ({"ours": "other"}, False), ({"www.example": "other"}, False), ({}, True),
])  # fmt: skip
def test_another_content_is_no_reload_and_another_reference_is(
    grow: Grow, authority: Authority, change: dict[str, str], reload: bool
) -> None:
    front = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "www.example"}
    given = {name: authority.keypair(name) for name in ("ours", "www.example")}
    pools = [to(1, tls_container_ref="ours")]
    old = rendered(grow, authority, "127.0.0.1", pools, given, **front)
    if reload:
        front["default_tls_container_ref"] = "another.example"
    given |= {name: authority.keypair(content) for name, content in change.items()}
    new = rendered(grow, authority, "127.0.0.1", pools, given, **front)
    assert (old.hash == new.hash, old.base_hash == new.base_hash) == (False, not reload)
    assert (old.text == new.text) == (not reload)


@pytest.mark.parametrize(("listener", "more", "culprit"), [
    ({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "lost"}, {}, ("listener", "web")),
    ({}, {"tls_enabled": True, "ca_tls_container_ref": "lost"}, ("pool", "a")),
])  # fmt: skip
def test_what_has_not_been_read_is_refused_by_the_name_of_who_names_it(
    grow: Grow, id_of: Any, listener: Any, more: Any, culprit: tuple[str, str]
) -> None:
    with pytest.raises(Unrenderable, match="lost") as refused:
        render(grow(web("127.0.0.1", [pool("a", [1], **more)], **listener)), settings=RenderSettings())
    assert (refused.value.kind, refused.value.id) == (culprit[0], id_of(*culprit))
