# SPDX-License-Identifier: Apache-2.0
"""The image: what is in it and what is not, and that it boots and can be switched off."""

import socket
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bench.waiting import until

pytestmark = pytest.mark.system
MIB = 1 << 20
BOOT_S = 90
END_S = 60


@pytest.fixture(scope="module")
def files(image):
    """Mode and size of all that is in it, by name."""
    lines = [line.split(maxsplit=2) for line in (image / "amphora.manifest").read_text().splitlines()]
    return {name: (mode, int(size)) for mode, size, name in lines}


def read(image: Path, name: str) -> bytes:
    command = ["/usr/sbin/debugfs", "-R", f"cat /{name}", image / "amphora.img"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_it_is_small_and_sound(image):
    found = (image / "amphora.img").stat()
    assert found.st_size <= 400 * MIB
    assert found.st_blocks * 512 <= 300 * MIB
    checked = subprocess.run(["/usr/sbin/e2fsck", "-fn", image / "amphora.img"], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert (image / "initrd.img").stat().st_size < 8 * MIB


@pytest.mark.parametrize(
    "name",
    [
        "etc/caryatid",
        "usr/bin/nsenter",
        "usr/bin/prlimit",
        "usr/bin/python3",
        "usr/bin/unshare",
        "usr/lib/caryatid/bin/caryatid",
        "usr/lib/caryatid/init",
        "usr/lib/python3/dist-packages/caryatid/agent/run.py",
        "usr/sbin/haproxy",
        "usr/sbin/keepalived",
        "usr/sbin/modprobe",
        "usr/sbin/nft",
        "var/lib/caryatid",
    ],
)
def test_it_has_what_an_agent_needs(files, name):
    assert name in files


@pytest.mark.parametrize("module", ["macvlan", "veth", "bridge", "nf_tables", "nft_numgen", "virtio_net", "evdev"])
def test_its_kernel_can_do_what_amphorae_need(files, module):
    assert any(name.endswith(f"/{module}.ko") for name in files)


def test_nobody_can_log_in(image, files):
    assert {line.rsplit(":", 1)[1] for line in read(image, "etc/passwd").decode().split()} == {"/usr/sbin/nologin"}
    programs = {Path(name).name for name in files if name.startswith(("usr/bin/", "usr/sbin/"))}
    assert len(programs) < 30
    assert not programs & {"agetty", "bash", "chroot", "getty", "ip", "login", "passwd", "sshd", "su", "sulogin"}


def test_no_program_gives_rights_away(files):
    assert not [name for name, (mode, _) in files.items() if "s" in mode.lower()[1:]]


def test_nothing_tells_where_and_when_it_was_made(image, files):
    """Nor is anything there that should differ from machine to machine."""
    assert not [name for name in files if name.startswith(("etc/apt", "etc/machine-id", "etc/ssh", "var/lib/dpkg"))]
    assert not [name for name, (mode, _) in files.items() if name.startswith("etc/caryatid/")]
    assert read(image, "etc/resolv.conf") == b""
    assert read(image, "etc/hostname") == b"amphora\n"


def test_what_is_run_has_been_compiled_and_is_not_looked_at_again(image, files):
    name = "usr/lib/python3/dist-packages/caryatid/agent/__pycache__/run.cpython-311.pyc"
    assert name in files
    assert int.from_bytes(read(image, name)[4:8], "little") == 0b01  # by hash, unchecked


def test_it_boots_and_ends_when_the_power_button_is_pressed(image, tmp_path):
    """Without a seed there is no agent; what runs it goes on, and hears the button."""
    disk, said, monitor = tmp_path / "disk", tmp_path / "said", tmp_path / "monitor"
    subprocess.run(["cp", "--sparse=always", image / "amphora.img", disk], check=True)
    machine = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-display", "none", "-nic", "none", "-m", "512"),
            *("-kernel", image / "vmlinuz", "-initrd", image / "initrd.img"),
            *("-append", "root=/dev/vda ro quiet console=ttyS0 panic=5"),
            *("-drive", f"file={disk},format=raw,if=virtio", "-serial", f"file:{said}"),
            *("-monitor", f"unix:{monitor},server,nowait"),
        ]
    )
    try:
        until(lambda: said.exists() and b"The agent has ended" in said.read_bytes(), "it has booted", BOOT_S)
        with closing(socket.socket(socket.AF_UNIX)) as button:
            button.connect(str(monitor))
            button.recv(100)
            button.sendall(b"system_powerdown\n")
            assert machine.wait(END_S) == 0
    finally:
        machine.kill()
        machine.wait()
    assert b"Power down" in said.read_bytes()
    checked = subprocess.run(["/usr/sbin/e2fsck", "-n", disk], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert stat.S_ISREG(disk.stat().st_mode)
