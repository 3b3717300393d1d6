# SPDX-License-Identifier: Apache-2.0
"""What reports mean, however they arrive."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caryatid.plan.health import WORDS_MAX, Picture, changes, merge, statuses, together

LISTENER = ["OPEN", 0, 0, 0, 0, 0]
Pools = Mapping[str, tuple[str, Mapping[str, str]]]


def message(at: int = 1, *, full: bool = True, part: tuple[int, int] = (0, 1), **more: Any) -> dict[str, Any]:
    return {
        "amphora_id": "amp",
        "loadbalancer_id": "lb",
        "generation": 1,
        "epoch": "e1",
        "at": at,
        "full": full,
        "running": True,
        "part": part,
        **more,
    }


def seen(pools: Pools, listeners: Mapping[str, Any] | None = None, **more: Any) -> Picture:
    return merge(None, message(pools=pools, listeners={"web": LISTENER} if listeners is None else listeners, **more))


def told(picture: Picture) -> dict[str, str]:
    return {key: status for (_, key), status in statuses(picture).items()}


@pytest.mark.parametrize(("word", "status"), [
    ("UP", "ONLINE"), ("DOWN", "ERROR"), ("DRAIN", "DRAINING"), ("MAINT", "OFFLINE"), ("no check", "NO_MONITOR"),
])  # fmt: skip
def test_each_word_about_a_member_has_its_status(word: str, status: str) -> None:
    assert told(seen({"p:web": ("UP", {"m": word, "n": "UP"})}))["m"] == status


@pytest.mark.parametrize(("pool", "members", "expected"), [
    ("UP", {"m": "UP", "n": "UP"}, ("ONLINE", "ONLINE")),
    ("UP", {"m": "UP", "n": "DOWN"}, ("DEGRADED", "DEGRADED")),
    ("DOWN", {"m": "DOWN", "n": "DOWN"}, ("ERROR", "ERROR")),
    ("UP", {}, ("ONLINE", "ONLINE")),
    ("UP", {"m": "UP", "n": "DRAIN", "o": "MAINT", "p": "no check"}, ("ONLINE", "ONLINE")),
])  # fmt: skip
def test_a_pool_and_its_load_balancer_are_as_well_as_the_members(pool: str, members: Any, expected: Any) -> None:
    said = told(seen({"blue:web": (pool, members)}))
    assert (said["blue"], said["lb"], said["web"]) == (*expected, "ONLINE")


def test_a_full_listener_degrades_itself_and_the_load_balancer() -> None:
    said = told(seen({}, {"web": ["FULL", 0, 0, 0, 0, 0]}))
    assert said == {"web": "DEGRADED", "lb": "DEGRADED"}


def test_of_a_pool_behind_two_listeners_the_worse_is_shown() -> None:
    said = told(seen({"blue:web": ("UP", {"m": "UP", "n": "UP"}), "blue:api": ("DOWN", {"m": "DOWN", "n": "UP"})}))
    assert (said["blue"], said["m"], said["n"]) == ("ERROR", "ERROR", "ONLINE")


def test_a_disabled_load_balancer_is_offline() -> None:
    assert statuses(seen({}, {}), enabled=False)["loadbalancer", "lb"] == "OFFLINE"
    assert statuses(seen({}, {}))["loadbalancer", "lb"] == "ONLINE"


def test_a_process_that_died_takes_listeners_and_load_balancer_down_and_comes_back() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP"})})
    dead = merge(picture, message(2, full=True, running=False))
    assert told(dead) == {"web": "ERROR", "lb": "ERROR", "blue": "ONLINE", "m": "ONLINE"}
    back = merge(dead, message(3, full=False))
    assert told(back) == told(picture)


def test_news_changes_only_what_it_names() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP", "n": "UP"})})
    news = merge(picture, message(2, full=False, pools={"blue:web": ("UP", {"n": "DOWN"})}))
    assert changes(statuses(picture), statuses(news)) == [
        ("pool", "blue", "DEGRADED"), ("member", "n", "ERROR"), ("loadbalancer", "lb", "DEGRADED"),
    ]  # fmt: skip


def test_what_a_whole_snapshot_does_not_name_is_offline_but_for_unchecked_members() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP", "n": "no check"})})
    later = merge(picture, message(2, listeners={}, pools={}))
    assert sorted(changes(statuses(picture), statuses(later))) == [
        ("listener", "web", "OFFLINE"), ("member", "m", "OFFLINE"), ("pool", "blue", "OFFLINE"),
    ]  # fmt: skip


def test_a_snapshot_in_parts_drops_nothing_before_its_last_part_is_here() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP", "n": "UP", "o": "UP"})})
    first = merge(picture, message(2, part=(1, 2), pools={"blue:web": ("UP", {"n": "UP"})}))
    assert told(first) == told(picture)
    whole = merge(first, message(2, part=(0, 2), listeners={"web": LISTENER}, pools={"blue:web": ("UP", {"m": "UP"})}))
    assert changes(statuses(picture), statuses(whole)) == [("member", "o", "OFFLINE")]


def test_news_between_the_parts_of_a_snapshot_is_kept() -> None:
    picture = merge(None, message(2, part=(0, 2), listeners={"web": LISTENER}))
    picture = merge(picture, message(3, full=False, pools={"blue:web": ("UP", {"m": "DOWN", "new": "UP"})}))
    picture = merge(picture, message(2, part=(1, 2), pools={"blue:web": ("UP", {"m": "UP"})}))
    assert (told(picture)["m"], told(picture)["new"]) == ("ERROR", "ONLINE")


def test_news_without_end_do_not_make_a_picture_without_end() -> None:
    picture = seen({"p:web": ("UP", {"m": "UP"})})
    for number in range(60):
        many = {f"n{number}-{place}": "UP" for place in range(1000)}
        picture = merge(picture, message(2 + number, full=False, pools={"p:web": ("UP", many)}))
    assert WORDS_MAX - 1000 < len(picture.words) <= WORDS_MAX
    picture = merge(picture, message(100, full=False, pools={"p:web": ("UP", {"m": "DOWN"})}))
    assert told(picture)["m"] == "ERROR", "what is in it is still followed"


def test_a_report_that_comes_late_undoes_nothing() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP"})})
    picture = merge(picture, message(5, full=False, pools={"blue:web": ("DOWN", {"m": "DOWN"})}))
    late = merge(picture, message(3, full=False, running=False, pools={"blue:web": ("UP", {"m": "UP"})}))
    assert told(late) == told(picture)


def test_a_report_from_before_a_snapshot_brings_nothing_back() -> None:
    picture = merge(seen({"blue:web": ("UP", {"m": "UP"})}), message(5, listeners={"web": LISTENER}))
    late = merge(picture, message(4, full=False, pools={"blue:web": ("UP", {"m": "UP"})}))
    assert told(late) == {"web": "ONLINE", "lb": "ONLINE"}


def test_a_report_that_says_nothing_new_changes_nothing_and_costs_nothing() -> None:
    said = {"pools": {"blue:web": ("UP", {"m": "UP"})}, "listeners": {"web": LISTENER}}
    picture = merge(None, message(1, **said))
    again = merge(picture, message(2, **said))
    assert statuses(again) is statuses(picture)
    assert changes(statuses(picture), statuses(again)) == []


def test_news_read_in_the_same_moment_as_a_snapshot_is_kept() -> None:
    picture = seen({"blue:web": ("UP", {"m": "UP"})})
    picture = merge(picture, message(5, full=False, pools={"blue:web": ("UP", {"new": "DOWN"})}))
    snapshot = message(5, listeners={"web": LISTENER}, pools={"blue:web": ("UP", {"m": "UP"})})
    assert told(merge(picture, snapshot))["new"] == "ERROR"


def test_a_word_is_as_old_as_the_snapshot_it_came_with() -> None:
    picture = merge(seen({"blue:web": ("UP", {"m": "UP", "n": "UP"})}), message(2, full=False))
    picture = merge(picture, message(5, pools={"blue:web": ("UP", {"m": "UP", "n": "UP"})}))
    late = merge(picture, message(4, full=False, pools={"blue:web": ("UP", {"m": "DOWN"})}))
    news = merge(late, message(6, full=False, pools={"blue:web": ("UP", {"n": "DOWN"})}))
    assert (told(late)["m"], told(news)["m"], told(news)["n"]) == ("ONLINE", "ONLINE", "ERROR")


ORDER = st.permutations([
    message(1, pools={"blue:web": ("UP", {"m": "UP", "gone": "UP"})}, listeners={"web": LISTENER}),
    message(2, full=False, pools={"blue:web": ("UP", {"m": "DOWN"})}),
    message(3, part=(0, 2), listeners={"web": LISTENER}),
    message(3, part=(1, 2), pools={"blue:web": ("UP", {"m": "UP", "n": "UP"})}),
    message(4, full=False, pools={"blue:web": ("DOWN", {"m": "DOWN", "n": "DOWN"})}),
    message(5, full=False, running=False),
    message(6, full=False),
])  # fmt: skip


@given(ORDER)
def test_reports_mean_the_same_in_whatever_order_they_come(messages: list[dict[str, Any]]) -> None:
    picture: Picture | None = None
    for each in (*messages, *messages):
        picture = merge(picture, each)
    assert picture is not None
    assert told(picture) == {"m": "ERROR", "n": "ERROR", "blue": "ERROR", "web": "ONLINE", "lb": "ERROR"}


def test_of_several_amphorae_the_best_is_shown() -> None:
    good, bad = seen({"blue:web": ("UP", {"m": "UP"})}), seen({"blue:web": ("DOWN", {"m": "DOWN"})})
    assert together([statuses(bad), statuses(good)]) == statuses(good)
    assert together([]) == {}
