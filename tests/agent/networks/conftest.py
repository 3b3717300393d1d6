# SPDX-License-Identifier: Apache-2.0
"""A small site: a host with an agent, a switch, a client, a router and a machine beyond it. Nothing of it is real.

The tests of a module run in a process of their own that has left the machine's network and mounts, and each of them
begins with an empty network: the machine's own is not touched, and nothing is left when the process has ended.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from caryatid.agent.namespace import CLONE_NEWNET, Namespace, find, ours
from caryatid.agent.process import table
from caryatid.agent.settings import Uplink
from caryatid.wire.agent import Configuration, Server
from caryatid.wire.network import Plug, WireLeg
from tests.inside import pytest_pyfunc_call, pytest_runtest_logreport, pytest_runtest_setup

__all__ = ["pytest_pyfunc_call", "pytest_runtest_logreport", "pytest_runtest_setup"]

ANSWER_S = 2.0
PORT = 18080


def ip(commands: str, machine: str = "") -> str:
    """What `ip` answers to these lines; in another machine of the site, if one is named."""
    within = ["-n", machine] if machine else []
    command = [find("ip"), *within, "-batch", "-"]
    return subprocess.run(command, input=commands, check=True, capture_output=True, text=True).stdout


def _set(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)


SWITCH = """
link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set br0 up
link add p-client type veth peer name eth0 netns client
link add p-router type veth peer name eth0 netns router
link set p-client master br0 up
link set p-router master br0 up
link set p-host master br0 up
"""
CLIENT = """
link set lo up
link set eth0 up
addr add 10.9.0.2/24 dev eth0
addr add fd00:9::2/64 dev eth0
route add default via 10.9.0.1
route add default via fd00:9::1
"""
ROUTER = """
link set lo up
link set eth0 up
addr add 10.9.0.1/24 dev eth0
addr add fd00:9::1/64 dev eth0
link add eth1 type veth peer name eth0 netns far
link set eth1 up
addr add 10.8.0.1/24 dev eth1
addr add fd00:8::1/64 dev eth1
"""
FAR = """
link set lo up
link set eth0 up
addr add 10.8.0.2/24 dev eth0
addr add fd00:8::2/64 dev eth0
route add default via 10.8.0.1
route add default via fd00:8::1
"""


NETS = {
    False: {"cidr": "10.9.0.0/24", "gateway_ip": "10.9.0.1"},
    True: {"cidr": "fd00:9::/64", "gateway_ip": "fd00:9::1"},
}


@dataclass
class Site:
    """    far ── router ── switch ── client
                            │
                           host (this namespace), by its interface nic0
    """

    servers: list[socket.socket] = field(default_factory=list)

    def machine(self, name: str) -> Namespace:
        return Namespace(Path("/run/netns") / name)

    def build(self) -> None:
        ip("\n".join(f"netns add {name}" for name in ("switch", "client", "router", "far")))
        _set("net/ipv6/conf/default/accept_dad", "0")
        for name in ("client", "router", "far"):
            with self.machine(name).entered():
                _set("net/ipv6/conf/default/accept_dad", "0")
        ip("link add nic0 type veth peer name p-host netns switch\nlink set nic0 up")
        ip(SWITCH, "switch")
        ip(CLIENT, "client")
        ip(ROUTER, "router")
        ip(FAR, "far")
        with self.machine("router").entered():
            _set("net/ipv4/ip_forward", "1")
            _set("net/ipv6/conf/all/forwarding", "1")

    def host_addresses(self, interface: str = "nic0") -> None:
        """The host itself is on the network too: for routed amphorae."""
        addresses = [f"addr add {address} dev {interface}" for address in ("10.9.0.3/24", "fd00:9::3/64")]
        ip("\n".join([*addresses, "route add default via 10.9.0.1", "route add default via fd00:9::1"]))

    def member(self, machine: str, port: int = 8000) -> None:
        """A server there that answers with the address of who asked it. Ends with the process."""
        with self.machine(machine).entered():
            server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self.servers.append(server)

        def serve() -> None:
            while True:
                with suppress(OSError):
                    connection, peer = server.accept()
                    with connection:
                        connection.settimeout(ANSWER_S)
                        connection.recv(4096)
                        body = peer[0].removeprefix("::ffff:")
                        connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

        threading.Thread(target=serve, daemon=True).start()

    def ask(self, machine: str, address: str, port: int = PORT) -> str:
        """What comes back over HTTP from there: the member's word, `refused`, or `silence`."""
        with self.machine(machine).entered():
            opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        with opened:
            opened.settimeout(ANSWER_S)
            try:
                opened.connect((address, port))
                opened.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while chunk := opened.recv(4096):
                    answer += chunk
            except (ConnectionError, TimeoutError, OSError) as error:
                return "refused" if isinstance(error, ConnectionError) else "silence"
        head, _, body = answer.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head else head.split(b"\r\n")[0].decode()

    async def answers(self, machine: str, address: str, port: int = PORT) -> str:
        """The same, without keeping the event loop."""
        return await asyncio.to_thread(self.ask, machine, address, port)

    def uplinks(self, world, how: str) -> None:
        world.settings = replace(world.settings, uplinks=Uplink.parse(how), uid_base=2_000_000_000)

    def plan(self, world, *vips: str):
        first, *more = [f"[{vip}]" if ":" in vip else vip for vip in vips]
        return world.plan(address=first, extra="\n".join(f"    bind {vip}:{PORT}" for vip in more).strip())

    def leg(self, *vips: str, **attributes: object) -> WireLeg:
        """On the switch's network, of the VIPs' family."""
        known = {"attachment": "uplink", "physical_network": "default", "vips": list(vips), **NETS[":" in vips[0]]}
        return WireLeg.model_validate({**known, **attributes})

    def serving(self, plan, member: str, **attributes: object) -> Configuration:
        """The plan's configuration with this one member."""
        configuration = plan.having(Server(plan.backend, "m1", member, 8000, 1, True, "")).render()
        return configuration.model_copy(update=attributes)

    def inside(self, agent, plan) -> str:
        """Interfaces, addresses and routes of an amphora; numbers that tell whether they are the same ones."""
        return ip("link\naddr\nroute show table all\nrule", agent.networks.space(plan.amphora_id).path.name)

    def reboot(self, world) -> None:
        """All processes and namespaces of the host are gone; what it has on disk stays."""
        for seen in table():
            if any(argument.startswith(str(world.settings.state_dir)) for argument in seen.command):
                os.kill(seen.pid, signal.SIGKILL)
        for space in ours(world.settings.namespaces):
            space.remove()
        bridges = [line.split(":")[1].strip() for line in ip("link show type bridge").splitlines() if line[0].isdigit()]
        ip("\n".join(f"link del {name}" for name in bridges))

    def plug(self, plan, *legs: WireLeg, shared: bool = False) -> Plug:
        return Plug(
            amphora_id=plan.amphora_id,
            loadbalancer_id=plan.loadbalancer_id,
            generation=plan.generation,
            fence=plan.fence,
            legs=list(legs),
            shared=shared,
        )


@pytest.fixture
def site() -> Site:
    built = Site()
    if ctypes.CDLL(None).unshare(CLONE_NEWNET):
        pytest.fail("no network of its own")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    ip("link set lo up")
    built.build()
    return built


@pytest.fixture
def state_of_the_host() -> Callable[[], str]:
    """All that amphorae could leave on a host, as text."""
    commands = "netns\nlink\nroute show table all\nneigh show proxy\nrule"

    def look() -> str:
        said = [ip(commands)]
        said.append(subprocess.run([find("nft"), "list", "ruleset"], check=True, capture_output=True, text=True).stdout)
        return "\n".join(said)

    return look
