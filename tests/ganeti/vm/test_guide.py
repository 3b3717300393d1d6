# SPDX-License-Identifier: Apache-2.0
"""The guide to the image: what it tells to type works on a node."""

import re
import subprocess

import pytest

from tests.ganeti.vm.image import FILES, REPOSITORY
from tests.shell import BLOCK, as_printed

pytestmark = pytest.mark.system
GUIDE = REPOSITORY / "docs" / "guides" / "amphora-image.md"


def steps(prompt: str) -> list[tuple[str, list[str]]]:
    """Commands after this prompt, and what they print."""
    found: list[tuple[str, str, list[str]]] = []
    for block in BLOCK.findall(GUIDE.read_text()):
        for line in block.splitlines():
            if said := re.fullmatch(r"([$#]) (.*)", line):
                found.append((said[1], said[2], []))
            else:
                found[-1][2].append(line)
    return [(command, expected) for kind, command, expected in found if kind == prompt]


def test_what_it_builds_is_what_it_says(image):
    """It has been built before, by what `make image` runs."""
    (build, _), (show, expected) = steps("$")
    said = subprocess.run([*build.split(), "-n"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "ganeti/image/build" in said
    assert (show, sorted(expected)) == ("ls build", sorted(FILES))


def test_what_it_tells_to_type_on_a_node_works_as_it_stands(ganeti, image):
    for command, expected in steps("#"):
        lines = ganeti.run("bash", "-c", f"cd {REPOSITORY} && {command}").splitlines()
        assert as_printed(expected, lines), (command, lines)
    shown = ganeti.run("gnt-cluster", "info")
    for said in ("kernel_path: /srv/caryatid/vmlinuz", "root_path: /dev/vda", "kernel_args: ro quiet panic=5"):
        assert said in shown
    assert ganeti.run("ls", "/srv/caryatid").split() == ["amphora.img", "initrd.img", "vmlinuz"]
