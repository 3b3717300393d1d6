# SPDX-License-Identifier: Apache-2.0
"""Every feature as HAProxy configuration: compared with a file that one can read, and accepted by HAProxy itself."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from caryatid.model.tree import Tree
from caryatid.plan.haproxy import RenderSettings, render

GOLDEN = Path(__file__).parent.parent / "golden" / "haproxy"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
Grow = Callable[[Any], Tree]


def haproxy_check(text: str, directory: Path) -> str:
    """What `haproxy -c` has to say about a configuration; empty: nothing."""
    file = directory / "haproxy.cfg"
    text = re.sub(r"@MAXCONN:\d+@", "1000", text.replace("@DIR@", str(directory)).replace("@RUN@", str(directory)))
    (directory / "servers.state").write_text("1\n")
    file.write_text(text)
    done = subprocess.run(["haproxy", "-c", "-q", "-f", file], capture_output=True, text=True, check=False, timeout=20)
    lines = [line for line in done.stderr.splitlines() if "[NOTICE]" not in line]
    return "\n".join(lines) if lines or not done.returncode else f"status {done.returncode}"


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_is_the_golden_one_and_haproxy_takes_it_without_a_warning(
    case: str, grow: Grow, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    document = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    text = render(grow(document), settings=RenderSettings(**document.get("settings", {}))).text
    golden = GOLDEN / f"{case}.cfg"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert haproxy_check(text, tmp_path) == ""
