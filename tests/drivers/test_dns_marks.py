# SPDX-License-Identifier: Apache-2.0
"""What is ours is told from what is not by marks alone; options of backends come as JSON, or as words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caryatid.drivers.dns.base import Backend, DnsRefusedError, Publication
from caryatid.drivers.dns.options import flag, seconds
from caryatid.drivers.dns.static import SENTENCES_MAX, Mark, Refusals
from caryatid.model.gslb.answers import Answers

NAME = "www.example.test."
DESCRIPTION_MAX = 160
"""Of a Designate's recordset."""


@given(st.sampled_from(["A", "AAAA", "CNAME"]), st.integers(0, 10**18 - 1))
def test_a_mark_is_read_as_it_was_written_and_fits_wherever_it_is_kept(rrtype, generation):
    mark = Mark.of(rrtype, generation, Answers(NAME, rrtype, 30))
    assert Mark.read(str(mark)) == mark
    assert len(str(mark)) <= DESCRIPTION_MAX


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=spf1 -all",
        "caryatid1",
        "caryatid2 type=A generation=1 digest=0123456789abcdef",
        "caryatid1 type=MX generation=1 digest=0123456789abcdef",
        "caryatid1 type=A generation=-1 digest=0123456789abcdef",
        "caryatid1 type=A generation=1 digest=0123456789abcdef and more",
        "caryatid1 type=A generation=1 digest=0123456789abcdef\n",
        " caryatid1 type=A generation=1 digest=0123456789abcdef",
    ],
)
def test_what_is_no_mark_is_somebody_elses(text):
    assert Mark.read(text) is None


def test_only_a_higher_generation_overtakes():
    refusals = Refusals()
    wanted = Publication(None, NAME, "A", 7)
    assert not refusals.overtaken(wanted, None)
    assert not refusals.overtaken(wanted, Mark("A", 7, "0123456789abcdef"))
    refusals.end()
    assert refusals.overtaken(wanted, Mark("A", 8, "0123456789abcdef"))
    with pytest.raises(DnsRefusedError, match="has generation 8"):
        refusals.end()


def test_many_refusals_are_one_short_sentence_after_the_other():
    refusals = Refusals()
    for number in range(100):
        refusals.add(f"Name {number}.", Publication(None, f"n{number}.example.test.", "A", 1))
    with pytest.raises(DnsRefusedError, match=rf"^Name 0\..*\(And {100 - SENTENCES_MAX} more\.\)$") as refused:
        refusals.end()
    assert refused.value.refused["n99.example.test.", "A"] == "Name 99."


@pytest.mark.parametrize(("given", "read"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_a_flag_is_a_flag_or_its_word(given, read):
    assert flag(Backend("b", options={"lua": given}), "lua", default=not read) is read


@pytest.mark.parametrize(("given", "read"), [(0, 0), (1.5, 1.5), ("30", 30), ("0.5", 0.5)])
def test_seconds_are_a_number_or_its_words(given, read):
    assert seconds(Backend("b", options={"patience_s": given}), "patience_s", 3) == read


@pytest.mark.parametrize("given", [True, -1, 601, "soon", "nan", None, [], {}])
def test_what_is_neither_is_refused(given):
    backend = Backend("b", options={"option": given})
    with pytest.raises(DnsRefusedError, match="option"):
        seconds(backend, "option", 3)
    if given is not True:
        with pytest.raises(DnsRefusedError, match="option"):
            flag(backend, "option", default=True)
