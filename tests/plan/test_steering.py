# SPDX-License-Identifier: Apache-2.0
"""What names are answered with."""

from dataclasses import replace

import orjson
import pytest

from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.plan.gslb import Memory, MonitorUse, PoolUse
from caryatid.plan.steering import decide, digest, needed
from caryatid.plan.votes import Look
from tests.plan.names import (
    MONITOR,
    NOW,
    REGIONS,
    down,
    everything,
    gslb,
    look,
    member,
    pool,
    told,
    votes,
    weights,
    well,
)

A, B, C, D = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
SIX = "2001:db8::1"
ALL_DOWN = (pool("eu", member(A, "DDD"), member(B, "DDD")), pool("us", member(C, "DDD")))


# Failover


def test_the_first_pool_that_is_well_answers_with_all_its_members():
    decision = look(gslb("eu", "us"), well("eu", A, B), well("us", C))
    assert told(decision) == [A, B]
    assert decision.status == "ONLINE"
    assert decision.answers["A"].is_plain
    assert decision.why == ("failover: answered with eu",)


@pytest.mark.parametrize(("states", "answered"), [("UUU", A), ("DUU", B), ("DDU", C), ("UDD", A), ("DUD", B)])
def test_with_three_pools_the_first_that_is_well_answers(states, answered):
    """k8gb#1705."""
    pools = [
        (well if state == "U" else down)(address, address) for state, address in zip(states, (A, B, C), strict=True)
    ]
    assert told(look(gslb(A, B, C), *pools)) == [answered]


def test_of_equal_priority_one_pool_answers_the_one_named_first():
    """CoreDNS-GSLB#11."""
    same = gslb(PoolUse("eu", 5), PoolUse("us", 5))
    assert told(look(same, well("eu", A), well("us", B))) == [A]
    assert told(look(same, down("eu", A), well("us", B))) == [B]


def test_priority_comes_before_the_order_of_naming_and_0_comes_first():
    assert told(look(gslb(PoolUse("eu", 1), PoolUse("us", 0)), well("eu", A), well("us", B))) == [B]


def test_a_member_that_is_down_is_not_answered_with_and_the_others_are():
    """polaris#58, #68."""
    decision = look(gslb("eu"), pool("eu", member(A, "DDD"), B))
    assert told(decision) == [B]
    assert decision.status == "DEGRADED"
    assert decision.members[A].status == "DOWN"
    seen = "DOWN as 3 of 3 regions see it: ap: DDD; eu: DDD; us: DDD"
    assert decision.why[1] == f"pool eu, member {A}: DOWN, {seen}"


def test_a_pool_that_nobody_checks_answers():
    """external-dns#4964."""
    decision = look(gslb("eu"), well("eu", A, monitors=()))
    assert (told(decision), decision.status) == ([A], "NO_MONITOR")


def test_the_status_of_a_standby_is_known_before_it_is_needed():
    """Technitium DnsServer#866."""
    decision = look(gslb("eu", "us"), well("eu", A), down("us", B))
    assert (decision.status, decision.pools) == ("DEGRADED", {"eu": "ONLINE", "us": "DOWN"})


def test_an_empty_pool_is_no_fault_the_next_answers():
    """sapcc/octavia-f5-provider-driver#256."""
    assert told(look(gslb("eu", "us"), pool("eu"), well("us", A))) == [A]


def test_the_first_answer_has_nobody_who_has_not_been_seen_up():
    """PowerDNS/pdns#12557: a new name with two members, of which one has been checked."""
    decision = look(gslb("eu"), pool("eu", member(A, "   "), B))
    assert told(decision) == [B]
    assert decision.members[A].status == "UNKNOWN"


def test_a_member_that_is_added_changes_nothing_of_the_others():
    """F5 appsvcs-extension#758."""
    before = look(gslb("eu"), well("eu", A, B))
    after = look(gslb("eu"), pool("eu", A, B, member(C, "---")), memory=before.memory)
    assert told(after) == [A, B]
    assert after.memory.members[A] is before.memory.members[A]


def test_of_what_is_gone_nothing_is_remembered():
    """pdns#7988."""
    before = look(gslb("eu"), well("eu", A, B))
    assert set(look(gslb("eu"), well("eu", B), memory=before.memory).memory.members) == {B}


@pytest.mark.parametrize(("policy", "way"), [("weighted", "weighted"), ("source_hash", "hash"), ("multivalue", "all")])
def test_the_pool_says_how_its_members_are_chosen(policy, way):
    decision = look(gslb("eu"), pool("eu", A, member(B, weight=3), member_policy=policy))
    choice = decision.answers["A"].default
    assert choice.way == way
    assert weights(decision) == ({A: 1, B: 1} if way == "all" else {A: 1, B: 3})


def test_members_by_failover_are_those_of_the_lowest_priority_that_are_well():
    members = [member(A, "DDD", priority=0), member(B, priority=1), member(C, priority=1), member(D, priority=2)]
    assert told(look(gslb("eu"), pool("eu", *members, member_policy="failover"))) == [B, C]


# Pools


@pytest.mark.parametrize(
    ("minimum", "words", "is_well"),
    [
        ("1", "UDDD", True),
        ("2", "UDDD", False),
        ("2", "UUDD", True),
        ("50%", "UUDD", True),
        ("51%", "UUDD", False),
        ("100%", "UUUU", True),
        ("100%", "UUUD", False),
        ("1%", "UDDD", True),
        ("5", "UUUU", False),
    ],
)
def test_a_pool_is_well_while_enough_members_are(minimum, words, is_well):
    members = [member(address, word * 3) for address, word in zip((A, B, C, D), words, strict=True)]
    decision = look(gslb("eu", "us"), pool("eu", *members, minimum_healthy=minimum), well("us", "192.0.2.9"))
    assert (told(decision) != ["192.0.2.9"]) == is_well
    assert (decision.pools["eu"] != "DOWN") == is_well


def test_a_part_is_of_those_whom_their_owner_has_in():
    members = [A, member(B, "DDD", enabled=False), member(C, "DDD", weight=0), member(D, "DDD", drain_until=NOW + 9)]
    assert told(look(gslb("eu"), pool("eu", *members, minimum_healthy="100%"))) == [A]


def test_backups_come_in_when_too_few_are_well():
    parts = [A, member(C, backup=True)]
    fine = look(gslb("eu"), pool("eu", member(B), *parts, minimum_healthy="2"))
    assert (told(fine), fine.status) == ([A, B], "ONLINE")
    short = look(gslb("eu"), pool("eu", member(B, "DDD"), *parts, minimum_healthy="2"))
    assert (told(short), short.pools["eu"]) == ([A, C], "DEGRADED")


def test_a_disabled_pool_is_out_whatever_its_members_are():
    decision = look(gslb("eu", "us"), well("eu", A, enabled=False), well("us", B))
    assert told(decision) == [B]
    assert decision.pools["eu"] == "DISABLED"
    assert decision.status == "ONLINE"


def test_a_disabled_name_is_not_answered_and_exists():
    decision = look(gslb("eu", enabled=False), well("eu", A))
    assert decision.status == "DISABLED"
    assert decision.answers["A"].default.candidates == ()


# Failback


def test_a_pool_that_comes_first_waits_until_it_has_been_well_for_the_delay():
    wanted = gslb("eu", "us", failback_delay=60)
    lost = look(wanted, down("eu", A), well("us", B))
    back = look(wanted, well("eu", A), well("us", B), memory=lost.memory, at=NOW + 10)
    assert (told(back), back.again_at, back.status) == ([B], NOW + 70, "DEGRADED")
    assert "waits to be gone back to" in back.why[0]
    fresh = [pool("eu", member(A, votes={MONITOR.id: votes("UUU", NOW + 69)})), pool("us", member(B))]
    assert told(look(wanted, *fresh, memory=back.memory, at=NOW + 69)) == [B]
    assert told(look(wanted, *fresh, memory=back.memory, at=NOW + 70)) == [A]


def test_the_delay_begins_anew_when_the_pool_goes_down_once_more():
    wanted = gslb("eu", "us", failback_delay=60)
    memory = look(wanted, down("eu", A), well("us", B)).memory
    for at, first in ((10, well), (20, down), (30, well)):
        memory = look(wanted, first("eu", A), well("us", B), memory=memory, at=NOW + at).memory
    assert look(wanted, well("eu", A), well("us", B), memory=memory, at=NOW + 31).again_at == NOW + 90


def test_by_hand_the_name_stays_where_it_is_until_its_owner_changes_it_or_that_is_down_too():
    wanted = gslb("eu", "us", failback="manual", revision="1")
    both = [well("eu", A), well("us", B)]
    lost = look(wanted, down("eu", A), well("us", B)).memory
    assert told(look(wanted, *both, memory=lost)) == [B]
    assert told(look(replace(wanted, revision="2"), *both, memory=lost)) == [A]
    assert told(look(wanted, well("eu", A), down("us", B), memory=lost)) == [A]


def test_going_down_never_waits():
    wanted = gslb("eu", "us", failback="manual", failback_delay=3600)
    first = look(wanted, well("eu", A), well("us", B)).memory
    assert told(look(wanted, down("eu", A), well("us", B), memory=first)) == [B]


# Nothing is well


def test_fail_open_answers_with_all_members_though_they_are_down():
    """pdns#16074, as it is asked for there: return all."""
    decision = look(gslb("eu", "us"), *ALL_DOWN)
    assert told(decision) == [A, B, C]
    assert decision.status == "FAIL_OPEN"


def test_fail_open_answers_the_same_in_whatever_order_members_came():
    parts = [member(A, "DDD"), member(B, "DDD"), member(C, "DDD")]
    assert told(look(gslb("eu"), pool("eu", *parts))) == told(look(gslb("eu"), pool("eu", *parts[::-1])))


def test_fail_open_has_nobody_whom_his_owner_has_taken_out():
    members = [
        member(A, "DDD"),
        member(B, "DDD", enabled=False),
        member(C, "DDD", weight=0),
        member(D, "DDD", drain_until=NOW + 9),
        member("192.0.2.5", "DDD", serve_mode="never"),
    ]
    assert told(look(gslb("eu"), pool("eu", *members))) == [A]


def test_weight_0_everywhere_answers_nothing():
    decision = look(gslb("eu"), pool("eu", member(A, weight=0), member(B, "DDD", weight=0)))
    assert (told(decision), decision.status) == ([], "DRAINING")


def test_fail_closed_answers_nobody_and_the_name_exists():
    """pdns#6892."""
    decision = look(gslb("eu", "us", on_all_down="fail_closed"), *ALL_DOWN)
    assert decision.status == "DOWN"
    assert decision.answers["A"] == Answers("www.example.test.", "A", 30, Choice())


def test_the_fallback_pool_answers_well_or_not():
    wanted = gslb("eu", "us", on_all_down="fallback_pool", fallback_pool_id="sorry")
    fine = look(wanted, *ALL_DOWN, well("sorry", D))
    assert (told(fine), fine.status) == ([D], "DEGRADED")
    worse = look(wanted, *ALL_DOWN, down("sorry", D))
    assert (told(worse), worse.status) == ([D], "FAIL_OPEN")
    assert told(look(wanted, well("eu", A), down("us", C), well("sorry", D))) == [A]


def test_the_last_known_answer_is_that_of_the_last_who_were_well():
    wanted = gslb("eu", "us", on_all_down="last_known")
    memory = look(wanted, well("eu", A, B), down("us", C)).memory
    memory = look(wanted, pool("eu", member(A, "DDD"), B), down("us", C), memory=memory).memory
    decision = look(wanted, *ALL_DOWN, memory=memory)
    assert (told(decision), decision.status) == ([B], "FAIL_OPEN")
    gone = pool("eu", member(A, "DDD"), member(B, "DDD", enabled=False))
    assert told(look(wanted, gone, ALL_DOWN[1], memory=decision.memory)) == []


def test_those_that_are_up_though_too_few_are_better_than_those_that_are_down():
    decision = look(gslb("eu"), pool("eu", A, member(B, "DDD"), minimum_healthy="2"))
    assert (told(decision), decision.status) == ([A], "DEGRADED")
    closed = look(gslb("eu", on_all_down="fail_closed"), pool("eu", A, member(B, "DDD"), minimum_healthy="2"))
    assert told(closed) == []


@pytest.mark.parametrize("rule", ["fail_open", "fail_closed", "last_known"])
def test_who_is_held_back_for_flapping_is_better_than_nobody(rule):
    wanted, memory = gslb("eu", on_all_down=rule), Memory()
    for turn in range(12):
        first = well("eu", A) if turn % 2 else down("eu", A)
        decision = look(wanted, first, memory=memory, at=NOW + turn)
        memory = decision.memory
    assert memory.members[A].damped
    assert (told(decision), decision.status) == ([A], "DEGRADED")
    assert told(look(gslb("eu", "us", on_all_down=rule), well("eu", A), well("us", B), memory=memory, at=NOW + 12)) == [
        B
    ]


def test_while_nothing_is_known_yet_all_may_be_answered_and_nobody_says_it_is_down():
    decision = look(gslb("eu"), pool("eu", member(A, "---")))
    assert (told(decision), decision.status) == ([A], "UNKNOWN")


# Time, restarts, engines


def test_data_of_some_regions_alone_changes_nothing():
    """k8gb#1904: partial data."""
    first = look(gslb("eu", "us"), well("eu", A), well("us", B))
    partial = look(gslb("eu", "us"), pool("eu", member(A, "D--")), well("us", B), memory=first.memory)
    assert told(partial) == [A]
    assert partial.members[A].status == "UNKNOWN"


def test_when_checkers_stop_that_is_seen_and_what_was_is_held():
    """polaris#59."""
    first = look(gslb("eu", "us"), well("eu", A), well("us", B))
    silent = look(gslb("eu", "us"), well("eu", A), well("us", B), memory=first.memory, at=NOW + 60)
    assert (told(silent), silent.status) == ([A], "UNKNOWN")


def test_a_restart_does_not_serve_what_was_down():
    """polaris#51."""
    strict = (MonitorUse(replace(MONITOR, insufficient_data="healthy")),)
    parts = pool("eu", member(A, "DDD"), B, monitors=strict)
    before = look(gslb("eu"), parts).memory
    memory = Memory.read(orjson.loads(orjson.dumps(before.document())))
    late = NOW + 7200
    assert told(look(gslb("eu"), parts, memory=memory, at=Look(late + 1, since=late))) == [B]
    assert told(look(gslb("eu"), parts, memory=memory, at=Look(late + 15, since=late))) == [A, B]


def test_two_engines_answer_the_same():
    """CoreDNS-GSLB#83."""
    parts = [member(A), member(B, priority=3), member(C, "UUD"), member(D, "DDU")]
    one = look(gslb("eu"), pool("eu", *parts))
    other = look(
        gslb("eu"),
        pool("eu", *reversed([replace(each, votes={MONITOR.id: each.votes[MONITOR.id][::-1]}) for each in parts])),
    )
    assert [digest(each) for each in one.answers.values()] == [digest(each) for each in other.answers.values()]


def test_time_tells_when_to_look_again():
    parts = pool("eu", A, member(B, drain_until=NOW + 60), member(C, drain_until=NOW + 30))
    assert look(gslb("eu"), parts).again_at == NOW + 30
    assert look(gslb("eu"), well("eu", A)).again_at is None


def test_who_goes_without_agreement_is_named_and_can_be_kept():
    wanted, lone = gslb("eu"), (MonitorUse(replace(MONITOR, regions=("eu",))),)
    memory = look(wanted, pool("eu", A, B, monitors=lone)).memory
    gone = pool("eu", member(A, "D"), B, monitors=lone)
    decision = look(wanted, gone, memory=memory)
    assert (told(decision), decision.unagreed) == ([B], {A})
    kept = look(wanted, gone, memory=memory, at=Look(NOW, held={A}))
    assert (told(kept), kept.unagreed) == ([A, B], {A})
    assert any("too few regions agree" in line for line in kept.why)


# Digest, needs


def test_the_digest_of_answers_is_the_same_in_every_version():
    """It is kept in name servers: another one publishes everything again."""
    answers = Answers(
        "www.example.test.", "A", 30, Choice((Candidate(A), Candidate(B, 2, 1.5, -2.25, 3)), "weighted", 1)
    )
    assert digest(answers) == "93e3be93c9b31c6abb48a0b2b99ae83c"
    assert digest(answers) != digest(replace(answers, ttl=31))


def test_what_a_driver_must_be_able_to_do():
    plain = Answers("www.example.test.", "A", 30, Choice((Candidate(A),)))
    assert needed(plain) == frozenset()
    assert needed(replace(plain, default=Choice((Candidate(A),), "nearest", 1))) == {"proximity"}
    assert needed(replace(plain, default=Choice((Candidate(A), Candidate(B)), count=1))) == {"multivalue"}
    variants = (Variant(Clients(countries=("DE",)), Choice((Candidate(A),), "hash", 1)),)
    assert needed(replace(plain, variants=variants)) == {"geo", "source_hash"}
    near = (Variant(Clients(near=((0, 0), ((0, 0),))), Choice((Candidate(A),), "weighted", 1)),)
    assert needed(replace(plain, variants=near)) == {"latency", "weighted"}


def test_pools_that_are_not_there_any_more_are_passed_over():
    assert told(decide(gslb("gone", "eu"), {"eu": well("eu", A)}, REGIONS, Memory(), Look(NOW))) == [A]
    assert look(gslb()).status == "DOWN"
    assert everything(look(gslb())) == set()
