# SPDX-License-Identifier: Apache-2.0
"""What a client would be answered, and why: read off the very answers that DNS servers have.

explain(answers, client) → Explained
whoever(choice) → chances, how           of a client of whom nothing is known but that the choice is its
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from caryatid.model.gslb.answers import Answers, Choice, Clients

from .proximity import Place, distance_km, nearest
from .shares import network, rendezvous


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the address that its resolver tells (ECS), else the resolver's own, and what geo data say of it."""

    address: str
    country: str | None = None
    continent: str | None = None
    asn: int | None = None
    place: Place | None = None


class Chance(NamedTuple):
    content: str
    probability: float
    """That the answer contains it."""


class Explained(NamedTuple):
    chances: tuple[Chance, ...]
    """The likeliest first; none: an answer without records (NODATA)."""
    why: tuple[str, ...]


def explain(answers: Answers, client: Client) -> Explained:
    """Of one record type."""
    choice, whom = answers.default, "whom no rule names"
    for variant in answers.variants:
        fits = _fits(variant.clients, client)
        if fits:
            choice, whom = variant.choice, fits
            break
    said = [f"{client.address} is among those {whom}"] if answers.variants else ["all clients are answered alike"]
    chances, how = _chances(answers, choice, client)
    told = tuple(sorted(chances, key=lambda chance: (-chance.probability, chance.content)))
    return Explained(told, (*said, how))


def whoever(choice: Choice) -> tuple[tuple[Chance, ...], str]:
    """What one of those is answered who get this choice."""
    found = choice.candidates
    if not found:
        return (), "there is nothing to answer (NODATA)"
    if choice.way == "all":
        part = min(1.0, choice.count / len(found))
        return tuple(Chance(each.content, part) for each in found), f"{min(choice.count, len(found))} of {len(found)}"
    total = sum(each.weight for each in found)
    chances = [Chance(each.content, each.weight / total) for each in found]
    return tuple(sorted(chances, key=lambda chance: (-chance.probability, chance.content))), WAYS[choice.way]


WAYS = {
    "weighted": "one, by weight",
    "hash": "one, always the same for a network",
    "nearest": "the nearest; where nobody knows where the client is, one by weight",
}


def _fits(clients: Clients, client: Client) -> str:
    """Why these clients are meant; nothing: it is none of them."""
    address = ip_address(client.address)
    for cidr in clients.cidrs:
        if address in ip_network(cidr):
            return f"in {cidr}"
    if client.asn is not None and client.asn in clients.asns:
        return f"of AS{client.asn}"
    if client.country is not None and client.country in clients.countries:
        return f"in country {client.country}"
    if client.continent is not None and client.continent in clients.continents:
        return f"in continent {client.continent}"
    if clients.near is not None and client.place is not None:
        place, places = clients.near
        if place in [places[number] for number in nearest(client.place, [(each, 0) for each in places])]:
            return f"near {_written(place)}, {distance_km(client.place, place):,.0f} km away"
    return ""


def _written(place: Place) -> str:
    return f"{place[0]:g}, {place[1]:g}"


def _chances(answers: Answers, choice: Choice, client: Client) -> tuple[Sequence[Chance], str]:
    found = choice.candidates
    if not found:
        return (), f"there is nothing to answer ({answers.rrtype}: NODATA)"
    match choice.way:
        case "all":
            part = min(1.0, choice.count / len(found))
            return [Chance(each.content, part) for each in found], f"{min(choice.count, len(found))} of {len(found)}"
        case "weighted":
            total = sum(each.weight for each in found)
            return [Chance(each.content, each.weight / total) for each in found], "one, by weight"
        case "hash":
            hashed = network(client.address, answers.hash_prefix_v4, answers.hash_prefix_v6)
            won = rendezvous(hashed, [(each.content, each.weight) for each in found])
            return [Chance(found[won].content, 1.0)], f"one, always the same for the network of {hashed}"
        case "nearest":
            return _nearest(choice, client)


def _nearest(choice: Choice, client: Client) -> tuple[Sequence[Chance], str]:
    """Those that are equally near, by weight; where the client is unknown, all are."""
    near = list(choice.candidates)
    how = "one by weight: nobody knows where the client is"
    if client.place is not None:
        places = [((each.latitude or 0.0, each.longitude or 0.0), each.bias) for each in near]
        near = [near[number] for number in nearest(client.place, places)]
        how = f"the nearest to {_written(client.place)}, by weight"
    total = sum(each.weight for each in near)
    return [Chance(each.content, each.weight / total) for each in near], how
