# SPDX-License-Identifier: Apache-2.0
"""RRsets of PowerDNS that say what names answer: from what is there to what has to be changed. Pure.

What every DNS server can say is an RRset; what depends on the client or on chance is a LUA record, of which a name has
one RRset for all types together. Our marks (`drivers/dns/static.py`) are comments of the RRset that they are about:

    www.example.test.  A    192.0.2.1               ; caryatid1 type=A generation=7 digest=…
    api.example.test.  LUA  A "…"                   ; caryatid1 type=A generation=9 digest=…
                            AAAA "…"                ; caryatid1 type=AAAA generation=8 digest=…
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from caryatid.model.gslb.answers import Answers
from caryatid.plan.steering import needed

from .base import Publication
from .lua import UnsayableError, content_of, record
from .static import Mark, Refusals

ACCOUNT = "caryatid"
LUA = "LUA"
Rrset = dict[str, Any]


@dataclass(frozen=True)
class Able:
    """What a server can do."""

    lua: bool = True
    geo: bool = False
    """It has data about where clients are."""
    no_lua: str = "the backend's option lua is off"
    """Why not, if not."""


@dataclass
class Held:
    """What a server has at a name."""

    types: dict[str, list[str]] = field(default_factory=dict)
    """Contents of its records, by type."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """Ours, by the type that is answered."""
    lua_ttl: int = 0

    def take(self, rrtype: str, *, contents: Iterable[str] = (), comments: Iterable[str] = (), ttl: int = 0) -> None:
        if contents := list(contents):
            self.types.setdefault(rrtype, []).extend(contents)
            self.lua_ttl = ttl if rrtype == LUA else self.lua_ttl
        for comment in comments:
            if mark := Mark.read(comment):
                self.marks[mark.rrtype] = mark

    @property
    def answered(self) -> frozenset[str]:
        """All types that somebody is answered."""
        return frozenset(self.types) - {LUA} | {kind(content) for content in self.types.get(LUA, ())}


def kind(content: str) -> str:
    """The type that a LUA record answers."""
    return content.partition(" ")[0]


class Said(NamedTuple):
    """A publication, and how it is said."""

    wanted: Publication
    rrtype: str = ""
    """The RRset's; none: there shall be nothing."""
    contents: Sequence[str] = ()
    mark: Mark | None = None


def changes(fqdn: str, wanted: Sequence[Publication], held: Held, able: Able, refusals: Refusals) -> Sequence[Rrset]:
    """What is to be changed at the name; what cannot be is refused."""
    timely = [each for each in wanted if _timely(each, held, refusals)]
    said = [each for wish in timely if (each := _said(wish, able, refusals))]
    ours = held.types.keys() | held.marks.keys()
    found: list[Rrset] = [
        _rrset(fqdn, each.rrtype, each.wanted.answers.ttl, each.contents, [each.mark])
        for each in said
        if each.wanted.answers and each.mark and each.rrtype != LUA
    ]
    found += [
        {"name": fqdn, "type": each.wanted.rrtype, "changetype": "DELETE"}
        for each in said
        if each.wanted.rrtype in ours and each.rrtype != each.wanted.rrtype
    ]
    found += _lua(fqdn, said, held)
    return sorted(found, key=lambda rrset: rrset["changetype"])  # what goes makes room


def _timely(each: Publication, held: Held, refusals: Refusals) -> bool:
    """It is not too late, and replaces nothing that somebody else made."""
    if refusals.overtaken(each, held.marks.get(each.rrtype)):
        return False
    if each.answers is None:
        return each.rrtype in held.marks
    strangers = held.answered - held.marks.keys()
    in_the_way = strangers if each.rrtype == "CNAME" else strangers & {each.rrtype, "CNAME"}
    if in_the_way:
        refusals.add(
            f"{each.fqdn} has {', '.join(sorted(in_the_way))} that somebody else made: it is left alone.", each
        )
    return not in_the_way


def _said(each: Publication, able: Able, refusals: Refusals) -> Said | None:
    """None: it cannot be said, and is refused."""
    if each.answers is None:
        return Said(each)
    try:
        rrtype, contents = _records(each.answers, able)
    except UnsayableError as error:
        refusals.add(f"{each.fqdn} {each.rrtype} cannot be published: {error}", each)
        return None
    return Said(each, rrtype, contents, Mark.of(each.rrtype, each.generation, each.answers))


def _records(answers: Answers, able: Able) -> tuple[str, Sequence[str]]:
    """Type and contents of the RRset that says it. Raises UnsayableError."""
    candidates = answers.default.candidates
    if answers.is_plain and (candidates or not able.lua):
        return answers.rrtype, list(dict.fromkeys(content_of(answers.rrtype, each.content) for each in candidates))
    if not able.lua:
        words = ", ".join(sorted(needed(answers)))
        raise UnsayableError(f"{words} takes LUA records, and {able.no_lua}.")
    if not able.geo and _goes_by_places(answers):
        raise UnsayableError("it goes by where clients are; the backend's option geo says that nobody knows it there.")
    return LUA, [record(answers)]  # also of nothing at all, so that the name is there (NODATA)


def _goes_by_places(answers: Answers) -> bool:
    clients = [variant.clients for variant in answers.variants]
    choices = [answers.default, *(variant.choice for variant in answers.variants)]
    placed = any(each.countries or each.continents or each.asns or each.near for each in clients)
    return placed or any(choice.way == "nearest" for choice in choices)


def _lua(fqdn: str, said: Sequence[Said], held: Held) -> Sequence[Rrset]:
    """The change of the name's LUA records, if there is one."""
    named = {each.wanted.rrtype for each in said}
    before = held.types.get(LUA, [])
    kept = [content for content in before if kind(content) not in named]
    new = [each for each in said if each.rrtype == LUA]
    if not new and len(kept) == len(before):
        return []
    if not new and not kept:
        return [{"name": fqdn, "type": LUA, "changetype": "DELETE"}]
    kinds = {kind(content) for content in kept}
    marks = [mark for rrtype, mark in held.marks.items() if rrtype in kinds]
    marks += [each.mark for each in new if each.mark]
    ttls = [each.wanted.answers.ttl for each in new if each.wanted.answers]
    contents = [*kept, *(content for each in new for content in each.contents)]
    return [_rrset(fqdn, LUA, min(ttls, default=held.lua_ttl), contents, marks)]


def _rrset(fqdn: str, rrtype: str, ttl: int, contents: Sequence[str], marks: Sequence[Mark]) -> Rrset:
    return {
        "name": fqdn,
        "type": rrtype,
        "ttl": ttl,
        "changetype": "REPLACE",
        "records": [{"content": content, "disabled": False} for content in contents],
        "comments": [{"content": str(mark), "account": ACCOUNT} for mark in marks],
    }
