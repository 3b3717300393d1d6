# SPDX-License-Identifier: Apache-2.0
"""A cluster and machines in it, for tests of what is planned for them."""

from dataclasses import replace
from uuid import NAMESPACE_DNS, uuid5

from caryatid.model.cluster import CLUSTER, OURS, Machine, MachineWish, instance_name
from caryatid.plan.ganeti.judging import Sight, judge
from caryatid.wire.rapi.answers import Instance, Live

SITE = "site"
NOW = 1_000_000.0
BOOT_DEADLINE_S = 300.0


def cluster(**given):
    wish = {"name": "c", "rapi_url": "https://c.example.test:5080", "rapi_user": "u", "nics": [{"network": "lb"}]}
    made = {"created_at": "2026-11-20T19:00:00.000000", "updated_at": None}
    return CLUSTER.new({**wish, **given}, {**made, "id": str(uuid5(NAMESPACE_DNS, given.get("name", "c")))})


def machine(phase="WANTED", number=1, **given):
    key = f"a{number}"
    name = instance_name(key, "caryatid.invalid")
    return replace(Machine(key, "lb1", "c1", name, MachineWish(), phase, NOW), **given)


def instance(of, **given):
    ours = (OURS, f"{OURS}:{SITE}", f"{OURS}:{of.amphora_id}")
    return replace(Instance(of.name, node="n1", tags=ours, addresses=("192.0.2.9",)), **given)


def live(of, status="running"):
    return Live(of.name, status, "n1")


def judged(one, now=NOW + 1, **seen):
    return judge(one, Sight(**seen), now=now, boot_deadline_s=BOOT_DEADLINE_S)
