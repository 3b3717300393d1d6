# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses, routes and neighbours of the network namespace that the calling thread is in.

Every verb may be repeated. Imported only where it is used: pyroute2 costs an agent 17 MB and half a second, and one
whose load balancers are all on loopback needs none. Not for the event loop's thread: pyroute2 runs a loop of its own.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network
from types import TracebackType
from typing import Any, NamedTuple, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from caryatid.agent.namespace import NamespaceError

Interface = IPv4Interface | IPv6Interface
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
NODAD = 0x02
"""IFA_F_NODAD: usable at once (linux/if_addr.h)."""
ONLINK = 4
"""RTNH_F_ONLINK: the gateway is behind the interface, whatever the addresses say (linux/rtnetlink.h)."""
PROXY = 0x08
"""NTF_PROXY (linux/neighbour.h)."""
PERMANENT = 0x80
LINK_SCOPE = 253
HOST_SCOPE = 254
TABLE_MAIN = 254
RULE_PRIORITY = 1000
FOREVER = 0xFFFFFFFF


def single(address: str) -> Interface:
    """The address alone, without neighbours."""
    return ip_interface(address)


@dataclass(frozen=True)
class Link:
    """One interface."""

    index: int
    name: str
    kind: str
    """`veth`, `bridge`, `macvlan`, …; empty: a real one."""
    master: int
    """Index of the bridge that it is in; 0: none."""
    parent: int
    """Index of what it is on (macvlan) or of its other end (veth), which may be in another namespace; 0: none."""
    mac: str


@dataclass(frozen=True)
class Route:
    """Where packets for a network go."""

    to: str
    interface: str
    via: str | None = None
    source: str | None = None
    """The address from which we speak to it; None: the kernel chooses."""
    table: int = TABLE_MAIN


class Rule(NamedTuple):
    """Packets of a family that follow a table of their own: those from a source (a network), or with a mark."""

    version: int
    table: int
    source: str = ""
    mark: int = 0


class Links:
    """A netlink socket, bound to the namespace in which it was opened. Raises NamespaceError for what fails."""

    def __init__(self) -> None:
        self._netlink: Any = IPRoute()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._netlink.close()

    # -- interfaces

    def all(self) -> list[Link]:
        return [_link(message) for message in self._netlink.get_links()]

    def find(self, name: str) -> Link | None:
        return self._get(ifname=name)

    def at(self, index: int) -> Link | None:
        return self._get(index=index) if index else None

    def _get(self, **which: Any) -> Link | None:
        """Asked for alone: a host has as many interfaces as amphorae."""
        try:
            return next((_link(message) for message in self._netlink.link("get", **which)), None)
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ENXIO, errno.EINVAL):
                return None
            raise

    def add_bridge(self, name: str, mac: str) -> None:
        """One without spanning tree that forwards at once and floods multicasts: neighbour discovery needs them. Unless
        told its MAC it would take another with each port."""
        look = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
        with _allowed("bridge", name, errno.EEXIST):
            self._netlink.link("add", ifname=name, kind="bridge", address=mac, **look)
        self.up(name)

    def add_veth(self, name: str, peer: str, namespace: int, mac: str) -> None:
        """A pair: `name` here, `peer` with this MAC in the namespace of an open descriptor."""
        with _allowed("veth", name):
            self._netlink.link(
                "add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": namespace, "address": mac}
            )

    def add_macvlan(self, parent: str, name: str, namespace: int, mac: str) -> None:
        """One with this MAC on `parent`, in the namespace; those on the same parent reach each other.

        No interface here may be called so: older kernels (Linux 6.1) look for the name on this side, too.
        """
        with _allowed("macvlan", name):
            self._netlink.link(
                "add",
                ifname=name,
                kind="macvlan",
                link=self._index(parent),
                macvlan_mode="bridge",
                net_ns_fd=namespace,
                address=mac,
            )

    def rename(self, name: str, wanted: str) -> None:
        """It must be down."""
        with _allowed("renaming", name):
            self._netlink.link("set", index=self._index(name), ifname=wanted)

    def enslave(self, name: str, bridge: str) -> None:
        with _allowed("port of a bridge", name):
            self._netlink.link("set", index=self._index(name), master=self._index(bridge))

    def up(self, name: str) -> None:
        with _allowed("link up", name):
            self._netlink.link("set", index=self._index(name), state="up")

    def remove(self, name: str) -> None:
        if found := self.find(name):
            with _allowed("link removal", name, errno.ENODEV):
                self._netlink.link("del", index=found.index)

    # -- addresses

    def addresses(self, name: str) -> list[Interface]:
        """All but those that IPv6 makes by itself; none if there is no such interface."""
        found = self.find(name)
        if found is None:
            return []
        read = [_address(message) for message in self._netlink.get_addr(index=found.index)]
        return [address for address in read if not address.ip.is_link_local or address.version == FOUR]

    def add_address(
        self, name: str, address: Interface, *, preferred: bool = True, local: bool = False
    ) -> None:
        """Not `preferred`: connections that we begin come from it only if there is no other (IPv6). `local`: never
        (IPv4)."""
        wanted: dict[str, Any] = {"index": self._index(name), "address": str(address.ip)}
        wanted["prefixlen"] = address.network.prefixlen
        if address.version != FOUR:
            wanted |= {"IFA_FLAGS": NODAD, "preferred": FOREVER if preferred else 0, "valid": FOREVER}
        elif local:
            wanted["scope"] = HOST_SCOPE
        with _allowed("address", str(address), errno.EEXIST):
            self._netlink.addr("add", family=FAMILIES[address.version], **wanted)

    def remove_address(self, name: str, address: Interface) -> None:
        with _allowed("removal of address", str(address), errno.EADDRNOTAVAIL, errno.ENODEV):
            self._netlink.addr(
                "del", index=self._index(name), address=str(address.ip), prefixlen=address.network.prefixlen
            )

    # -- routes

    def set_route(self, route: Route) -> None:
        """Afterwards this is the only route to there in its table."""
        with _allowed("route", route.to):
            self._netlink.route("replace", **self._route(route))

    def remove_route(self, route: Route) -> None:
        with contextlib.suppress(NamespaceError), _allowed("removal of route", route.to, errno.ESRCH, errno.ENODEV):
            self._netlink.route("del", **self._route(route))

    def _route(self, route: Route) -> dict[str, Any]:
        network = ip_network(route.to)
        said: dict[str, Any] = {"family": FAMILIES[network.version], "dst": route.to, "table": route.table}
        said["oif"] = self._index(route.interface)
        if route.via:
            said |= {"gateway": route.via, "flags": ONLINK}
        elif network.version == FOUR:
            said["scope"] = LINK_SCOPE
        if route.source:
            said["prefsrc"] = route.source
        return said

    def default_interfaces(self) -> set[str]:
        """Interfaces by which this machine reaches the world."""
        names = {link.index: link.name for link in self.all()}
        found = set()
        for family in FAMILIES.values():
            for message in self._netlink.get_default_routes(family=family, table=TABLE_MAIN):
                found.add(names.get(_attribute(message, "RTA_OIF") or 0, ""))
        return found - {""}

    def rules(self) -> set[Rule]:
        """Ours."""
        found = set()
        for version, family in FAMILIES.items():
            for message in self._netlink.get_rules(family=family):
                if _attribute(message, "FRA_PRIORITY") == RULE_PRIORITY:
                    source = f"{_attribute(message, 'FRA_SRC')}/{message['src_len']}" if message["src_len"] else ""
                    mark = int(_attribute(message, "FRA_FWMARK") or 0)
                    found.add(Rule(version, int(_attribute(message, "FRA_TABLE") or 0), source, mark))
        return found

    def set_rules(self, wanted: set[Rule]) -> None:
        """Afterwards packets of which these speak, and no others, follow a table of their own."""
        present = self.rules()
        for verb, some in (("add", wanted - present), ("del", present - wanted)):
            for rule in some:
                said: dict[str, Any] = {"family": FAMILIES[rule.version], "table": rule.table}
                if rule.source:
                    network = ip_network(rule.source)
                    said |= {"src": str(network.network_address), "src_len": network.prefixlen}
                if rule.mark:
                    said |= {"fwmark": rule.mark}
                with _allowed("rule", str(rule), errno.EEXIST, errno.ENOENT):
                    self._netlink.rule(verb, **said, priority=RULE_PRIORITY)

    # -- neighbours

    def add_proxy(self, name: str, address: str) -> None:
        with _allowed("proxy neighbour", address, errno.EEXIST):
            self._netlink.neigh("replace", **self._neighbour(name, address), flags=PROXY, state=PERMANENT)

    def remove_proxy(self, name: str, address: str) -> None:
        with _allowed("removal of proxy neighbour", address, errno.ENOENT, errno.ENODEV):
            self._netlink.neigh("del", **self._neighbour(name, address), flags=PROXY)

    def _neighbour(self, name: str, address: str) -> dict[str, Any]:
        return {"dst": address, "family": FAMILIES[ip_interface(address).version], "ifindex": self._index(name)}

    def _index(self, name: str) -> int:
        found = self._netlink.link_lookup(ifname=name)
        if not found:
            raise NamespaceError(f"There is no interface {name}.")
        return int(found[0])


FOUR = 4


def _link(message: Any) -> Link:
    information = _attribute(message, "IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=_attribute(message, "IFLA_IFNAME"),
        kind=(information.get_attr("IFLA_INFO_KIND") if information else "") or "",
        master=_attribute(message, "IFLA_MASTER") or 0,
        parent=_attribute(message, "IFLA_LINK") or 0,
        mac=_attribute(message, "IFLA_ADDRESS") or "",
    )


def _address(message: Any) -> Interface:
    address = _attribute(message, "IFA_LOCAL") or _attribute(message, "IFA_ADDRESS")
    return ip_interface(f"{address}/{message['prefixlen']}")


def _attribute(message: Any, name: str) -> Any:
    return message.get_attr(name)


@contextlib.contextmanager
def _allowed(what: str, name: str, *codes: int) -> Iterator[None]:
    """These refusals mean that it is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise NamespaceError(f"{what} {name}: {error.args[1] if len(error.args) > 1 else error}") from error


