# SPDX-License-Identifier: Apache-2.0
"""Which addresses may be checked: the rule at the wish, and, after every look-up, the checkers'. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER: Final[dict[str, str]] = {
    "0.0.0.0/8": "this machine itself",
    "127.0.0.0/8": "a loopback address",
    "169.254.0.0/16": "a link-local address",
    "224.0.0.0/4": "a multicast address",
    "255.255.255.255/32": "the broadcast address",
    "100.100.100.200/32": "a cloud's metadata",
    "168.63.129.16/32": "a cloud's metadata",
    "192.0.0.192/32": "a cloud's metadata",
    "::/128": "this machine itself",
    "::1/128": "a loopback address",
    "fe80::/10": "a link-local address",
    "ff00::/8": "a multicast address",
    "fd00:ec2::/32": "a cloud's metadata",
}
"""What nobody may send us to, unless the operator says so. 169.254.169.254 is link-local."""
TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""IPv4 behind a NAT64 (RFC 6052)."""
COMPATIBLE: Final = IPv6Network("::/96")
"""IPv4 as it was once written (RFC 4291, 2.5.5.1)."""
TUNNELLED: Final = IPv6Network("2002::/16")
"""6to4 (RFC 3056): the IPv4 address stands in bits 16 to 47."""
REMEMBERED_MAX: Final = 65_536


class Targets:
    """`allowed` and `refused` are CIDRs: what is allowed is, whatever else is said of it."""

    def __init__(self, allowed: Sequence[str], refused: Sequence[str]) -> None:
        """Raises ValueError for what is no network."""
        self._allowed = [ip_network(cidr, strict=False) for cidr in allowed]
        self._refused = [
            *((ip_network(cidr), why) for cidr, why in NEVER.items()),
            *((ip_network(cidr, strict=False), "refused by the operator") for cidr in refused),
        ]
        self._known: dict[str, str | None] = {}

    def refusal(self, address: str) -> str | None:
        """A sentence that says why the address may not be spoken to; None: it may."""
        if address not in self._known:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[address] = self._found(address)
        return self._known[address]

    def _found(self, address: str) -> str | None:
        try:
            known = ip_address(address)
        except ValueError:
            return f"{address} is no address."
        if getattr(known, "scope_id", None):
            return f"{address} may not be checked: it is a link-local address."
        meant = _meant(known)
        if any(_within(one, self._allowed) for one in meant):
            return None
        for one in meant:
            for network, why in self._refused:
                if one in network:
                    return f"{address} may not be checked: it is {why}."
        return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _meant(address: Address) -> tuple[Address, ...]:
    """The address, and the one that is hidden in it: who connects to a mapped one is at the other."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address in TUNNELLED:
        return (address, IPv4Address(int(address) >> 80 & 0xFFFFFFFF))
    if address in TRANSLATED or (address in COMPATIBLE and int(address) > 1):
        return (address, IPv4Address(int(address) & 0xFFFFFFFF))
    return (address,)
