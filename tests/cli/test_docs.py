# SPDX-License-Identifier: Apache-2.0
"""Pages made from the code are as the code is, links lead somewhere, and the steps work as they stand."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
STEPS_S = 110


def test_the_reference_is_as_the_code_is():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.old() == [], "run `make docs`"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_settings_that_pages_show_exist(page):
    from caryatid.config import Settings

    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        shown = tomllib.loads(block)
        if "project" not in shown:
            assert {*shown} <= {*Settings.model_fields}


def test_the_example_of_a_driver_is_one(tmp_path):
    from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver

    code = re.search(r"^```python\n(.*?)^```", (DOCS / "driver-guide.md").read_text(), re.MULTILINE | re.DOTALL).group(
        1
    )
    module = {}
    exec(compile(code, "driver-guide.md", "exec"), module)
    driver = module["ExampleDriver"].connect(None)
    assert isinstance(driver, AmphoraLoadBalancerDriver)


def test_the_example_of_the_sdk_works(installation):
    code = re.search(r"^```python\n(.*?)^```", (DOCS / "compatibility.md").read_text(), re.MULTILINE | re.DOTALL).group(
        1
    )
    code = code.replace("http://127.0.0.1:9876", installation)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^web 127\.100\.\d+\.\d+ ACTIVE$", done.stdout, re.MULTILINE)


def test_the_examples_of_octavia_s_command_work(installation):
    for command, _ in steps(DOCS / "compatibility.md"):
        words = command.replace("http://127.0.0.1:9876", installation).split()
        program = Path(sys.executable).parent / words[0]
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def steps(page):
    """(command, lines that it should print) of every console block, in order."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def as_printed(expected, printed):
    """Whether the lines of `expected` are in `printed` in order; … is anything, a line … any lines."""
    left = iter(printed)
    for line in expected:
        if line == "…":
            continue
        words = [re.escape(" ".join(part.split())) for part in line.split("…")]
        if not any(re.search(".*".join(words), " ".join(text.split())) for text in left):
            return False
    return True


@pytest.mark.system
def test_getting_started_works_as_it_stands(tmp_path, environment_for):
    todo = steps(DOCS / "getting-started.md")
    lines = [f'{command}\necho "::{number}::$?"' for number, (command, _) in enumerate(todo)]
    script = "set -m\ncleanup() { caryatid down >/dev/null 2>&1; kill $(jobs -p) 2>/dev/null; }\ntrap cleanup EXIT\n"
    environment = environment_for(tmp_path / "state")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["CARYATID_URL"] = f"http://{environment['CARYATID_LISTEN']}"
    done = subprocess.run(
        ["bash", "-c", script + "\n".join(lines)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=STEPS_S, check=False,
    )  # fmt: skip
    parts = re.split(r"^::(\d+)::(\d+)\n", done.stdout, flags=re.MULTILINE)
    seen = zip(parts[:-1:3], parts[1::3], parts[2::3], strict=True)
    printed = {int(number): (int(status), text) for text, number, status in seen}
    for number, (command, expected) in enumerate(todo):
        status, text = printed[number]
        log = (tmp_path / "caryatid.log").read_text()[-2000:]
        assert status == 0, (command, text, done.stderr[-2000:], log)
        assert as_printed(expected, text.splitlines()), (command, text, done.stderr[-2000:])
