# SPDX-License-Identifier: Apache-2.0
"""What datagrams cost, and how many are lost when members change, die, or a pair changes hands. All of it is real: an
installation with hosts, clients and members as machines of their own on one network."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from bench.figures import Figure, median, spread
from bench.site import Site, site
from bench.site import run as command
from bench.waiting import cpu_s, pause, until

PORT = 5300
MEMBER_PORT = 5301
MACHINES = {
    "client": "10.88.0.2", "m0": "10.88.0.3", "m1": "10.88.0.4", "m2": "10.88.0.5", "router": "10.88.0.6",
}  # fmt: skip
BEHIND = {"client": "10.91.0.2", "m0": "10.91.0.3"}
"""Further addresses of these, which they reach of each other by the router alone."""
RATE = 2000
FLOWS = 50
CHANGES = 100
DELAY_S, FALL = 3, 2
SETTLED_S = 60
MONITOR = {"type": "UDP-CONNECT", "delay": DELAY_S, "timeout": 2, "max_retries": 1, "max_retries_down": FALL}


def run(*, quick: bool) -> Iterator[Figure]:
    with site(2) as made, Machines() as machines:
        town = Town(made, machines, made.subnet())
        yield from _rates(town, rounds=3 if quick else 15)
        yield from _changes(town, number=20 if quick else CHANGES)
        yield from _deaths(town, times=1 if quick else 3)
        yield from _takeovers(town, times=1 if quick else 3)


class Machines:
    """Clients and members, each in a network namespace on the network of the VIPs."""

    def __init__(self) -> None:
        self.members: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        for name, address in MACHINES.items():
            command("ip", "netns", "add", name)
            command("ip", "link", "add", f"p-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            command("ip", "link", "set", f"p-{name}", "master", "outside", "up")
            command("ip", "-n", name, "addr", "add", f"{address}/16", "dev", "eth0")
            for interface in ("lo", "eth0"):
                command("ip", "-n", name, "link", "set", interface, "up")
        for (name, own), other in zip(BEHIND.items(), reversed(BEHIND.values()), strict=True):
            command("ip", "-n", name, "addr", "add", f"{own}/32", "dev", "lo")
            command("ip", "-n", name, "route", "add", other, "via", MACHINES["router"], "src", own)
            command("ip", "-n", "router", "route", "add", own, "via", MACHINES[name])
        quiet = [f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", "eth0")]
        command("ip", "netns", "exec", "router", "sysctl", "-qw", "net.ipv4.ip_forward=1", *quiet)
        for name in ("m0", "m1", "m2"):
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.members):
            self.stop(name)
        for name in MACHINES:
            command("ip", "link", "delete", f"p-{name}")
            command("ip", "netns", "delete", name)

    def start(self, name: str) -> None:
        self.members[name] = self.echo(name, "member", name, "0.0.0.0", str(MEMBER_PORT))
        assert self.members[name].stdout is not None
        self.members[name].stdout.readline()  # type: ignore[union-attr]

    def stop(self, name: str) -> None:
        process = self.members.pop(name)
        process.kill()
        process.communicate(timeout=10)

    def echo(self, machine: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", machine, sys.executable, "-m", "bench.echo", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self, *words: str) -> Any:
        return answer(self.echo("client", *words))


def answer(process: subprocess.Popen[str], *, now: bool = False) -> Any:
    """What it has measured, once it is done; `now`: and it is."""
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        if now:
            process.stdin.close()
        return json.loads(process.stdout.read())


@dataclass
class Town:
    made: Site
    machines: Machines
    subnet_id: str


class Balancer:
    """A load balancer for datagrams that serves."""

    def __init__(self, town: Town, members: int, flavor: str = "single", **pool: Any) -> None:
        made = self.site = town.made
        self.machines = town.machines
        body = {
            "name": "udp",
            "vip_subnet_id": town.subnet_id,
            "flavor_id": made.flavor(flavor),
            "listeners": [
                {
                    "protocol": "UDP",
                    "protocol_port": PORT,
                    "default_pool": {
                        "name": "members",
                        "protocol": "UDP",
                        "lb_algorithm": "ROUND_ROBIN",
                        "members": [
                            {"name": f"m{number}", "address": MACHINES[f"m{number}"], "protocol_port": MEMBER_PORT}
                            for number in range(members)
                        ],
                        **pool,
                    },
                }
            ],
        }
        shown = made.made.send("POST", "/v2/lbaas/loadbalancers", {"loadbalancer": body})
        self.id, self.vip = str(shown["id"]), str(shown["vip_address"])
        made.made.active(f"loadbalancers/{self.id}", SETTLED_S)
        self.pool = made.made.show(f"loadbalancers/{self.id}")["pools"][0]["id"]
        until(self.answers, "it answers", SETTLED_S)

    def answers(self) -> bool:
        said = self.load(200, 10, 0.2)
        return bool(said["lost"] < said["sent"])

    def load(self, per_second: int, flows: int, seconds: float) -> Any:
        return self.machines.said("load", self.vip, str(PORT), str(per_second), str(flows), str(seconds))

    def loading(self, kind: str, *words: object) -> subprocess.Popen[str]:
        return self.machines.echo("client", kind, self.vip, str(PORT), *map(str, words))

    def members(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.site.made.get(f"/v2/lbaas/pools/{self.pool}/members")}

    def remove(self) -> None:
        self.site.made.delete(f"loadbalancers/{self.id}?cascade=true")
        self.site.made.gone(f"loadbalancers/{self.id}", SETTLED_S)


def _rates(town: Town, rounds: int) -> Iterator[Figure]:
    """One member, as fast as one client goes; by turns."""
    balancer = Balancer(town, 1)
    ways = {"": (balancer.vip, PORT), "direct": (MACHINES["m0"], MEMBER_PORT), "a router": (BEHIND["m0"], MEMBER_PORT)}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (address, port) in ways.items():
            rates[way].append(float(town.machines.said("rate", address, str(port), "1")))
    through = rates.pop("")
    for way, others in rates.items():
        ratios = [one / other for one, other in zip(through, others, strict=True)]
        note = f"{median(through):,.0f}/s of {median(others):,.0f}/s; {spread(ratios, '')}"
        limit = 0.9 if way == "direct" else None
        yield Figure(f"UDP echo rate against {way} (median)", median(ratios), "", limit, at_least=True, note=note)
    balancer.remove()


def _changes(town: Town, number: int) -> Iterator[Figure]:
    balancer = Balancer(town, 2)
    agents = [agent for host in town.made.hosts if (agent := host.agent())]
    for kind, words in (("load", (FLOWS,)), ("queries", ())):
        before, began = sum(map(cpu_s, agents)), time.perf_counter()
        loading = balancer.loading(kind, RATE, *words, 3600)
        took = []
        for change in range(number):
            member = balancer.members()[f"m{change % 2}"]
            asked = time.perf_counter()
            path = f"/v2/lbaas/pools/{balancer.pool}/members/{member['id']}"
            town.made.made.send("PUT", path, {"member": {"weight": 1 + (member["weight"] * 7 + change) % 100}})
            town.made.made.active(f"loadbalancers/{balancer.id}", SETTLED_S, 0.01)
            took.append((time.perf_counter() - asked) * 1000)
        spent = (sum(map(cpu_s, agents)) - before) / (time.perf_counter() - began)
        said = answer(loading, now=True)
        what = f"of {said['sent']:,} at {RATE:,}/s in {number} changes of weight"
        name = f"{FLOWS} flows" if kind == "load" else "a flow each"
        yield Figure(f"UDP lost, {name}", said["lost"], "datagrams", 0, note=f"{what}; {said['moved']} flows moved")
    yield Figure("change of a weight, API to packets (median)", median(took), "ms", note=spread(took))
    yield Figure("CPU of the agents meanwhile", spent * 100, "%", note="of a core")
    balancer.remove()


def _deaths(town: Town, times: int) -> Iterator[Figure]:
    """The member's process is killed, or its machine's cable is out."""
    balancer = Balancer(town, 2, healthmonitor=MONITOR)
    for name, blow, mend in (
        ("process killed", lambda: town.machines.stop("m1"), lambda: town.machines.start("m1")),
        ("cable out", lambda: _cable("down"), lambda: _cable("up")),
    ):
        worst, notes = 0.0, []
        for _ in range(times):
            until(lambda: balancer.members()["m1"]["operating_status"] == "ONLINE", "both are ONLINE", SETTLED_S)
            loading = balancer.loading("load", RATE, FLOWS, 3600)
            pause(3)
            struck = time.time()
            blow()
            until(lambda: balancer.members()["m1"]["operating_status"] == "ERROR", "it is found out", SETTLED_S)
            found_s = time.time() - struck
            pause(2)
            said = answer(loading, now=True)
            mend()
            outage_s = said["last_lost"] + said["began"] - struck
            worst = max(worst, said["lost"] / (RATE * found_s))
            notes.append(f"{said['lost']:,} in {found_s:.1f} s (the last after {outage_s:.1f} s)")
        yield Figure(f"UDP lost by rate and time to detect, {name} (worst)", worst, "", 1, note="; ".join(notes))
    balancer.remove()


def _cable(word: str) -> None:
    command("ip", "link", "set", "p-m1", word)


def _takeovers(town: Town, times: int) -> Iterator[Figure]:
    """The cable of who has the VIP is out: each flow goes on with its member."""
    balancer = Balancer(town, 3, "active-standby", healthmonitor=MONITOR)
    lost, moved, gaps = [], [], []
    for _ in range(times):
        master = _whole(town.made, balancer)
        loading = balancer.loading("load", RATE, FLOWS, 6)
        pause(2)
        master.cut(manage=False)
        said = answer(loading)
        master.mend()
        lost.append(float(said["lost"]))
        moved.append(float(said["moved"]))
        gaps.append(max(said["gaps"], default=0.0) * 1000)
    yield Figure("UDP flows with another member after a takeover", max(moved), "flows", 0, note=f"of {FLOWS}")
    yield Figure("UDP lost in a takeover (worst)", max(lost), "datagrams", note=f"gaps {spread(gaps)}, at {RATE:,}/s")
    balancer.remove()


def _whole(made: Site, balancer: Balancer) -> Any:
    found: dict[str, Any] = {}

    def look() -> bool:
        found.clear()
        found.update({one["role"]: one for one in made.amphorae(balancer.id)})
        return set(found) == {"MASTER", "BACKUP"}

    until(look, "the pair is whole", SETTLED_S, 0.1)
    pause(2)
    until(look, "the pair is whole", SETTLED_S, 0.1)
    return made.host_of(found["MASTER"])
