# SPDX-License-Identifier: Apache-2.0
"""Reports from hosts: datagrams of at most 1,200 bytes, signed with the host's own key, refused when replayed.

    "CYH" · version (1) · length of host id (1) · boot id (8) · sequence (8) · host id · zlib(JSON) · HMAC-SHA256 (32)

The HMAC covers all before it. Boot ids are milliseconds since the epoch when the agent started, so they only rise; the
sequence rises with each datagram of a boot. Members that a newer agent adds are ignored.
"""

import hmac
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal, NamedTuple, NotRequired, final

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from .body import ID_PATTERN

MAGIC = b"CYH"
VERSION = 1
DATAGRAM_BYTES_MAX = 1200
BODY_BYTES_MAX = 1 << 18
SIGNATURE_BYTES = 32
HEADER = struct.Struct(">3sBBQQ")
QUESTION = struct.Struct(">3sQ")
QUESTION_MAGIC = b"CYQ"
WINDOW = 64
HOST_ID_BYTES_MAX = 64
PIECE_BYTES_SURE = 1000
"""JSON of a part: fits even if zlib gains nothing."""
HOST_ENTRIES_A_PART = 6
FIRST_PIECE_BYTES = 2400
"""JSON of a first piece; ids are random hexadecimal digits, which zlib halves."""

PARTS_MAX = 10_000
NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,35}"
"""What is written down has ids of at most 36 characters: a database would refuse longer ones, and all of a batch."""

Count = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]
Part = Annotated[int, Field(ge=0, le=PARTS_MAX)]
Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
"""Id of a listener, or of a member."""
Backend = Annotated[str, Field(pattern=f"^{NAME}:{NAME}$")]
"""`<pool id>:<listener id>`."""
Epoch = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{0,64}$")]
Word = Annotated[str, Field(max_length=16)]
CHECK_LENGTH_MAX = 16
ListenerStatus = Literal["OPEN", "FULL"]
MemberStatus = Literal["UP", "DOWN", "DRAIN", "MAINT", "no check"]
Role = Literal["MASTER", "BACKUP", "FAULT"]
"""Of an amphora in a pair: has the VIPs, could have them, could not."""
Listener = tuple[Word, Count, Count, Count, Count, Count]
"""status, bytes_in, bytes_out, active_connections, total_connections, request_errors. Cumulative within an epoch,
except active_connections."""
Pool = tuple[Literal["UP", "DOWN"], dict[Name, MemberStatus]]
"""Status of the backend, and of its members by id."""


class HeartbeatMalformed(ValueError):
    """Not one of our datagrams, or of a version that we do not know."""


class HeartbeatForged(ValueError):
    """No such host, or not signed with its key."""


class HeartbeatReplayed(ValueError):
    """Its sequence was there before or is too old, or it is from an earlier start of the agent."""


@final
class AmphoraMessage(TypedDict):
    """What one amphora looks like, or a part of it.

    With `full`, all parts `[i, n]` of the same `at` together are the whole: what they do not name is not there.
    Without, only what changed.
    """

    amphora_id: Id
    loadbalancer_id: Id
    generation: Count
    """Of the configuration in effect."""
    epoch: Epoch
    """Names the process whose counters these are. Another epoch: they began at zero."""
    at: Count
    """When it was read: milliseconds since the epoch, rising within a boot."""
    full: bool
    running: bool
    """It does what its configuration asks for: a process lives, or no listener needs one."""
    part: tuple[Part, Part]
    """This is part i (from 0) of n."""
    failed: NotRequired[bool]
    """The host cannot start it again: it is to be replaced."""
    wanting: NotRequired[bool]
    """Keys that its configuration names are not on the host: it shall be configured anew, and is not lost."""
    role: NotRequired[Role]
    """Its part in its pair as it is now; absent: it is not one of a pair, or its agent does not know."""
    listeners: NotRequired[dict[Name, Listener]]
    pools: NotRequired[dict[Backend, Pool]]
    checks: NotRequired[dict[Name, Word]]
    """Of members that are DOWN in `pools`: what the check found, in HAProxy's words (`L4CON`, `L7STS 503`)."""


@final
class HostMessage(TypedDict):
    """The host lives. `host` maps ids of amphorae to [hash, generation]; in parts if they are many. Empty: it lives,
    and says no more."""

    host: dict[str, tuple[str, Count]]
    part: tuple[Part, Part]
    away: NotRequired[Count]
    """The agent ends in order, and its HAProxies go on: it will be back within so many seconds."""


Message = AmphoraMessage | HostMessage
MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Annotated[Message, Field(union_mode="left_to_right")]])
"""In this order: nearly all are of the first kind. Trying both and comparing takes half as long again."""


class Header(NamedTuple):
    """Who speaks. `sequence` is the one of the first datagram; each further one takes the next."""

    host_id: str
    boot_id: int
    sequence: int


class Report(NamedTuple):
    """An accepted datagram."""

    host_id: str
    boot_id: int
    sequence: int
    messages: list[Message]


# -- sending


def pack(key: bytes, header: Header, messages: Sequence[Message]) -> list[bytes]:
    """Sign messages into as few datagrams as they fit into; a message too large for one is split into parts. Messages
    of one amphora that were read at the same time are parts of one."""
    pieces = [piece for message in messages for piece in split(message)]
    _number(pieces)
    bodies: list[bytes] = []
    for group in _groups(pieces):
        bodies += _bodies(group, _room(header))
    return [_seal(key, header, number, body) for number, body in enumerate(bodies)]


def _number(pieces: Iterable[Message]) -> None:
    whole: dict[tuple[str, int, bool], list[AmphoraMessage]] = {}
    for piece in pieces:
        if "amphora_id" in piece:
            whole.setdefault((piece["amphora_id"], piece["at"], piece["full"]), []).append(piece)
    for parts in whole.values():
        for number, part in enumerate(parts):
            part["part"] = (number, len(parts))


def _room(header: Header) -> int:
    return DATAGRAM_BYTES_MAX - HEADER.size - len(header.host_id.encode()) - SIGNATURE_BYTES


def _seal(key: bytes, header: Header, number: int, body: bytes) -> bytes:
    host_id = header.host_id.encode()
    head = HEADER.pack(MAGIC, VERSION, len(host_id), header.boot_id, header.sequence + number)
    signed = b"".join((head, host_id, body))
    return signed + hmac.digest(key, signed, "sha256")


def _bodies(group: list[Message], room: int) -> list[bytes]:
    """Compress; what does not fit is halved."""
    body = zlib.compress(orjson.dumps(group), 6)
    if len(body) <= room:
        return [body]
    if len(group) == 1:
        raise ValueError("one entry of a message is larger than a datagram")
    half = len(group) // 2
    return _bodies(group[:half], room) + _bodies(group[half:], room)


def _groups(pieces: Iterable[Message]) -> Iterable[list[Message]]:
    group: list[Message] = []
    size = 0
    for piece in pieces:
        length = len(orjson.dumps(piece))
        if group and size + length > FIRST_PIECE_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += length
    if group:
        yield group


def split(message: Message) -> list[Message]:
    """The message in parts that surely fit into a datagram each: itself, if it does."""
    if len(orjson.dumps(message)) <= PIECE_BYTES_SURE:
        return [message]
    pieces = _amphora_pieces(message) if "amphora_id" in message else _host_pieces(message)
    for number, piece in enumerate(pieces):
        piece["part"] = (number, len(pieces))
    return pieces


def _host_pieces(message: HostMessage) -> list[Message]:
    entries = list(message["host"].items())
    starts = range(0, len(entries), HOST_ENTRIES_A_PART)
    return [HostMessage(host=dict(entries[i : i + HOST_ENTRIES_A_PART]), part=(0, 1)) for i in starts]


def _amphora_pieces(message: AmphoraMessage) -> list[Message]:
    bare = message.copy()
    bare.pop("listeners", None)
    bare.pop("pools", None)
    checks = bare.pop("checks", {})
    room = PIECE_BYTES_SURE - len(orjson.dumps(bare)) - 64
    pieces: list[Message] = []
    listeners: dict[str, Listener] = {}
    pools: dict[str, Pool] = {}
    size = 0

    def close() -> None:
        nonlocal listeners, pools, size
        piece = bare.copy()
        piece["listeners"], piece["pools"] = listeners, pools
        named = {member for _, members in pools.values() for member in members} & checks.keys()
        if named:
            piece["checks"] = {member: checks[member] for member in named}
        pieces.append(piece)
        listeners, pools, size = {}, {}, 0

    for listener, numbers in message.get("listeners", {}).items():
        length = len(orjson.dumps({listener: numbers}))
        if size and size + length > room:
            close()
        listeners[listener] = numbers
        size += length
    for pool, (status, members) in message.get("pools", {}).items():
        opening = len(pool) + 24
        if size and size + opening + 60 > room:
            close()
        pools[pool] = (status, {})
        size += opening
        for member, seen in members.items():
            length = len(member) + len(seen) + 6
            length += len(member) + len(checks[member]) + 6 if member in checks else 0
            if size + length > room:
                close()
                pools[pool] = (status, {})
                size = opening
            pools[pool][1][member] = seen
            size += length
    close()
    return pieces


# -- asking


def question(key: bytes, boot_id: int) -> bytes:
    """Asks the agent that started with this boot id to tell everything. Replayed, it costs a snapshot and no more."""
    asked = QUESTION.pack(QUESTION_MAGIC, boot_id)
    return asked + hmac.digest(key, asked, "sha256")


def is_question(datagram: bytes, key: bytes, boot_id: int) -> bool:
    """Whether a datagram asks this agent to tell everything, and is from who has its key."""
    return hmac.compare_digest(datagram, question(key, boot_id))


# -- receiving


class ReplayGuard:
    """Remembers each host's boot and last 64 sequence numbers, so that reordering does no harm and replay no good."""

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[int, int, int]] = {}

    def admit(self, host_id: str, boot_id: int, sequence: int) -> None:
        """Take note of an authentic datagram. Raises HeartbeatReplayed if it, or a later boot, was there before."""
        boot, highest, seen = self._hosts.get(host_id, (boot_id, sequence - 1, 0))
        if boot_id < boot:
            raise HeartbeatReplayed(f"host {host_id}: from an earlier start of its agent")
        if boot_id > boot:
            highest, seen = sequence - 1, 0
        behind = highest - sequence
        if behind < 0:
            seen = ((seen << -behind) | 1) & ((1 << WINDOW) - 1) if behind > -WINDOW else 1
            self._hosts[host_id] = (boot_id, sequence, seen)
            return
        if behind >= WINDOW or seen >> behind & 1:
            raise HeartbeatReplayed(f"host {host_id}: sequence {sequence} was there before or is too old")
        self._hosts[host_id] = (boot_id, highest, seen | 1 << behind)

    def forget(self, host_id: str) -> None:
        """The host is gone."""
        self._hosts.pop(host_id, None)


def unpack(datagram: bytes, keys_of: Callable[[str], Sequence[bytes]], guard: ReplayGuard) -> Report:
    """Verify and read one datagram, signed with any of the host's keys.

    Raises HeartbeatMalformed, HeartbeatForged or HeartbeatReplayed."""
    if not HEADER.size + SIGNATURE_BYTES < len(datagram) <= DATAGRAM_BYTES_MAX:
        raise HeartbeatMalformed("length")
    magic, version, length, boot_id, sequence = HEADER.unpack_from(datagram)
    if magic != MAGIC or version != VERSION or not 0 < length <= HOST_ID_BYTES_MAX:
        raise HeartbeatMalformed("header")
    start = HEADER.size + length
    try:
        host_id = datagram[HEADER.size : start].decode("ascii")
    except UnicodeDecodeError:
        raise HeartbeatMalformed("host id") from None
    signed, signature = datagram[:-SIGNATURE_BYTES], datagram[-SIGNATURE_BYTES:]
    if not any(hmac.compare_digest(hmac.digest(key, signed, "sha256"), signature) for key in keys_of(host_id)):
        raise HeartbeatForged(f"host {host_id}")
    guard.admit(host_id, boot_id, sequence)
    return Report(host_id, boot_id, sequence, _messages(signed[start:]))


def _messages(body: bytes) -> list[Message]:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(body, BODY_BYTES_MAX)
        if decompressor.unconsumed_tail or not decompressor.eof:
            raise HeartbeatMalformed("body too long or cut")
        return MESSAGES.validate_json(content)
    except (zlib.error, ValidationError) as error:
        raise HeartbeatMalformed("body") from error
