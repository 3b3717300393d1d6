# SPDX-License-Identifier: Apache-2.0
"""What hosts have is compared with what should be there; what is half known is not judged."""

import pytest

from caryatid.plan.drift import Expected, Found, drift

FINE = Expected("h1", "lb", 7, settled=True)
THERE = Found("a", "lb", 7, settled=True)


def judged(found, before, after=None, buried=()):
    after = before if after is None else after
    return drift(found, {"a": before} if before else {}, {"a": after} if after else {}, buried)


def test_what_is_as_it_should_be_is_left_alone():
    assert judged({"h1": [THERE]}, FINE) == ([], {})


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "missing"),
        ([THERE._replace(generation=6)], "generation 6 instead of 7"),
        ([THERE._replace(generation=8)], "generation 8 instead of 7"),
        ([THERE._replace(settled=False)], "does not know what it runs"),
    ],
)
def test_what_is_not_is_looked_at(found, why):
    assert why in judged({"h1": found}, FINE).due["lb"]


def test_a_host_that_does_not_answer_lacks_nothing():
    assert judged({"h2": []}, FINE) == ([], {})


def test_nothing_is_missed_while_somebody_works_on_it_or_has_just_done_so():
    busy = FINE._replace(settled=False)
    for before, after in ((busy, busy), (FINE, busy), (busy, FINE), (FINE._replace(generation=6), FINE)):
        assert judged({"h1": []}, before, after).due == {}


def test_what_nobody_knows_is_an_orphan_and_so_is_what_belongs_elsewhere():
    assert [orphan.host_id for orphan in judged({"h1": [THERE]}, None).orphans] == ["h1"]
    elsewhere = judged({"h1": [THERE], "h2": [THERE]}, FINE)
    assert [orphan.host_id for orphan in elsewhere.orphans] == ["h2"]


@pytest.mark.parametrize(
    ("before", "after"), [(FINE, None), (None, FINE), (FINE._replace(host_id=None), FINE._replace(host_id=None))]
)
def test_what_was_just_made_or_removed_or_has_no_place_yet_is_no_orphan(before, after):
    seen = drift({"h1": [THERE]}, {"a": before} if before else {}, {"a": after} if after else {}, ())
    assert seen.orphans == []


def test_what_is_being_removed_already_is_no_orphan():
    assert judged({"h1": [THERE]}, None, buried={"a"}).orphans == []
