# SPDX-License-Identifier: Apache-2.0
"""Reports survive the network as it is, and nobody else's are believed."""

import uuid
import zlib

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.wire.heartbeat import (
    DATAGRAM_BYTES_MAX,
    HEADER,
    Header,
    HeartbeatForged,
    HeartbeatMalformed,
    HeartbeatReplayed,
    ReplayGuard,
    is_question,
    pack,
    question,
    unpack,
)

KEY = b"k" * 32


def name() -> str:
    return str(uuid.uuid4())


def message(members=2, **more):
    listener, pool = name(), name()
    return {
        "amphora_id": name(),
        "loadbalancer_id": name(),
        "generation": 3,
        "epoch": "1.2",
        "at": 1,
        "full": True,
        "running": True,
        "part": (0, 1),
        "listeners": {listener: ("OPEN", 1, 2, 3, 4, 5)},
        "pools": {f"{pool}:{listener}": ("UP", {name(): "UP" for _ in range(members)})},
        **more,
    }


def keys_of(host):
    return [KEY] if host == "h1" else []


def test_what_is_packed_is_unpacked():
    messages = [message(), {"host": {name(): ("hash", 4)}, "part": (0, 1)}]
    (datagram,) = pack(KEY, Header("h1", 7, 100), messages)
    report = unpack(datagram, keys_of, ReplayGuard())
    assert (report.host_id, report.boot_id, report.sequence) == ("h1", 7, 100)
    assert report.messages == messages


def test_many_amphorae_share_datagrams_and_each_has_its_own_sequence():
    messages = [message() for _ in range(40)]
    datagrams = pack(KEY, Header("h1", 7, 100), messages)
    assert len(datagrams) < 10
    guard = ReplayGuard()
    reports = [unpack(datagram, keys_of, guard) for datagram in datagrams]
    assert [report.sequence for report in reports] == list(range(100, 100 + len(datagrams)))
    assert [one for report in reports for one in report.messages] == messages


def test_messages_of_one_amphora_read_at_the_same_time_are_parts_of_one():
    first, other = message(), message()
    second = {**first, "epoch": "datagrams.1", "listeners": {name(): ("OPEN", 1, 2, 3, 4, 0)}}
    (datagram,) = pack(KEY, Header("h1", 7, 1), [first, second, other])
    found = unpack(datagram, keys_of, ReplayGuard()).messages
    assert [(one["amphora_id"], one["part"]) for one in found] == [
        (first["amphora_id"], (0, 2)),
        (first["amphora_id"], (1, 2)),
        (other["amphora_id"], (0, 1)),
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 40), st.integers(1, 8), st.sampled_from(["no check", "DOWN"]))
def test_a_snapshot_of_any_size_fits_into_small_datagrams_and_can_be_put_together(members, listeners, pools, said):
    whole = message(0)
    whole["listeners"] = {name(): ("OPEN", 1 << 40, 1 << 41, 3, 1 << 30, 5) for _ in range(listeners)}
    whole["pools"] = {f"{name()}:{name()}": ("UP", {name(): said for _ in range(members)}) for _ in range(pools)}
    down = [member for _, seen in whole["pools"].values() for member, word in seen.items() if word == "DOWN"]
    whole["checks"] = dict.fromkeys(down, "L7STS 503")
    guard = ReplayGuard()
    parts = {}
    for datagram in pack(KEY, Header("h1", 7, 1), [whole]):
        assert len(datagram) <= DATAGRAM_BYTES_MAX
        for part in unpack(datagram, keys_of, guard).messages:
            parts[part["part"][0]] = part
            count = part["part"][1]
    assert sorted(parts) == list(range(count))
    found = {"listeners": {}, "pools": {}, "checks": {}}
    for part in parts.values():
        found["checks"] |= part.get("checks", {})
        found["listeners"] |= part["listeners"]
        for pool, (status, seen) in part["pools"].items():
            assert status == "UP"
            found["pools"].setdefault(pool, ("UP", {}))[1].update(seen)
    assert found["listeners"] == whole["listeners"]
    assert found["pools"] == whole["pools"]
    assert found["checks"] == whole["checks"]


def test_a_forged_datagram_is_known_as_such():
    (datagram,) = pack(KEY, Header("h1", 7, 1), [message()])
    guard = ReplayGuard()
    for position in (HEADER.size, len(datagram) // 2, len(datagram) - 1):
        broken = bytearray(datagram)
        broken[position] ^= 1
        with pytest.raises(HeartbeatForged):
            unpack(bytes(broken), keys_of, guard)
    (other,) = pack(b"x" * 32, Header("h1", 7, 1), [message()])
    with pytest.raises(HeartbeatForged):
        unpack(other, keys_of, guard)
    (unknown,) = pack(KEY, Header("h2", 7, 1), [message()])
    with pytest.raises(HeartbeatForged):
        unpack(unknown, keys_of, guard)
    unpack(datagram, keys_of, guard)


def test_a_replayed_datagram_is_refused_and_a_reordered_one_is_not():
    datagrams = [pack(KEY, Header("h1", 7, number), [message()])[0] for number in range(200)]
    guard = ReplayGuard()
    for number in (0, 2, 1, 5, 3, 4, 60):
        unpack(datagrams[number], keys_of, guard)
    for number in (0, 1, 2, 3, 4, 5, 60):
        with pytest.raises(HeartbeatReplayed):
            unpack(datagrams[number], keys_of, guard)
    unpack(datagrams[120], keys_of, guard)
    unpack(datagrams[57], keys_of, guard)
    with pytest.raises(HeartbeatReplayed):
        unpack(datagrams[56], keys_of, guard)


def test_a_datagram_of_an_earlier_start_of_the_agent_is_refused():
    guard = ReplayGuard()
    order = ((7, 9), (8, 1), (7, 10))
    old, new, later = (pack(KEY, Header("h1", boot, number), [message()])[0] for boot, number in order)
    unpack(old, keys_of, guard)
    unpack(new, keys_of, guard)
    with pytest.raises(HeartbeatReplayed):
        unpack(later, keys_of, guard)
    guard.forget("h1")
    unpack(later, keys_of, guard)


@given(st.binary(max_size=1300))
def test_noise_is_malformed(noise):
    with pytest.raises(HeartbeatMalformed):
        unpack(noise, keys_of, ReplayGuard())


def signed(body: bytes, version: int = 1) -> bytes:
    import hmac

    head = HEADER.pack(b"CYH", version, 2, 7, 1) + b"h1" + body
    return head + hmac.digest(KEY, head, "sha256")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no zlib",
        zlib.compress(b"no json"),
        zlib.compress(b"{}"),
        zlib.compress(b'[{"amphora_id": 5}]'),
        zlib.compress(b"[" + b" " * (1 << 19) + b"]"),
        zlib.compress(orjson.dumps([message()]))[:-4],
    ],
)
def test_a_host_that_sends_nonsense_under_its_own_key_does_no_harm(body):
    with pytest.raises(HeartbeatMalformed):
        unpack(signed(body), keys_of, ReplayGuard())


@pytest.mark.parametrize("bad", ["", "l\x001", "l" * 37, "l 1", "ü"])
def test_ids_that_no_database_would_take_are_refused_with_the_datagram(bad):
    for more in (
        {"listeners": {bad: ("OPEN", 1, 2, 3, 4, 5)}},
        {"pools": {f"{bad}:l1": ("UP", {})}},
        {"pools": {"p1:l1": ("UP", {bad: "UP"})}},
    ):
        with pytest.raises(HeartbeatMalformed):
            unpack(signed(zlib.compress(orjson.dumps([message(**more)]))), keys_of, ReplayGuard())


@pytest.mark.parametrize("more", [
    {"epoch": "e" * 65}, {"epoch": "\x00"}, {"pools": {"p1": ("UP", {})}}, {"pools": {"p1:l1:m1": ("UP", {})}},
    {"part": (0, 1 << 20)}, {"listeners": {"l1": ("O" * 17, 1, 2, 3, 4, 5)}}, {"loadbalancer_id": "a" * 65},
])  # fmt: skip
def test_what_is_longer_than_anything_that_an_agent_says_is_malformed(more):
    with pytest.raises(HeartbeatMalformed):
        unpack(signed(zlib.compress(orjson.dumps([message(**more)]))), keys_of, ReplayGuard())


def test_an_unknown_version_is_malformed_and_unknown_members_are_ignored():
    body = zlib.compress(orjson.dumps([message(novelty=1)]))
    with pytest.raises(HeartbeatMalformed):
        unpack(signed(body, version=9), keys_of, ReplayGuard())
    (one,) = unpack(signed(body), keys_of, ReplayGuard()).messages
    assert "novelty" not in one


def test_only_who_has_the_key_can_ask_an_agent_for_everything_and_only_in_this_life_of_it() -> None:
    asked = question(b"k" * 32, 7)
    assert is_question(asked, b"k" * 32, 7)
    assert not is_question(asked, b"x" * 32, 7)
    assert not is_question(asked, b"k" * 32, 8)
    assert not is_question(b"", b"k" * 32, 7)
