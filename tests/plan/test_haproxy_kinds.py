# SPDX-License-Identifier: Apache-2.0
"""Listeners and pools of the rarer kinds, with a real HAProxy: figures, and members that are told the client."""

import http.client
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from caryatid.model.tree import Tree
from caryatid.plan.haproxy import RenderSettings, render
from tests.plan.test_haproxy_behaviour import PORT, Balancer, balanced, members, pool, serving, until, vip, web

__all__ = ["members"]
Grow = Callable[[Any], Tree]
OPENINGS = {"PROXY": b"PROXY ", "PROXYV2": b"\r\n\r\n\0\r\nQUIT\n"}


class Told(socketserver.StreamRequestHandler):
    """Speaks HTTP, but only with whom opens as the PROXY protocol wants; says the client's address."""

    def handle(self) -> None:
        opening = self.rfile.read(6)
        if opening == b"PROXY ":
            client = self.rfile.readline().split()[1]
        elif opening == b"\r\n\r\n\0\r":
            self.rfile.read(8)
            length = int.from_bytes(self.rfile.read(2), "big")
            client = ".".join(map(str, self.rfile.read(length)[:4])).encode()
        else:
            return
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + client)


@contextmanager
def told() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Told) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("listener", ["HTTP", "TCP"])
@pytest.mark.parametrize("protocol", OPENINGS)
def test_members_that_want_to_know_the_client_are_told_and_checked_so(
    grow: Grow, protocol: str, listener: str, id_of: Callable[..., str]
) -> None:
    monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    with told() as port:
        pools = [pool("a", [port], protocol=protocol, healthmonitor=monitor)]
        with balanced(grow, pools, protocol=listener) as balancer:
            assert until(lambda: balancer.status() == {id_of("member", "a", 0): "UP"}, 10)
            assert balancer.get(source="127.0.0.9")[2] == "127.0.0.9"


def test_figures_are_shown_to_whom_may_see_them_and_count_what_others_do(grow: Grow, members: list[int]) -> None:
    address = vip()
    document = web(address, [pool("a", members[:1])])
    figures = {"name": "figures", "protocol": "PROMETHEUS", "protocol_port": PORT + 1, "connection_limit": 5,
               "allowed_cidrs": ["127.0.0.9/32"]}  # fmt: skip
    document["listeners"].append(figures)
    with serving(render(grow(document), settings=RenderSettings()), address) as balancer:
        before = requests(balancer)
        balancer.get()
        assert requests(balancer) == before + 1
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            balancer.get("/metrics", port=PORT + 1)


def requests(balancer: Balancer) -> float:
    """Requests of all listeners but the one that tells."""
    status, _, text = balancer.get("/metrics", "127.0.0.9", PORT + 1)
    assert status == 200
    lines = [line for line in text.splitlines() if line.startswith("haproxy_backend_http_requests_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
