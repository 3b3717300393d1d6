# SPDX-License-Identifier: Apache-2.0
"""What follows from what regions say of one check."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.plan.gslb import Monitor, Vote
from caryatid.plan.votes import CheckState, Look, check, configured, good_s
from tests.plan.names import LASTS_S, MONITOR, NOW, REGIONS, regions, votes

words = st.sampled_from(["UP", "DOWN"])
befores = st.sampled_from(["UP", "DOWN", "UNKNOWN"])
quorums = st.sampled_from([("majority", 0), ("any", 0), ("all", 0), ("percent", 60), ("count", 2)])


def judged(said: str, before: str = "UNKNOWN", monitor: Monitor = MONITOR, at: float = NOW) -> CheckState:
    return check(monitor, votes(said), regions(len(said)), before, Look(at))


@st.composite
def monitors(draw) -> Monitor:
    quorum, value = draw(quorums)
    return Monitor(
        "web",
        quorum=quorum,
        quorum_value=value,
        per_region=draw(st.sampled_from(["majority", "any", "all"])),
        insufficient_data=draw(st.sampled_from(["last_known", "healthy", "unhealthy"])),
    )


@st.composite
def anything(draw) -> list[Vote]:
    """What five regions, each with a few checkers, may say, lately or not."""
    return [
        Vote(
            region, f"{region}-{checker}", draw(words), NOW - draw(ages), NOW - draw(ages), draw(st.sampled_from("ab"))
        )
        for region in regions(5)
        for checker in range(draw(st.integers(0, 3)))
    ]


ages = st.floats(-100, 100)


def test_a_vote_counts_until_it_has_not_been_confirmed_for_three_intervals_and_the_timeout():
    assert good_s(MONITOR) == LASTS_S
    assert judged("DDD", "UP", at=NOW + LASTS_S - 0.1).word == "DOWN"
    late = judged("DDD", "UP", at=NOW + LASTS_S)
    assert (late.word, late.sufficient, late.fresh) == ("UP", False, 0)


def test_what_users_tell_counts_for_as_long_as_its_monitor_says_and_is_evidence_enough_of_one_region():
    told = replace(MONITOR, told_s=600.0)
    assert good_s(told) == 600.0
    state = judged("D", "UP", told, NOW + 599.0)
    assert (state.word, state.agreed, state.expires_at) == ("DOWN", True, NOW + 600.0)
    assert state.why({}).startswith("DOWN as told for 1 of 1 regions")
    late = judged("D", "UP", told, NOW + 600.0)
    assert (late.word, late.sufficient, late.agreed) == ("UP", False, False)
    assert not judged("D", "UP").agreed, "one checker alone is not"


def test_the_first_vote_to_expire_is_told():
    said = [replace(vote, confirmed_at=NOW - number) for number, vote in enumerate(votes("UUU"))]
    assert check(MONITOR, said, REGIONS, "UP", Look(NOW)).expires_at == NOW - 2 + LASTS_S


@pytest.mark.parametrize(("rule", "word"), [("last_known", "UP"), ("healthy", "UP"), ("unhealthy", "DOWN")])
def test_while_fewer_than_half_of_the_regions_have_spoken_insufficient_data_says_what_holds(rule, word):
    state = judged("D--", "UP", replace(MONITOR, insufficient_data=rule))
    assert (state.word, state.sufficient) == (word, False)
    assert judged("DD-", "UP", replace(MONITOR, insufficient_data=rule)).sufficient


def test_half_of_the_regions_are_enough():
    assert judged("D-", "UP") == CheckState("DOWN", True, 1, 1, 2, 1, NOW + LASTS_S, (("eu", "DDD"),))


def test_one_region_is_legal_and_shown_as_such():
    state = judged("D", "UP")
    assert state.word == "DOWN"
    assert state.why(REGIONS) == "DOWN as 1 of 1 regions see it: eu: DDD"


@settings(deadline=None)
@given(
    st.integers(3, 5),
    st.sampled_from("UD"),
    st.lists(st.tuples(words, ages), max_size=3),
    befores,
    monitors(),
    st.data(),
)
def test_with_majority_and_three_fresh_regions_no_single_region_can_turn_the_quorum(
    count, truth, one, before, monitor, data
):
    """Whatever one region says, and how often, late or from the future, or not at all."""
    monitor = replace(monitor, quorum="majority")
    odd = data.draw(st.sampled_from(list(regions(count))))
    others = [vote for vote in votes(truth * count) if vote.region_id != odd]
    faulty = [Vote(odd, f"{odd}-{n}", word, NOW - age, NOW - age) for n, (word, age) in enumerate(one)]
    state = check(monitor, [*others, *faulty], regions(count), before, Look(NOW))
    assert (state.word, state.sufficient) == ({"U": "UP", "D": "DOWN"}[truth], True)


@pytest.mark.parametrize("before", ["UP", "DOWN"])
def test_a_tie_leaves_what_was(before):
    assert judged("UD", before).word == before
    assert judged("UUDD", before).word == before


def test_a_tie_with_nothing_before_settles_nothing():
    state = judged("UD")
    assert (state.word, state.sufficient) == ("UNKNOWN", False)
    assert state.why(REGIONS) == "2 of 2 regions do not settle it"


@pytest.mark.parametrize(
    ("quorum", "value", "said", "word"),
    [
        ("any", 0, "UDD", "UP"),
        ("any", 0, "DDD", "DOWN"),
        ("all", 0, "UUD", "DOWN"),
        ("all", 0, "UU-", "UP"),
        ("percent", 60, "UUD", "UP"),
        ("percent", 67, "UUD", "DOWN"),
        ("percent", 100, "UUU", "UP"),
        ("count", 2, "UUD", "UP"),
        ("count", 2, "UDD", "DOWN"),
        ("count", 9, "UUU", "UP"),
    ],
)
def test_so_many_regions_must_say_up(quorum, value, said, word):
    assert judged(said, monitor=replace(MONITOR, quorum=quorum, quorum_value=value)).word == word


def test_of_a_count_silent_regions_may_make_the_difference():
    two = replace(MONITOR, quorum="count", quorum_value=2)
    assert judged("UD-", "UP", two).word == "UP"
    assert judged("UD-", "DOWN", two).word == "DOWN"


def test_regions_that_are_disabled_or_not_chosen_do_not_count():
    here = configured(replace(MONITOR, regions=("eu", "gone")), REGIONS)
    assert here == {"eu"}
    assert check(MONITOR, votes("UDD"), here, "DOWN", Look(NOW)).word == "UP"


@pytest.mark.parametrize(
    ("rule", "said", "word"),
    [("any", "UDD", "UP"), ("all", "UUD", "DOWN"), ("majority", "UUD", "UP"), ("majority", "UDD", "DOWN")],
)
def test_a_region_speaks_for_its_checkers_by_the_per_region_rule(rule, said, word):
    many = [Vote("eu", f"c{n}", {"U": "UP", "D": "DOWN"}[each], NOW, NOW) for n, each in enumerate(said)]
    assert check(replace(MONITOR, per_region=rule), many, ["eu"], "UNKNOWN", Look(NOW)).word == word


def test_a_region_of_two_minds_is_for_nobody():
    two = [Vote("eu", "c1", "UP", NOW, NOW), Vote("eu", "c2", "DOWN", NOW, NOW)]
    assert check(MONITOR, two, ["eu"], "UP", Look(NOW)).word == "UP"
    assert check(MONITOR, two, ["eu"], "DOWN", Look(NOW)).word == "DOWN"
    others = [vote for vote in votes("UUD") if vote.region_id != "eu"]
    assert check(MONITOR, [*two, *others], REGIONS, "DOWN", Look(NOW)).word == "DOWN"
    assert check(replace(MONITOR, quorum="any"), [*two, *others], REGIONS, "DOWN", Look(NOW)).word == "UP"
    assert check(replace(MONITOR, quorum="all"), [*two, *others], REGIONS, "UP", Look(NOW)).word == "DOWN"


def test_of_what_one_checker_has_said_the_latest_counts():
    said = [Vote("eu", "c", "DOWN", NOW - 5, NOW), Vote("eu", "c", "UP", NOW - 1, NOW)]
    assert check(MONITOR, said, ["eu"], "DOWN", Look(NOW)).word == "UP"


@settings(deadline=None)
@given(anything(), befores, monitors(), st.randoms())
def test_the_order_of_votes_is_of_no_account(said, before, monitor, random):
    shuffled = random.sample(said, len(said))
    look = Look(NOW)
    assert check(monitor, said, regions(5), before, look) == check(monitor, shuffled, regions(5), before, look)


@settings(deadline=None)
@given(anything(), befores, monitors())
def test_what_holds_is_a_function_of_votes_and_time_alone(said, before, monitor):
    """Asked again with its own answer, it says the same."""
    state = check(monitor, said, regions(5), before, Look(NOW))
    again = check(monitor, said, regions(5), state.word, Look(NOW))
    assert state.word in (again.word, "UNKNOWN")


def test_a_vote_from_the_future_is_as_good_as_one_of_now():
    """A clock that has been set back does not make all regions silent."""
    said = [replace(vote, confirmed_at=NOW + 3600) for vote in votes("DDD")]
    state = check(MONITOR, said, REGIONS, "UP", Look(NOW))
    assert (state.word, state.expires_at) == ("DOWN", NOW + LASTS_S)


@settings(deadline=None)
@given(monitors(), st.sampled_from(["UP", "DOWN"]), st.integers(0, 14))
def test_after_a_start_silence_changes_nothing_for_an_interval(monitor, before, seconds):
    old = votes("---")
    assert check(monitor, old, REGIONS, before, Look(NOW + seconds, since=NOW)).word == before


def test_after_a_start_one_early_region_of_two_changes_nothing():
    early = Look(NOW + 1, since=NOW)
    assert check(MONITOR, votes("D-"), regions(2), "UP", early).word == "UP"
    assert check(MONITOR, votes("D-"), regions(2), "UP", Look(NOW + 20, since=NOW)).word == "DOWN"


def test_after_a_start_what_most_regions_agree_on_counts_at_once():
    assert check(MONITOR, votes("DD-"), REGIONS, "UP", Look(NOW + 1, since=NOW)).word == "DOWN"


def test_one_process_alone_is_no_agreement_nor_is_half_of_the_regions():
    assert not judged("D").agreed
    assert not judged("D-").agreed
    assert not judged("DD--").agreed
    assert judged("DD-").agreed
