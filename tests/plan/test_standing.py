# SPDX-License-Identifier: Apache-2.0
"""How members stand: monitors, own status, serve modes, draining, damping; and the guard over all of them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.plan.gslb import OWN, Member, MemberMemory, MonitorUse, Vote
from caryatid.plan.guard import Limits, guard
from caryatid.plan.standing import (
    HALF_LIFE_S,
    PENALTY_MAX,
    RELEASE_BELOW,
    SUPPRESS_ABOVE,
    Health,
    _in_full,
    _steady,
    checks_of,
    stand,
)
from caryatid.plan.votes import Look
from tests.plan.names import LASTS_S, MONITOR, NOW, REGIONS, member, saying, votes

ONE = checks_of([MonitorUse(MONITOR)], "all", REGIONS)
UP = MemberMemory("UP", NOW - 100, checks={MONITOR.id: "UP"})
FIRST, SECOND, THIRD = (replace(MONITOR, id=name, name=name) for name in ("first", "second", "third"))


def stands(said: str = "UUU", memory: MemberMemory | None = None, at: Look | float = NOW, **given) -> Health:
    when = at if isinstance(at, Look) else Look(at)
    return stand(member("192.0.2.1", said, **given), ONE, memory, when)


def of(said: str, policy: str = "all", **flags) -> Health:
    """By one monitor a letter: U, D, or nothing known (-)."""
    monitors = (FIRST, SECOND, THIRD)[: len(said)]
    uses = [MonitorUse(monitor, **flags.get(monitor.id, {})) for monitor in monitors]
    heard = {monitor.id: votes(word * 3) for monitor, word in zip(monitors, said, strict=True)}
    return stand(member("192.0.2.1", votes=heard), checks_of(uses, policy, REGIONS), None, Look(NOW))


def own(word: str, said: str | None = None, age_s: float = 0.0, **given) -> Member:
    """A load balancer whose status is told every 2 seconds, and what monitors say of it."""
    heard = {OWN: (Vote("eu", "conductor", word, NOW - age_s, NOW - age_s, "ERROR" * (word == "DOWN")),)}
    heard |= {MONITOR.id: votes(said)} if said else {}
    return member("192.0.2.1", votes=heard, own_good_s=6.0, **given)


@pytest.mark.parametrize(
    ("policy", "said", "status"),
    [
        ("all", "UUU", "ONLINE"),
        ("all", "UUD", "DOWN"),
        ("all", "UU-", "UNKNOWN"),
        ("all", "UD-", "DOWN"),
        ("any", "DDU", "ONLINE"),
        ("any", "DDD", "DOWN"),
        ("any", "DD-", "UNKNOWN"),
        ("any", "U--", "ONLINE"),
        ("majority", "UUD", "ONLINE"),
        ("majority", "UDD", "DOWN"),
        ("majority", "UD", "DOWN"),
        ("at_least:2", "UUD", "ONLINE"),
        ("at_least:2", "UDD", "DOWN"),
        ("at_least:9", "UUU", "ONLINE"),
    ],
)
def test_so_many_monitors_must_be_passed(policy, said, status):
    assert of(said, policy).status == status


def test_whoever_fails_a_monitor_that_must_be_passed_is_down_whatever_the_others_say():
    assert of("DUU", "any", first={"must_be_healthy": True}).status == "DOWN"
    assert of("-UU", "any", first={"must_be_healthy": True}).status == "UNKNOWN"
    assert of("UDD", "any", first={"must_be_healthy": True}).status == "ONLINE"


def test_a_monitor_that_only_observes_or_is_disabled_decides_nothing():
    assert of("DU", first={"observe_only": True}).status == "ONLINE"
    disabled = checks_of([MonitorUse(replace(MONITOR, enabled=False))], "all", REGIONS)
    assert stand(member("192.0.2.1", "DDD"), disabled, None, Look(NOW)).status == "NO_MONITOR"


def test_whom_nobody_checks_is_held_to_be_well():
    health = stand(member("192.0.2.1"), checks_of([], "all", REGIONS), None, Look(NOW))
    assert (health.status, health.well) == ("NO_MONITOR", True)
    again = stand(member("192.0.2.1"), checks_of([], "all", REGIONS), health.memory, Look(NOW + 1))
    assert again.memory is health.memory


def test_a_new_member_is_answered_with_when_it_has_been_seen_up():
    assert not stands("---").well
    assert stands("---").status == "UNKNOWN"
    assert stands("UU-").well


def test_a_member_that_is_up_stays_so_when_a_monitor_is_added_until_that_one_has_spoken():
    """Composite checks: the application is well, and nothing is known yet of its gateway (k8gb#1754)."""
    two = checks_of([MonitorUse(MONITOR), MonitorUse(FIRST)], "all", REGIONS)
    health = stand(member("192.0.2.1", "UUU"), two, UP, Look(NOW))
    assert (health.well, health.status) == (True, "UNKNOWN")
    gateway = member("192.0.2.1", votes={MONITOR.id: votes("UUU"), FIRST.id: votes("DDD")})
    assert stand(gateway, two, health.memory, Look(NOW)).status == "DOWN"


def test_whoever_has_just_got_a_monitor_is_not_taken_out_by_that():
    before = stand(member("192.0.2.1", "---"), checks_of([], "all", REGIONS), None, Look(NOW)).memory
    assert stands("---", before).well


def test_what_was_known_last_stands_while_regions_are_silent():
    health = stands("---", UP)
    assert (health.status, health.well) == ("UNKNOWN", True)
    assert health.why(REGIONS) == "only 0 of 3 regions have said anything lately; UP stands"


def test_a_load_balancers_own_status_must_be_up():
    assert stand(own("UP"), checks_of([], "all", REGIONS), None, Look(NOW)).status == "ONLINE"
    assert stand(own("UP", "UUU"), ONE, None, Look(NOW)).status == "ONLINE"
    assert stand(own("UP", "DDD"), ONE, None, Look(NOW)).status == "DOWN"
    down = stand(own("DOWN", "UUU"), ONE, UP, Look(NOW))
    assert (down.status, down.well, down.unagreed) == ("DOWN", False, False)
    assert down.why(REGIONS) == "DOWN as 1 of 1 regions see it: eu: ERROR"


def test_a_region_that_has_gone_silent_is_unknown_and_never_well():
    nobody = checks_of([], "all", REGIONS)
    before = stand(own("UP"), nobody, None, Look(NOW)).memory
    health = stand(own("UP"), nobody, before, Look(NOW + 6))
    assert (health.status, health.well) == ("UNKNOWN", False)
    assert stand(own("UP"), nobody, health.memory, Look(NOW + 60)).well is False


def test_a_load_balancer_of_a_silent_region_that_others_see_up_serves():
    """Its controller is gone; that says nothing of its data plane."""
    health = stand(own("UP", "UUU", age_s=30), ONE, UP, Look(NOW))
    assert (health.status, health.well) == ("ONLINE", True)
    assert not stand(own("UP", "DDU", age_s=30), ONE, UP, Look(NOW)).well


def test_after_a_start_what_a_load_balancer_said_last_stands_as_long_as_its_word_would():
    nobody = checks_of([], "all", REGIONS)
    before = stand(own("UP"), nobody, None, Look(NOW)).memory
    late = NOW + 3600
    assert stand(own("UP"), nobody, before, Look(late + 5, since=late)).well
    assert stand(own("UP"), nobody, before, Look(late + 5, since=late)).again_at == late + 6
    assert not stand(own("UP"), nobody, before, Look(late + 6, since=late)).well


def test_serve_mode_says_whether_its_health_decides():
    assert stands("DDD", serve_mode="always").well
    assert stands("DDD", serve_mode="always").status == "DEGRADED"
    assert not stands("UUU", serve_mode="never").well
    assert stands("UUU", serve_mode="never").status == "DISABLED"
    assert not stands("DDD", serve_mode="obey").well


def test_whoever_shall_stay_down_once_down_does_until_somebody_changes_it():
    """A revived site is fenced (keycloak-benchmark#536)."""
    asked = {"serve_mode": "obey_sticky_down", "revision": "1"}
    up = stands("UUU", None, **asked)
    assert up.well
    down = stands("DDD", up.memory, **asked)
    back = stands("UUU", down.memory, **asked)
    assert (back.well, back.open, back.status) == (False, False, "DOWN")
    assert "until somebody changes it" in back.why(REGIONS)
    assert stands("UUU", back.memory, **{**asked, "revision": "2"}).well
    assert stands("UUU", back.memory, serve_mode="obey", revision="1").well


def test_who_drains_is_not_answered_with_until_the_time_has_come():
    health = stands(drain_until=NOW + 60)
    assert (health.status, health.well, health.open, health.again_at) == ("DRAINING", False, False, NOW + 60)
    assert stands(at=NOW + 30, drain_until=NOW + 30).well


def test_weight_0_takes_nobody_new_and_is_not_unset():
    """cloudflare/terraform-provider-cloudflare#2641."""
    assert (stands(weight=0).status, stands(weight=0).well) == ("DRAINING", False)
    assert not stands(weight=0, serve_mode="always").well


def test_health_goes_on_being_known_of_whom_its_owner_has_taken_out():
    """The status of a standby is known before it is needed (Technitium#866)."""
    out = stands("DDD", enabled=False)
    assert (out.status, out.word) == ("DISABLED", "DOWN")
    assert stands("---", out.memory).word == "DOWN"


def flapped(times: int, every_s: float = 10.0) -> tuple[Health, float]:
    """Down and up, `times` in all, the last word being UP if they are even."""
    health, now = stands(at=NOW), NOW
    for turn in range(times):
        now += every_s
        health = stand(saying(member("192.0.2.1"), "UUU" if turn % 2 else "DDD", now), ONE, health.memory, Look(now))
    return health, now


def test_who_comes_and_goes_too_often_is_held_back_until_it_has_been_quiet():
    assert flapped(4)[0].well
    health, now = flapped(6)
    assert (health.well, health.status, health.word) == (False, "DOWN", "UP")
    assert SUPPRESS_ABOVE < health.memory.penalty < 6
    assert health.again_at is not None
    quiet = saying(member("192.0.2.1"), "UUU", health.again_at)
    assert not stand(quiet, ONE, health.memory, Look(health.again_at - 0.01)).well
    free = stand(quiet, ONE, health.memory, Look(health.again_at))
    assert (free.well, free.memory.damped) == (True, False)
    assert 15 * 60 < health.again_at - now < 30 * 60


def test_nobody_is_held_back_for_longer_than_two_half_lives_of_quiet():
    health, now = flapped(500)
    assert health.memory.penalty <= PENALTY_MAX
    assert health.again_at == pytest.approx(now + 2 * HALF_LIFE_S)


def test_who_flaps_slowly_is_never_held_back():
    assert flapped(100, every_s=1000)[0].well


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["UUU", "DDD", "DUU"]), st.floats(0.1, 2000)), max_size=40))
def test_damping_delays_only_up(story):
    memory, now = None, NOW
    for said, later_s in story:
        now += later_s
        health = stand(saying(member("192.0.2.1"), said, now), ONE, memory, Look(now))
        memory = health.memory
        if said == "DDD":
            assert not health.well
        elif not health.well:
            assert memory.damped
            assert memory.penalty >= RELEASE_BELOW


@st.composite
def memories(draw) -> MemberMemory | None:
    word = st.sampled_from(["", "UP", "DOWN"])
    checks = st.dictionaries(st.sampled_from([MONITOR.id, "gone", OWN]), st.sampled_from(["UP", "DOWN", "UNKNOWN"]))
    return MemberMemory(
        draw(word),
        NOW - 50,
        draw(st.floats(0, 8)),
        NOW - draw(st.floats(0, 3000)),
        draw(st.booleans()),
        draw(st.none() | st.sampled_from(["", "1"])),
        draw(checks),
    )


@settings(deadline=None)
@given(
    st.text("UD-", min_size=3, max_size=3),
    memories(),
    st.sampled_from(["obey", "always", "never", "obey_sticky_down"]),
    st.booleans(),
    st.integers(0, 1),
    st.sampled_from([None, NOW + 5, NOW - 5]),
)
def test_the_short_way_comes_to_what_the_long_one_does(said, memory, mode, enabled, weight, drain_until):
    one = member("192.0.2.1", said, serve_mode=mode, enabled=enabled, weight=weight, drain_until=drain_until)
    short = _steady(one, ONE, memory, Look(NOW))
    assert short is None or short == _in_full(one, ONE, memory, Look(NOW))


def test_what_has_not_changed_is_the_very_same_memory():
    for said in ("UUU", "DDD", "---"):
        first = stands(said)
        assert stands(said, first.memory, NOW + 1).memory is first.memory


def test_time_alone_makes_votes_expire():
    assert stands().expires_at == NOW + LASTS_S
    assert stands().again_at is None


def test_a_removal_that_too_few_agree_on_is_the_guards_business():
    assert not stands("DDD", UP).unagreed
    alone = checks_of([MonitorUse(replace(MONITOR, regions=("eu",)))], "all", REGIONS)
    one = stand(member("192.0.2.1", "D"), alone, UP, Look(NOW))
    assert (one.well, one.unagreed) == (False, True)
    assert not stand(member("192.0.2.1", "D", enabled=False), alone, UP, Look(NOW)).unagreed
    assert not stand(member("192.0.2.1", "D", serve_mode="always"), alone, UP, Look(NOW)).unagreed
    assert not stand(member("192.0.2.1", "D"), alone, one.memory, Look(NOW)).unagreed


def test_whom_the_guard_keeps_stays_as_it_was_until_more_agree():
    alone = checks_of([MonitorUse(replace(MONITOR, regions=("eu",)))], "all", REGIONS)
    one = member("192.0.2.1", "D")
    kept = stand(one, alone, UP, Look(NOW, held={one.id}))
    assert (kept.well, kept.status, kept.unagreed) == (True, "UNKNOWN", True)
    again = stand(one, alone, kept.memory, Look(NOW + 1, held={one.id}))
    assert (again.well, again.unagreed) == (True, True)
    assert not stand(one, alone, again.memory, Look(NOW + 2)).well
    assert not stand(member("192.0.2.1", "DDD"), ONE, UP, Look(NOW, held={one.id})).well


ids = st.sets(st.integers(0, 60).map(str))


@settings(deadline=None)
@given(ids, ids, ids, st.integers(0, 60), st.integers(1, 100), st.booleans())
def test_never_more_than_so_many_go_without_agreement(wanted, recent, kept, total, percent, lifted):
    limits = Limits(percent, lifted=lifted)
    keep = guard(wanted, recent, kept, total, limits).keep
    assert keep <= wanted
    if total >= limits.members_min and not lifted and wanted - keep:
        assert 100 * len((wanted - keep) | recent) <= percent * total
    if total < limits.members_min or lifted:
        assert not keep


def test_below_twenty_members_nobody_is_kept():
    half = {str(number) for number in range(19)}
    assert not guard(half, (), (), 19, Limits()).keep
    assert guard(half, (), (), 20, Limits()).keep == half
    assert "19 of 20 members" in guard(half, (), (), 20, Limits()).why


def test_removals_by_many_gslbs_one_after_the_other_are_added_up():
    recent: set[str] = set()
    for number in range(40):
        if not guard({str(number)}, recent, (), 40, Limits()).keep:
            recent.add(str(number))
    assert len(recent) == 20
