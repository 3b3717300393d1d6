# SPDX-License-Identifier: Apache-2.0
"""Echoes, with the kernel's leave and without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.site import apart

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 100


@pytest.fixture(scope="module")
def found():
    """What comes of tries in a network of their own."""
    words = [*apart(), sys.executable, "-m", "tests.checker.checks.echoes"]
    run = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_who_echoes_is_up(found):
    for family in ("IPv4", "IPv6"):
        assert found[family]["up"], found[family]["reason"]
        assert found[family]["rtt_ms"] > 0


def test_who_does_not_echo_is_down(found):
    assert found["silent"]["reason"] == "no end within 0.5 s: waiting for an echo"
    assert "network is unreachable" in found["no way"]["reason"]
    assert not found["no way"]["ours"], "so looks a place that is cut off"


def test_without_leave_nothing_is_said_of_the_member(found):
    assert not found["without leave"]["up"]
    assert found["without leave"]["ours"]
    assert "net.ipv4.ping_group_range must include its group" in found["without leave"]["reason"]
