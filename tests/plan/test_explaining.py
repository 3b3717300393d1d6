# SPDX-License-Identifier: Apache-2.0
"""What clients would be answered, and the ways in which one of several is chosen."""

from collections import Counter
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.plan.explaining import Client, explain
from caryatid.plan.proximity import biased, distance_km, nearest
from caryatid.plan.shares import network, rendezvous
from tests.plan.names import PLACES

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
HERE = Client("198.51.100.7")


def saying(*candidates: Candidate, way: str = "all", most: int = 8, variants: tuple[Variant, ...] = ()) -> Answers:
    return Answers("www.example.test.", "A", 30, Choice(candidates, way, most), variants)


def chances(answers: Answers, client: Client = HERE) -> dict[str, float]:
    return {chance.content: chance.probability for chance in explain(answers, client).chances}


def test_all_that_fit_into_one_answer_are_in_it():
    assert chances(saying(Candidate(A), Candidate(B))) == {A: 1, B: 1}
    assert chances(saying(Candidate(A), Candidate(B), most=1)) == {A: 0.5, B: 0.5}


def test_by_weight_each_has_its_part():
    assert chances(saying(Candidate(A, 3), Candidate(B, 1), way="weighted", most=1)) == {A: 0.75, B: 0.25}


def test_an_empty_answer_is_said_to_be_one():
    explained = explain(saying(), HERE)
    assert explained.chances == ()
    assert explained.why == ("all clients are answered alike", "there is nothing to answer (A: NODATA)")


@pytest.mark.parametrize(
    ("client", "content", "why"),
    [
        (Client("198.51.100.7"), A, "198.51.100.7 is among those in 198.51.100.0/24"),
        (Client("203.0.113.1", asn=64500), B, "203.0.113.1 is among those of AS64500"),
        (Client("203.0.113.1", "DE", "EU"), C, "203.0.113.1 is among those in country DE"),
        (Client("2001:db8::1"), "192.0.2.9", "2001:db8::1 is among those whom no rule names"),
    ],
)
def test_the_first_variant_that_fits_answers(client, content, why):
    variants = (
        Variant(Clients(cidrs=("198.51.100.0/24",)), Choice((Candidate(A),))),
        Variant(Clients(asns=(64500,)), Choice((Candidate(B),))),
        Variant(Clients(countries=("DE",)), Choice((Candidate(C),))),
    )
    explained = explain(saying(Candidate("192.0.2.9"), variants=variants), client)
    assert [chance.content for chance in explained.chances] == [content]
    assert explained.why[0] == why


def test_clients_near_a_place_get_what_is_for_them():
    places = (PLACES["eu"], PLACES["us"])
    variants = tuple(
        Variant(Clients(near=(place, places)), Choice((Candidate(to),)))
        for place, to in zip(places, (A, B), strict=True)
    )
    answers = saying(Candidate(C), variants=variants)
    assert chances(answers, Client("198.51.100.7", place=(48.9, 2.4))) == {A: 1}
    assert chances(answers, Client("198.51.100.7", place=(40.7, -74.0))) == {B: 1}
    assert chances(answers, HERE) == {C: 1}


def placed(content: str, where: str, bias: int = 0) -> Candidate:
    return Candidate(content, 1, *PLACES[where], bias)


def test_the_nearest_answers_and_of_those_in_one_place_one_by_weight():
    paris = Client("198.51.100.7", place=(48.9, 2.4))
    answers = saying(placed(A, "eu"), placed(B, "eu"), placed(C, "us"), way="nearest", most=1)
    assert chances(answers, paris) == {A: 0.5, B: 0.5}
    assert set(chances(answers, HERE)) == {A, B, C}


def test_a_bias_moves_the_border():
    halfway = (47.0, -35.0)
    assert distance_km(halfway, PLACES["eu"]) < distance_km(halfway, PLACES["us"])
    places = [(PLACES["eu"], 0), (PLACES["us"], 20)]
    assert nearest(halfway, [(place, 0) for place, _ in places]) == [0]
    assert nearest(halfway, places) == [1]
    assert (biased(100, 50), biased(100, 0), biased(100, -50)) == (50, 100, 200)
    assert biased(1, -99) == pytest.approx(100)


def test_distances_are_those_of_a_globe():
    assert distance_km((0, 0), (0, 0)) == 0
    assert distance_km((0, 0), (0, 180)) == pytest.approx(20_015, rel=1e-3)
    assert distance_km(PLACES["eu"], PLACES["us"]) == pytest.approx(6_500, rel=2e-2)


def test_a_network_is_hashed_as_a_whole():
    assert network("198.51.100.7", 24, 56) == network("198.51.100.250", 24, 56) == "198.51.100.0"
    assert network("2001:db8:0:12ff::1", 24, 56) == "2001:db8:0:1200::"
    assert network("198.51.100.7", 32, 128) == "198.51.100.7"


NETWORKS = [str(each.network_address) for each in ip_network("10.0.0.0/8").subnets(new_prefix=20)]
SERVERS = [(f"192.0.2.{number}", 1) for number in range(1, 6)]


def test_clients_are_spread_by_weight():
    found = Counter(rendezvous(each, [(A, 1), (B, 2), (C, 5)]) for each in NETWORKS)
    for number, part in enumerate((1, 2, 5)):
        assert found[number] / len(NETWORKS) == pytest.approx(part / 8, abs=0.03)


@settings(deadline=None)
@given(st.sets(st.integers(0, 4), min_size=1, max_size=4))
def test_who_leaves_takes_along_nobody_but_his_own_clients(gone):
    left = [server for number, server in enumerate(SERVERS) if number not in gone]
    for each in NETWORKS[::40]:
        before = SERVERS[rendezvous(each, SERVERS)]
        if before in left:
            assert left[rendezvous(each, left)] == before


def test_the_place_of_a_candidate_in_the_list_is_of_no_account():
    for each in NETWORKS[::40]:
        assert SERVERS[rendezvous(each, SERVERS)] == SERVERS[::-1][rendezvous(each, SERVERS[::-1])]


def test_the_hash_is_the_one_that_name_servers_compute():
    """Changing it moves clients."""
    assert [rendezvous(each, SERVERS) for each in NETWORKS[:12]] == [3, 2, 4, 0, 4, 3, 1, 4, 0, 1, 4, 2]


def test_by_hash_a_network_is_always_told_the_same():
    answers = saying(Candidate(A), Candidate(B), way="hash", most=1)
    one = chances(answers, Client("198.51.100.7"))
    assert list(one.values()) == [1]
    assert chances(answers, Client("198.51.100.99")) == one
