# SPDX-License-Identifier: Apache-2.0
"""What drivers share whose servers hold nothing but RRsets: how ours are marked, and what an RRset cannot say."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from caryatid.model.gslb.answers import Answers
from caryatid.model.gslb.words import SteeringPolicy
from caryatid.plan.steering import digest, needed

from .base import DnsRefusedError, Publication, Published

POLICIES: frozenset[SteeringPolicy] = frozenset({"failover", "multivalue"})
VERSION = "caryatid1"
"""What a mark begins with; another form would have another number."""
MARK = re.compile(rf"{VERSION} type=(A|AAAA|CNAME) generation=(\d{{1,18}}) digest=([0-9a-f]{{8,64}})")
SENTENCES_MAX = 5
"""About what is refused; of the others the number is said."""


@dataclass(frozen=True)
class Mark:
    """Kept by a server beside an RRset of ours. Whatever carries none was made by somebody else."""

    rrtype: str
    generation: int
    digest: str

    @classmethod
    def of(cls, rrtype: str, generation: int, answers: Answers) -> Self:
        return cls(rrtype, generation, digest(answers))

    @classmethod
    def read(cls, text: str) -> Self | None:
        found = MARK.fullmatch(text)
        return cls(found[1], int(found[2]), found[3]) if found else None

    def __str__(self) -> str:
        return f"{VERSION} type={self.rrtype} generation={self.generation} digest={self.digest}"

    def published(self, fqdn: str) -> Published:
        return Published(fqdn, self.rrtype, self.generation, self.digest)


class Refusals:
    """What cannot be done until somebody changes something, while all the rest is done."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], str] = {}

    def add(self, sentence: str, *refused: Publication) -> None:
        for each in refused:
            self._refused.setdefault((each.fqdn, each.rrtype), sentence)

    def end(self) -> None:
        """Raises DnsRefusedError if there was any."""
        if self._refused:
            sentences = list(dict.fromkeys(self._refused.values()))
            more = len(sentences) - SENTENCES_MAX
            rest = [f"(And {more} more.)"] if more > 0 else []
            raise DnsRefusedError(" ".join(sentences[:SENTENCES_MAX] + rest), self._refused)

    def overtaken(self, wanted: Publication, mark: Mark | None) -> bool:
        """Whether somebody has published a higher generation; then it is refused."""
        if mark is None or mark.generation <= wanted.generation:
            return False
        late = f"{wanted.fqdn} {wanted.rrtype} has generation {mark.generation}; {wanted.generation} comes too late."
        self.add(late, wanted)
        return True


def plain(wanted: Iterable[Publication], refusals: Refusals) -> Sequence[Publication]:
    """Those that an RRset can say."""
    fine = []
    for each in wanted:
        if each.answers is None or each.answers.is_plain:
            fine.append(each)
        else:
            refusals.add(_why_not(each, each.answers), each)
    return fine


def _why_not(wanted: Publication, answers: Answers) -> str:
    name, policies = f"{wanted.fqdn} {wanted.rrtype}", needed(answers)
    if policies <= POLICIES:
        found, most = len(answers.default.candidates), answers.default.count
        return f"{name} has {found} answers of which {most} are given at a time (max_answers): these servers give all."
    words, known = (", ".join(sorted(each)) for each in (policies - POLICIES, POLICIES))
    return f"{name} needs the policy {words}; servers that hold plain records can do {known}."
