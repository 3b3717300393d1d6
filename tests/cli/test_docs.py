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

from tests.shell import as_printed, steps

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")
STEPS_S = 110


def test_the_reference_is_as_the_code_is(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.old() == [], "run `make docs`"


PAGES = [*sorted(DOCS.rglob("*.md")), *sorted((ROOT / "design").glob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))):
        led = page.parent / target
        assert led.exists(), target
        assert not anchor or anchor[1:] in anchors(led), target + anchor


def anchors(page):
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
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


def cloud_of(environment):
    return {**environment, "OS_CLIENT_CONFIG_FILE": f"{environment['CARYATID_STATE_DIR']}/clouds.yaml"}


def test_the_example_of_the_sdk_works(guarded):
    code = re.search(r"^```python\n(.*?)^```", (DOCS / "compatibility.md").read_text(), re.MULTILINE | re.DOTALL).group(
        1
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=cloud_of(guarded), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^web 127\.100\.\d+\.\d+ ACTIVE$", done.stdout, re.MULTILINE)


def test_the_examples_of_octavia_s_command_work(guarded):
    for command, _ in steps(DOCS / "compatibility.md"):
        if command.startswith("export "):
            continue
        words = command.split()
        program = Path(sys.executable).parent / words[0]
        done = subprocess.run(
            [program, *words[1:]], env=cloud_of(guarded), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_steps_about_access_work(guarded, tmp_path):
    page = DOCS / "access.md"
    policy = re.search(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL).group(1)
    (tmp_path / "policy.yaml").write_text(policy)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "set -e\n" + "\n".join(command for command, _ in steps(page))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**guarded, "PATH": path}, capture_output=True, text=True,
        timeout=STEPS_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "ci.token").read_text().startswith("cyt_")
    assert "policy.yaml can be used; it changes 2 rules." in done.stderr


@pytest.mark.system
def test_getting_started_works_as_it_stands(tmp_path, environment_for):
    todo = steps(DOCS / "getting-started.md")
    lines = [f'{command}\necho "::{number}::$?"' for number, (command, _) in enumerate(todo)]
    script = "set -m\ncleanup() { caryatid down >/dev/null 2>&1; kill $(jobs -p) 2>/dev/null; }\ntrap cleanup EXIT\n"
    environment = environment_for(tmp_path / "state", identity_driver="local")
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
