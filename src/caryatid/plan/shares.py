# SPDX-License-Identifier: Apache-2.0
"""Parts of the whole: weights as whole numbers, and which of several a client's network belongs to (rendezvous).

What DNS servers do for `Choice.way` "hash" is `rendezvous`, in their own words: of "NETWORK|CONTENT", byte by byte,
`x = (x * 131 + byte) % PRIME`; then three times `x = (x * x % PRIME * x + 12345) % PRIME`; the candidate with the
least `-log((x + 1) / (PRIME + 1)) / weight`, of several the first. All products are below 2^53, so that doubles do.
Whoever leaves takes along nobody but his own clients; whoever comes takes from the others by weight.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import gcd, lcm, log

PRIME = 67_108_859  # the greatest below 2^26; PRIME - 1 is no multiple of 3, so cubes are all different
FACTOR, SHIFT, ROUNDS = 131, 12_345, 3
TOTAL_MAX = 1_000_000


def by_pool(pools: Sequence[tuple[int, Sequence[tuple[int, int]]]]) -> list[list[int]]:
    """Whole weights of (pool weight, [(member weight, how many share it)]): by pool first, then by member. Exact as
    long as their sum is below `TOTAL_MAX`, nobody is 0 who was not."""
    if len(pools) == 1 and all(count == 1 for _, count in pools[0][1]):
        return [_least([weight for weight, _ in pools[0][1]])]
    sums = [sum(weight for weight, _ in members) for _, members in pools]
    unit = lcm(*(total * count for (_, members), total in zip(pools, sums, strict=True) for _, count in members))
    exact = [
        [share * weight * unit // (total * count) for weight, count in members]
        for (share, members), total in zip(pools, sums, strict=True)
    ]
    flat = iter(_least([weight for members in exact for weight in members]))
    return [[next(flat) for _ in members] for members in exact]


def _least(weights: Sequence[int]) -> list[int]:
    """In the same proportions, as small as they can be."""
    divisor = gcd(*weights) or 1
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    if total <= TOTAL_MAX:
        return weights
    return [max(1, round(weight * TOTAL_MAX / total)) for weight in weights]


def network(address: str, prefix_v4: int, prefix_v6: int) -> str:
    """The client's network, as it is hashed: its first address."""
    whole: IPv4Network | IPv6Network = ip_network(address)
    prefix = prefix_v4 if whole.version == 4 else prefix_v6  # noqa: PLR2004 - the versions of IP
    return str(whole.supernet(new_prefix=prefix).network_address)


def rendezvous(network: str, candidates: Sequence[tuple[str, int]]) -> int:
    """Which of (content, weight) the network belongs to."""
    scores = [_score(f"{network}|{content}", weight) for content, weight in candidates]
    return scores.index(min(scores))


def _score(text: str, weight: int) -> float:
    x = 0
    for byte in text.encode():
        x = (x * FACTOR + byte) % PRIME
    for _ in range(ROUNDS):
        x = (x * x % PRIME * x + SHIFT) % PRIME
    return -log((x + 1) / (PRIME + 1)) / weight
