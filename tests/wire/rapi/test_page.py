# SPDX-License-Identifier: Apache-2.0
"""The page about what a RAPI answers names the tests that replay it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "ganeti-rapi.md"


def test_every_test_that_the_page_names_is_there():
    sources = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    words = PAGE.read_text()
    named = set(re.findall(r"`(test_\w+)`", words))
    assert len(named) > 15
    assert not [name for name in named if f"def {name}(" not in sources]
    assert all((Path(__file__).parent / name).exists() for name in re.findall(r"\*(test_\w+\.py)\*", words))
