# SPDX-License-Identifier: Apache-2.0
"""The host's side: physical networks, and how the host passes packets on for amphorae whose addresses are routed to it.

All of it is in the namespace that the agent runs in.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import orjson

from caryatid.agent import firewall
from caryatid.agent.links import FOUR, Link, Links, Route, single
from caryatid.agent.namespace import SYSCTL, NamespaceError, set_sysctls
from caryatid.agent.settings import Uplink
from caryatid.places import write_atomically

PORTS = "cy"
"""Host ends of amphorae's interfaces begin so."""
GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}
"""What routed amphorae call their host: each has it alone on its wire."""
INNER = {4: IPv4Address("169.254.2.0"), 6: IPv6Address("fd63:6172:7961:7469::")}
"""Routed amphora number n speaks to members as this plus n; the host masquerades it, so nobody else ever sees it."""
INNER_LAST = IPv4Address("169.254.167.255")
"""Clouds' metadata services are above."""
NUMBERS_MAX = int(INNER_LAST) - int(INNER[4])
MASQUERADE = f"""\
add table inet caryatid
delete table inet caryatid
table inet caryatid {{
    chain from_amphorae {{
        type nat hook postrouting priority srcnat;
        oifname "{PORTS}*" accept
        ip saddr {INNER[4]}-{INNER_LAST} masquerade
        ip6 saddr {INNER[6]}/64 masquerade
    }}
}}
"""


def device(uplink: Uplink) -> str:
    """The interface by which the host itself speaks on this network."""
    return bridge_name(uplink.name) if uplink.how == "bridge" else uplink.interface


def bridge_name(name: str) -> str:
    """Names of interfaces have 15 bytes at most; Uplink takes no longer ones."""
    return f"cy-{name}"


def prepare(uplink: Uplink, links: Links) -> None:
    """Afterwards the uplink is usable. Raises NamespaceError, with what is to be done, if it cannot be."""
    found = links.find(uplink.interface)
    if found is None:
        raise NamespaceError(f"Uplink {uplink.name}: there is no interface {uplink.interface}.")
    if uplink.how == "existing" and found.kind != "bridge":
        raise NamespaceError(
            f"Uplink {uplink.name}: {uplink.interface} is no bridge; write bridge:{uplink.interface} or "
            f"macvlan:{uplink.interface}."
        )
    if uplink.how == "bridge":
        _bridge(uplink, found, links)
    links.up(uplink.interface)


def _bridge(uplink: Uplink, port: Link, links: Links) -> None:
    name = bridge_name(uplink.name)
    bridge = links.find(name)
    if bridge is not None and port.master == bridge.index:
        return
    if port.master or links.addresses(port.name):
        raise NamespaceError(
            f"Uplink {uplink.name}: {port.name} has addresses of this host, or is in another bridge. Make a bridge "
            f"that has them and name it instead, or write macvlan:{port.name}."
        )
    links.add_bridge(name, port.mac)
    links.enslave(port.name, name)


def inner(version: int, number: int) -> str:
    """The address of a routed amphora as only its host knows it."""
    return str(INNER[version] + number)


def pass_on(links: Links, port: str, outside: Iterable[str], before: Path) -> None:
    """Let packets through between an amphora's port and these interfaces, and no others where the kernel can tell.

    The file `before` remembers how the host was, for `restore`.
    """
    changed: dict[str, str] = {}
    for name in outside:
        changed |= set_sysctls({**_accepting(name), **_forwarding(name), f"net/ipv4/neigh/{name}/proxy_delay": "0"})
        changed |= set_sysctls({f"net/ipv6/conf/{name}/proxy_ndp": "1"})
    set_sysctls(_forwarding(port))
    set_sysctls({f"net/ipv4/conf/{port}/rp_filter": "0", f"net/ipv6/conf/{port}/accept_dad": "0"})
    if not (SYSCTL / f"net/ipv6/conf/{port}/force_forwarding").exists():
        # before Linux 6.17 all interfaces forward IPv6 or none
        for path in (SYSCTL / "net/ipv6/conf").glob("*"):
            changed |= set_sysctls(_accepting(path.name))
        changed |= set_sysctls({"net/ipv6/conf/all/forwarding": "1"})
    _remember(before, changed)
    for version, gateway in GATEWAYS.items():
        if version == FOUR or (SYSCTL / f"net/ipv6/conf/{port}").exists():
            links.add_address(port, single(gateway), local=True)


def restore(before: Path) -> None:
    """Nobody is routed any more: the host is as it was."""
    unmasquerade()
    known = _remembered(before)
    set_sysctls(dict(reversed(known.items())))
    before.unlink(missing_ok=True)


def _remember(before: Path, changed: Mapping[str, str]) -> None:
    if changed:
        write_atomically(before, orjson.dumps({**changed, **_remembered(before)}), durable=True)


def _remembered(before: Path) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in orjson.loads(before.read_bytes()).items()}
    except (OSError, ValueError):
        return {}


def _forwarding(name: str) -> dict[str, str]:
    return {
        f"net/ipv4/conf/{name}/forwarding": "1",
        f"net/ipv6/conf/{name}/forwarding": "1",
        f"net/ipv6/conf/{name}/force_forwarding": "1",
    }


def _accepting(name: str) -> dict[str, str]:
    """Who forwards ignores router advertisements unless told so: the host must not lose its own default route."""
    path = SYSCTL / f"net/ipv6/conf/{name}/accept_ra"
    return {f"net/ipv6/conf/{name}/accept_ra": "2"} if path.exists() and path.read_text().strip() == "1" else {}


def route(links: Links, address: str, port: str) -> None:
    """Packets for the address go to the amphora."""
    links.set_route(Route(str(single(address)), port))


def unroute(links: Links, address: str, port: str) -> None:
    links.remove_route(Route(str(single(address)), port))


def answer_for(links: Links, address: str, name: str) -> None:
    """The host says on this interface that the address is behind it."""
    links.add_proxy(name, address)


def masquerade() -> None:
    """Members see routed amphorae's own connections as the host's, and need no route back."""
    firewall.load(MASQUERADE)


def unmasquerade() -> None:
    """Nobody is routed any more."""
    firewall.load("add table inet caryatid\ndelete table inet caryatid\n")
