# SPDX-License-Identifier: Apache-2.0
"""Why a gslb is answered as it is, and what a client would be answered: decided now, and held against what name servers
have been told."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast

from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import Fault, NotFound, Refused
from caryatid.model import GSLB
from caryatid.model.gslb.answers import Answers, Choice, Clients
from caryatid.model.gslb.gslb import RecordType
from caryatid.model.policy import Caller, require
from caryatid.plan import explaining
from caryatid.plan.explaining import Chance, Client, whoever
from caryatid.plan.pools import contents
from caryatid.plan.steering import Decision, decide, digest
from caryatid.plan.votes import Look
from caryatid.store import rows

from . import sight
from .scenes import Gathered, Scene, gather

SHOWN = ("id", "name", "fqdn", "steering_policy", "provisioning_status", "operating_status", "published_at")
UNKNOWN = "nobody here knows in which country or network of whom {} is: name servers with geo data may answer otherwise"


def explain(door: Door, caller: Caller, gslb_id: str, client: str | None = None) -> dict[str, Any]:
    """`client`: the address that a resolver tells, or its own. Raises NotFound, Forbidden, Refused."""
    who = _client(client)
    with door.database.read() as tx:
        document = rows.get(tx, GSLB, gslb_id)
        if document is None:
            raise NotFound(GSLB.title, gslb_id)
        require(caller, rule(GSLB, "get_explain"), document["project_id"])
        gathered = gather(tx, door, [gslb_id])
        tree = sight.tree(tx, caller, gslb_id)
    scene = gathered.scenes[gslb_id]
    decision = decide(scene.gslb, scene.pools, gathered.regions, scene.memory, Look(gathered.now))
    return {
        **{name: document[name] for name in SHOWN},
        "client": client,
        "answers": [found for answers in decision.answers.values() for found in _answers(scene, answers, who)],
        "published_generation": scene.state.generation,
        "published": _is_published(scene, decision),
        "why": [*decision.why, *(said for said in scene.state.why if said not in decision.why)],
        "pools": [_pool(gathered, decision, pool) for pool in tree["pools"]],
    }


def _client(text: str | None) -> Client | None:
    try:
        return None if text is None else Client(str(ip_address(text)))
    except ValueError:
        said = f"Invalid input for field/attribute client. Value: '{str(text)[:200]}'. Value should be an IP address"
        raise Refused([Fault(said, "client")]) from None


def _answers(scene: Scene, answers: Answers, who: Client | None) -> Iterator[dict[str, Any]]:
    """What the client is answered; of nobody in particular, what everybody is."""
    if who is not None:
        found = explaining.explain(answers, who)
        whom = [each.clients for each in answers.variants]
        guessed = any(clients.countries or clients.continents or clients.asns for clients in whom)
        why = [*found.why, *([UNKNOWN.format(who.address)] if guessed else [])]
        yield _answer(scene, answers, found.chances, why)
        return
    rest = "clients whom no rule names" if answers.variants else "all clients"
    yield _answer(scene, answers, *_whoever(answers.default, rest))
    for variant in answers.variants:
        yield _answer(scene, answers, *_whoever(variant.choice, _whom(variant.clients)))


def _whoever(choice: Choice, whom: str) -> tuple[Sequence[Chance], list[str]]:
    chances, how = whoever(choice)
    return chances, [whom, how]


def _whom(clients: Clients) -> str:
    named = [*clients.cidrs, *(f"AS{asn}" for asn in clients.asns), *clients.countries, *clients.continents]
    if clients.near is not None:
        north, east = clients.near[0]
        named.append(f"near {north:g}, {east:g}")
    return f"clients in {', '.join(named)}"


def _answer(scene: Scene, answers: Answers, chances: Sequence[Chance], why: Sequence[str]) -> dict[str, Any]:
    return {
        "rrtype": answers.rrtype,
        "ttl": answers.ttl,
        "chances": [
            {"content": chance.content, "probability": chance.probability, **_origin(scene, answers, chance.content)}
            for chance in chances
        ],
        "why": [*why],
    }


def _origin(scene: Scene, answers: Answers, content: str) -> dict[str, Any]:
    """The first pool and member that give this answer."""
    for pool in scene.pools.values():
        for member in pool.members:
            if content in contents(member, cast(RecordType, answers.rrtype)):
                return {"pool_id": pool.id, "pool": pool.label, "member_id": member.id}
    return {"pool_id": None, "pool": None, "member_id": None}


def _is_published(scene: Scene, decision: Decision) -> bool:
    """Whether all name servers were seen to answer as would be decided now."""
    told = {entry.rrtype: entry.digest for entry in scene.told.entries}
    now = {str(rrtype): digest(answers) for rrtype, answers in decision.answers.items()}
    return scene.told.seen == scene.state.generation and now == told


def _pool(gathered: Gathered, decision: Decision, shown: Mapping[str, Any]) -> dict[str, Any]:
    """As it is decided now, with what regions say of its members."""
    members = []
    for member in shown["members"]:
        health = decision.members[member["id"]]
        now = {"operating_status": health.status, "well": health.well, "why": health.why(gathered.regions)}
        members.append({**member, **now})
    return {**shown, "operating_status": decision.pools[shown["id"]], "members": members}
