# SPDX-License-Identifier: Apache-2.0
"""A site that runs Ganeti: controllers, a cluster in which amphorae are instances, networks, members, a client.

    this process' namespace: controllers (10.99.0.3), and 10.88.0.1 as a machine of the VIPs' network
        │ veth                               │ veth
        gnt0: node, RAPI, agents (eth0)     br-front: amphorae (eth1)

Instances are the fake hypervisor's; the hook (`ganeti/hooks/caryatid`) runs an agent in namespaces for each of them.
All of it is within namespaces of the test's own (`tests/inside.py`), so nothing is left whichever way it ends.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from bench.backends import Backends, Server, ask
from bench.installation import Installation, whole
from bench.site import CIDR, CLIENT, inside, run
from bench.waiting import until
from caryatid.model.cluster import amphora_of, instance_name
from tests.ganeti.cluster import NETWORK, OUTSIDE, PASSWORD, URL, USER, RealCluster

VIPS = "br-front"
"""The bridge of the VIPs."""
WITHIN_S = 90
"""A busy machine; how long it takes is measured in bench/."""
PORT = 8080
REPOSITORY = Path(__file__).parents[2]
SPACE = "cya-"
"""How the hook's network namespaces begin."""
HOOKS = ("add", "start", "stop", "reboot", "remove", "failover", "migrate")


def answers(address: str) -> bool:
    return ask(address, PORT, timeout_s=1)[0] == 200


def serves(address: str) -> None:
    """It answers before the deadline."""
    until(lambda: answers(address), f"{address} answers", WITHIN_S, 0.05)


class GanetiSite:
    """Controllers, and a Ganeti that they do not know until `prepare`. `with` it: it is up, and gone afterwards."""

    def __init__(self, settings: Mapping[str, str] | None = None, **cluster: Any) -> None:
        """`cluster`: what is said of it otherwise than by `body`."""
        assert inside(), "A site is made in namespaces of its own."
        self._more = cluster
        self.made = Installation(
            words=("up", "--no-agent"),
            environment={
                "CARYATID_COMPUTE_DRIVER": "ganeti",
                "CARYATID_CONDUCTOR_LISTEN": f"{OUTSIDE}:9877",
                "CARYATID_HEALTH_LISTEN": f"{OUTSIDE}:5555",
                **(settings or {}),
            },
        )
        self.cluster = RealCluster(self._folder("cluster"))
        self.agents = self._folder("agents")
        """A folder for each instance."""
        self.backends: Backends | None = None
        self.member: Server | None = None
        self.key = ""
        """Of the cluster, as a resource."""
        self.subnet = ""

    # -- life

    def __enter__(self) -> Self:
        try:
            self.cluster.start()
            self._connect()
            self.backends = Backends(CLIENT)
            self.member = self.backends.make("one")
            self.made.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is left, but for what goes with the namespaces."""
        try:
            if self.backends is not None:
                self.backends.__exit__()
            self.made.close()
        finally:
            self.cluster.end()
            shutil.rmtree(self.made.directory, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        path = self.made.directory / name
        path.mkdir()
        return path

    def _connect(self) -> None:
        """The bridge of the VIPs has a cable to here."""
        self.cluster.run("ip", "link", "add", VIPS, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self.cluster.run("ip", "link", "set", VIPS, "up")
        run(
            "ip", "link", "add", "outside", "type", "veth", "peer", "name", "clients", "netns", str(self.cluster._first)
        )
        run("ip", "addr", "add", f"{CLIENT}/16", "dev", "outside")
        run("ip", "link", "set", "outside", "up")
        self.cluster.run("ip", "link", "set", "clients", "master", VIPS, "up")

    def prepare(self) -> Self:
        """Load balancers can be made: Ganeti has what it needs, and the cluster is known."""
        install(self.cluster, self.agents, f"{sys.executable} -m caryatid agent")
        self.subnet = self._subnet()
        self.key = self.register(self.body())["id"]
        until(lambda: self.shown()["operating_status"] == "ONLINE", "the cluster answers", WITHIN_S)
        return self

    # -- what is in it

    def body(self) -> dict[str, Any]:
        """What the cluster is registered as."""
        return {
            "name": "ganeti",
            "rapi_url": URL,
            "rapi_user": USER,
            "rapi_password": PASSWORD,
            "rapi_ca": self.cluster.certificate,
            "os": "caryatid+hooks",
            "hypervisor": "fake",
            "disk_template": "file",
            "machine": {"vcpus": 1, "memory_mib": 128, "disk_mib": 1024},
            "nics": [{"network": NETWORK}, {"mode": "bridged", "link": VIPS, "uplink": "default"}],
            "boot_deadline_s": 60,
            **self._more,
        }

    def register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.made.send("POST", "/v1/clusters", {"cluster": body}))

    def _subnet(self) -> str:
        network = self.made.get("/v1/networks", name="default")[0]["id"]
        body = {"network_id": network, "cidr": CIDR, "attachment": "uplink"}
        body["allocation_pools"] = [{"start": "10.88.1.1", "end": "10.88.20.254"}]
        return str(self.made.send("POST", "/v1/subnets", {"subnet": body})["id"])

    def flavor(self, name: str, data: Mapping[str, Any]) -> str:
        """A flavor of this name, made of what it says of amphorae; its name."""
        profile = {"name": name, "provider_name": "amphora", "flavor_data": json.dumps(data)}
        key = self.made.post("flavorprofiles", {"flavorprofile": profile})["id"]
        self.made.post("flavors", {"flavor": {"name": name, "flavor_profile_id": key, "enabled": True}})
        return name

    # -- what is asked of it

    def ask(self, name: str, flavor: str = "single", **more: Any) -> dict[str, Any]:
        """A load balancer with one member is asked for; nothing is waited for."""
        key = self.made.get("/v2/lbaas/flavors", name=flavor)[0]["id"]
        assert self.member is not None
        body = whole(self.subnet, [self.member.port], CLIENT, flavor_id=key, **more)
        return dict(self.made.post("loadbalancers", {"loadbalancer": {**body, "name": name}}))

    def make(self, name: str, flavor: str = "single", **more: Any) -> dict[str, Any]:
        """A load balancer that serves."""
        return self.served(self.ask(name, flavor, **more))

    def served(self, root: Mapping[str, Any]) -> dict[str, Any]:
        """It is ACTIVE, and answers."""
        shown = self.made.active(f"loadbalancers/{root['id']}", WITHIN_S, 0.1)
        serves(shown["vip_address"])
        return shown

    def remove(self, *roots: Mapping[str, Any]) -> None:
        """They are gone, and so are their instances."""
        ours = {one["id"] for root in roots for one in self.amphorae(root)}
        for root in roots:
            self.made.delete(f"loadbalancers/{root['id']}?cascade=true")
        for root in roots:
            self.made.gone(f"loadbalancers/{root['id']}", WITHIN_S)
        until(lambda: not ours & set(self.instances()), "their instances are gone", WITHIN_S, 0.2)

    # -- what is seen of it

    def shown(self) -> dict[str, Any]:
        """The cluster, as a resource."""
        return dict(self.made.get(f"/v1/clusters/{self.key}"))

    def status(self) -> dict[str, Any]:
        answer = self.made.api.get(f"/v1/clusters/{self.key}/status")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["status"])

    def amphorae(self, root: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self.made.get("/v2/octavia/amphorae", loadbalancer_id=root["id"]))

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Hosts, by name."""
        return {host["name"]: host for host in self.made.get("/v1/hosts")}

    def instances(self) -> list[str]:
        """Amphorae that there is an instance of, as Ganeti itself says."""
        return [amphora for name in self.cluster.instances() if (amphora := amphora_of(name))]

    def spaces(self) -> set[str]:
        """What stands for the amphorae of which an agent has namespaces."""
        said = self.cluster.run("sh", "-c", "ls /run/netns 2>/dev/null || true")
        return {name.removeprefix(SPACE) for name in said.split() if name.startswith(SPACE)}

    def told(self, root: Mapping[str, Any]) -> list[str]:
        """What the jobs of a load balancer have said so far, and what they wait for."""
        jobs = self.made.get("/v1/jobs", resource_id=root["id"])
        whole = [self.made.get(f"/v1/jobs/{job['id']}") for job in jobs]
        lines = [line["text"] for job in whole for line in job["log"]]
        return [*lines, *(job[name] for job in whole for name in ("reason", "remedy") if job[name])]

    def instance(self, amphora_id: str) -> str:
        """What Ganeti calls the machine of an amphora."""
        return instance_name(amphora_id, self.shown()["domain"])

    def whole(self, *roots: Mapping[str, Any]) -> bool:
        """Each of these has the machines that it should have, and there is nothing else."""
        wanted = [one["id"] for root in roots for one in self.amphorae(root)]
        machines = {one["amphora_id"]: one["phase"] for one in self.status()["machines"]}
        return (
            sorted(self.instances()) == sorted(wanted)
            and machines == dict.fromkeys(wanted, "READY")
            and len(self.hosts()) == len(wanted)
            and self.spaces() == set(map(short, wanted))
        )

    # -- what happens to it

    def crash(self, amphora_id: str) -> None:
        """The machine is gone from one moment to the next; Ganeti is told nothing."""
        name = self.instance(amphora_id)
        space = f"{SPACE}{short(amphora_id)}"
        script = f"rm /run/ganeti/fake-hypervisor/{name}; ip netns pids {space} | xargs -r kill -9"
        self.cluster.run("sh", "-c", script)

    def report(self) -> str:
        """What a failed test shows."""
        said = [self.made.log(6000)]
        with contextlib.suppress(Exception):
            said += [json.dumps(self.status(), indent=1), self.cluster.run("gnt-job", "list")]
        logs = sorted(self.agents.glob("*/agent.log"), key=os.path.getmtime)[-3:]
        return "\n".join([*said, *(f"--- {path.parent.name}\n{path.read_text()[-1500:]}" for path in logs)])


def install(cluster: RealCluster, agents: Path, agent: str) -> None:
    """What an administrator installs on a node: OS definition, hooks, and where they find what they need."""
    cluster.put(REPOSITORY / "ganeti" / "os" / "caryatid", "/srv/ganeti/os/caryatid")
    for operation in HOOKS:
        target = f"/etc/ganeti/hooks/instance-{operation}-post.d/caryatid"
        cluster.put(REPOSITORY / "ganeti" / "hooks" / "caryatid", target)
    cluster.run("tee", "/etc/default/caryatid-ganeti", text=f'AGENTS={agents}\nAGENT="{agent}"\n')


def short(amphora_id: str) -> str:
    """What stands for it in the names that the hook gives."""
    return amphora_id.replace("-", "")[:10]


@contextlib.contextmanager
def ganeti_site(settings: Mapping[str, str] | None = None, **cluster: Any) -> Iterator[GanetiSite]:
    """A site that is up, and is gone afterwards."""
    with GanetiSite(settings, **cluster) as made:
        yield made.prepare()
