# SPDX-License-Identifier: Apache-2.0
from caryatid.model.cluster import MachineWish
from caryatid.plan.ganeti.bodies import wanted
from caryatid.plan.ganeti.marks import is_of, is_ours, names
from caryatid.wire.rapi.answers import Job
from tests.plan.ganeti.clusters import SITE, cluster, instance, machine


def body(one=None, nodes=("n1",), **given):
    return wanted(cluster(**given), one or machine(), "c2VlZA==", installation=SITE, nodes=nodes).body


def test_the_body_is_what_a_cluster_takes():
    assert body() == {
        "__version__": 1,
        "mode": "create",
        "instance_name": "amphora-a1.caryatid.invalid",
        "name_check": False,
        "ip_check": False,
        "os_type": "caryatid+default",
        "osparams_secret": {"seed": "c2VlZA=="},
        "disk_template": "plain",
        "disks": [{"size": 1024}],
        "nics": [{"network": "lb", "ip": "pool"}],
        "beparams": {"minmem": 512, "maxmem": 512, "vcpus": 1},
        "tags": ["caryatid", "caryatid:site", "caryatid:a1", "caryatid:lb:lb1"],
        "wait_for_sync": False,
        "pnode": "n1",
    }


def test_a_wish_says_how_large_and_the_cluster_says_the_rest():
    made = body(machine(wish=MachineWish(vcpus=4, memory_mib=2048)), machine={"vcpus": 2, "disk_mib": 2000})
    assert made["beparams"] == {"minmem": 2048, "maxmem": 2048, "vcpus": 4}
    assert made["disks"] == [{"size": 2000}]


def test_mirrored_disks_have_two_nodes_and_no_disks_none():
    assert {"pnode": "n1", "snode": "n2"}.items() <= body(nodes=("n1", "n2"), disk_template="drbd").items()
    assert body(disk_template="diskless")["disks"] == []


def test_an_allocator_chooses_within_the_group():
    made = body(nodes=(), iallocator="hail", group="lb")
    assert (made["iallocator"], made["group_name"]) == ("hail", "lb")
    assert "pnode" not in made


def test_nodes_that_were_chosen_here_need_no_allocator():
    made = body(iallocator="hail", group="lb")
    assert made["pnode"] == "n1"
    assert not {"iallocator", "group_name"} & made.keys()


def test_only_the_first_interface_has_an_address():
    made = body(nics=[{"network": "lb"}, {"link": "br1", "mode": "bridged", "uplink": "physnet1"}, {"network": "x"}])
    assert made["nics"] == [{"network": "lb", "ip": "pool"}, {"link": "br1", "mode": "bridged"}, {"network": "x"}]


def test_hypervisor_and_its_parameters_are_the_clusters():
    made = body(hypervisor="kvm", hypervisor_parameters={"kvm_flag": "", "vhost_net": True})
    assert (made["hypervisor"], made["hvparams"]) == ("kvm", {"kvm_flag": "", "vhost_net": True})
    assert not {"hypervisor", "hvparams"} & body().keys()


def test_tags_come_once_and_tell_whose_it_is():
    one = machine(loadbalancer_id=None)
    made = wanted(cluster(tags=["team:lb", "caryatid"]), one, "s", installation=SITE, nodes=())
    assert made.body["tags"] == ["caryatid", "caryatid:site", "caryatid:a1", "team:lb"]
    assert is_ours(made.body["tags"], SITE)
    assert not is_ours(made.body["tags"], "other")
    assert is_of(instance(one, tags=tuple(made.body["tags"])), one)
    assert not is_of(instance(one), machine(number=2))


def test_the_seed_is_in_no_repr():
    assert "c2VlZA" not in repr(wanted(cluster(), machine(), "c2VlZA==", installation=SITE, nodes=()))


def test_a_job_says_what_it_does_to_which_instance():
    assert names(Job(1, "queued", "INSTANCE_CREATE(amphora-a1.caryatid.invalid)")) == (
        "create",
        "amphora-a1.caryatid.invalid",
    )
    assert names(Job(1, "queued", "INSTANCE_REMOVE(x.y), OTHER")) == ("delete", "x.y")
    assert names(Job(1, "queued", "INSTANCE_REBOOT(x.y)")) is None
    assert names(Job(1, "queued", "INSTANCE_CREATE")) is None
