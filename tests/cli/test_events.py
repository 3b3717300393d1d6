# SPDX-License-Identifier: Apache-2.0
"""Events on the command line: lists, following, and the watcher."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from caryatid.cli.events import line, told
from caryatid.cli.watch import HEADINGS, Board, frame

WITHIN_S = 30


def event(type_="loadbalancer.create", key="k1", at="2026-11-21T18:00:00.000000", **detail):
    return {"id": "0.1.aa", "at": at, "type": type_, "resource_id": key, "user_id": "u1", "detail": detail or None}


def test_a_list_has_the_newest_events_with_names_and_changes(shell, name):
    shell.done("lb", "create", name, "--wait")
    shell.done("lb", "set", name, "--description", "new", "--wait")
    found = shell.json("event", "list", "--lb", name)
    assert [one["type"] for one in found if one["resource_type"] == "loadbalancer"] == [
        f"loadbalancer.{act}"
        for act in ("create", "create.begin", "create.end", "update", "update.begin", "update.end")
    ]
    shown = shell.done("event", "list", "--lb", name, "--type", "lb.update").stdout
    assert name in shown
    assert "description: none → new" in shown
    assert len(shell.json("event", "list", "--limit", "2")) == 2


def test_a_list_goes_on_after_a_cursor(shell, name):
    shell.done("lb", "create", name, "--wait")
    first, *rest = shell.json("event", "list", "--lb", name)
    assert shell.json("event", "list", "--lb", name, "--after", first["id"]) == rest


def test_what_cannot_be_sought_is_refused(shell):
    result = shell.run("event", "list", "--type", "lb.explode")
    assert result.exit_code == 1
    assert "There is no such type" in result.stderr


@contextmanager
def started(shell, *words, **given):
    command = [sys.executable, "-m", "caryatid", *words]
    running = subprocess.Popen(command, env={**os.environ, "CARYATID_URL": shell.url, "COLUMNS": "160"}, **given)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_following_prints_each_event_on_a_line_as_it_happens(shell, name):
    words = ("event", "follow", "--type", "lb.create", "--json", "--after", shell.json("event", "list")[-1]["id"])
    with started(shell, *words, stdout=subprocess.PIPE) as running:
        shell.done("lb", "create", name)
        assert select.select([running.stdout], [], [], WITHIN_S)[0]
        found = json.loads(running.stdout.readline())
        assert (found["type"], found["detail"]) == ("loadbalancer.create", {"name": name})


def test_the_watcher_prints_one_screen_and_ends(shell, name):
    shell.done("lb", "create", name, "--wait")
    shown = shell.done("watch", "--once").stdout
    assert "Load balancers" in shown
    assert name in shown
    assert "loadbalancer.create" in shown
    assert "Jobs under way 0" in shown


def test_where_there_is_no_terminal_the_watcher_prints_events_on_lines(shell, name):
    with started(shell, "watch", stdout=subprocess.PIPE) as running:
        assert b"Load balancers" in running.stdout.readline()
        shell.done("lb", "create", name)
        until_said(running.stdout.fileno(), name)


def test_the_watcher_is_a_live_screen_that_a_key_ends(shell, name):
    ours, theirs = pty.openpty()
    with started(shell, "watch", stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        until_said(ours, "Load balancers")
        shell.done("lb", "create", name)
        until_said(ours, name)
        os.write(ours, b"q")
        until_said(ours, "\x1b[?1049l")  # the screen of before
        assert running.wait(WITHIN_S) == 0
    os.close(ours)


def until_said(descriptor, words):
    said, deadline = "", time.monotonic() + WITHIN_S
    while words not in said:
        left = deadline - time.monotonic()
        assert left > 0, said
        assert select.select([descriptor], [], [], left)[0], said
        said += os.read(descriptor, 65536).decode(errors="replace")


def test_a_resource_is_called_by_the_name_that_an_earlier_event_told():
    names = {}
    assert told(event(name="shop"), names)["resource"] == "shop"
    assert told(event("loadbalancer.create.end", state="succeeded"), names) == {
        "resource": "shop", "by": "u1", "what": "",
    }  # fmt: skip
    assert told(event("member.create", "m1", address="::1", protocol_port=80), names)["resource"] == "::1:80"
    assert told(event("pool.delete", "p9"), names)["resource"] == "p9"


@pytest.mark.parametrize(
    ("type_", "detail", "said"),
    [
        ("member.status", {"changed": {"operating_status": ["ONLINE", "ERROR"]}, "cause": "Reported by host h1."},
         "operating_status: ONLINE → ERROR Reported by host h1."),
        ("pool.update.error", {"state": "failed", "reason": "no host"}, "state=failed no host"),
        ("host.evacuate", {"name": "h1"}, ""),
    ],
)  # fmt: skip
def test_what_has_happened_is_said_in_words(type_, detail, said):
    assert told(event(type_, **detail), {})["what"] == said
    assert line(event(type_, **detail), {}).plain.startswith(f"18:00:00 {type_}")


def balancer(number, operating="ONLINE"):
    return {"id": f"l{number}", "name": f"lb{number}", "operating_status": operating, "provisioning_status": "ACTIVE",
            "generation": 2, "observed_generation": 1, "age_ms": 1200}  # fmt: skip


@pytest.mark.parametrize("height", [12, 24, 50])
def test_the_screen_is_no_longer_than_the_terminal(height):
    job = {"id": "j", "action": "create", "resource_type": "pool", "resource_id": "p1", "state": "running",
           "progress": {"done": 1, "known": 3}}  # fmt: skip
    board = Board(loadbalancers=[balancer(number) for number in range(99)], jobs=[job] * 30)
    board.events.extend(event(key=f"k{number}") for number in range(99))
    board.problem = "Nothing answers."
    terminal = Console(width=100, height=height, color_system=None)
    with terminal.capture() as shown:
        terminal.print(frame(board, height))
    lines = shown.get().rstrip("\n").split("\n")
    assert height - HEADINGS <= len(lines) <= height
    assert "99" in lines[0]
    assert "generation 2, 1 in effect" in shown.get()
    assert "1 of 3 steps" in shown.get()
    assert "k98" in shown.get(), "the last event"
    assert lines[-1] == "Nothing answers."
