# SPDX-License-Identifier: Apache-2.0
"""Networks, as nftables matches on them."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

FAMILIES = {4: "ip", 6: "ip6"}
Network = IPv4Network | IPv6Network


def any_of(field: str, networks: Iterable[Network], *, but: bool = False) -> Iterator[str]:
    """For each family a match on any of these (`but`: on none of these); overlapping ones would be refused."""
    known = list(networks)
    for version, family in FAMILIES.items():
        some = [network for network in known if network.version == version]
        if some:
            yield f"{family} {field} {'!= ' if but else ''}{{ {', '.join(map(str, _collapsed(some)))} }}"


def _collapsed(networks: Sequence[Network]) -> Iterator[Network]:
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    yield from collapse_addresses(four)
    yield from collapse_addresses(six)
