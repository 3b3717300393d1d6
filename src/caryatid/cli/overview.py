# SPDX-License-Identifier: Apache-2.0
"""Everything on one screen, worst first: load balancers with what is below them, hosts, jobs that have not ended."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from caryatid.model import HOST, JOB, LOADBALANCER

from .client import Client, item
from .failures import Failure
from .output import COLOURS, STYLES, console, dotted

Document = Mapping[str, Any]
TREES_MAX = 20
JOBS_MAX = 10
AT_A_TIME = 8
SEVERITY = {"red": 0, "yellow": 1, "cyan": 2, "bright_black": 3, "green": 4}
WORST = len(COLOURS)
FINE = frozenset({"ACTIVE", "ONLINE"})


@dataclass(frozen=True)
class Overview:
    """What the screen shows, as it was at one moment."""

    loadbalancers: Sequence[Document]
    trees: Mapping[str, Document]
    """Status trees of the worst, by id of the load balancer."""
    hosts: Sequence[Document]
    jobs: Sequence[Document]
    """That have not ended, oldest first."""
    more_jobs: bool = False


def look(client: Client, trees_max: int = TREES_MAX) -> Overview:
    """What is there now. A bounded number of requests, however many load balancers there are."""
    fields = [("fields", name) for name in ("id", "name", "vip_address", "provisioning_status", "operating_status")]
    loadbalancers = sorted(client.all(LOADBALANCER, fields), key=badness)
    jobs = client.all(JOB, [("ended_at", "null")], limit=JOBS_MAX + 1)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = pool.map(lambda one: _tree(client, one["id"]), loadbalancers[:trees_max])
        trees = {tree["id"]: tree for tree in found if tree is not None}
    return Overview(loadbalancers, trees, client.all(HOST), jobs[:JOBS_MAX], len(jobs) > JOBS_MAX)


def document(seen: Overview) -> dict[str, Any]:
    """What was seen, for programs."""
    trees = [{**one, **seen.trees.get(one["id"], {})} for one in seen.loadbalancers]
    return {"loadbalancers": trees, "hosts": list(seen.hosts), "jobs": list(seen.jobs)}


def badness(document: Document) -> tuple[int, str]:
    """Sorts the worst first, then by name."""
    words = (document.get("provisioning_status"), document.get("operating_status"))
    colours = [STYLES.get(word or "", "") for word in words]
    return min(SEVERITY.get(colour, WORST) for colour in colours), str(document.get("name"))


def _tree(client: Client, loadbalancer_id: str) -> Document | None:
    """The status tree; None if it has gone meanwhile."""
    try:
        document = client.get(f"{item(LOADBALANCER, loadbalancer_id)}/status")
    except Failure as failure:
        if failure.exit_code != Failure.exit_code:
            raise
        return None
    return dict(document["statuses"]["loadbalancer"])


def show(client: Client) -> None:
    """Prints the screen once."""
    console().print(screen(look(client)))


def keep_showing(client: Client, interval_s: float) -> None:
    """Prints the screen again and again until interrupted; an API that goes away is waited for."""
    from rich.live import Live

    terminal = console()
    stop = Event()
    with Live(console=terminal, screen=terminal.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                live.update(_now(client), refresh=True)
                stop.wait(interval_s)
        except KeyboardInterrupt:
            return


def _now(client: Client) -> RenderableType:
    try:
        return screen(look(client))
    except Failure as failure:
        return Text("\n".join(failure.reasons), style="red")


def screen(seen: Overview) -> RenderableType:
    """The screen that shows what was seen."""
    return Group(*_loadbalancers(seen), *_hosts(seen.hosts), *_jobs(seen))


def _loadbalancers(seen: Overview) -> Iterator[RenderableType]:
    yield Text(f"Load balancers ({len(seen.loadbalancers)})", style="bold")
    rest = []
    for one in seen.loadbalancers:
        tree = seen.trees.get(one["id"])
        if tree is None:
            rest.append(one)
        else:
            yield as_tree({**one, **tree})
    if rest:
        bad = sum(1 for one in rest if not {one["provisioning_status"], one["operating_status"]} <= FINE)
        how = f"{bad} of them not ACTIVE and ONLINE" if bad else "all ACTIVE and ONLINE"
        yield Text(f"and {len(rest)} more, {how}: caryatid lb list", style="dim")


def as_tree(loadbalancer: Document) -> Tree:
    """A load balancer with its listeners, their pools and members, the worst of each first."""
    top = Tree(_label("", loadbalancer), guide_style="bright_black")
    for listener in sorted(loadbalancer["listeners"], key=badness):
        branch = top.add(_label("listener", listener))
        for pool in sorted(listener["pools"], key=badness):
            below = branch.add(_label("pool", pool))
            if monitor := pool.get("health_monitor"):
                below.add(_label(f"{monitor['type']} monitor", monitor))
            for member in sorted(pool["members"], key=badness):
                below.add(_label("member", member))
    return top


def print_tree(loadbalancer: Document) -> None:
    console().print(as_tree(loadbalancer))


def _label(what: str, document: Document) -> Text:
    """What it is, how it works, and how far the last change is, where it is not in effect."""
    name = document["name"] or document["id"]
    parts: list[Any] = [dotted(document["operating_status"]), " ", f"{what} " if what else "", (str(name), "bold")]
    if "address" in document:
        host = f"[{document['address']}]" if ":" in document["address"] else document["address"]
        parts.append(f" {host}:{document['protocol_port']}")
    if document.get("vip_address"):
        parts.append(f" {document['vip_address']}")
    if document["provisioning_status"] != "ACTIVE":
        parts += [" ", dotted(document["provisioning_status"])]
    return Text.assemble(*parts)


def _hosts(hosts: Iterable[Document]) -> Iterator[RenderableType]:
    yield Text("\nHosts", style="bold")
    found = sorted(hosts, key=lambda host: (SEVERITY[_duty(host)[1]], str(host["name"])))
    if not found:
        yield Text("none has enrolled", style="dim")
        return
    grid = Table.grid(padding=(0, 2))
    for host in found:
        word, colour = _duty(host)
        state = Text.assemble(("●", colour), " ", (word, colour))
        room = f"{host['used']} of {host['capacity']} amphorae"
        grid.add_row(state, str(host["name"]), room, host["agent_url"], f"HAProxy {host['haproxy_version']}")
    yield grid


def _duty(host: Document) -> tuple[str, str]:
    """The word that says most about a host, and its colour."""
    if host["duty"] == "SERVING" and host["operating_status"] == "ERROR":
        return "lost", "red"
    if host["duty"] != "SERVING":
        return host["duty"].lower(), "yellow"
    return ("enabled", "green") if host["enabled"] else ("drained", "bright_black")


def _jobs(seen: Overview) -> Iterator[RenderableType]:
    yield Text("\nJobs not finished", style="bold")
    if not seen.jobs:
        yield Text("none", style="dim")
        return
    grid = Table.grid(padding=(0, 2))
    for job in sorted(seen.jobs, key=lambda job: (badness({"operating_status": job["state"]})[0], job["created_at"])):
        what = f"{job['action']} {job['resource_type']} {job['resource_id']}"
        grid.add_row(dotted(job["state"]), job["id"], what, job.get("reason") or "")
    yield grid
    if seen.more_jobs:
        yield Text("and more: caryatid job list --filter ended_at=null", style="dim")
