# SPDX-License-Identifier: Apache-2.0
"""What limits do, with a real HAProxy: rates of clients, and connections of a listener."""

import http.client
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.network import Subnet
from caryatid.model.tree import Tree
from caryatid.plan.haproxy import RenderSettings, Unrenderable, render
from tests.plan.test_haproxy_behaviour import PORT, Balancer, balanced, members, pool, serving, until, vip, web

__all__ = ["members"]
Grow = Callable[[Any], Tree]
LONG_S = 600
"""An interval that no test outlives."""


def requests(threshold: int, interval: int = LONG_S, **more: Any) -> dict[str, Any]:
    return {"metric": "REQUESTS", "threshold": threshold, "interval": interval, **more}


def per_url(threshold: int, *urls: str) -> dict[str, Any]:
    return {"metric": "REQUESTS_PER_URL", "threshold": threshold, "interval": LONG_S, "urls": list(urls)}


def limit(*rules: dict[str, Any], action: str = "DENY") -> dict[str, Any]:
    return {"action": action, "rules": list(rules)}


def statuses(balancer: Balancer, count: int, path: str = "/", source: str = "127.0.0.1") -> list[int]:
    return [balancer.get(path, source)[0] for _ in range(count)]


def test_a_client_gets_what_it_may_have_and_others_do_not_notice(grow: Grow, members: list[int]) -> None:
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(requests(3))]) as balancer:
        assert statuses(balancer, 5) == [200, 200, 200, 429, 429]
        assert balancer.get()[1]["Retry-After"] == str(LONG_S)
        assert statuses(balancer, 3, source="127.0.0.2") == [200, 200, 200]


def test_who_never_stops_asking_gets_as_much_as_others_do(grow: Grow, members: list[int]) -> None:
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(requests(5, interval=1))]) as balancer:
        for _ in range(3):
            assert until(lambda: balancer.get()[0] == 429, 10)
            assert until(lambda: balancer.get()[0] == 200, 10)


def test_each_path_is_counted_for_itself(grow: Grow, members: list[int]) -> None:
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(per_url(2))]) as balancer:
        assert statuses(balancer, 3, "/a?x=1") == [200, 200, 429]
        assert statuses(balancer, 3, "/b") == [200, 200, 429]
        assert statuses(balancer, 1, "/a", "127.0.0.2") == [200]


def test_only_the_paths_that_a_rule_names_are_counted(grow: Grow, members: list[int]) -> None:
    odd = "/it's%2010%$HOME"
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(per_url(1, "/a", odd))]) as balancer:
        assert statuses(balancer, 2, "/a") == [200, 429]
        assert statuses(balancer, 2, odd) == [200, 429]
        assert statuses(balancer, 3, "/a/b") == [200, 200, 200]


def test_rules_with_other_paths_of_one_interval_share_a_table(grow: Grow, members: list[int]) -> None:
    limits = [limit(per_url(1, "/a")), limit(per_url(2, "/b"))]
    with balanced(grow, [pool("a", members[:1])], rate_limits=limits) as balancer:
        assert statuses(balancer, 2, "/a") == [200, 429]
        assert statuses(balancer, 3, "/b") == [200, 200, 429]
        assert balancer.tell("show table").count("# table") == 1


def test_all_rules_of_a_policy_must_be_broken_and_one_policy_is_enough(grow: Grow, members: list[int]) -> None:
    limits = [limit(requests(2), per_url(1, "/a")), limit(requests(4))]
    with balanced(grow, [pool("a", members[:1])], rate_limits=limits) as balancer:
        assert statuses(balancer, 1, "/a") == [200]
        assert statuses(balancer, 1, "/b") == [200]
        assert statuses(balancer, 1, "/a") == [429]  # both rules of the first
        assert statuses(balancer, 3, "/b") == [200, 200, 429]  # the second


def test_a_disabled_rule_or_policy_limits_nobody(grow: Grow, members: list[int]) -> None:
    limits = [limit(requests(1, admin_state_up=False)), {**limit(requests(1)), "admin_state_up": False}]
    with balanced(grow, [pool("a", members[:1])], rate_limits=limits) as balancer:
        assert statuses(balancer, 3) == [200, 200, 200]


@pytest.mark.parametrize("action", ["REJECT", "SILENT_DROP"])
def test_a_client_that_is_not_denied_gets_no_answer(grow: Grow, members: list[int], action: str) -> None:
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(requests(1), action=action)]) as balancer:
        assert statuses(balancer, 1) == [200]
        with closing(http.client.HTTPConnection(balancer.vip, PORT, timeout=1)) as client:
            client.request("GET", "/")
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError, TimeoutError)):
                client.getresponse()


def test_kilobytes_are_counted_to_the_client_and_from_it(grow: Grow, members: list[int]) -> None:
    rule = {"metric": "KBYTES", "threshold": 4, "interval": LONG_S}
    with balanced(grow, [pool("a", members[:1])], rate_limits=[limit(rule)]) as balancer:
        assert balancer.get(X_Padding="x" * 5000)[0] == 200
        assert until(lambda: counted(balancer, "bytes_in_rate") >= 5000, 10)  # when the request has ended
        assert balancer.get()[0] == 429
        answers = [balancer.get(f"/{'x' * 400}", "127.0.0.2")[0] for _ in range(12)]
        assert answers[0] == 200  # and the last of them may not yet be counted
        assert until(lambda: balancer.get(source="127.0.0.2")[0] == 429, 10)


def counted(balancer: Balancer, what: str) -> int:
    """How much of it the balancer has counted, of all clients."""
    return sum(map(int, re.findall(rf"{what}\(\d+\)=(\d+)", balancer.tell(f"show table {table_of(balancer)}"))))


class Flood(socketserver.BaseRequestHandler):
    """Says a hundred kilobytes."""

    def handle(self) -> None:
        self.request.sendall(b"x" * 100_000)


@contextmanager
def flooding() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Flood) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def received(balancer: Balancer, source: str = "127.0.0.1") -> int:
    """How much a connection brings before it ends."""
    with socket.socket() as client:
        client.settimeout(5)
        client.bind((source, 0))
        try:
            client.connect((balancer.vip, PORT))
            return sum(map(len, iter(lambda: client.recv(65536), b"")))
        except ConnectionError:
            return 0


def test_where_no_requests_are_read_connections_are_turned_away_for_their_bytes(grow: Grow) -> None:
    limits = [limit({"metric": "KBYTES", "threshold": 150, "interval": LONG_S}, action="REJECT")]
    with flooding() as port:
        pools = [pool("a", [port], protocol="TCP")]
        with balanced(grow, pools, protocol="TCP", rate_limits=limits) as balancer:
            assert received(balancer, "127.0.0.2") == 100_000
            assert until(lambda: received(balancer, "127.0.0.2") == 0, 10)
            assert received(balancer, "127.0.0.3") == 100_000


@pytest.mark.parametrize(("protocol", "wanted"), [
    ("TCP", limit({"metric": "KBYTES", "threshold": 1})),
    ("TCP", limit(requests(1), action="REJECT")),
    ("HTTP", limit(requests(1), action="QUEUE")),
    ("HTTP", limit({"metric": "PACKETS", "threshold": 1})),
])  # fmt: skip
def test_what_haproxy_cannot_do_is_not_rendered(grow: Grow, protocol: str, wanted: Any) -> None:
    listener = {"name": "web", "protocol": protocol, "rate_limits": [wanted]}
    with pytest.raises(Unrenderable):
        render(grow({"listeners": [listener]}), settings=RenderSettings())


def test_tables_stay_bounded_together(grow: Grow) -> None:
    def sizes(listeners: int) -> list[int]:
        wanted = [
            {"name": str(n), "protocol": "HTTP", "protocol_port": 8000 + n,
             "rate_limits": [limit(requests(1, interval=1), requests(1, interval=2), per_url(1))]}
            for n in range(listeners)
        ]  # fmt: skip
        text = render(grow({"listeners": wanted}), settings=RenderSettings(rate_table_entries=6_000)).text
        return [int(line.split("size ")[1].split()[0]) for line in text.splitlines() if "stick-table" in line]

    assert sizes(1) == [2_000] * 3
    assert sizes(3) == [1_024] * 9


def test_what_one_of_a_pair_has_counted_the_other_knows(grow: Grow, members: list[int]) -> None:
    addresses = [vip(), vip()]
    rows = [Amphora.model_construct(id=f"amphora-{n}", vrrp_ip=address) for n, address in enumerate(addresses)]
    subnet = Subnet.model_construct(id="s", cidr="127.0.0.0/8", attachment="uplink")
    with ExitStack() as stack:
        pair = []
        for own, other, address in zip(rows, reversed(rows), addresses, strict=True):
            placed = Placed(own, None, (Leg(subnet, "default", (address,), address),), (other,))
            tree = grow(web(address, [pool("a", members[:1])], rate_limits=[limit(requests(3))]))
            rendered = render(tree, settings=RenderSettings(), placed=placed)
            pair.append(stack.enter_context(serving(rendered, address)))
        one, other = pair
        until(lambda: statuses(one, 1) == [429], 10)
        assert until(lambda: "http_req_rate(600000)=3" in other.tell(f"show table {table_of(other)}"), 20)
        assert statuses(other, 1) == [429]


def table_of(balancer: Balancer) -> str:
    return balancer.tell("show table").split("# table: ")[1].split(",")[0]


def test_a_listener_takes_so_many_connections_and_the_others_wait(grow: Grow, members: list[int]) -> None:
    with balanced(grow, [pool("a", members[:1])], connection_limit=2) as balancer:
        with ExitStack() as stack:
            for _ in range(2):
                held = stack.enter_context(socket.create_connection((balancer.vip, PORT), 5))
                held.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert held.recv(16).startswith(b"HTTP/1.1 200")
            third = http.client.HTTPConnection(balancer.vip, PORT, timeout=1)
            third.request("GET", "/")
            with pytest.raises(TimeoutError):
                third.getresponse()
            third.close()
        assert until(lambda: answers(balancer), 10), "when the first have gone, others come"


def answers(balancer: Balancer) -> bool:
    try:
        return balancer.get()[0] == 200
    except OSError:
        return False
