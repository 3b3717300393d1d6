# SPDX-License-Identifier: Apache-2.0
"""From what agents report to operating statuses (facts: octavia.md §1.7, §1.12).

Reports come as datagrams: late, twice, out of order, or not at all; a snapshot comes in parts. A picture therefore
remembers when each word in it was read, a later word wins, and only a snapshot of which all parts have come says that
something is no longer there. Statuses of health monitors are those of their pools.

Thousands of messages a second come here, and most say nothing new: what stays as it was is not copied.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from caryatid.model.status import OperatingStatus

Kind = Literal["loadbalancer", "listener", "pool", "member"]
Statuses = Mapping[tuple[Kind, str], OperatingStatus]
Message = Mapping[str, Any]
"""What one amphora looks like, or a part of it: `AmphoraMessage` in `wire/heartbeat.py`."""
Key = tuple[str, ...]
"""(listener,), (pool, listener) or (pool, listener, member)."""

LISTENER: dict[str, OperatingStatus] = {"OPEN": "ONLINE", "FULL": "DEGRADED"}
POOL: dict[str, OperatingStatus] = {"UP": "ONLINE", "DOWN": "ERROR"}
MEMBER: dict[str, OperatingStatus] = {
    "UP": "ONLINE",
    "DOWN": "ERROR",
    "DRAIN": "DRAINING",
    "MAINT": "OFFLINE",
    "no check": "NO_MONITOR",
}
WORST_FIRST: tuple[OperatingStatus, ...] = ("ERROR", "DEGRADED", "OFFLINE", "DRAINING", "NO_MONITOR", "ONLINE")
"""A pool may be a backend of several listeners, which may see a member differently: what is worst is shown."""
RANK: dict[OperatingStatus, int] = {status: rank for rank, status in enumerate(WORST_FIRST)}


WORDS_MAX = 50_000
"""Of an amphora: many times what the largest load balancer has. Whoever says more is not heard about the rest."""


class Picture(NamedTuple):
    """What one amphora was last heard to look like."""

    amphora_id: str
    loadbalancer_id: str
    generation: int = 0
    """Of the configuration in effect."""
    running: bool = True
    heard_at: int = 0
    """When the latest message was read."""
    words: Mapping[Key, str] = {}
    since: int = 0
    """When the latest snapshot that came whole was read: no word is older."""
    read_at: Mapping[Key, int] = {}
    """When words were read that are not of that snapshot."""
    snapshot: tuple[int, frozenset[int]] = (0, frozenset())
    """The latest snapshot that began to come: when it was read, and which of its parts are here."""
    whole: bool = False
    """A snapshot has come whole. Until then what is not in the picture may be there all the same."""
    statuses: Statuses = {}


def merge(picture: Picture | None, message: Message) -> Picture:
    """The picture with the message in it."""
    at = message["at"]
    old = picture or Picture(message["amphora_id"], message["loadbalancer_id"])
    said = dict(_words(message))
    after = _snapshot(old, message, said) if message["full"] and message["running"] else _updated(old, said, at)
    running = message["running"] if at >= old.heard_at else old.running
    same = picture is not None and after.words is old.words and running == old.running
    return after._replace(
        generation=max(old.generation, message["generation"]),
        running=running,
        heard_at=max(at, old.heard_at),
        statuses=old.statuses if same else _judge(old.loadbalancer_id, after.words, running=running),
    )


def statuses(picture: Picture, *, enabled: bool = True) -> Statuses:
    """What the picture means; `enabled`: the load balancer's admin_state_up."""
    if enabled:
        return picture.statuses
    return {**picture.statuses, ("loadbalancer", picture.loadbalancer_id): "OFFLINE"}


def together(pictures: Iterable[Statuses]) -> Statuses:
    """The statuses of a load balancer that several amphorae serve: of each object, the best."""
    best: dict[tuple[Kind, str], OperatingStatus] = {}
    for seen in pictures:
        for key, status in seen.items():
            if key not in best or RANK[status] > RANK[best[key]]:
                best[key] = status
    return best


def changes(before: Statuses, after: Statuses) -> list[tuple[Kind, str, OperatingStatus]]:
    """What is to be written. What is no longer seen is OFFLINE, but for members that nobody checks."""
    if before is after:
        return []
    changed = [(*key, status) for key, status in after.items() if before.get(key) != status]
    gone = [
        (*key, "OFFLINE")
        for key, status in before.items()
        if key not in after and status not in ("OFFLINE", "NO_MONITOR")
    ]
    return changed + gone  # type: ignore[operator]


def certain(before: Statuses, pictures: Sequence[Picture]) -> list[tuple[Kind, str, OperatingStatus]]:
    """The changes that can be told from pictures that may not be whole: until they are, nobody is missed, and what
    depends on all that is below it waits. A process that is gone is gone: what it saw last says nothing as long as
    another lives.
    """
    pictures = [picture for picture in pictures if picture.running] or pictures
    after = together(statuses(picture) for picture in pictures)
    if all(picture.whole for picture in pictures):
        return changes(before, after)
    dead = not any(picture.running for picture in pictures)
    kinds = ("member", "listener", "loadbalancer") if dead else ("member", "listener")
    seen = {key: status for key, status in after.items() if key[0] in kinds}
    return changes({key: before[key] for key in seen if key in before}, seen)


def _words(message: Message) -> Iterator[tuple[Key, str]]:
    for listener, (word, *_) in message.get("listeners", {}).items():
        yield (listener,), word
    for backend, (word, members) in message.get("pools", {}).items():
        key = tuple(backend.split(":"))
        yield key, word
        for member, said in members.items():
            yield (*key, member), said


def _snapshot(old: Picture, message: Message, said: Mapping[Key, str]) -> Picture:
    """With a snapshot, or a part of it. What is not named is gone once all parts are here."""
    at, (number, count) = message["at"], message["part"]
    if count == 1 and at > old.heard_at:  # all in the picture is older: this is the picture now
        words = old.words if said == old.words else said
        return old._replace(words=words, since=at, read_at={}, snapshot=(at, frozenset((number,))), whole=True)
    after = _updated(old, said, at)
    if at < old.snapshot[0]:
        return after
    parts = (old.snapshot[1] if at == old.snapshot[0] else frozenset()) | {number}
    after = after._replace(snapshot=(at, parts))
    return _pruned(after, at)._replace(whole=True) if len(parts) == count else after


def _updated(old: Picture, said: Mapping[Key, str], at: int) -> Picture:
    """With words read `at`; the very same words if nothing else is said."""
    fresh = {key: word for key, word in said.items() if old.read_at.get(key, old.since) <= at}
    if at < old.snapshot[0]:  # a word that a later snapshot no longer has does not come back
        fresh = {key: word for key, word in fresh.items() if key in old.words}
    if len(old.words) + len(fresh) > WORDS_MAX:
        fresh = {key: word for key, word in fresh.items() if key in old.words}
    if not fresh:
        return old
    different = any(old.words.get(key) != word for key, word in fresh.items())
    words = {**old.words, **fresh} if different else old.words
    return old._replace(words=words, read_at={**old.read_at, **dict.fromkeys(fresh, at)})


def _pruned(old: Picture, at: int) -> Picture:
    """Without what a complete snapshot read `at` did not name, nor anybody since."""
    kept = old.words if at <= old.since else {key for key in old.words if old.read_at.get(key, old.since) >= at}
    words = old.words if len(kept) == len(old.words) else {key: old.words[key] for key in kept}
    since = max(at, old.since)
    return old._replace(words=words, since=since, read_at={k: t for k, t in old.read_at.items() if t > since})


def _judge(loadbalancer_id: str, words: Mapping[Key, str], *, running: bool) -> Statuses:
    found: dict[tuple[Kind, str], OperatingStatus] = {}
    hurt = set()
    for key, word in words.items():
        match key:
            case (listener,):
                found["listener", listener] = LISTENER.get(word, "ERROR") if running else "ERROR"
            case (pool, _):
                _worsen(found, ("pool", pool), POOL.get(word, "ERROR"))
            case _:
                pool, _, member = key
                status = MEMBER.get(word, "ERROR")
                _worsen(found, ("member", member), status)
                if status == "ERROR":
                    hurt.add(pool)
    for pool in hurt:
        _worsen(found, ("pool", pool), "DEGRADED")
    below = {status for (kind, _), status in found.items() if kind in ("listener", "pool")}
    whole: OperatingStatus = "ERROR" if "ERROR" in below or not running else "ONLINE"
    if whole == "ONLINE" and "DEGRADED" in below:
        whole = "DEGRADED"
    found["loadbalancer", loadbalancer_id] = whole
    return found


def _worsen(found: dict[tuple[Kind, str], OperatingStatus], key: tuple[Kind, str], status: OperatingStatus) -> None:
    if key not in found or RANK[status] < RANK[found[key]]:
        found[key] = status
