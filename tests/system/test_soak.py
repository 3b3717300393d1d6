# SPDX-License-Identifier: Apache-2.0
"""200 processes are killed under traffic and changes, and nothing that was accepted is lost."""

import random

import pytest

from bench.soak import soak


@pytest.mark.timeout(420)
def test_nothing_accepted_is_lost_whatever_is_killed() -> None:
    result = soak(200, random.SystemRandom().randrange(1 << 32))
    print(result.text())
    assert not result.findings, result.text()
    assert sum(result.kills.values()) == 200
    assert result.answered > 1000
