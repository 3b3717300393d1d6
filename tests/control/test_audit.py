# SPDX-License-Identifier: Apache-2.0
"""What hosts have and what they should have: orphans go after a while, what is missing comes back."""

from dataclasses import replace

import pytest

from caryatid.control import writes
from caryatid.control.audit import REMOVED_MAX, Auditor
from caryatid.control.door import PROVIDER, Door
from caryatid.control.initial import SUBNET_ID
from caryatid.drivers.amphora.base import UnavailableException
from caryatid.drivers.noop import NoopAmphoraDriver
from caryatid.model import AMPHORA, HOST, LOADBALANCER
from caryatid.model.event import BEGINNING
from caryatid.model.host import Host
from caryatid.plan.drift import Found
from caryatid.store import events, hosts, rows, work

AT = "2026-11-20T19:05:00.000000"
HOSTS = ("made-1", "made-2")
STRANGE = "4f2a0e2e-0000-4000-8000-00000000000a"


class Telling(NoopAmphoraDriver):
    """Of hosts that say what they have. Beside what the noop world has there may be more, or less."""

    def __init__(self, door, world):
        self.door, self.world = door, world
        self.more = {}
        self.without = set()
        self.silent = set()
        self.removed = []

    def inventory(self, host):
        if host.id in self.silent:
            raise UnavailableException("away")
        with self.door.database.read() as tx:
            here = [one["id"] for one in rows.find(tx, AMPHORA, compute_id=host.id)]
        known = [
            Found(key, tree.loadbalancer.id, self.world.stamps[key].generation, settled=True)
            for key, tree in self.world.trees.items()
            if key in here and key not in self.without
        ]
        return [*known, *self.more.get(host.id, ())]

    def delete_load_balancer(self, amphora, tree, stamp):
        super().delete_load_balancer(amphora, tree, stamp)
        self.removed.append((amphora.host.id, amphora.id))
        self.more[amphora.host.id] = [one for one in self.more[amphora.host.id] if one.amphora_id != amphora.id]


@pytest.fixture
def telling(door, world):
    return Telling(door, world)


@pytest.fixture
def audited(door, telling):
    """A door to hosts that tell."""
    provider = replace(door.providers[PROVIDER], amphora=telling)
    with door.database.transaction() as tx:
        known = {"created_at": AT, "updated_at": AT, "agent_url": "https://x"}
        rows.insert(tx, HOST, [Host.model_construct(id=name, name=name, **known) for name in HOSTS])
    return Door(door.database, dict.fromkeys(door.providers, provider), door.settings, door.secrets, door.identity)


@pytest.fixture
def root(door, caller, drain, audited):
    made = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document
    drain()
    return made


def due(door):
    return work.next_due(door.database)


def told(door):
    with door.database.read() as tx:
        return [
            one["action"]
            for one in events.after(tx, BEGINNING)
            if one["action"] in ("orphan", "orphan_removed", "drift")
        ]


def test_what_is_as_it_should_be_is_left_alone(audited, root):
    Auditor().audit(audited, 0)
    assert due(audited) is None
    assert told(audited) == []


def test_an_amphora_missing_on_its_host_is_made_again(audited, root, telling, world, drain):
    ((amphora_id, _),) = world.trees.items()
    world.trees.clear()
    Auditor().audit(audited, 0)
    assert due(audited) == 0
    drain()
    assert world.trees.keys() == {amphora_id}
    Auditor().audit(audited, 0)
    assert due(audited) is None
    assert told(audited) == ["drift"]


def test_an_amphora_with_another_generation_gets_its_configuration_again(audited, root, world, drain):
    ((amphora_id, stamp),) = world.stamps.items()
    world.stamps[amphora_id] = replace(stamp, generation=stamp.generation - 1)
    Auditor().audit(audited, 0)
    drain()
    assert world.stamps[amphora_id].generation == stamp.generation


def test_a_host_that_does_not_answer_is_not_held_to_lack_anything(audited, root, telling):
    telling.silent, telling.without = set(HOSTS), {"all"}
    Auditor().audit(audited, 0)
    assert due(audited) is None


def test_what_is_being_worked_on_is_not_judged(audited, caller, door, telling, world, root):
    world.trees.clear()
    with door.database.transaction() as tx:
        work.wake_root(tx, root["id"])
    claim = work.claim(door.database, "w")
    Auditor().audit(audited, 0)
    assert told(door) == []
    assert work.renew(door.database, claim)


def test_an_orphan_is_told_of_once_and_removed_after_its_grace(audited, root, telling):
    telling.more = {"made-2": [Found(STRANGE, "gone", 3, settled=True)]}
    auditor = Auditor()
    for now in (0, 60, 299):
        auditor.audit(audited, now)
    assert (told(audited), telling.removed) == (["orphan"], [])
    auditor.audit(audited, 300)
    assert (told(audited), telling.removed) == (["orphan", "orphan_removed"], [("made-2", STRANGE)])
    auditor.audit(audited, 360)
    assert len(telling.removed) == 1


def test_an_orphan_that_its_host_no_longer_has_is_forgotten(audited, root, telling):
    telling.more = {"made-2": [Found(STRANGE, "gone", 3, settled=True)]}
    auditor = Auditor()
    auditor.audit(audited, 0)
    telling.more = {}
    auditor.audit(audited, 60)
    telling.more = {"made-2": [Found(STRANGE, "gone", 3, settled=True)]}
    auditor.audit(audited, 350)
    assert telling.removed == []


def test_a_host_that_is_away_for_an_audit_does_not_begin_the_grace_anew(audited, root, telling):
    telling.more = {"made-2": [Found(STRANGE, "gone", 3, settled=True)]}
    auditor = Auditor()
    auditor.audit(audited, 0)
    telling.silent = {"made-2"}
    auditor.audit(audited, 100)
    telling.silent = set()
    auditor.audit(audited, 301)
    assert telling.removed == [("made-2", STRANGE)]


def test_orphans_go_a_few_at_a_time(audited, root, telling):
    many = [Found(f"{STRANGE[:-4]}{number:04d}", "gone", 3, settled=True) for number in range(REMOVED_MAX + 5)]
    telling.more = {"made-1": many}
    auditor = Auditor()
    auditor.audit(audited, 0)
    auditor.audit(audited, 300)
    assert len(telling.removed) == REMOVED_MAX
    auditor.audit(audited, 360)
    assert len(telling.removed) == len(many)


def test_what_the_database_has_buried_is_left_to_be_removed_so(audited, root, telling):
    with audited.database.transaction() as tx:
        hosts.bury(tx, hosts.Tombstone(STRANGE, "made-1", "gone", 3, 1))
    telling.more = {"made-1": [Found(STRANGE, "gone", 3, settled=True)]}
    Auditor().audit(audited, 0)
    assert told(audited) == []
