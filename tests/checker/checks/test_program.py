# SPDX-License-Identifier: Apache-2.0
"""Programs of the operator's: what they are given, and that nothing of them stays."""

import os
import time
from pathlib import Path

import pytest

from tests.checker.checks.places import START_S, check, tried


@pytest.fixture
def program(tmp_path):
    """Makes a program of a shell's words, and tries it."""

    def make(words, **wanted):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)
        return tried(check("exec", 80, program=str(path), **wanted), programs=[str(path)])

    return make


def gone(pid):
    """It is no process any more, or only waits to be told of."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_an_end_with_0_is_success(program):
    outcome = program("exit 0")
    assert (outcome.up, outcome.rtt_ms) == (True, None), "how long a program takes is no distance"
    outcome = program("echo the disk is full; echo more; exit 3")
    assert outcome.reason == "the disk is full (exit code 3, expected 0)"
    assert program("kill -9 $$").reason == "it says nothing (exit code -9, expected 0)"


def test_it_is_told_about_the_member_and_nothing_else(program, monkeypatch):
    monkeypatch.setenv("CARYATID_DATABASE", "postgresql://secret")
    outcome = program(
        'test "$1 $2" = "a b;c" && env | sort | tr "\\n" " "; exit 1', arguments=["a", "b;c"], timeout_s=9
    )
    names = {word.partition("=")[0] for word in outcome.reason.split() if "=" in word}
    assert names == {"CARYATID_ADDRESS", "CARYATID_PORT", "CARYATID_TIMEOUT_S", "LANG", "PATH", "PWD"}
    assert "CARYATID_ADDRESS=127.0.0.1 CARYATID_PORT=80 CARYATID_TIMEOUT_S=9" in outcome.reason


def test_when_time_is_over_it_is_ended_with_all_that_it_started(program, tmp_path):
    outcome = program(f"sleep 600 & echo $! > {tmp_path}/child; sleep 600", timeout_s=2)
    assert outcome.reason == "no end within 2 s: waiting for the program's end"
    child, deadline = int((tmp_path / "child").read_text()), time.monotonic() + START_S
    while not gone(child):
        assert time.monotonic() < deadline, "the child goes on"
        os.sched_yield()


def test_it_has_limits(program, tmp_path):
    assert program("yes").reason == "it wrote more than 64 KiB"
    outcome = program(f"head -c 3000000 /dev/zero > {tmp_path}/large && exit 0; exit 1")
    assert not outcome.up
    assert (tmp_path / "large").stat().st_size <= 1 << 20


def test_only_what_the_checkers_operator_lets_be_started_is(tmp_path):
    outcome = tried(check("exec", program="/bin/true"), programs=["/bin/false"])
    assert (outcome.up, outcome.ours) == (False, True)
    assert "it is none of those that this checker may start" in outcome.reason
    gone = tried(check("exec", program=str(tmp_path / "gone")), programs=[str(tmp_path / "gone")])
    assert gone.ours, "that it is not there is not the member's fault"
    assert "cannot be started" in gone.reason
    assert "program" in tried(check("exec", program="true"), programs=["true"]).reason, "by its path, always"
