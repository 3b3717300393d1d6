# SPDX-License-Identifier: Apache-2.0
"""In which way names are answered: record types, weights, networks, places, times."""

from dataclasses import replace

import pytest

from caryatid.model.gslb.answers import Candidate, Choice, Clients
from caryatid.plan.gslb import Gslb, PoolUse, Rule
from tests.plan.names import MONITOR, PLACES, by_clients, down, gslb, look, member, pool, told, votes, weights, well

A, B, C, D = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
SIX = "2001:db8::1"


# Record types


def test_both_families_are_answered_each_with_its_own():
    """polaris#49."""
    decision = look(gslb("eu"), pool("eu", A, SIX))
    assert (told(decision), told(decision, "AAAA")) == ([A], [SIX])


def test_aaaa_of_a_pool_without_ipv6_is_an_empty_answer_of_a_name_that_exists():
    decision = look(gslb("eu", "us"), well("eu", A), well("us", SIX))
    assert decision.answers["AAAA"].default == Choice()
    assert told(decision) == [A]


def test_a_load_balancer_with_several_addresses_is_answered_with_all_of_them():
    one = member("lb", addresses=(A, SIX, B))
    decision = look(gslb("eu"), pool("eu", one))
    assert (told(decision), told(decision, "AAAA")) == ([A, B], [SIX])


def test_cname_answers_one_name():
    names = [member("a", addresses=(), hostname="A.example.net"), member("b", addresses=(), hostname="b.example.net.")]
    decision = look(gslb("eu", record_types=("CNAME",)), pool("eu", *names))
    assert told(decision, "CNAME") == ["a.example.net."]
    many = look(gslb("eu", record_types=("CNAME",), policy="multivalue"), pool("eu", *names))
    assert (told(many, "CNAME"), many.answers["CNAME"].default.count) == (["a.example.net.", "b.example.net."], 1)


def test_who_has_nothing_of_the_types_that_are_asked_for_is_left_out_and_said_to_be():
    name = member("a", addresses=(), hostname="a.example.net")
    decision = look(gslb("eu", "us"), pool("eu", name), well("us", A))
    assert told(decision) == [A]
    assert any("has nothing that A or AAAA could answer" in line for line in decision.why)
    assert decision.pools["eu"] == "ONLINE"


# TTL


def test_the_ttl_is_the_shorter_one_while_something_is_down_and_0_is_a_value():
    wanted = gslb("eu", "us", ttl=60, ttl_degraded=0)
    assert look(wanted, well("eu", A), well("us", B)).answers["A"].ttl == 60
    assert look(wanted, well("eu", A), down("us", B)).answers["A"].ttl == 0
    assert look(replace(wanted, ttl_degraded=None), well("eu", A), down("us", B)).answers["A"].ttl == 60
    assert look(replace(wanted, ttl=0), well("eu", A), well("us", B)).answers["A"].ttl == 0


# Multivalue, weighted, hash


def test_multivalue_answers_with_all_pools_of_the_best_priority_that_are_well():
    wanted = gslb(PoolUse("eu", 0), PoolUse("us", 0), PoolUse("ap", 1), policy="multivalue", max_answers=2)
    decision = look(wanted, well("eu", A), well("us", B, C), well("ap", D))
    assert (told(decision), decision.answers["A"].default.count) == ([A, B, C], 2)
    assert told(look(wanted, down("eu", A), down("us", B), well("ap", D))) == [D]


def test_weighted_answers_one_by_weights_of_pools_then_of_members():
    """k8gb#1943: resolvers re-order what is more than one."""
    wanted = gslb(PoolUse("eu", 0, 3), PoolUse("us", 0, 1), policy="weighted")
    decision = look(wanted, pool("eu", A, member(B, weight=2)), well("us", C))
    assert decision.answers["A"].default.way == "weighted"
    assert decision.answers["A"].default.count == 1
    assert weights(decision) == {A: 1, B: 2, C: 1}


def test_a_weighted_pool_of_weight_0_has_no_part():
    wanted = gslb(PoolUse("eu", 0, 0), PoolUse("us", 0, 1), policy="weighted")
    assert weights(look(wanted, well("eu", A), well("us", B))) == {B: 1}
    assert told(look(wanted, well("eu", A), down("us", B))) == [B]


def test_a_weighted_group_of_which_all_is_down_gives_way_to_the_next():
    """gdnsd#48."""
    wanted = gslb(PoolUse("eu", 0), PoolUse("us", 0), PoolUse("ap", 1), policy="weighted")
    assert weights(look(wanted, down("eu", A), down("us", B), well("ap", C, D))) == {C: 1, D: 1}


def test_a_members_weight_is_divided_among_its_addresses():
    wanted = gslb("eu", policy="weighted")
    assert weights(look(wanted, pool("eu", member("lb", addresses=(A, B)), member(C)))) == {A: 1, B: 1, C: 2}


def test_great_weights_stay_whole_and_nobody_becomes_0():
    wanted = gslb("eu", policy="weighted")
    found = weights(look(wanted, pool("eu", member(A, weight=65_535), member(B, weight=65_534), member(C, weight=1))))
    assert found == {A: 65_535, B: 65_534, C: 1}
    uses = [PoolUse(name, 0, 65_521 - number) for number, name in enumerate(("eu", "us"))]
    parts = [member(f"192.0.2.{n}", weight=w) for n, w in enumerate((65_535, 65_521, 65_519, 1), start=1)]
    others = [member(f"198.51.100.{n}", weight=w) for n, w in enumerate((65_497, 65_479, 1), start=1)]
    great = weights(look(gslb(*uses, policy="weighted"), pool("eu", *parts), pool("us", *others)))
    assert all(weight >= 1 for weight in great.values())
    assert sum(great.values()) < 1_100_000


def test_by_source_hash_who_comes_or_goes_changes_nobody_elses_weight():
    wanted = gslb(PoolUse("eu", 0, 2), PoolUse("us", 0, 1), policy="source_hash")
    before = weights(look(wanted, pool("eu", A, member(B, weight=3)), well("us", C)))
    after = weights(look(wanted, pool("eu", A, member(B, "DDD", weight=3)), well("us", C)))
    assert before == {A: 2, B: 6, C: 1}
    assert after == {A: 2, C: 1}


@pytest.mark.parametrize("percent", [0, 20, 100])
def test_a_pool_sheds_a_part_of_its_answers_to_the_next_that_is_well(percent):
    decision = look(gslb("eu", "us", "ap"), well("eu", A, B, shed_percent=percent), down("us", C), well("ap", D))
    found = weights(decision)
    if percent == 0:
        assert found == {A: 1, B: 1}
        assert decision.answers["A"].is_plain
    total = sum(found.values())
    assert percent == 0 or found.get(D, 0) / total == percent / 100
    assert percent == 0 or decision.answers["A"].default.way == "weighted"


def test_whoever_is_alone_sheds_nothing():
    assert weights(look(gslb("eu"), well("eu", A, shed_percent=50))) == {A: 1}


def test_weighted_pools_shed_in_a_circle():
    wanted = gslb(PoolUse("eu", 0), PoolUse("us", 0), policy="weighted")
    assert weights(look(wanted, well("eu", A, shed_percent=50), well("us", B))) == {A: 1, B: 3}


# Geo


def geo(*rules: Rule, **given) -> Gslb:
    return gslb("eu", policy="geo", rules=rules, **given)


def test_the_most_specific_network_comes_first_then_as_country_and_continent():
    """polaris PR#27."""
    wanted = geo(
        Rule(("us",), continents=("NA",), cidrs=("198.51.100.0/24",)),
        Rule(("ap",), countries=("US",), cidrs=("198.51.100.128/25", "2001:db8::/32")),
        Rule(("us",), asns=(64500,)),
    )
    found = by_clients(look(wanted, well("eu", A), well("us", B), well("ap", C)))
    assert found == [
        (Clients(cidrs=("198.51.100.128/25",)), [C]),
        (Clients(cidrs=("198.51.100.0/24",)), [B]),
        (Clients(cidrs=("2001:db8::/32",)), [C]),
        (Clients(asns=(64500,)), [B]),
        (Clients(countries=("US",)), [C]),
        (Clients(continents=("NA",)), [B]),
    ]


def test_of_rules_that_name_the_same_the_earlier_one_counts():
    wanted = geo(Rule(("us",), countries=("US",)), Rule(("ap",), countries=("US", "SG")))
    found = by_clients(look(wanted, well("eu", A), well("us", B), well("ap", C)))
    assert found == [(Clients(countries=("US",)), [B]), (Clients(countries=("SG",)), [C])]


def test_of_a_rule_the_first_pool_that_is_well_answers_else_the_default():
    wanted = geo(Rule(("us", "ap"), countries=("US",)), Rule(("eu",), continents=("EU",)))
    eu, us, ap = well("eu", A), down("us", B), well("ap", C)
    assert by_clients(look(wanted, eu, us, ap)) == [(Clients(countries=("US",)), [C])]
    decision = look(wanted, eu, us, down("ap", C))
    assert by_clients(decision) == []
    assert decision.answers["A"].is_plain


def test_who_is_answered_as_by_default_is_still_named_before_a_broader_rule():
    wanted = geo(Rule(("ap",), countries=("US",)), Rule(("us",), continents=("NA",)))
    found = by_clients(look(wanted, well("eu", A), well("us", B), down("ap", C)))
    assert found == [(Clients(countries=("US",)), [A]), (Clients(continents=("NA",)), [B])]


def test_whoever_fits_no_rule_gets_the_pools_of_all_rules_if_there_are_no_others():
    wanted = Gslb(
        "g", "www.example.test.", policy="geo", rules=(Rule(("us",), countries=("US",)), Rule(("ap",), asns=(1,)))
    )
    decision = look(wanted, well("us", A), well("ap", B))
    assert told(decision) == [A]
    assert told(look(wanted, down("us", A), well("ap", B))) == [B]


def test_when_no_default_pool_is_well_rules_that_are_go_on():
    wanted = geo(Rule(("us",), countries=("US",)), on_all_down="fail_closed")
    decision = look(wanted, down("eu", A), well("us", B))
    assert (told(decision), by_clients(decision)) == ([], [(Clients(countries=("US",)), [B])])
    assert decision.status == "DEGRADED"


# Proximity and latency


def test_proximity_knows_where_pools_are_by_themselves_or_by_their_region():
    wanted = gslb(PoolUse("near", 0), PoolUse("us", 0), policy="proximity")
    near = well("near", A, latitude=10.0, longitude=20.0, bias=-50)
    decision = look(wanted, near, well("us", B, region_id="us"))
    assert decision.answers["A"].default == Choice(
        (Candidate(A, 1, 10.0, 20.0, -50), Candidate(B, 1, *PLACES["us"], 0)), "nearest", 1
    )


def test_pools_without_a_place_answer_when_there_are_no_others():
    wanted = gslb(PoolUse("eu", 0), PoolUse("us", 0), policy="proximity")
    assert told(look(wanted, well("eu", A), well("us", B, region_id="us"))) == [B]
    lost = look(wanted, well("eu", A), down("us", B, region_id="us"))
    assert (told(lost), lost.answers["A"].default.way) == ([A], "all")


def timed(address: str, *rtt_ms: float | None, said: str = "UUU"):
    return member(address, votes={MONITOR.id: votes(said, rtt_ms=rtt_ms)})


FAST = gslb(PoolUse("one", 0), PoolUse("two", 0), policy="latency")


def test_each_region_gets_the_pool_that_it_finds_fastest():
    decision = look(FAST, pool("one", timed(A, 10, 90, 200)), pool("two", timed(B, 95, 12, 15)))
    places = tuple(PLACES[name] for name in ("ap", "eu", "us"))
    assert told(decision) == [B]
    assert by_clients(decision) == [(Clients(near=(PLACES["eu"], places)), [A])]


def test_what_is_fast_everywhere_is_a_plain_answer():
    decision = look(FAST, pool("one", timed(A, 10, 90, 20)), pool("two", timed(B, 95, 120, 150)))
    assert (told(decision), decision.answers["A"].is_plain) == ([A], True)


def test_the_fastest_must_be_well():
    """gardener/external-dns-management#271."""
    one = pool("one", timed(A, 10, 10, 10, said="DDD"))
    assert told(look(FAST, one, pool("two", timed(B, 95, 95, 95)))) == [B]


def test_a_pool_gives_way_only_to_one_that_is_clearly_faster():
    before = look(FAST, pool("one", timed(A, 20, 20, 20)), pool("two", timed(B, 21, 21, 21)))
    assert told(before) == [A]
    little = look(FAST, pool("one", timed(A, 20, 20, 20)), pool("two", timed(B, 17, 17, 17)), memory=before.memory)
    assert told(little) == [A]
    clearly = look(FAST, pool("one", timed(A, 20, 20, 20)), pool("two", timed(B, 15, 15, 15)), memory=before.memory)
    assert told(clearly) == [B]


def test_pools_that_nobody_has_measured_come_last():
    assert told(look(FAST, pool("one", timed(A, None, None, None)), pool("two", timed(B, 95, 95, 95)))) == [B]
    assert told(look(FAST, pool("one", timed(A)), pool("two", timed(B)))) == [A]
