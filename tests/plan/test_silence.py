# SPDX-License-Identifier: Apache-2.0
"""Installations played on paper: hosts beat every second, die, are cut off, come back; a judge looks four times a
second."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.plan import silence
from caryatid.plan.silence import AGAIN_S, AGENT_S, STALE_S, WINDOW_S, Answer, Hearing, Memory, excused, look, told

PERIOD_S = 0.25
ASKING_S = 0.5


@dataclass
class Town:
    """Hosts, and what the judge has said of them so far."""

    size: int
    now: float = 0.0
    memory: Memory = field(default_factory=lambda: Memory(floor=0.0))
    dead: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    """Their reports do not arrive, but they answer."""
    cut: bool = False
    """We hear and reach nobody; hosts reach each other."""
    fault: str = ""
    lifted: bool = False
    heard: dict[str, float] = field(default_factory=dict)
    asking: dict[str, Answer] = field(default_factory=dict)
    news: list[tuple[str, str]] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    lost_at: dict[str, float] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    """Their machines live, and refuse connections: their agents are gone."""

    @property
    def hosts(self) -> list[str]:
        return [f"h{number}" for number in range(self.size)]

    @property
    def lost(self) -> list[str]:
        return [host for word, host in self.news if word == "lost"]

    def speaks(self, host: str) -> bool:
        return host not in self.dead and host not in self.mute and not self.cut

    def run(self, seconds: float) -> "Town":
        end = self.now + seconds
        while self.now < end:
            self.turn()
        return self

    def turn(self) -> None:
        self.now += PERIOD_S
        for number, host in enumerate(self.hosts):
            beats = (self.now + number * PERIOD_S) % 1.0 < PERIOD_S / 2
            if beats and self.speaks(host):
                self.heard[host] = self.now
        hearing = Hearing(self.hosts, dict(self.heard), self.fault, self.lifted)
        done = {host: answer for host, answer in self.asking.items() if answer.ended <= self.now}
        self.asking = {host: answer for host, answer in self.asking.items() if host not in done}
        found = look(told(self.memory, done), hearing, self.now)
        self.memory = found.memory
        for host in found.suspects:
            self.asking.setdefault(host, self.answer(host, hearing))
        self.news += [(word, host) for word in ("silent", "lost", "back") for host in getattr(found, word)]
        self.lost_at |= dict.fromkeys(found.lost, self.now)
        self.frozen.append(self.memory.frozen)

    def answer(self, host: str, hearing: Hearing) -> Answer:
        others = silence.others(host, hearing, self.now)
        asked = [] if self.cut else [h for h in others if h not in self.dead]
        direct = host not in self.dead and not self.cut
        said = tuple(host not in self.dead for _ in asked)
        return Answer(self.now, self.now + ASKING_S, direct, said, asked=len(others), refused=host in self.refusing)


def town(size: int) -> Town:
    return Town(size).run(10)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_host_that_dies_is_lost_within_four_seconds_and_once(size):
    place = town(size)
    place.dead.add("h0")
    died = place.now
    place.run(60)
    assert place.news == [("silent", "h0"), ("lost", "h0")]
    assert place.lost_at["h0"] - died <= 4.0


def test_a_host_whose_agent_answers_is_not_lost_however_silent_it_is():
    place = town(3)
    place.mute.add("h1")
    place.run(120)
    assert place.news == [("silent", "h1")]


def test_an_agent_whose_machine_lives_is_given_time_to_come_back():
    place = town(3)
    place.dead.add("h1")
    place.refusing.add("h1")
    assert place.run(AGENT_S - 2).lost == []
    assert place.run(5).lost == ["h1"]


def test_a_host_that_only_others_reach_is_not_lost():
    hearing = Hearing(["a", "b"], {"a": 0.0, "b": 5.0})
    memory = told(Memory(0.0, met={"a": 0.0, "b": 0.0}), {"a": Answer(2.5, 3.0, direct=False, others=(False, True))})
    assert look(memory, hearing, 5.0).lost == []


def test_a_host_of_which_nobody_could_be_asked_is_not_lost():
    hosts = ["a", "b"]
    memory = told(Memory(0.0, met=dict.fromkeys(hosts, 0.0)), {"a": Answer(2.5, 3.0, direct=False)})
    assert look(memory, Hearing(hosts, {"a": 0.0, "b": 5.0}), 5.0).lost == []


def test_the_last_host_is_never_lost_for_nobody_could_take_its_amphorae():
    place = town(1)
    place.dead.add("h0")
    assert place.run(60).news == [("silent", "h0")]


@pytest.mark.parametrize(("answered", "lost"), [(1, []), (2, ["a"]), (3, ["a"])])
def test_a_host_is_not_lost_while_half_of_the_others_do_not_answer_either(answered, lost):
    """Its word was delayed, as on a busy machine: it is stale while those that fell silent with it are not yet late."""
    hosts = ["a", "b", "c", "d"]
    memory = Memory(0.0, met=dict.fromkeys(hosts, 0.0))
    answer = Answer(2.0, 3.0, direct=False, others=(False,) * answered, asked=3)
    hearing = Hearing(hosts, {"a": 0.0, "b": 2.1, "c": 2.1, "d": 2.9})
    assert look(told(memory, {"a": answer}), hearing, 3.1).lost == lost


@pytest.mark.parametrize("share", [5, 6, 10])
def test_when_half_of_the_hosts_fall_silent_together_none_is_lost_and_recovery_lifts_the_freeze(share):
    place = town(10)
    place.dead |= set(place.hosts[:share])
    place.run(300)
    assert place.lost == []
    assert place.frozen[-1] == "mass"
    place.dead.clear()
    place.run(2 * STALE_S)
    assert place.lost == []
    assert place.frozen[-1] == ""
    place.dead.add("h3")
    place.run(5)
    assert place.lost == ["h3"], "afterwards it judges as before"


def test_when_we_are_cut_off_nobody_is_lost_nor_when_we_are_back():
    place = town(4)
    place.cut = True
    place.run(100)
    place.cut = False
    place.run(20)
    assert place.lost == []
    assert place.frozen[-1] == ""


def test_one_dead_host_does_not_keep_another_from_being_lost_later():
    place = town(3)
    place.dead.add("h0")
    place.run(WINDOW_S + 10)
    place.dead.add("h1")
    place.run(5)
    assert place.lost == ["h0", "h1"]


def test_hosts_that_fall_one_after_another_are_stopped_at_the_half():
    place = town(10)
    for host in place.hosts:
        place.dead.add(host)
        place.run(1.5)
    place.run(STALE_S)
    assert len(place.lost) < 5
    assert place.frozen[-1] == "mass"


@pytest.mark.parametrize("seconds", [0.25, 30])
def test_after_a_fault_of_ours_nobody_is_lost_before_a_whole_interval(seconds):
    place = town(3)
    place.dead.add("h0")
    place.run(2)
    place.fault = "the database does not answer"
    place.run(seconds)
    assert place.frozen[-1] == "own"
    place.fault = ""
    well = place.now
    place.run(20)
    assert place.lost == ["h0"]
    assert place.lost_at["h0"] - well >= STALE_S


def test_after_a_start_nobody_is_lost_before_a_whole_interval():
    place = Town(3, dead={"h0"})
    place.run(20)
    assert place.lost == ["h0"]
    assert place.lost_at["h0"] >= STALE_S


def test_a_new_host_has_time_to_speak_first():
    place = town(2)
    place.size = 3
    place.dead.add("h2")
    came = place.now
    place.run(10)
    assert place.lost_at["h2"] - came >= STALE_S


def test_a_host_that_speaks_again_is_alive_at_once():
    place = town(3)
    place.dead.add("h0")
    place.run(20)
    place.dead.clear()
    place.run(1.5)
    assert place.news == [("silent", "h0"), ("lost", "h0"), ("back", "h0")]
    assert place.memory.lost == {}


def test_a_host_that_excused_itself_is_waited_for():
    place = town(3)
    place.dead.add("h0")
    place.heard["h0"] = excused(place.now, 30)
    place.run(25)
    assert place.news == []
    place.run(10 + AGAIN_S)
    assert place.lost == ["h0"]


def test_the_operator_may_say_that_all_who_are_silent_are_dead():
    place = town(4)
    place.dead |= {"h0", "h1"}
    place.run(20)
    assert place.lost == []
    place.lifted = True
    place.run(10)
    assert sorted(place.lost) == ["h0", "h1"]


def test_a_host_that_is_no_longer_ours_is_forgotten():
    place = town(3)
    place.dead.add("h2")
    place.run(10)
    place.size = 2
    place.run(1)
    assert place.memory.lost == {}
    assert set(place.memory.met) == {"h0", "h1"}


ACTS = st.lists(
    st.tuples(st.sampled_from(["die", "live", "mute", "heal", "cut", "join", "ill", "well"]), st.integers(0, 7),
              st.sampled_from([0.5, 1.0, 3.0, 6.0, 40.0])),
    max_size=25,
)  # fmt: skip


@settings(deadline=None)  # of time: the machine may be busy
@given(size=st.integers(1, 8), acts=ACTS)
def test_whatever_happens_only_the_dead_are_lost_each_once_a_death(size, acts):
    place = town(size)
    for act, number, seconds in acts:
        host = f"h{number % size}"
        match act:
            case "die":
                place.dead.add(host)
            case "live":
                place.dead.discard(host)
            case "mute":
                place.mute.add(host)
            case "heal":
                place.mute.discard(host)
            case "cut" | "join":
                place.cut = act == "cut" and size > 1
            case _:
                place.fault = "late" if act == "ill" else ""
        before = len(place.news)
        place.run(seconds)
        assert {h for word, h in place.news[before:] if word == "lost"} <= place.dead | {host}
    counts = {h: [word for word, of in place.news if of == h and word != "silent"] for h in place.hosts}
    for words in counts.values():
        assert all(word == ("lost", "back")[index % 2] for index, word in enumerate(words)), words


@settings(deadline=None)  # of time: the machine may be busy
@given(size=st.integers(2, 12), share=st.floats(0.5, 1.0), spread=st.floats(0, 1.0), rest=st.floats(10, 100))
def test_no_mass_silence_ever_loses_a_host(size, share, spread, rest):
    place = town(size)
    falling = place.hosts[: max(2, round(size * share + 0.49))]
    for host in falling:
        place.dead.add(host)
        place.run(spread / len(falling)) if spread > PERIOD_S else None
    place.run(rest)
    assert place.lost == []
    place.dead.clear()
    place.run(3 * STALE_S)
    assert place.frozen[-1] == ""
    assert place.lost == []
