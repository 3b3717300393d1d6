# SPDX-License-Identifier: Apache-2.0
"""The OS definition's scripts, run as Ganeti runs them: with nothing in the environment but what it says."""

import os
import subprocess
from pathlib import Path

import pytest

from caryatid.wire.seed import Nic, Seed, read

DEFINITION = Path(__file__).parents[2] / "ganeti" / "os" / "caryatid"
DEFAULTS = Path("/etc/default")
PATH = "/sbin:/bin:/usr/sbin:/usr/bin"
SEED = Seed(token="not for others", amphora_id="0f1d7a9e-5b0a-4c52-8f3b-1f6c2d3e4f50", name="amphora-1", port=9443)
NICS = {
    "NIC_COUNT": "2",
    "NIC_0_MAC": "aa:00:00:12:34:56",
    "NIC_0_IP": "10.0.0.5",
    "NIC_0_MODE": "bridged",
    "NIC_0_NETWORK_SUBNET": "10.0.0.0/24",
    "NIC_0_NETWORK_GATEWAY": "10.0.0.1",
    "NIC_1_MAC": "aa:00:00:12:34:57",
}


@pytest.fixture(autouse=True, scope="module")
def defaults(tmp_path_factory):
    """What the node's administrator has written, in this module's own mounts; an image that is small."""
    made = tmp_path_factory.mktemp("node")
    tree = made / "tree"
    (tree / "etc" / "caryatid").mkdir(parents=True)
    (tree / "release").write_text("one that is small")
    image = made / "amphora.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image, "8M"], check=True, env={"PATH": PATH})
    subprocess.run(["mount", "-t", "tmpfs", "none", DEFAULTS], check=True)
    (DEFAULTS / "caryatid-ganeti").write_text(f"IMAGE={image}\n")
    return image


@pytest.fixture
def disk(tmp_path):
    """A new one of 16 MiB."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(16 << 20)
    return path


def script(name: str, disk: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": PATH,
        "OS_API_VERSION": "20",
        "OS_NAME": "caryatid",
        "OS_VARIANT": "default",
        "INSTANCE_NAME": "amphora-1",
        "DISK_COUNT": "1",
        "DISK_0_PATH": str(disk),
        "DISK_0_SIZE": "16",
        "OSP_SEED": SEED.encode(),
        **NICS,
        **more,
    }
    return subprocess.run(
        [DEFINITION / name], env=environment, cwd=DEFINITION, capture_output=True, text=True, check=False, timeout=60
    )


def debugfs(disk: Path, request: str) -> str:
    command = ["debugfs", "-R", request, disk]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": PATH}).stdout


def understood(text: str) -> None:
    """It is what the agent reads: the seed, and its interfaces."""
    found = read(text)
    assert found.seed == SEED
    first, second = found.nics
    assert (str(first.address), first.gateway, first.mac) == ("10.0.0.5/24", "10.0.0.1", "aa:00:00:12:34:56")
    assert second == Nic(1, "aa:00:00:12:34:57")


def test_ganeti_takes_it_for_a_definition():
    assert (DEFINITION / "ganeti_api_version").read_text() == "20\n"
    assert (DEFINITION / "variants.list").read_text().split() == ["default", "hooks"]
    assert [line.split()[0] for line in (DEFINITION / "parameters.list").read_text().splitlines()] == ["seed"]
    for name in ("create", "export", "import", "rename", "verify"):
        assert os.access(DEFINITION / name, os.X_OK)


def test_a_disk_has_the_image_and_in_it_the_seed_for_root_alone(disk):
    done = script("create", disk)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert debugfs(disk, "cat /release") == "one that is small"
    understood(debugfs(disk, "cat /etc/caryatid/seed"))
    shown = debugfs(disk, "stat /etc/caryatid/seed")
    assert "Type: regular" in shown
    assert "Mode:  0600" in shown
    assert "User:     0   Group:     0" in shown
    subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True, env={"PATH": PATH})


def test_what_a_volume_held_before_is_overwritten(disk):
    """A block device is none of zeros."""
    disk.write_bytes(b"\xff" * (16 << 20))
    device = subprocess.run(["losetup", "-f", "--show", disk], capture_output=True, text=True, check=False)
    if device.returncode:
        pytest.skip("This machine has no loop devices.")
    try:
        assert script("create", Path(device.stdout.strip())).returncode == 0
    finally:
        subprocess.run(["losetup", "-d", device.stdout.strip()], check=True)
    understood(debugfs(disk, "cat /etc/caryatid/seed"))
    subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True, env={"PATH": PATH})


def test_the_same_holds_for_a_file_that_was_a_disk_before(disk):
    disk.write_bytes(b"\xff" * (16 << 20))
    assert script("create", disk, INSTANCE_REINSTALL="1").returncode == 0
    subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True, env={"PATH": PATH})


def test_a_machine_that_is_none_finds_the_seed_at_the_beginning_of_its_disk(disk):
    assert script("create", disk, OS_VARIANT="hooks").returncode == 0
    content = disk.read_bytes()
    length = int(content[:16])
    understood(content[16 : 16 + length].decode())
    assert not any(content[16 + length :])


def test_the_secret_is_shown_to_nobody(disk, tmp_path):
    """Neither what it prints nor another program's arguments or environment has it, and no file but the disk."""
    spies = tmp_path / "spies"
    spies.mkdir()
    for name in ("cat", "cmp", "dd", "debugfs", "mktemp", "rm", "stat"):
        spy = spies / name
        looks = f"/bin/cat /proc/self/environ >>{tmp_path}/seen"
        spy.write_text(f'#!/bin/sh\n{looks}\necho "$0 $*" >>{tmp_path}/seen\nPATH={PATH} exec {name} "$@"\n')
        spy.chmod(0o755)
    before = set(Path("/run").glob("caryatid-os.*"))
    done = script("create", disk, PATH=f"{spies}:{PATH}")
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_text()
    assert "debugfs" in seen
    assert SEED.encode() not in seen + done.stdout + done.stderr
    assert set(Path("/run").glob("caryatid-os.*")) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"OSP_SEED": ""}, "There is no seed."),
        ({"OSP_SEED": "$(reboot)"}, "not one of Caryatid's"),
        ({"DISK_COUNT": "0", "DISK_0_PATH": ""}, "needs a disk"),
        ({"DISK_0_PATH": "/dev/not-there"}, "needs a disk"),
        ({"DISK_0_SIZE": "7"}, "The image needs 8 MiB, the disk has 7: set the cluster's machine.disk_mib"),
    ],
)
def test_what_cannot_be_is_said_with_its_remedy_and_nothing_is_written(disk, more, said):
    done = script("create", disk, **more)
    assert done.returncode == 1
    assert said in done.stderr
    assert "reboot" not in done.stderr
    assert not any(disk.read_bytes())


def test_a_node_without_an_image_says_where_it_belongs(disk):
    path = DEFAULTS / "caryatid-ganeti"
    before = path.read_text()
    path.write_text("IMAGE=/not/there.img\n")
    try:
        done = script("create", disk)
    finally:
        path.write_text(before)
    assert "There is no image at /not/there.img on this node" in done.stderr


def test_an_image_of_something_else_is_not_used(disk, tmp_path):
    other = tmp_path / "other.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", other, "8M"], check=True, env={"PATH": PATH})
    path = DEFAULTS / "caryatid-ganeti"
    before = path.read_text()
    path.write_text(f"IMAGE={other}\n")
    try:
        done = script("create", disk)
    finally:
        path.write_text(before)
    assert done.returncode == 1
    assert f"is {other} an amphora's?" in done.stderr


@pytest.mark.parametrize(
    ("name", "more", "status"),
    [
        ("verify", {}, 0),
        ("verify", {"OSP_SEED": ""}, 0),
        ("verify", {"OSP_SEED": "a b"}, 1),
        ("export", {}, 1),
        ("import", {}, 1),
        ("rename", {}, 1),
    ],
)
def test_what_is_not_done_with_machines_is_refused(disk, name, more, status):
    done = script(name, disk, **more)
    assert done.returncode == status
    assert bool(done.stderr) is bool(status)
