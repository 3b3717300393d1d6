# SPDX-License-Identifier: Apache-2.0
"""Whoever names a place sends us only where anybody may go."""

import asyncio
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caryatid.drivers import outbound
from caryatid.drivers.outbound import Limits, NotPublic, Outbound, Unreachable, is_public, literal, may_be_asked, parsed
from tests.papers import DAY, paper
from tests.receiver import Receiver

HERE = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


def post(url, private=HERE, **more):
    async def ask():
        async with Outbound(private, more.pop("authorities", None)) as found:
            return await found.post(url, b"{}", {"X-Sign": "s"}, **more)

    return asyncio.run(ask())


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.1", "168.63.129.16", "192.0.0.192",
        "::1", "::", "fe80::1", "fd00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "::7f00:1", "2001:db8::1",
        "3fff::1", "5f00::1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1", "2002:a00:1::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_addresses_of_machines_sites_and_tunnels_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450:4001:830::200e"]
)
def test_addresses_of_the_internet_are(address):
    assert is_public(ip_address(address))


V4 = st.ip_addresses(v=4)
PRIVATE = V4.filter(lambda address: not is_public(address))


@given(V4)
def test_ipv4_is_the_same_in_whatever_it_is_hidden(address):
    number = int(address)
    for hidden in (IPv6Address(0xFFFF << 32 | number), IPv6Address(int(IPv6Address("64:ff9b::")) | number)):
        assert is_public(hidden) == is_public(address)
    for refused in (IPv6Address(number), IPv6Address(0x2002 << 112 | number << 80 | 1)):
        assert not is_public(refused)


@given(st.ip_addresses(v=6).filter(is_public))
def test_only_what_the_internet_gives_out_is_public_in_ipv6(address):
    translated = address.ipv4_mapped or address in outbound.TRANSLATED
    assert translated or (address in ip_network("2000::/3") and address.is_global and not address.is_multicast)


@given(PRIVATE, st.integers(8, 32))
def test_a_network_that_is_allowed_lets_in_its_own_addresses_and_no_others(address, length):
    network = ip_network((address, length), strict=False)
    assert may_be_asked(address, [network])
    assert may_be_asked(IPv6Address(0xFFFF << 32 | int(address)), [network])
    outside = IPv4Address(int(address) ^ 1 << (32 - length))
    assert may_be_asked(outside, [network]) == is_public(outside)


@given(V4)
def test_an_address_is_known_in_every_way_of_writing_it(address):
    number = int(address)
    parts = address.packed
    ways = [str(address), str(number), hex(number), ".".join(map(oct, parts)).replace("0o", "0")]
    ways += [f"{parts[0]}.{number & 0xFFFFFF}", f"[::ffff:{address}]"]
    for written in ways:
        assert getattr(literal(written), "ipv4_mapped", None) or literal(written) == address


@given(st.text(max_size=60))
def test_whatever_is_named_is_a_place_or_refused(text):
    for url in (text, f"http://{text}", f"https://{text}/x"):
        try:
            place = parsed(url)
        except Unreachable as error:
            assert str(error).endswith(".")
        else:
            assert place.scheme in ("http", "https")
            assert place.host


def test_a_receiver_is_posted_to_under_its_name(receiver):
    url = receiver.url.replace("127.0.0.1", "localhost")
    assert post(url).status == 204
    (got,) = receiver.got
    assert got.headers["host"] == url.split("/")[2]
    assert got.path == "/hook?token=t"
    assert (got.body, got.headers["x-sign"]) == (b"{}", "s")
    assert got.headers["user-agent"].startswith("Caryatid/")


def test_what_is_not_public_is_not_connected_to(receiver, monkeypatch):
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433"):
        with pytest.raises(NotPublic, match="public"):
            post(receiver.url.replace("127.0.0.1", host), private=())
    assert receiver.got == []


def test_the_address_that_is_connected_to_is_the_one_that_was_looked_at(receiver, monkeypatch):
    answers = iter([["127.0.0.1"], ["10.255.255.1"]])
    asked = []

    def look_up(host, port):
        asked.append(host)
        return next(answers)

    monkeypatch.setattr(outbound, "_look_up", look_up)
    url = receiver.url.replace("127.0.0.1", "rebinding.example")
    assert post(url).status == 204
    assert asked == ["rebinding.example"], "once: what was found is what is connected to"
    with pytest.raises(NotPublic):
        post(url)


def test_of_a_name_with_several_addresses_only_those_are_tried_that_may_be(receiver, monkeypatch):
    monkeypatch.setattr(outbound, "_look_up", lambda *_: ["10.255.255.1", "::1", "127.0.0.1"])
    assert post(receiver.url.replace("127.0.0.1", "many.example")).status == 204


def test_a_public_address_that_is_our_own_is_not_posted_to(receiver, monkeypatch):
    monkeypatch.setattr(outbound, "is_public", lambda _: True)
    with pytest.raises(NotPublic, match="is this machine"):
        post(receiver.url, private=())
    assert receiver.got == []


def test_no_proxy_is_asked(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert post(receiver.url).status == 204


@pytest.mark.parametrize("told", ["endless", "drip"])
def test_an_answer_has_a_limit(receiver, told):
    receiver.behave = lambda _: told
    answer = post(receiver.url, limits=Limits(content_s=0.2, content_bytes=1000))
    assert (answer.status, answer.whole) == (200, False)
    assert len(answer.content) <= 1000


def test_who_does_not_answer_is_not_waited_for(receiver):
    receiver.behave = lambda _: "hang"
    with pytest.raises(Unreachable, match=r"does not answer within 0\.2 s"):
        post(receiver.url, limits=Limits(head_s=0.2))


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for(monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(outbound, "_look_up", lambda *_: done.wait(5) and [])
    with pytest.raises(Unreachable, match="does not answer"):
        post("http://slow.example/", limits=Limits(head_s=0.1))
    done.set()


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.0.0.1:1"])
def test_why_nobody_answers_is_said_without_the_path(host):
    with pytest.raises(Unreachable, match=r"cannot be asked: .+\.") as caught:
        post(f"http://{host}/secret")
    assert "secret" not in str(caught.value)


@contextmanager
def tls_receiver(folder, name):
    """An HTTPS server with a certificate for the name; its port, and the names that it was asked for."""
    now = datetime.now(UTC)
    holds = {"begin": now - DAY, "end": now + DAY}
    ca = paper("ca", authority=True, **holds)
    own = paper(name, ca, names=[name], **holds)
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "both.pem").write_bytes(own.pem + own.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    asked = []
    context.sni_callback = lambda _socket, shown, _context: asked.append(shown)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listening.accept()
                with context.wrap_socket(plain, server_side=True) as one:
                    asking = b""
                    while not asking.endswith(b"{}") and (more := one.recv(65536)):  # unread: the end would be a reset
                        asking += more
                    one.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1], asked
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_a_certificate_is_checked_against_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(outbound, "_look_up", lambda *_: ["127.0.0.1"])
    with tls_receiver(tmp_path, "hooks.example") as (port, asked):
        trusting = {"authorities": tmp_path / "ca.pem"}
        assert post(f"https://hooks.example:{port}/", **trusting).status == 204
        assert asked == ["hooks.example"]
        with pytest.raises(Unreachable, match="cannot be asked"):
            post(f"https://other.example:{port}/", **trusting)
        with pytest.raises(Unreachable, match="cannot be asked"):
            post(f"https://hooks.example:{port}/")
