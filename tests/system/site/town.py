# SPDX-License-Identifier: Apache-2.0
"""A site with members and load balancers, as its clients, its operator and its hosts' disks see it."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.backends import Server, ask
from bench.installation import whole
from bench.site import CLIENT, Host, Site, run
from bench.traffic import Traffic
from bench.waiting import children, command_line, pause, until
from caryatid.agent.claim import Ear, probe
from caryatid.agent.namespace import short
from caryatid.agent.plug import mac_of

PORT = 8080
WITHIN_S = 90
"""A busy machine; how long it takes is measured in bench/."""
ASKED = 3
ASKED_S = 0.3
SEEN = ("silent", "lost", "back", "freeze", "unfreeze")
LoadBalancer = Mapping[str, Any]


def answers(address: str) -> bool:
    return ask(address, PORT, timeout_s=0.5)[0] == 200


def serves(*addresses: str) -> None:
    """Each answers before the deadline."""
    for address in addresses:
        until(lambda address=address: answers(address), f"{address} answers", WITHIN_S, 0.05)


def holders(vip: str) -> set[str]:
    """The machines that say on the wire that they have the address, asked a few times."""
    ear = Ear("outside", vip)
    found = set()
    try:
        for _ in range(ASKED):
            ear.socket.send(probe(ear.mac, vip))
            pause(ASKED_S)
            found |= {sighting.mac for sighting in ear.heard()}
    finally:
        ear.close()
    return found


@dataclass
class Town:
    made: Site
    members: list[Server]
    subnet: str
    kept: list[LoadBalancer] = field(default_factory=list)
    """Load balancers that all tests share."""

    def make(self, name: str, flavor: str = "single", subnet: str = "", member: str = CLIENT, **more: Any) -> Any:
        """A load balancer that serves. `member`: the address of its members."""
        body = whole(subnet or self.subnet, [], flavor_id=self.made.flavor(flavor), **more)
        members = [{"address": member, "protocol_port": server.port} for server in self.members]
        body["listeners"][0]["default_pool"]["members"] = members
        root = self.made.made.post("loadbalancers", {"loadbalancer": {**body, "name": name}})
        root = self.made.made.active(f"loadbalancers/{root['id']}", WITHIN_S)
        serves(root["vip_address"])
        return root

    def remove(self, *roots: LoadBalancer) -> None:
        for root in roots:
            self.made.made.delete(f"loadbalancers/{root['id']}?cascade=true")
        for root in roots:
            self.made.made.gone(f"loadbalancers/{root['id']}", WITHIN_S)

    # -- amphorae

    def placed(self) -> dict[str, str]:
        """Amphora → its host's id."""
        return {one["id"]: one["compute_id"] for one in self.made.made.get("/v2/octavia/amphorae")}

    def serving(self, root: LoadBalancer) -> set[str]:
        """Its amphorae that are ready."""
        return {one["id"] for one in self.made.amphorae(root["id"]) if one["status"] == "ALLOCATED"}

    def amphora(self, root: LoadBalancer, role: str = "STANDALONE") -> dict[str, Any]:
        """The one of that role, once there is one."""
        return until(
            lambda: next((one for one in self.made.amphorae(root["id"]) if one["role"] == role), None),
            f"{root['name']} has a {role}",
            WITHIN_S,
            0.1,
        )

    def host(self, root: LoadBalancer, role: str = "STANDALONE") -> Host:
        return self.made.host_of(self.amphora(root, role))

    def programs(self, amphora: Mapping[str, Any], name: str) -> list[int]:
        """Its processes of that name, the one that started the others first."""
        host = self.made.host_of(amphora)
        mine = [pid for pid in host.processes(name) if any(amphora["id"] in word for word in command_line(pid))]
        return sorted(mine, key=lambda pid: not set(children(pid)) & set(mine))

    def port(self, amphora: Mapping[str, Any], word: str) -> None:
        """Its cable to the host's bridge goes `up` or `down`."""
        host = self.made.host_of(amphora)
        run("ip", "-n", host.name, "link", "set", f"cy{short(amphora['id'])}-0", word)

    # -- what must hold

    def whole(self, root: LoadBalancer) -> bool:
        """ACTIVE, with all its amphorae, and exactly the one that the API says holds the VIP."""
        amphorae = self.made.amphorae(root["id"])
        wanted = {1: {"STANDALONE"}, 2: {"MASTER", "BACKUP"}}.get(len(amphorae))
        if {one["role"] for one in amphorae} != wanted or any(one["status"] != "ALLOCATED" for one in amphorae):
            return False
        [holder] = [one for one in amphorae if one["role"] != "BACKUP"]
        active = self.made.made.show(f"loadbalancers/{root['id']}")["provisioning_status"] == "ACTIVE"
        return active and holders(root["vip_address"]) == {mac_of(holder["id"], 0)} and answers(root["vip_address"])

    def recovers(self, *roots: LoadBalancer) -> None:
        for root in roots:
            serves(root["vip_address"])
            until(lambda root=root: self.whole(root), f"{root['name']} is whole", WITHIN_S, 0.2)

    def settles(self) -> None:
        """All hosts speak, every load balancer is whole and says that it works, and no host has anything else."""
        until(self.speak, "all hosts speak", WITHIN_S, 0.2)
        self.recovers(*self.kept)
        until(lambda: not self.strange(), f"nothing else is left: {self.strange()}", WITHIN_S, 0.5)
        for root in self.kept:
            shown = f"loadbalancers/{root['id']}"
            until(
                lambda shown=shown: self.made.made.show(shown)["operating_status"] in {"ONLINE", "NO_MONITOR"},
                f"{root['name']} is ONLINE",
                WITHIN_S,
                0.2,
            )

    def speak(self) -> bool:
        return all(host["operating_status"] == "ONLINE" for host in self.made.enrolled().values())

    def strange(self) -> dict[str, list[str]]:
        """By host, what is there and should not be, and what is not there and should be."""
        placed, found = self.placed(), {}
        for name, shown in self.made.enrolled().items():
            host = next(host for host in self.made.hosts if host.name == name)
            if difference := on(host) ^ {short(key) for key, where in placed.items() if where == shown["id"]}:
                found[name] = sorted(difference)
        return found

    def events(self) -> list[tuple[str, str]]:
        """What has been judged: word, and the kind of what it is about."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            said = database.execute("SELECT action, kind FROM event ORDER BY seq").fetchall()
        return [(action, kind) for action, kind in said if action in SEEN]

    @property
    def database(self) -> Path:
        return self.made.made.directory / "caryatid.db"

    # -- what happens to it

    def restart_core(self) -> None:
        """Killed, and there again."""
        core = self.made.made.services()["core"]
        os.kill(core, 9)
        until(lambda: self.made.made.services().get("core", core) != core, "another core is there", WITHIN_S)
        until(self.made.made.answers, "all is up", WITHIN_S)

    def do(self, path: str) -> Any:
        """An operator's act that has no body."""
        answer = self.made.made.api.put(path)
        assert answer.status_code in {200, 202, 204}, (path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def jobs(self, keys: Collection[str]) -> None:
        """They are done."""
        for key in keys:
            until(
                lambda key=key: self.made.made.get(f"/v1/jobs/{key}")["state"] == "succeeded",
                f"job {key} is done",
                WITHIN_S,
            )

    def report(self) -> str:
        """What a failed test shows."""
        said = [f"{time.strftime('%X')} {self.events()[-30:]}", str(self.strange()), self.made.made.log(3000)]
        return "\n".join([*said, *(f"--- {host.name}\n{host.log(1500)}" for host in self.made.hosts)])


@contextlib.contextmanager
def traffic(*roots: LoadBalancer) -> Iterator[Traffic]:
    """Requests through these, one after the other, all the time."""
    running = Traffic({root["id"]: root["vip_address"] for root in roots})
    running.start()
    try:
        yield running
    finally:
        running.stop()


def on(host: Host) -> set[str]:
    """What stands for the amphorae of which anything is on the machine: processes, interfaces, namespaces, files."""
    pids = [*host.processes("haproxy"), *host.processes("keepalived")]
    paths = [Path(word) for pid in pids for word in command_line(pid)]
    amphorae = host.directory / "agent" / "amphorae"
    below = [path.relative_to(amphorae) for path in paths if path.is_relative_to(amphorae)]
    found = {short(path.parts[0]) for path in below if path.parts}
    with contextlib.suppress(OSError):
        found |= {short(path.name) for path in amphorae.iterdir() if (path / "haproxy.cfg").exists()}
    links = run("ip", "-n", host.name, "-o", "link", "show", "type", "veth").splitlines()
    ports = [line.split()[1].partition("@")[0] for line in links]
    found |= {port[2:].rpartition("-")[0] for port in ports if port.startswith("cy")}
    agent = host.agent()
    if agent is not None:
        spaces = Path(f"/proc/{agent}/root/run/netns")
        found |= {path.name.rpartition("-")[2] for path in spaces.iterdir() if path.name.startswith("cy-")}
    return found
