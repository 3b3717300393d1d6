# SPDX-License-Identifier: Apache-2.0
"""What is told of names, their answers, and who sees what."""

import pytest
from rich.console import Console

from caryatid.cli.gslbtree import as_tree, print_explained, told
from caryatid.cli.gslbwatch import HEADINGS, Board

REGIONS = {"r1": "lab", "r2": "north"}


def text_of(thing, width=160):
    terminal = Console(width=width, color_system=None)
    with terminal.capture() as shown:
        terminal.print(thing)
    return shown.get()


def vote(region, word, reason="", rtt_ms=None, monitor="m1"):
    return {"region_id": region, "monitor_id": monitor, "vote": word, "reason": reason, "rtt_ms": rtt_ms}


def member(name, status="ONLINE", reason=None, seen=()):
    return {"id": f"id-{name}", "name": name, "address": "192.0.2.1", "operating_status": status,
            "status_reason": reason, "per_region": list(seen)}  # fmt: skip


def gslb(number=1, status="DEGRADED", members=()):
    pool = {"id": f"p{number}", "name": "near", "operating_status": status, "provisioning_status": "ACTIVE",
            "members": list(members)}  # fmt: skip
    return {"id": f"g{number}", "name": f"www{number}", "fqdn": "www.globe.test.", "steering_policy": "failover",
            "operating_status": status, "provisioning_status": "ACTIVE", "answers": {"A": ["192.0.2.1"], "AAAA": []},
            "why": ["failover: answered with near"], "pools": [pool]}  # fmt: skip


def test_a_tree_says_what_is_answered_why_and_who_sees_what():
    seen = [vote("r2", "DOWN", "status 503"), vote("r1", "UP", rtt_ms=1.25), vote(None, "UP", monitor=None)]
    down = member("two", "DOWN", "DOWN as 1 of 2 regions see it", seen)
    shown = text_of(as_tree(gslb(members=[member("one"), down]), REGIONS))
    assert "● DEGRADED www1 www.globe.test. failover → A 192.0.2.1; AAAA nothing" in shown
    assert "failover: answered with near" in shown
    assert shown.index("● DOWN member two") < shown.index("● ONLINE member one"), "the worst first"
    assert "itself UP  lab UP 1.2 ms  north DOWN (status 503)" in shown


def test_what_is_not_in_effect_yet_says_so():
    pending = {**gslb(), "provisioning_status": "PENDING_UPDATE", "answers": {}}
    assert "● PENDING_UPDATE www1" in text_of(as_tree(pending, REGIONS))
    assert "not told to any name server yet" in text_of(as_tree(pending, REGIONS))


@pytest.mark.parametrize("height", [14, 24, 50])
def test_the_screen_is_no_longer_than_the_terminal(height):
    names = [gslb(number, members=[member(f"m{each}", seen=[vote("r1", "UP")]) for each in range(9)])
             for number in range(9)]  # fmt: skip
    board = Board(gslbs=names, trees={one["id"]: one for one in names}, problem="Nothing answers.")
    board.regions = [{"id": "r1", "name": "lab", "checkers": 1}, {"id": "r2", "name": "north", "checkers": 0}]
    event = {"at": "2026-11-21T18:00:00", "type": "gslb.answer", "resource_id": "g1", "user_id": "system:engine",
             "detail": {"changed": {"A": [["192.0.2.1"], ["192.0.2.2"]]}}}  # fmt: skip
    board.events.extend([event] * 99)
    lines = text_of(board.frame(height), 100).rstrip("\n").split("\n")
    assert height - HEADINGS <= len(lines) <= height
    assert lines[0] == "Regions ● lab  ● north, silent"
    assert "A: 192.0.2.1 → 192.0.2.2" in lines[-2]
    assert lines[-1] == "Nothing answers."


def test_the_history_says_what_was_answered_and_why():
    event = {"at": "2026-11-21T18:00:00", "type": "gslb.answer", "resource_id": "g1",
             "detail": {"changed": {"A": [["192.0.2.1"], []]}, "cause": "nothing is well"}}  # fmt: skip
    assert told(event) == {"at": "2026-11-21T18:00:00", "what": "gslb.answer", "change": "A: 192.0.2.1 → none",
                           "why": "nothing is well"}  # fmt: skip


def test_an_explanation_says_what_is_answered_how_probably_and_why(capsys):
    chances = [{"content": "192.0.2.1", "probability": 0.75}, {"content": "192.0.2.2", "probability": 0.25}]
    answers = [{"rrtype": "A", "ttl": 30, "chances": chances, "why": ["all clients alike", "one, by weight"]},
               {"rrtype": "AAAA", "ttl": 30, "chances": [], "why": ["there is nothing to answer"]}]  # fmt: skip
    found = {**gslb(), "answers": answers, "published": False}
    print_explained(found, Console(width=160, color_system=None))
    shown = capsys.readouterr().out
    assert "A 192.0.2.1 192.0.2.2; AAAA nothing" in shown
    assert "192.0.2.1 75%" in " ".join(shown.split())
    assert "nothing (NODATA)" in shown
    assert "one, by weight" in shown
    assert "- failover: answered with near" in shown
    assert "have not all been seen" in shown
