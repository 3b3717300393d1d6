# SPDX-License-Identifier: Apache-2.0
"""Members of which others know where and how they are: the API of another installation, over HTTP, and plugins."""

import contextlib
import socket
import threading
import time
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from caryatid import drivers
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.gslb import explain, following, sight, watch
from caryatid.control.gslb.checks import Checks
from caryatid.control.gslb.engine import attend
from caryatid.control.gslb.following import AT_ONCE, IN_VAIN_MAX, Follower
from caryatid.drivers.elsewhere import Elsewhere
from caryatid.drivers.noop import WORLD
from caryatid.errors import Busy, Refused
from caryatid.model import (
    GSLB,
    GSLB_BACKEND,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
)
from caryatid.model.event import BEGINNING
from caryatid.model.policy import Caller
from caryatid.store import events, rows, work
from caryatid.store.database import Database
from caryatid.store.gslb import elsewhere
from tests.doors import open_door
from tests.elsewhere import NOOP, Site

ADMIN = Caller("root", "p1", is_admin=True)
MINE = Caller("me", "p1", frozenset({"member"}))
NOWHERE = "99999999-9999-4999-8999-999999999999"
VIP = "127.100.0.7"
OTHER_VIP = "127.100.0.8"
NAME = "www.example.test."
SOON_S = 30


class Here:
    """An installation with one name, and a region whose services are elsewhere."""

    def __init__(self, door, octavia=None, neutron=None):
        self.door, self.follower = door, Follower()
        backend = self.made(GSLB_BACKEND, driver="noop")["id"]
        self.made(GSLB_ZONE, name="example.test.", backend_id=backend)
        self.region = self.made(GSLB_REGION, name="west", octavia_url=octavia, neutron_url=neutron)["id"]
        self.pool = self.made(GSLB_POOL, MINE)["id"]
        self.gslb = self.made(GSLB, MINE, fqdn=NAME, pools=[{"pool_id": self.pool}], on_all_down="fail_closed")["id"]
        self.due()

    def made(self, kind, caller=ADMIN, parent_id=None, **body):
        return writes.create(self.door, caller, kind, body, parent_id=parent_id).document

    def change(self, kind, key, parent_id=None, **body):
        return writes.change(self.door, ADMIN, kind, key, body, parent_id=parent_id).document

    def member(self, caller=MINE, **body):
        return self.made(GSLB_MEMBER, caller, self.pool, **body)["id"]

    def loadbalancer(self, key, **body):
        return self.member(type="octavia_lb", loadbalancer_id=key, region_id=self.region, **body)

    def port(self, key):
        return self.member(type="neutron_port", port_id=key, region_id=self.region)

    def follow(self):
        self.follower.follow(self.door)

    def due(self):
        """Whether the gslb is due; not any more afterwards."""
        claims = work.claim_some(self.door.database, "test", GSLB, 10)
        attend(self.door, claims)
        return bool(claims)

    def seen(self, member):
        """(addresses, vote, reason) as everybody is shown."""
        with self.door.database.read() as tx:
            document = rows.get(tx, GSLB_MEMBER, member)
            known = elsewhere.of(tx, [member])[member]
            (own,) = sight.with_votes(tx, [document])[0]["per_region"]
        assert (own["region_id"], own["monitor_id"]) == (document["region_id"], None)
        assert document["address"] == next(iter(known.addresses), None)
        return known.addresses, own["vote"], own["reason"]

    def told(self):
        """What is answered."""
        found = WORLD.zones.get("example.test.", {}).get((NAME, "A"))
        return [] if found is None else [each.content for each in found.answers.default.candidates]

    def events(self, action):
        with self.door.database.read() as tx:
            return [one["detail"] for one in events.after(tx, BEGINNING) if one["action"] == action]


@contextlib.contextmanager
def opened(tmp_path, url, **more):
    WORLD.forget()
    database = Database(url)
    chosen = {**NOOP, "gslb_allowed_targets": "127.100.0.0/16", **more}
    door = open_door(database, Settings(state_dir=tmp_path, **chosen))
    initial.ensure(door)
    yield door
    door.elsewhere.close()
    database.close()
    WORLD.forget()


@pytest.fixture
def site(tmp_path, sqlite):
    made = Site(tmp_path / "far", sqlite)
    yield made
    made.close()


@pytest.fixture
def door(tmp_path, database_url):
    with opened(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def here(door, site):
    return Here(door, site.octavia, site.neutron)


def refused(wish, *arguments, **words):
    with pytest.raises(Refused) as caught:
        wish(*arguments, **words)
    return caught.value.faults


def until(look):
    deadline = time.monotonic() + SOON_S
    while not look():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_a_load_balancer_elsewhere_is_answered_where_and_as_long_as_its_octavia_says_that_it_is_well(here, site):
    far = site.loadbalancer("p1", VIP)
    member = here.loadbalancer(far)
    assert here.seen(member) == ((VIP,), "UP", "")
    assert here.due()
    assert here.told() == [VIP]
    for status, vote, due in (
        ("ONLINE", "UP", False),
        ("ERROR", "DOWN", True),
        ("ERROR", "DOWN", False),
        ("DEGRADED", "UP", True),
    ):
        site.report(far, status)
        here.follow()
        assert (here.seen(member)[1], here.due()) == (vote, due), status
        assert here.told() == ([VIP] if vote == "UP" else [])


def test_why_it_is_not_well_is_told(here, site):
    far = site.loadbalancer("p1", VIP)
    member = here.loadbalancer(far)
    site.report(far, "ERROR")
    here.follow()
    assert here.seen(member)[2].startswith("operating status ERROR")
    (pool,) = explain.explain(here.door, MINE, here.gslb)["pools"]
    (shown,) = pool["members"]
    assert (shown["operating_status"], shown["well"], shown["address"]) == ("DOWN", False, VIP)
    assert "west: operating status ERROR" in shown["why"]
    (own,) = shown["per_region"]
    assert (own["vote"], own["monitor_id"]) == ("DOWN", None)


def test_a_port_elsewhere_is_answered_while_something_is_plugged_in(here, site):
    used = here.port(site.port_of(site.loadbalancer("p1", VIP)))
    free = here.port(site.free_port("p1", OTHER_VIP))
    assert here.seen(used) == ((VIP,), "UP", "")
    assert here.seen(free) == ((OTHER_VIP,), "DOWN", "status DOWN, expected ACTIVE")
    assert here.due()
    assert here.told() == [VIP]


def test_what_is_not_there_or_anothers_is_refused_in_the_same_words(here, site):
    theirs = site.loadbalancer("p2", VIP)
    for wish, key, attribute, title in (
        (here.loadbalancer, theirs, "loadbalancer_id", "Load Balancer"),
        (here.loadbalancer, NOWHERE, "loadbalancer_id", "Load Balancer"),
        (here.port, site.port_of(theirs), "port_id", "Port"),
        (here.port, NOWHERE, "port_id", "Port"),
    ):
        (fault,) = refused(wish, key)
        assert (fault.attribute, fault.message) == (attribute, f"{title} {key} not found in region west.")
    with here.door.database.read() as tx:
        assert elsewhere.longest_ago(tx, 10) == []


def test_a_region_says_where_its_services_are_or_its_members_are_refused_with_the_remedy(door):
    here = Here(door)
    for wish, option in ((here.loadbalancer, "--octavia-url"), (here.port, "--neutron-url")):
        (fault,) = refused(wish, NOWHERE)
        assert fault.attribute == "region_id"
        assert f"caryatid gslb-region set west {option} URL" in fault.message
    (fault,) = refused(here.member, type="octavia_lb", loadbalancer_id=NOWHERE)
    assert fault.attribute == "region_id"
    faults = refused(here.member, type="neutron_port")
    assert {fault.attribute for fault in faults} == {"port_id", "region_id"}
    (fault,) = refused(here.member, type="neutron_port", port_id=NOWHERE, region_id=NOWHERE)
    assert fault.message == f"GSLB Region {NOWHERE} not found."


def test_all_that_is_wrong_is_told_at_once(here):
    faults = refused(here.loadbalancer, NOWHERE, monitor_address="127.0.0.1", port_id=NOWHERE)
    assert {fault.attribute for fault in faults} == {"loadbalancer_id", "monitor_address", "port_id"}


def test_a_member_may_be_wished_for_while_nobody_can_say_where_it_is(here, site):
    far = site.loadbalancer("p1", VIP)
    site.stop()
    member = here.loadbalancer(far)
    addresses, vote, reason = here.seen(member)
    assert (addresses, vote) == ((), "UNKNOWN")
    assert "127.0.0.1 cannot be asked" in reason
    here.follow()
    assert here.seen(member)[1] == "UNKNOWN"
    here.due()
    assert here.told() == []
    (pool,) = explain.explain(here.door, MINE, here.gslb)["pools"]
    assert "west: 127.0.0.1 cannot be asked" in pool["members"][0]["why"]
    site.start()
    here.follow()
    assert here.seen(member) == ((VIP,), "UP", "")
    assert here.due()
    assert here.told() == [VIP]


def test_silence_changes_nothing_until_the_last_word_has_expired(tmp_path, database_url, site):
    with opened(tmp_path, database_url, gslb_follow_s=0.2, gslb_follow_timeout_s=0.4) as door:
        here = Here(door, site.octavia)
        member = here.loadbalancer(site.loadbalancer("p1", VIP))
        watching = watch.Watch(door.database, "test")
        watching.turn()
        here.follow()
        here.due()
        assert here.told() == [VIP]
        site.stop()

        def gone():
            here.follow()
            watching.turn()
            here.due()
            return here.told() == []

        until(gone)
        addresses, vote, reason = here.seen(member)
        assert (addresses, vote) == ((VIP,), "UNKNOWN")
        assert reason.startswith("UP until ")
        assert "127.0.0.1 cannot be asked" in reason
        site.start()
        here.follow()
        assert here.due()
        assert here.told() == [VIP]
        watching.close()


def test_one_that_is_deleted_there_is_answered_no_more(here, site):
    far = site.loadbalancer("p1", VIP)
    member = here.loadbalancer(far)
    here.due()
    site.delete(far)
    here.follow()
    addresses, vote, reason = here.seen(member)
    assert (addresses, vote) == ((), "DOWN")
    assert f"Octavia knows no load balancer {far}" in reason
    assert here.due()
    assert here.told() == []
    (moved,) = here.events("moved")
    assert moved["changed"] == {"addresses": [[VIP], []]}


def test_an_address_at_which_nobody_may_be_is_refused_and_left_out(tmp_path, database_url, site):
    far = site.loadbalancer("p1", VIP)
    with opened(tmp_path, database_url, gslb_allowed_targets="") as door:
        here = Here(door, site.octavia)
        (fault,) = refused(here.loadbalancer, far)
        assert fault.attribute == "loadbalancer_id"
        assert "loopback" in fault.message
        site.stop()
        member = here.loadbalancer(far)
        site.start()
        here.follow()
        assert here.seen(member)[0] == ()
        assert "loopback" in here.seen(member)[2]


def test_of_a_service_that_hangs_a_turn_asks_no_more_than_at_once(tmp_path, database_url):
    with opened(tmp_path, database_url) as door, socket.create_server(("127.0.0.1", 0), backlog=100) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        here = Here(door)
        here.door = replace(door, elsewhere=Elsewhere(timeout_s=0.5))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = f"http://127.0.0.1:{closed.getsockname()[1]}"
        here.change(GSLB_REGION, here.region, octavia_url=refusing)
        for number in range(3 * AT_ONCE):
            here.loadbalancer(f"{number:08d}-9999-4999-8999-999999999999")
        here.change(GSLB_REGION, here.region, octavia_url=url)
        here.follow()
        hanging.setblocking(False)
        came = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                hanging.accept()[0].close()
                came += 1
        assert 1 <= came <= AT_ONCE + IN_VAIN_MAX
        here.door.elsewhere.close()


def test_wishes_do_not_queue_for_a_service_that_hangs(here, site):
    far = site.loadbalancer("p1", VIP)
    for _ in range(8):
        assert here.door.asking.acquire(blocking=False)
    with pytest.raises(Busy):
        here.loadbalancer(far)
    here.member(address="192.0.2.1")
    here.door.asking.release()
    here.loadbalancer(far)


def test_what_checkers_try_follows_the_member(here, site):
    monitor = here.made(GSLB_MONITOR, MINE, type="tcp")["id"]
    here.change(GSLB_POOL, here.pool, monitors=[{"monitor_id": monitor}])
    far = site.loadbalancer("p1", VIP)
    member = here.loadbalancer(far)
    checks = Checks(here.door.database, here.door.settings)
    assert checks.look()
    assert f'"address":"{VIP}"'.encode() in checks.answer(here.region, range(32))
    site.report(far, "ERROR")
    here.follow()
    assert not checks.look(), "how it is makes no other check"
    site.delete(far)
    here.follow()
    assert checks.look()
    assert member.encode() not in checks.answer(here.region, range(32))


def test_of_a_member_that_is_no_more_nothing_is_kept(here, site):
    member = here.loadbalancer(site.loadbalancer("p1", VIP))
    writes.delete(here.door, MINE, GSLB_MEMBER, member, parent_id=here.pool)
    here.follow()
    watch.forget(here.door)
    with here.door.database.read() as tx:
        assert elsewhere.of(tx, [member]) == {}


class Loft:
    """A plugin that knows where its pigeons are."""

    def __init__(self):
        self.at = {}
        self.asked = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self, parameters):
        self.asked += 1
        assert self.open.wait(SOON_S)
        if parameters.get("name") not in self.at:
            raise ValueError("that pigeon is lost")
        found = self.at[parameters["name"]]
        if found == "ill":
            raise RuntimeError(found)
        return found


LOFT = Loft()


@pytest.fixture
def loft(monkeypatch):
    """A package with a type of member is installed."""
    LOFT.__init__()
    known = drivers._points

    def points(family):
        point = EntryPoint("pigeon", f"{__name__}:LOFT", "caryatid.member_types")
        return {"pigeon": point} if family == "member_types" else known(family)

    monkeypatch.setattr(drivers, "_points", points)
    yield LOFT
    LOFT.open.set()


def test_what_a_plugin_finds_is_answered_wherever_it_moves(door, loft):
    here = Here(door)
    loft.at = {"ann": "192.0.2.1"}
    member = here.member(type="pigeon", parameters={"name": "ann"})
    assert here.due()
    assert here.told() == ["192.0.2.1"]
    here.follow()
    assert not here.due()
    loft.at = {"ann": "192.0.2.2"}
    here.follow()
    assert here.due()
    assert here.told() == ["192.0.2.2"]
    (moved,) = here.events("moved")
    assert moved["changed"] == {"addresses": [["192.0.2.1"], ["192.0.2.2"]]}
    loft.at = {}
    here.follow()
    assert not here.due(), "what was found last stands"
    with door.database.read() as tx:
        document = rows.get(tx, GSLB_MEMBER, member)
        assert sight.with_votes(tx, [document])[0]["per_region"] == [], "a plugin does not say how it is"
        assert document["address"] == "192.0.2.2"
        assert elsewhere.of(tx, [member])[member].problem == "that pigeon is lost"


def test_the_fault_of_one_is_not_the_others(door, loft):
    here = Here(door)
    loft.at = {"ann": "192.0.2.1", "bob": "192.0.2.2"}
    ann, bob = (here.member(type="pigeon", parameters={"name": name}) for name in ("ann", "bob"))
    loft.at = {"ann": "ill", "bob": "192.0.2.3"}
    here.follow()
    with door.database.read() as tx:
        known = elsewhere.of(tx, [ann, bob])
    assert (known[ann].addresses, known[bob].addresses) == (("192.0.2.1",), ("192.0.2.3",))
    assert "RuntimeError" in known[ann].problem
    cat = here.member(type="pigeon", parameters={"name": "ann"}, port=81)
    assert here.seen(cat)[1] == "UNKNOWN", "it may be wished for, and its address is yet to be found"


def test_a_plugin_that_hangs_is_left_alone_and_keeps_nobody(here, site, loft, monkeypatch):
    monkeypatch.setattr(following, "TURN_S", 1.0)
    loft.at = {"ann": "192.0.2.1"}
    here.member(type="pigeon", parameters={"name": "ann"})
    far = site.loadbalancer("p1", VIP)
    member = here.loadbalancer(far)
    asked = loft.asked
    loft.open.clear()
    for status, vote in (("ERROR", "DOWN"), ("ONLINE", "UP")):
        site.report(far, status)
        here.follow()
        assert here.seen(member)[1] == vote
    assert loft.asked == asked + 1
    loft.open.set()
    loft.at = {"ann": "192.0.2.2"}

    def answered():
        here.follow()
        here.due()
        return here.told() == ["192.0.2.2", VIP] or here.told() == [VIP, "192.0.2.2"]

    until(answered)


def test_what_was_asked_before_a_wish_does_not_overwrite_what_was_found_for_it(door, loft):
    here = Here(door)
    loft.at = {"ann": "192.0.2.1", "bob": "192.0.2.2"}
    member = here.member(type="pigeon", parameters={"name": "ann"})
    loft.open.clear()
    turn = threading.Thread(target=here.follow)
    turn.start()
    until(lambda: loft.asked == 2)
    changing = threading.Thread(
        target=here.change, args=(GSLB_MEMBER, member, here.pool), kwargs={"parameters": {"name": "bob"}}
    )
    loft.at = {"ann": "192.0.2.9", "bob": "192.0.2.2"}
    changing.start()
    until(lambda: loft.asked == 3)
    loft.open.set()
    changing.join(SOON_S)
    turn.join(SOON_S)
    here.follow()
    with door.database.read() as tx:
        assert elsewhere.of(tx, [member])[member].addresses == ("192.0.2.2",)
