# SPDX-License-Identifier: Apache-2.0
"""How long a name goes on being answered with what has ended: a member, a load balancer of ours, a region."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

from bench.backends import Server
from bench.figures import Figure, median, spread
from bench.globe import QUICK, ZONE, Globe, stopped
from bench.waiting import pause, until

TIMES, QUICK_TIMES = 20, 5
EXPIRY_S = 3 * QUICK["interval"] + QUICK["timeout"]
"""Of a vote."""
SPARE, SPARE_TOO = "192.0.2.9", "192.0.2.10"
NAMES, QUICK_NAMES = 1_000, 100
"""That are answered with one pool."""
SETTLE_S = 60


@dataclass(frozen=True)
class Took:
    """Of one change, in milliseconds."""

    all: float
    """From the end of what ended to the changed answer."""
    told: float
    """From the word that decided it to the changed answer."""


def run(*, quick: bool) -> Iterator[Figure]:
    times = QUICK_TIMES if quick else TIMES
    with Globe(noop=False, environment={"CARYATID_LOG_LEVEL": "warning"}) as globe:
        yield from member(globe, times)
        yield from loadbalancer(globe, times)
        yield from region(globe, max(3, times // 4))
    with Globe((), environment={"CARYATID_LOG_LEVEL": "warning"}) as globe:
        yield from names(globe, QUICK_NAMES if quick else NAMES)


def member(globe: Globe, times: int) -> Iterator[Figure]:
    """interval 1 s, timeout 0.5 s, fall 2, three regions: two must have seen it."""
    pool_id, servers = _pool(globe, "bench", {})
    globe.gslb("bench", [pool_id])
    both = list(servers)
    found = []
    for number in range(times):
        globe.until_answered("bench", both)
        pause(0.137 * (number % 8))  # at any moment of the interval
        address = both[number % 2]
        began = time.time()
        took = _ended(globe, "bench", servers[address], [one for one in both if one != address])
        decided = sorted(_since(seen) for seen in _votes(globe, pool_id, address))[1]
        found.append(Took((took - began) * 1000, (took - decided) * 1000))
        servers[address].open()
        _anew(globe, pool_id, address=address)
    every = [one.all for one in found]
    yield Figure("endpoint dies → changed answer, p50", median(every), "ms", 3000, note=spread(every))
    yield Figure("the same, p90", quantiles(every, n=10)[8], "ms")
    told = [one.told for one in found]
    yield Figure("of it from the second region's word: decide, publish, verify, p50", median(told), "ms", 100,
                 note=spread(told))  # fmt: skip


def loadbalancer(globe: Globe, times: int) -> Iterator[Figure]:
    """From its operating status to the changed answer."""
    address, server = globe.server("one")
    made = globe.main.loadbalancer(
        [server.port],
        monitor={"type": "TCP", "max_retries_down": 1},
        pool={"members": [{"address": address, "protocol_port": server.port}]},
    )
    member = {"type": "load_balancer", "loadbalancer_id": made["id"]}
    ours = globe.pool("ours", None, [member])
    globe.gslb("own", [ours, globe.pool("spare", None, [{"address": SPARE}])])
    found = []
    for _ in range(times):
        globe.until_answered("own", [made["vip_address"]])
        took = _ended(globe, "own", server, [SPARE])
        query = {"type": "loadbalancer.status", "resource_id": made["id"], "newest": "true", "limit": "1"}
        (event,) = globe.main.api.get("/v1/events", params=query).json()["events"]
        found.append((took - _moment(event["at"])) * 1000)
        server.open()
        _anew(globe, ours, loadbalancer_id=made["id"])
    yield Figure("operating status of a load balancer of ours → changed answer, p50", median(found), "ms", 300,
                 note=spread(found))  # fmt: skip


def region(globe: Globe, times: int) -> Iterator[Figure]:
    """Nobody else checks these members: their region's word expires, and then nobody knows."""
    only = {"regions": [globe.regions["south"]], "insufficient_data": "unhealthy"}
    pool_id, servers = _pool(globe, "far", only)
    globe.gslb("far", [pool_id, globe.pool("spare2", None, [{"address": SPARE}])])
    found = []
    for _ in range(times):
        globe.until_answered("far", list(servers))
        process = globe.checkers["south"].process
        assert process is not None
        with stopped(process.pid):
            began = time.time()
            globe.until_answered("far", [SPARE])
            found.append((time.time() - began) * 1000)
        for address in servers:
            _anew(globe, pool_id, address=address)
    note = f"a vote expires after {EXPIRY_S:g} s; {spread(found)}"
    yield Figure("region stopped → changed answer, p50", median(found), "ms", (EXPIRY_S + 1) * 1000, note=note)


def names(globe: Globe, count: int) -> Iterator[Figure]:
    """All use one pool, of which a member goes and comes: by one wish each time all of them are answered otherwise."""
    pool_id = globe.pool("shared", None, [{"address": SPARE}, {"address": SPARE_TOO}])
    uses = [{"pool_id": pool_id, "priority": 0}]
    for number in range(count):
        globe.make("gslbs", name=f"n{number}", fqdn=f"n{number}.{ZONE}", record_types=["A"], pools=uses)
    until(lambda: not _pending(globe), "all names are published", SETTLE_S)
    (member,) = [one for one in globe.all(f"pools/{pool_id}/pool_members") if one["address"] == SPARE]
    found = []
    for up in (False, True) * 3:
        began = time.monotonic()
        globe.change(f"pools/{pool_id}/pool_members/{member['id']}", admin_state_up=up)
        until(lambda: not _pending(globe), "all names are answered so", SETTLE_S, 0.02)
        found.append(time.monotonic() - began)
        globe.until_answered(f"n{count - 1}", [SPARE, SPARE_TOO] if up else [SPARE_TOO])
    first, *others = found  # the first one finds nothing warm
    title = f"{count:,} names changed by one wish, published, seen on the name server, settled, p50"
    note = f"the first {first:.2f} s; {spread(others, 's')}"
    yield Figure(title, median(others), "s", 2 if count == NAMES else None, note=note)


def _pending(globe: Globe) -> bool:
    return bool(globe.all("gslbs?provisioning_status=PENDING_UPDATE&fields=id&limit=1"))


def _pool(globe: Globe, name: str, monitor: Mapping[str, Any]) -> tuple[str, dict[str, Server]]:
    servers = dict(globe.server(f"{name}{number}") for number in (1, 2))
    checked = globe.monitor(name=name, **monitor)["id"]
    members = [{"address": address, "port": server.port} for address, server in servers.items()]
    return globe.pool(name, checked, members), servers


def _ended(globe: Globe, name: str, server: Server, expected: Sequence[str]) -> float:
    """The server has ended and the name is answered so: when that was seen."""
    server.close()
    globe.until_answered(name, expected)
    return time.time()


def _anew(globe: Globe, pool_id: str, **which: str) -> None:
    """The member is made anew: who comes and goes so often would not be believed to be back."""
    ((name, value),) = which.items()
    members = f"pools/{pool_id}/pool_members"
    (old,) = [one for one in globe.all(members) if one[name] == value]
    globe.remove(f"{members}/{old['id']}")
    globe.make(members, **{key: old[key] for key in ("type", "address", "port", "loadbalancer_id") if old[key]})


def _votes(globe: Globe, pool_id: str, address: str) -> list[dict[str, Any]]:
    """Once all regions say the same."""

    def look() -> list[dict[str, Any]]:
        (member,) = [one for one in globe.all(f"pools/{pool_id}/pool_members") if one["address"] == address]
        seen = list(member["per_region"])
        return seen if len({one["vote"] for one in seen}) == 1 and len(seen) >= len(globe.regions) else []

    return until(look, "all regions say the same", SETTLE_S)


def _since(seen: Mapping[str, Any]) -> float:
    return _moment(seen["since"])


def _moment(text: str) -> float:
    """UTC, as the API writes it."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
