# SPDX-License-Identifier: Apache-2.0
"""What regions say of one check, and what follows from it (facts: gslb.md §6.3).

    checkers of a region ──per_region──▶ the region's word ──quorum of the regions that spoke lately──▶ UP or DOWN

Silence is no word: a vote that has not been confirmed for three intervals and the timeout (one that users told: for
as long as its monitor says) does not count, neither for nor against. While fewer than half of the regions have said
anything lately nothing is decided anew, and `insufficient_data` says what holds. A tie leaves what was. The result is
a function of votes, of what was before, and of the moment; the order of votes is of no account. All times are seconds
since the epoch.

    check(monitor, votes, configured(monitor, regions), before, look) → CheckState
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from .gslb import Monitor, Region, Vote, Word

MISSED = 3
"""So many intervals in a row may pass without a sign that a vote still holds."""
REASONS_MAX = 3
"""Told in one sentence."""


class Look(NamedTuple):
    """A moment at which one looks."""

    now: float
    since: float = 0.0
    """Since when checkers can be heard (this installation was started, or its database came back). Until a whole
    interval has passed after it, silence is ours, and what was stands."""
    held: Collection[str] = frozenset()
    """Members that `plan/guard.py` keeps."""


class CheckState(NamedTuple):
    """What holds of a check of a member."""

    word: Word
    sufficient: bool
    """Enough regions have said so lately; else `word` is what was known last, or what `insufficient_data` says."""
    agreeing: int = 0
    """Regions that say the same."""
    fresh: int = 0
    """Regions that have said something lately."""
    configured: int = 0
    checkers: int = 0
    """Processes that say the same."""
    expires_at: float | None = None
    """When the first of the votes that count expires, if it is not confirmed before."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(region, reason) of those that say DOWN, in the order of the regions' ids."""
    told: bool = False
    """Users have said so: nobody's network is between, and no checker's fault."""

    @property
    def agreed(self) -> bool:
        """It is DOWN by more than the silence of others or one process alone (`plan/guard.py`)."""
        return self.sufficient and (self.told or self.checkers > 1) and 2 * self.fresh > self.configured

    def why(self, regions: Mapping[str, Region]) -> str:
        if not self.sufficient:
            few = 2 * self.fresh < self.configured or not self.fresh
            split = f"only {self.fresh} of {self.configured} regions have said anything lately"
            said = split if few else f"{self.fresh} of {self.configured} regions do not settle it"
            said = f"{said}; {self.word} stands" if self.word != "UNKNOWN" else said
            return self._with_reasons(said, regions)
        how = f"told for {self.agreeing} of {self.fresh} regions" if self.told else None
        said = f"{self.word} as {how or f'{self.agreeing} of {self.fresh} regions see it'}"
        if self.fresh < self.configured:
            said += f" ({self.configured - self.fresh} silent)"
        return self._with_reasons(said, regions)

    def _with_reasons(self, said: str, regions: Mapping[str, Region]) -> str:
        told = [f"{_name(regions, region)}: {reason}" for region, reason in self.reasons if reason]
        return f"{said}: {'; '.join(told[:REASONS_MAX])}" if told else said


def configured(monitor: Monitor, regions: Collection[str]) -> Collection[str]:
    """The regions that a monitor is made from, of all that are enabled."""
    return frozenset(monitor.regions).intersection(regions) if monitor.regions else regions


def good_s(monitor: Monitor) -> float:
    """For so long a vote counts after it was confirmed."""
    return monitor.told_s if monitor.told_s is not None else MISSED * monitor.interval_s + monitor.timeout_s


def check(monitor: Monitor, votes: Iterable[Vote], configured: Collection[str], before: Word, look: Look) -> CheckState:
    """What holds now; `before`: the `word` of last time, UNKNOWN if there was none.

    A vote from the future (a clock has been set back) counts as if it had just been confirmed.
    """
    now, lasts_s = look.now, good_s(monitor)
    first_out = now + lasts_s
    oldest = now - lasts_s
    words: dict[str, Word] = {}
    counted: list[Vote] = []
    crowded = False
    for vote in votes:
        confirmed = vote.confirmed_at
        region = vote.region_id
        if confirmed <= oldest or vote.word == "UNKNOWN" or region not in configured:
            continue
        first_out = min(first_out, confirmed + lasts_s)
        crowded = crowded or region in words
        words[region] = vote.word
        counted.append(vote)
    if crowded:
        words, counted = _by_region(monitor, counted)
    fresh, places = len(words), len(configured)
    if 2 * fresh < places or not fresh:
        word = _held(monitor, before, look)
        return CheckState(word, False, 0, fresh, places, 0, first_out if fresh else None)
    said = list(words.values())
    ups, downs = said.count("UP"), said.count("DOWN")
    decided = _quorum(monitor, ups, downs, fresh, places) or before
    agreeing = ups if decided == "UP" else downs
    if decided == "UNKNOWN" or (decided != before and 2 * agreeing <= places and _doubted(monitor, before, look)):
        return CheckState(before, False, 0, fresh, places, 0, first_out)
    if decided == "UP" and ups == fresh == len(counted):  # what is most often so
        return CheckState("UP", True, ups, fresh, places, fresh, first_out, (), monitor.told_s is not None)
    return _told(decided, words, counted, places, first_out)._replace(told=monitor.told_s is not None)


def beginning_ends(monitor: Monitor, look: Look) -> float:
    """A whole interval has passed then since we can hear."""
    return look.since + monitor.interval_s + monitor.timeout_s


def _name(regions: Mapping[str, Region], region_id: str) -> str:
    region = regions.get(region_id)
    return (region and region.name) or region_id


def _by_region(monitor: Monitor, votes: Sequence[Vote]) -> tuple[dict[str, Word], list[Vote]]:
    """Each region's one word, UNKNOWN if it is of two minds, and the votes that count: the latest of a checker."""
    latest: dict[tuple[str, str], Vote] = {}
    for vote in votes:
        other = latest.get((vote.region_id, vote.checker))
        if other is None or (vote.at, vote.confirmed_at, vote.word) > (other.at, other.confirmed_at, other.word):
            latest[vote.region_id, vote.checker] = vote
    heard: dict[str, list[Word]] = {}
    for vote in latest.values():
        heard.setdefault(vote.region_id, []).append(vote.word)
    return {region: _one_word(monitor.per_region, said) for region, said in heard.items()}, list(latest.values())


def _one_word(rule: str, said: Sequence[Word]) -> Word:
    ups = said.count("UP")
    if rule == "any":
        return "UP" if ups else "DOWN"
    if rule == "all":
        return "UP" if ups == len(said) else "DOWN"
    return "UNKNOWN" if 2 * ups == len(said) else "UP" if 2 * ups > len(said) else "DOWN"


def _quorum(monitor: Monitor, ups: int, downs: int, fresh: int, places: int) -> Word | None:
    """None: neither; those who are of two minds, or, for `count`, silent, make the difference."""
    match monitor.quorum:
        case "majority":
            return "UP" if 2 * ups > fresh else "DOWN" if 2 * downs > fresh else None
        case "any":
            return "UP" if ups else "DOWN" if downs == fresh else None
        case "all":
            return "DOWN" if downs else "UP" if ups == fresh else None
        case "percent":
            wanted, of = monitor.quorum_value * fresh, 100
        case "count":
            wanted, of, fresh = min(monitor.quorum_value, places), 1, places
    return "UP" if of * ups >= wanted else "DOWN" if of * (fresh - downs) < wanted else None


def _held(monitor: Monitor, before: Word, look: Look) -> Word:
    """What holds while too few have said anything."""
    if monitor.insufficient_data == "last_known" or (before != "UNKNOWN" and look.now < beginning_ends(monitor, look)):
        return before
    return "UP" if monitor.insufficient_data == "healthy" else "DOWN"


def _doubted(monitor: Monitor, before: Word, look: Look) -> bool:
    """Just begun, only what most of all regions agree on changes what was: the others may not have spoken yet."""
    return before != "UNKNOWN" and look.now < beginning_ends(monitor, look)


def _told(word: Word, words: dict[str, Word], votes: Sequence[Vote], places: int, first_out: float) -> CheckState:
    agreeing = sum(said == word for said in words.values())
    checkers = {vote.checker for vote in votes if vote.word == word}
    reasons = sorted({(vote.region_id, vote.reason) for vote in votes if vote.word == "DOWN"})
    return CheckState(word, True, agreeing, len(words), places, len(checkers), first_out, tuple(reasons))
