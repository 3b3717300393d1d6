# SPDX-License-Identifier: Apache-2.0
"""What an administrator does so that a cluster's amphorae are virtual machines; here they are emulated."""

from pathlib import Path

from tests.ganeti.cluster import RealCluster

PLACE, DISK = "/srv/caryatid", "amphora.img"
"""Where the OS definition looks."""
CONTROL = "/run/ganeti/kvm-hypervisor"


def enable(cluster: RealCluster, image: Path) -> None:
    """Ganeti starts virtual machines with the image's kernel; the OS definition finds the image."""
    cluster.run("install", "-D", "-m", "644", "-t", PLACE, *(image / name for name in ("vmlinuz", "initrd.img", DISK)))
    parameters = {
        "kvm_path": "/usr/bin/qemu-system-x86_64",
        "kvm_flag": "",
        "kernel_path": f"{PLACE}/vmlinuz",
        "initrd_path": f"{PLACE}/initrd.img",
        "root_path": "/dev/vda",
        "kernel_args": "ro quiet panic=5",
        "serial_console": "true",
        "vnc_bind_address": "",
    }
    said = ",".join(f"{name}={value}" for name, value in parameters.items())
    cluster.run("gnt-cluster", "modify", "--enabled-hypervisors=fake,kvm", "-H", f"kvm:{said}")


def machines(cluster: RealCluster) -> list[str]:
    """Names of the instances of which a virtual machine runs, as processes tell."""
    script = f"for file in {CONTROL}/pid/*; do kill -0 $(cat $file) 2>/dev/null && basename $file; done; true"
    return sorted(cluster.run("sh", "-c", script).split())


def listing(cluster: RealCluster, disk: str, directory: str) -> str:
    """What is in a directory of a machine's disk, as it has been written."""
    return cluster.run("debugfs", "-R", f"ls {directory}", disk)


def console(cluster: RealCluster) -> str:
    """What there is to see of machines that did not come."""
    return cluster.run(
        "sh",
        "-c",
        "ps aux | grep -c [q]emu; tail -n 20 /var/log/ganeti/os/*; tail -n 30 /var/log/ganeti/node-daemon.log; true",
    )
