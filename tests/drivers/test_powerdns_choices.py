# SPDX-License-Identifier: Apache-2.0
"""A real PowerDNS with geo data chooses as `explain` says: code in another language, the same formulas."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from caryatid.drivers import load
from caryatid.drivers.dns.asking import Question, ask
from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.plan.explaining import Client, explain
from tests.drivers.dns_contract import TIMEOUT_S, Rig, nothing, publication, settled
from tests.drivers.powerdns_server import PLACES, clients, powerdns

ZONE = "globe.test."
FRANKFURT, VIRGINIA, SINGAPORE, SYDNEY, _ = ((north, east) for _, _, north, east, _ in PLACES.values())
SOME = tuple(f"192.0.2.{number}" for number in range(1, 10))
RANDOM = random.Random(6)


@pytest.fixture(scope="module")
def rig():
    with powerdns(geo=True) as server:
        driver = load("dns", "powerdns")(server.backend)
        driver.ensure_zone(ZONE)
        yield Rig(driver, ZONE, nothing, nothing, servers=server.backend.name_servers)


def known(address):
    """A client, as the geo data have it."""
    for network, (country, continent, north, east, asn) in PLACES.items():
        if address.startswith(network.partition("0/" if "." in network else ":/")[0]):
            return Client(address, country, continent, asn, (north, east))
    return Client(address)


def told(rig, answers, asking):
    """What each of the clients is answered: published, seen to be, asked."""
    settled(rig, publication(answers))
    questions = {client: Question(answers.fqdn, answers.rrtype, client) for client in asking}
    (replies,) = ask(rig.servers, list(questions.values()), TIMEOUT_S).values()
    assert not any(reply.problem for reply in replies.values())
    return {client: replies[question].contents for client, question in questions.items()}


def as_explained(rig, answers, asking):
    """What every client is answered is among what it may be; what is certain is answered."""
    found = told(rig, answers, asking)
    for client, contents in found.items():
        chances = explain(answers, known(client)).chances
        assert set(contents) <= {chance.content.lower() for chance in chances}, client
        assert {chance.content.lower() for chance in chances if chance.probability == 1} <= set(contents), client
    return found


def one(content):
    return Choice((Candidate(content),))


def anybody(count):
    half = [
        str(RANDOM.randrange(1, 224)) + "".join(f".{RANDOM.randrange(256)}" for _ in range(3)) for _ in range(count)
    ]
    return [*half, *(f"2001:db8:{RANDOM.randrange(1 << 16):x}:{RANDOM.randrange(1 << 16):x}::1" for _ in range(count))]


@pytest.mark.parametrize(("v4", "v6"), [(24, 56), (20, 48), (32, 128), (8, 16)])
def test_the_network_of_a_client_decides_who_it_belongs_to(rig, v4, v6):
    candidates = tuple(Candidate(content, weight) for weight, content in enumerate(SOME, start=1))
    choice = Choice(candidates, "hash", 1)
    answers = Answers(rig.name(), "A", 30, choice, hash_prefix_v4=v4, hash_prefix_v6=v6)
    found = as_explained(rig, answers, anybody(200))
    assert len(set(found.values())) > 4


def test_names_are_hashed_as_addresses_are(rig):
    candidates = tuple(Candidate(f"{label}.example.", 3) for label in ("a", "Long-Name.of", "x1"))
    as_explained(rig, Answers(rig.name(), "CNAME", 30, Choice(candidates, "hash", 1)), anybody(50))


def test_one_of_several_is_chosen_by_weight(rig):
    choice = Choice((Candidate(SOME[0], 1), Candidate(SOME[1], 3), Candidate(SOME[2], 6)), "weighted", 1)
    found = as_explained(rig, Answers(rig.name(), "A", 30, choice), [f"10.0.{n // 250}.{n % 250}" for n in range(1000)])
    counts = Counter(content for (content,) in found.values())
    for content, share in zip(SOME, (0.1, 0.3, 0.6), strict=False):
        assert abs(counts[content] / 1000 - share) < 0.1


def test_of_many_some_are_given_and_not_always_the_same(rig):
    choice = Choice(tuple(Candidate(content) for content in SOME), "all", 3)
    found = told(rig, Answers(rig.name(), "A", 30, choice), [f"10.0.0.{number}" for number in range(100)])
    assert {len(set(contents)) for contents in found.values()} == {3}
    assert {content for contents in found.values() for content in contents} == set(SOME)


def test_the_nearest_is_answered_and_a_bias_moves_the_border(rig):
    near = [Candidate(SOME[number], 1, *place) for number, place in enumerate((FRANKFURT, VIRGINIA, SINGAPORE))]
    answers = Answers(rig.name(), "A", 30, Choice(tuple(near), "nearest", 1))
    found = as_explained(rig, answers, clients())
    assert [found[client] for client in clients()[:4]] == [(SOME[0],), (SOME[1],), (SOME[2],), (SOME[2],)]
    for bias in (-99, -40, 60, 99):
        moved = replace(answers, default=Choice((replace(near[0], bias=bias), *near[1:]), "nearest", 1))
        as_explained(rig, moved, clients())


def test_of_those_that_are_as_near_one_is_chosen_by_weight(rig):
    near = (Candidate(SOME[0], 1, *FRANKFURT), Candidate(SOME[1], 4, *FRANKFURT), Candidate(SOME[2], 9, *SYDNEY))
    answers = Answers(rig.name(), "A", 30, Choice(near, "nearest", 1))
    found = as_explained(rig, answers, [f"203.0.113.{number}" for number in range(250)])
    counts = Counter(content for (content,) in found.values())
    assert set(counts) == set(SOME[:2])
    assert abs(counts[SOME[1]] / 250 - 0.8) < 0.2


def test_who_fits_first_decides_and_who_fits_nowhere_gets_the_default(rig):
    variants = (
        Variant(Clients(cidrs=("203.0.113.64/26", "2001:db8:bbbb::/48")), one(SOME[1])),
        Variant(Clients(cidrs=("203.0.113.64/27",)), one(SOME[2])),
        Variant(Clients(asns=(64501, 64502)), Choice((Candidate(SOME[3]), Candidate(SOME[4])), "weighted", 1)),
        Variant(Clients(countries=("DE", "FR")), one(SOME[5])),
        Variant(Clients(continents=("AS",), countries=("AU",)), one(SOME[6])),
    )
    answers = Answers(rig.name(), "A", 30, one(SOME[0]), variants)
    found = as_explained(rig, answers, [*clients(), "203.0.113.5", "203.0.113.127"])
    assert found["203.0.113.77"] == (SOME[1],)
    assert found["203.0.113.5"] == (SOME[5],)
    assert found["192.0.2.9"] == (SOME[6],)
    assert found["10.1.2.3"] == (SOME[0],)


def test_clients_to_whom_a_place_is_the_nearest_get_what_is_for_it(rig):
    places = (FRANKFURT, VIRGINIA, SINGAPORE)
    variants = tuple(Variant(Clients(near=(place, places)), one(SOME[n])) for n, place in enumerate(places, start=1))
    found = as_explained(rig, Answers(rig.name(), "A", 30, one(SOME[0]), variants), clients())
    assert [found[client] for client in clients()[:4]] == [(SOME[1],), (SOME[2],), (SOME[3],), (SOME[3],)]
    assert found["10.1.2.3"] == (SOME[0],)


def test_without_ecs_the_resolver_itself_is_the_client(rig):
    variants = (
        Variant(Clients(countries=("DE",)), one(SOME[1])),
        Variant(Clients(cidrs=("127.0.0.0/8",)), one(SOME[2])),
    )
    answers = Answers(rig.name(), "A", 30, one(SOME[0]), variants, use_ecs=False)
    assert set(told(rig, answers, clients()).values()) == {(SOME[2],)}


def test_a_name_has_two_hundred_rules(rig):
    variants = [Variant(Clients(cidrs=(f"10.{n}.0.0/16",)), one(f"198.18.0.{n}")) for n in range(1, 201)]
    countries = [Variant(Clients(countries=(a + b,)), one(f"198.19.0.{n}")) for n, (a, b) in enumerate(("DE", "US"))]
    answers = Answers(rig.name(), "A", 30, one(SOME[0]), (*variants, *countries))
    found = as_explained(rig, answers, ["10.1.1.1", "10.200.1.1", "10.201.1.1", *clients()])
    assert found["10.200.1.1"] == ("198.18.0.200",)


def test_a_name_has_sixty_four_answers_of_every_way(rig):
    for way in ("weighted", "hash", "nearest"):
        candidates = [Candidate(f"198.18.1.{n}", n, n / 2, float(n)) for n in range(1, 65)]
        as_explained(rig, Answers(rig.name(), "A", 30, Choice(tuple(candidates), way, 1)), clients())


def test_other_answers_of_a_name_take_the_place_of_those_before(rig):
    answers = Answers(rig.name(), "A", 30)
    for number in range(6):
        choice = Choice((Candidate(SOME[number]), Candidate(SOME[number + 1])), "hash", 1)
        as_explained(rig, replace(answers, default=choice), anybody(20))
