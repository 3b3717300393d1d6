# SPDX-License-Identifier: Apache-2.0
"""Rise and fall, for all sequences of results."""

from hypothesis import given
from hypothesis import strategies as st

from caryatid.checker.rising import Course

RESULTS = st.lists(st.booleans(), max_size=60)
COUNTS = st.integers(1, 20)
WORDS = st.sampled_from([None, "UP", "DOWN"])


def ends_with(results, what, times):
    return len(results) >= times and all(result is what for result in results[-times:])


@given(WORDS, RESULTS, COUNTS, COUNTS)
def test_a_word_flips_exactly_when_enough_results_in_a_row_speak_against_it(word, results, rise, fall):
    course = Course(word)
    for number, up in enumerate(results, 1):
        before, so_far = course.word, results[:number]
        flipped = course.take(up=up, rise=rise, fall=fall)
        assert flipped == (course.word != before)
        if ends_with(so_far, False, fall):
            assert course.word == "DOWN"
        elif ends_with(so_far, True, rise) or (before is None and up):
            assert course.word == "UP"
        else:
            assert course.word == before
        assert (course.against == 0) == (flipped or before == ("UP" if up else "DOWN"))


@given(RESULTS, COUNTS, COUNTS)
def test_nothing_is_said_before_a_success_or_enough_failures(results, rise, fall):
    course = Course()
    for up in results:
        course.take(up=up, rise=rise, fall=fall)
    assert (course.word is None) == (not any(results) and len(results) < fall)
