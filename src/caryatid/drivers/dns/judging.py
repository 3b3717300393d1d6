# SPDX-License-Identifier: Apache-2.0
"""Whether name servers answer what they shall: what to ask them, and what to make of their replies. Pure.

questions(publication) → what to ask
fault(publication, question, reply) → what is wrong, in words

What cannot be known (which client a question without ECS counts as, what a server's geo data say) is not held against
it: then every choice that may be meant is right.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from caryatid.model.gslb.answers import Answers, Choice
from caryatid.plan.shares import network, rendezvous

from .base import Publication

VARIANTS_MAX = 64
"""Of a name's variants, that are asked for."""
SHOWN = 8
"""Of several, in a sentence."""
SAMPLES = ("192.0.2.1", "2001:db8::1")
"""Clients that are asked for where each gets its own answer."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Question:
    fqdn: str
    rrtype: str
    client: str = ""
    """The address that is told (ECS); none: none is."""
    apart: bool = False
    """About a name beside the one that is meant, which nobody has made."""


@dataclass(frozen=True, slots=True)
class Reply:
    contents: tuple[str, ...] = ()
    ttl: int | None = None
    """None: there is no such RRset."""
    problem: str = ""
    """Why this is no answer."""


def questions(publication: Publication) -> Sequence[Question]:
    """What tells whether it is published."""
    asked = Question(publication.fqdn, publication.rrtype)
    answers = publication.answers
    if answers is None:
        return [asked] if publication.fqdn.startswith("*.") else [asked, _beside(asked)]
    if answers.is_plain or not answers.use_ecs:
        return [asked]
    return [asked, *(replace(asked, client=client) for client in dict.fromkeys(_clients(answers)))]


def fault(publication: Publication, question: Question, reply: Reply, beside: Reply | None = None) -> str:
    """What is wrong with the reply; nothing: it is as it shall be. `beside`: what was replied about the name beside."""
    if question.apart:
        return ""  # it only helps to judge the other; beside a zone itself there is nobody's name
    if reply.problem:
        return reply.problem
    answers = publication.answers
    if answers is None:
        found = set(reply.contents)
        synthesized = beside is not None and found == set(beside.contents)  # by a wildcard, as it should be
        return "" if not found or synthesized else f"still answers {_listed(reply.contents)}"
    client = question.client
    choices = _possible(answers, ip_address(client) if client else None)
    if not any(_fits(answers, choice, reply.contents, client) for choice in choices):
        asker = f"to {client} " if client else ""
        return f"answers {asker}{_listed(reply.contents)} instead of {_expected(choices)}"
    if reply.ttl not in {answers.ttl, None}:
        return f"answers with a TTL of {reply.ttl} instead of {answers.ttl}"
    return ""


def _beside(asked: Question) -> Question:
    """A name that only a wildcard would answer for, and for both alike."""
    _, _, parent = asked.fqdn.partition(".")
    return Question(f"caryatid-{secrets.token_hex(8)}.{parent}", asked.rrtype, apart=True)


def _clients(answers: Answers) -> Iterator[str]:
    """Of each variant that goes by networks somebody who gets it; and some for whom the answer is their own."""
    earlier: list[Network] = []
    for variant in answers.variants[:VARIANTS_MAX]:
        networks = [ip_network(cidr) for cidr in variant.clients.cidrs]
        client = next((found for each in networks if (found := _outside(each, earlier)) is not None), None)
        if client is not None:
            yield str(client)
        earlier += networks
    if any(choice.way == "hash" for choice in (answers.default, *(each.choice for each in answers.variants))):
        yield from SAMPLES


def _outside(network: Network, earlier: Sequence[Network]) -> Address | None:
    """An address of the network that is in none of the others; None: none was found."""
    last = network.broadcast_address
    inner = [each for each in earlier if each.version == network.version and each.network_address in network]
    after = [each.broadcast_address + 1 for each in inner if int(each.broadcast_address) < int(last)]
    for address in (network.network_address, last, *after):
        if not any(address in each for each in earlier):
            return address
    return None


def _possible(answers: Answers, client: Address | None) -> Sequence[Choice]:
    """The choices that may be meant for the client."""
    found: list[Choice] = []
    for variant in answers.variants:
        who = variant.clients
        if client is not None and any(client in ip_network(cidr) for cidr in who.cidrs):
            return [*found, variant.choice]
        if client is None or who.countries or who.continents or who.asns or who.near:
            found.append(variant.choice)
    return [*found, answers.default]


def _fits(answers: Answers, choice: Choice, contents: Sequence[str], client: str) -> bool:
    found, got = {_plain(each.content) for each in choice.candidates}, set(contents)
    if not found or not got:
        return found == got
    if choice.way == "all":
        return got <= found and len(got) == min(choice.count, len(found))
    if choice.way == "hash" and client:
        hashed = network(client, answers.hash_prefix_v4, answers.hash_prefix_v6)
        won = rendezvous(hashed, [(each.content, each.weight) for each in choice.candidates])
        return got == {_plain(choice.candidates[won].content)}
    return len(got) == 1 and got <= found


def _expected(choices: Sequence[Choice]) -> str:
    found = list(dict.fromkeys(each.content for choice in choices for each in choice.candidates))
    one = len(choices) > 1 or choices[0].way != "all"
    return f"{'some of ' if one and len(found) > 1 else ''}{_listed(found)}"


def _listed(contents: Sequence[str]) -> str:
    more = f" and {len(contents) - SHOWN} more" if len(contents) > SHOWN else ""
    return f"{', '.join(sorted(contents)[:SHOWN])}{more}" if contents else "nothing"


def _plain(content: str) -> str:
    """As it is read from an answer."""
    try:
        return str(ip_address(content))
    except ValueError:
        return content.lower()
