# SPDX-License-Identifier: Apache-2.0
"""How an amphora is connected: what is wanted is compared with what is there, and the difference made.

Nothing that is already so is touched, so traffic goes on. None of this is for the event loop's thread.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from caryatid.agent import uplink as host
from caryatid.agent.links import FOUR, TABLE_MAIN, Interface, Link, Links, Route, Rule, single
from caryatid.agent.namespace import Namespace, NamespaceError, short
from caryatid.agent.settings import Uplink
from caryatid.wire.network import LEG_MARKS_FROM, LEGS_MAX, Plug, WireLeg

TABLES_FROM = 100
"""Routing table of leg i, if it is not the first of its family, is this plus i."""
SYSCTLS = {
    "net/ipv4/ip_nonlocal_bind": "1",  # HAProxy listens on VIPs before they are here
    "net/ipv6/ip_nonlocal_bind": "1",
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/conf/all/arp_ignore": "1",  # each leg answers for its own addresses only
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/rp_filter": "0",  # of several legs each answers by itself, whatever the main table says
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/accept_ra": "0",  # routes are told, not found
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/accept_dad": "0",  # an address is usable at once; claim.py asks where there is doubt
    "net/ipv6/conf/default/accept_dad": "0",
    "net/core/somaxconn": "65535",
}


@dataclass(frozen=True)
class Connection:
    """One amphora's network on this host: what is wanted, and by which names."""

    plug: Plug
    space: Namespace
    number: int
    """No other amphora of this host has it."""
    uplinks: dict[str, Uplink]
    before: Path
    """Remembers how the host was before any amphora was routed."""

    def port(self, index: int) -> str:
        """The host's end of leg `index`."""
        return f"{host.PORTS}{short(self.plug.amphora_id)}-{index}"

    def legs(self) -> Iterator[tuple[int, str, WireLeg]]:
        """Index, interface inside, leg."""
        for index, leg in enumerate(self.plug.legs):
            yield index, f"eth{index}", leg

    # -- what is wanted

    def own(self, leg: WireLeg) -> set[Interface]:
        """The addresses that a leg has whether it has claimed its VIPs or not."""
        network = ip_network(leg.cidr)
        if leg.attachment == "routed":
            own = {leg.address} if leg.address else set()
            return {single(address) for address in {host.inner(network.version, self.number)} | own}
        return {ip_interface(f"{leg.address}/{network.prefixlen}")} if leg.address else set()

    def routes(self) -> Iterator[Route]:
        """Inside. Where several legs have a gateway of one family, each answers through its own."""
        mains: set[int] = set()
        for index, name, leg in self.legs():
            version = ip_network(leg.cidr).version
            tables = [TABLES_FROM + index] if version in mains else [TABLE_MAIN]
            gateway = host.GATEWAYS[version] if leg.attachment == "routed" else leg.gateway_ip
            if leg.attachment == "uplink" and (not leg.address or tables != [TABLE_MAIN]):
                yield from (Route(leg.cidr, name, table=table) for table in {TABLE_MAIN, *tables})
            if gateway:
                source = host.inner(version, self.number) if leg.attachment == "routed" else None
                yield from (Route(_everywhere(version), name, gateway, source, table) for table in tables)
                mains.add(version)

    def rules(self) -> Iterator[Rule]:
        """What follows a leg's own table: packets from its addresses, and those that the ruleset marks for it."""
        tables = {route.interface: route.table for route in self.routes() if route.table != TABLE_MAIN and route.via}
        for index, name, leg in self.legs():
            if name not in tables:
                continue
            version = ip_network(leg.cidr).version
            yield Rule(version, tables[name], mark=LEG_MARKS_FROM + index)
            for address in (*leg.vips, *([leg.address] if leg.address else [])):
                yield Rule(version, tables[name], source=str(single(address).network))


def connect(wanted: Connection, *, whole: bool) -> None:
    """Afterwards the amphora is connected so, but for VIPs it has not claimed. `whole`: it was so before, in some way.

    Raises NamespaceError; then it is partly so, and may be asked for again.
    """
    wanted.space.make()
    with Links() as links:
        if not whole:
            wanted.space.set_sysctls(SYSCTLS)
        _make_interfaces(wanted, links)
        _host_side(wanted, links)
    if not whole and any(leg.attachment == "routed" for leg in wanted.plug.legs):
        host.masquerade()
    with wanted.space.entered(), Links() as links:
        links.up("lo")
        for _, name, leg in wanted.legs():
            links.up(name)
            _addresses(links, name, wanted.own(leg), leg.vips)
        restore_routes(wanted, links)


def restore_routes(wanted: Connection, links: Links) -> None:
    """Inside: afterwards all routes are there; with an interface's last address the kernel has removed its routes."""
    for route in wanted.routes():
        links.set_route(route)
    links.set_rules(set(wanted.rules()))


def disconnect(wanted: Connection) -> None:
    """Afterwards nothing of its network is left. May be repeated."""
    with Links() as links:
        for index, _, leg in wanted.legs():
            withdraw(links, wanted, index, leg)
        ports = wanted.port(0).removesuffix("0")
        for index in range(LEGS_MAX):
            links.remove(f"{ports}{index}")
    wanted.space.remove()


# -- the wire


def _make_interfaces(wanted: Connection, links: Links) -> None:
    """One for each leg, and no others."""
    with wanted.space.entered(), Links() as inside:
        present = {link.name: link for link in inside.all()}
        names = {name for _, name, _ in wanted.legs()}
        right = {name for index, name, leg in wanted.legs() if _fits(wanted, index, leg, present.get(name), links)}
        for name in present.keys() - right:
            if name.startswith(("eth", host.PORTS)):
                inside.remove(name)
        missing = names - right
    with _descriptor(wanted.space) as space:
        for index, name, leg in wanted.legs():
            if name in missing:
                links.remove(wanted.port(index))
                _wire(wanted, links, index, leg, space)


def _fits(wanted: Connection, index: int, leg: WireLeg, found: Link | None, links: Links) -> bool:
    """Whether the interface inside is of the kind, and on the network, that the leg asks for."""
    if found is None:
        return False
    uplink = wanted.uplinks.get(leg.physical_network)
    other = links.at(found.parent)
    if leg.attachment == "uplink" and uplink and uplink.how == "macvlan":
        return found.kind == "macvlan" and other is not None and other.name == uplink.interface
    if found.kind != "veth" or other is None or other.name != wanted.port(index):
        return False
    master = links.at(other.master)
    if leg.attachment == "routed":
        return master is None
    return uplink is not None and master is not None and master.name == host.device(uplink)


def _wire(wanted: Connection, links: Links, index: int, leg: WireLeg, space: int) -> None:
    mac = mac_of(wanted.plug.amphora_id, index)
    port, name = wanted.port(index), f"eth{index}"
    if leg.attachment == "routed":
        links.add_veth(port, name, space, mac)
        return
    uplink = uplink_of(leg, wanted.uplinks)
    host.prepare(uplink, links)
    if uplink.how == "macvlan":
        links.add_macvlan(uplink.interface, port, space, mac)  # the host may have an `eth0` itself
        with wanted.space.entered(), Links() as inside:
            inside.rename(port, name)
        return
    links.add_veth(port, name, space, mac)
    links.enslave(port, host.device(uplink))


def _host_side(wanted: Connection, links: Links) -> None:
    """Ports up; for routed legs also what lets packets through."""
    for index, _, leg in wanted.legs():
        port = wanted.port(index)
        if links.find(port):
            links.up(port)
        if leg.attachment == "routed":
            host.pass_on(links, port, outside(links, leg, wanted.uplinks), wanted.before)
            for address in wanted.own(leg):
                host.route(links, str(address.ip), port)


def outside(links: Links, leg: WireLeg, uplinks: dict[str, Uplink]) -> list[str]:
    """The host's interfaces behind which a routed leg's clients are."""
    uplink = uplinks.get(leg.physical_network)
    return [host.device(uplink)] if uplink else sorted(links.default_interfaces())


def uplink_of(leg: WireLeg, uplinks: dict[str, Uplink]) -> Uplink:
    try:
        return uplinks[leg.physical_network]
    except KeyError:
        raise NamespaceError(
            f"This host has no uplink {leg.physical_network!r}; its setting agent_uplinks names what it has."
        ) from None


def admit(links: Links, wanted: Connection, index: int, leg: WireLeg) -> None:
    """On the host: packets for a routed leg's VIPs go to the amphora. Nothing to do for others."""
    if leg.attachment != "routed":
        return
    for vip in leg.vips:
        host.route(links, vip, wanted.port(index))
        for name in outside(links, leg, wanted.uplinks):
            if leg.proxy_arp:
                host.answer_for(links, vip, name)
            else:
                links.remove_proxy(name, vip)


def withdraw(links: Links, wanted: Connection, index: int, leg: WireLeg) -> None:
    """The reverse of `admit`."""
    if leg.attachment != "routed":
        return
    for vip in leg.vips:
        host.unroute(links, vip, wanted.port(index))
        for name in outside(links, leg, wanted.uplinks):
            links.remove_proxy(name, vip)


# -- inside


def _addresses(links: Links, name: str, own: set[Interface], vips: Sequence[str]) -> None:
    """Add what is its own; remove what is neither that nor a VIP that it has claimed."""
    present = set(links.addresses(name))
    for address in sorted(own - present, key=str):
        links.add_address(name, address)
    kept = {str(ip_address(vip)) for vip in vips}
    for address in present - own:
        if str(address.ip) not in kept:
            links.remove_address(name, address)


def mac_of(amphora_id: str, index: int) -> str:
    """Locally administered, and the same each time: neighbours that remember it are right after a reboot."""
    digest = hashlib.sha256(f"{amphora_id}/{index}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _everywhere(version: int) -> str:
    return "0.0.0.0/0" if version == FOUR else "::/0"


@contextmanager
def _descriptor(space: Namespace) -> Iterator[int]:
    descriptor = os.open(space.path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
