# SPDX-License-Identifier: Apache-2.0
"""A load balancer whose amphora is a virtual machine: Ganeti boots our image, emulated, and it serves."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.waiting import until
from tests.ganeti.site import GanetiSite, answers
from tests.ganeti.vm import kvm

pytestmark = pytest.mark.system
BOOT_S = 240
"""Emulated, on a machine that does other things."""


@pytest.fixture(scope="module")
def place(image) -> Iterator[GanetiSite]:
    machine = {"vcpus": 1, "memory_mib": 512, "disk_mib": 1024}
    with GanetiSite(os="caryatid+default", hypervisor="kvm", machine=machine, boot_deadline_s=BOOT_S) as made:
        kvm.enable(made.cluster, image)
        yield made.prepare()


def booted(place: GanetiSite, name: str) -> dict[str, Any]:
    return served(place, place.ask(name))


def served(place: GanetiSite, root: Mapping[str, Any]) -> dict[str, Any]:
    try:
        shown = place.made.active(f"loadbalancers/{root['id']}", BOOT_S, 0.1)
        until(lambda: answers(shown["vip_address"]), "it serves", BOOT_S, 0.1)
    except BaseException:
        print(place.report(), "\n".join(place.told(root)), kvm.console(place.cluster), sep="\n")
        raise
    return shown


def test_a_load_balancer_is_a_virtual_machine_that_serves_and_goes_with_it(place):
    root = booted(place, "virtual")
    [amphora] = place.amphorae(root)
    name = place.instance(amphora["id"])
    assert kvm.machines(place.cluster) == [name]
    [machine] = place.status()["machines"]
    assert machine["phase"] == "READY"
    place.remove(root)
    until(lambda: not kvm.machines(place.cluster), "nothing of it runs", BOOT_S, 0.2)
    assert not answers(root["vip_address"])
    until(lambda: not place.hosts(), "its agent's host is forgotten", BOOT_S, 0.2)


def test_the_seed_is_not_on_the_disk_of_a_machine_that_has_it_no_longer_to_tell(place):
    root = booted(place, "forgetful")
    [amphora] = place.amphorae(root)
    disk = f"/run/ganeti/instance-disks/{place.instance(amphora['id'])}:0"
    until(lambda: "seed" not in kvm.listing(place.cluster, disk, "/etc/caryatid"), "it is gone", BOOT_S, 1)
    place.remove(root)


def test_a_node_without_the_image_is_told_and_when_it_has_it_the_machine_is_made(place):
    image = f"{kvm.PLACE}/{kvm.DISK}"
    place.cluster.run("mv", image, f"{image}.away")
    root = place.ask("patient")
    missing = f"There is no image at {image} on this node"
    until(lambda: any(missing in line for line in place.told(root)), "it is told", BOOT_S, 0.5)
    place.cluster.run("mv", f"{image}.away", image)
    served(place, root)
    [amphora] = place.amphorae(root)
    assert kvm.machines(place.cluster) == [place.instance(amphora["id"])]
    place.remove(root)
