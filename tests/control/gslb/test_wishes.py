# SPDX-License-Identifier: Apache-2.0
"""What is wished of gslbs and their parts: what is refused, whom a change reaches, and what shows that it is under
way."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from caryatid import drivers
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.gslb import credentials
from caryatid.errors import Conflict, Forbidden, NotFound, PreconditionFailed, Refused, Unsupported
from caryatid.model import (
    GSLB,
    GSLB_BACKEND,
    GSLB_GEOMAP,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
    LOADBALANCER,
)
from caryatid.model.policy import Caller
from caryatid.store import jobs, rows, work
from caryatid.store.claim import Done, Failed
from caryatid.store.database import Database
from caryatid.store.gslb import loadbalancers, parts, uses
from caryatid.store.gslb.loadbalancers import Told
from tests.doors import open_door

NOWHERE = "99999999-9999-4999-8999-999999999999"
ADMIN = Caller("root", "p1", is_admin=True)
MINE = Caller("me", "p1", frozenset({"member"}))
THEIRS = Caller("they", "p2", frozenset({"member"}))


class Asker:
    """Wishes, in short."""

    def __init__(self, door):
        self.door = door

    def made(self, kind, caller=ADMIN, parent_id=None, **body):
        return writes.create(self.door, caller, kind, body, parent_id=parent_id).document

    def change(self, kind, key, caller=ADMIN, parent_id=None, **body):
        return writes.change(self.door, caller, kind, key, body, parent_id=parent_id)

    def delete(self, kind, key, caller=ADMIN, parent_id=None):
        return writes.delete(self.door, caller, kind, key, parent_id=parent_id)

    def zone(self, name="example.test.", driver="noop", caller=ADMIN, **more):
        where = {"server": "192.0.2.53"} if driver == "rfc2136" else {}
        backend = self.made(GSLB_BACKEND, name=driver, driver=driver, **where)
        return self.made(GSLB_ZONE, caller, name=name, backend_id=backend["id"], **more)

    def pool(self, *addresses, caller=MINE, **more):
        pool = self.made(GSLB_POOL, caller, **more)
        for address in addresses:
            self.member(pool, address=address)
        return pool

    def member(self, pool, caller=MINE, **body):
        return self.made(GSLB_MEMBER, caller, pool["id"], **body)

    def gslb(self, *pools, fqdn="www.example.test", caller=MINE, **more):
        return self.made(GSLB, caller, fqdn=fqdn, pools=[{"pool_id": pool["id"]} for pool in pools], **more)

    def shown(self, kind, key):
        with self.door.database.read() as tx:
            return rows.get(tx, kind, key)

    def status(self, kind, key):
        return self.shown(kind, key)["provisioning_status"]

    def settle(self, *, refuse=()):
        """Whatever is due has been carried out, but for the gslbs that are refused."""
        while claims := work.claim_some(self.door.database, "test", GSLB, 100):
            with self.door.database.transaction() as tx:
                for claim in claims:
                    number = rows.lock_root(tx, claim.root_id, GSLB).generation
                    failed = claim.root_id in refuse
                    work.settle(tx, claim, Failed("the name servers refuse it", number) if failed else Done(number))

    def due(self):
        """Whose turn it is."""
        claims = work.claim_some(self.door.database, "test", GSLB, 100)
        return {claim.root_id for claim in claims}

    def jobs(self, key):
        """(root, state) of the jobs about a resource."""
        with self.door.database.read() as tx:
            found = jobs.page(tx, jobs.Query(filters={"resource_id": key}))
        return {(job["root_id"], job["state"]) for job in found}

    def used(self, kind, key):
        with self.door.database.read() as tx:
            return uses.users(tx, kind.name, [key])


@pytest.fixture
def asker(tmp_path, database_url):
    noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
    database = Database(database_url)
    door = open_door(database, Settings(state_dir=tmp_path, **noop, quota_gslb=3))
    initial.ensure(door)
    yield Asker(door)
    database.close()


def refused(error, wish, *arguments, **words):
    """The faults, one string."""
    with pytest.raises(error) as caught:
        wish(*arguments, **words)
    return str(caught.value)


def test_a_name_is_in_the_longest_zone_that_holds_it(asker):
    asker.zone("example.test", shared=True)
    inner = asker.zone("eu.example.test", shared=True)
    assert asker.gslb(fqdn="a.eu.example.test")["zone_id"] == inner["id"]
    assert asker.gslb(fqdn="*.EU.example.test.")["fqdn"] == "*.eu.example.test."
    said = refused(Refused, asker.gslb, fqdn="www.example.org")
    assert "No zone of this project, or shared, holds www.example.org." in said
    assert "/gslb/v1/zones" in said


def test_another_projects_zone_is_none_unless_it_is_shared(asker):
    zone = asker.zone(caller=replace(ADMIN, project_id="p2"))
    assert "No zone" in refused(Refused, asker.gslb)
    asker.change(GSLB_ZONE, zone["id"], shared=True)
    assert asker.gslb()["zone_id"] == zone["id"]
    said = refused(Refused, asker.change, GSLB_ZONE, zone["id"], shared=False)
    assert "other projects have names" in said
    refused(Forbidden, asker.change, GSLB_ZONE, zone["id"], THEIRS, shared=True)


def test_a_zone_takes_no_names_from_others(asker):
    asker.zone("example.test", caller=ADMIN)
    asker.gslb(fqdn="a.eu.example.test")
    backend = asker.made(GSLB_BACKEND, driver="noop")
    other = {"backend_id": backend["id"]}
    said = refused(Conflict, asker.made, GSLB_ZONE, MINE, name="eu.example.test", **other)
    assert "a.eu.example.test." in said
    refused(Conflict, asker.made, GSLB_ZONE, THEIRS, name="us.example.test", **other)
    refused(Conflict, asker.made, GSLB_ZONE, THEIRS, name="test", **other)
    refused(Conflict, asker.made, GSLB_ZONE, MINE, name="example.test", **other)
    assert asker.made(GSLB_ZONE, MINE, name="us.example.test", **other)["name"] == "us.example.test."


def test_every_part_must_be_there_and_the_projects_own(asker):
    theirs = asker.pool(caller=THEIRS)
    rule = {"countries": ["de"], "pool_ids": [theirs["id"]]}
    wish = {"steering_policy": "geo", "rules": [rule], "fallback_pool_id": NOWHERE, "geomap_id": NOWHERE}
    said = refused(Refused, asker.gslb, theirs, **wish)
    assert said.count(f"GSLB Pool {theirs['id']} not found.") == 2
    assert f"GSLB Pool {NOWHERE} not found." in said
    assert f"GSLB Geomap {NOWHERE} not found." in said
    assert "No zone" in said
    said = refused(Refused, asker.pool, monitors=[{"monitor_id": NOWHERE}], region_id=NOWHERE)
    assert "GSLB Monitor" in said
    assert "GSLB Region" in said


def test_what_the_dns_servers_cannot_do_names_those_that_can(asker):
    asker.zone(driver="rfc2136")
    asker.zone("org.test", driver="noop")
    east = asker.pool(member_policy="weighted")
    said = refused(Unsupported, asker.gslb, east)
    assert "cannot do weighted" in said
    assert "These can: noop." in said
    assert "cannot do geo" in refused(Unsupported, asker.gslb, steering_policy="geo")
    plain = asker.pool()
    asker.gslb(plain)
    said = refused(Unsupported, asker.change, GSLB_POOL, plain["id"], member_policy="source_hash")
    assert "source_hash" in said
    assert asker.shown(GSLB_POOL, plain["id"])["member_policy"] == "multivalue"


def test_what_servers_can_do_is_as_they_are_described(asker):
    where = {"driver": "powerdns", "url": "http://192.0.2.53:8081", "credentials": {"api_key": "k"}}
    plain = asker.made(GSLB_BACKEND, name="plain", options={"lua": "false"}, **where)
    placed = asker.made(GSLB_BACKEND, name="placed", options={"geo": True}, **where)
    assert "weighted" not in plain["policies"]
    assert {"weighted", "proximity"} <= set(placed["policies"])
    asker.made(GSLB_ZONE, name="example.test.", backend_id=plain["id"])
    said = refused(Unsupported, asker.gslb, steering_policy="proximity")
    assert "cannot do proximity" in said
    assert "These can: placed." in said
    asker.change(GSLB_BACKEND, plain["id"], options={"geo": True})
    assert asker.gslb(steering_policy="proximity")["steering_policy"] == "proximity"
    assert "driver" in refused(Refused, asker.made, GSLB_BACKEND, name="x", driver="pigeon")


def test_a_change_of_a_part_reaches_every_gslb_that_uses_it(asker):
    asker.zone()
    shared, own = asker.pool(), asker.pool()
    first, second, third = (asker.gslb(pool, fqdn=f"{name}.example.test")["id"]
                            for name, pool in (("a", shared), ("b", shared), ("c", own)))  # fmt: skip
    asker.settle()
    assert asker.status(GSLB_POOL, shared["id"]) == "ACTIVE"
    receipt = asker.change(GSLB_POOL, shared["id"], minimum_healthy=2)
    assert receipt.document["provisioning_status"] == "PENDING_UPDATE"
    assert asker.status(GSLB, first) == asker.status(GSLB, second) == "PENDING_UPDATE"
    assert asker.status(GSLB, third) == "ACTIVE"
    assert asker.jobs(shared["id"]) >= {(first, "queued"), (second, "queued")}
    with asker.door.database.read() as tx:
        assert jobs.get(tx, receipt.job_id)["root_id"] == min(first, second)
    asker.settle(refuse={second})
    assert asker.status(GSLB_POOL, shared["id"]) == "ERROR"
    assert asker.status(GSLB, first) == "ACTIVE"
    assert {(first, "succeeded"), (second, "failed")} <= asker.jobs(shared["id"])
    asker.change(GSLB_POOL, shared["id"], minimum_healthy=1)
    asker.settle()
    assert asker.status(GSLB_POOL, shared["id"]) == asker.status(GSLB, second) == "ACTIVE"


def test_a_part_that_nobody_uses_is_changed_at_once(asker):
    pool = asker.pool("192.0.2.1")
    receipt = asker.change(GSLB_POOL, pool["id"], name="east")
    assert receipt.document["provisioning_status"] == "ACTIVE"
    assert (None, "succeeded") in asker.jobs(pool["id"])


def test_members_are_part_of_their_pool(asker):
    asker.zone()
    pool = asker.pool()
    gslb = asker.gslb(pool)["id"]
    asker.settle()
    member = asker.member(pool, address="192.0.2.1")
    assert member["provisioning_status"] == asker.status(GSLB, gslb) == "PENDING_UPDATE"
    asker.settle()
    assert asker.status(GSLB_MEMBER, member["id"]) == "ACTIVE"
    asker.change(GSLB_MEMBER, member["id"], parent_id=pool["id"], weight=0)
    assert asker.due() == {gslb}
    asker.delete(GSLB_MEMBER, member["id"], parent_id=pool["id"])
    assert asker.shown(GSLB_MEMBER, member["id"]) is None
    assert asker.status(GSLB, gslb) == "PENDING_UPDATE"


def test_what_a_part_comes_to_use_its_users_use_too(asker):
    asker.zone()
    web, ping = asker.made(GSLB_MONITOR, MINE, type="http"), asker.made(GSLB_MONITOR, MINE, type="tcp")
    pool, other = asker.pool(monitors=[{"monitor_id": web["id"]}]), asker.pool()
    geomap = asker.made(GSLB_GEOMAP, MINE, rules=[{"countries": ["DE"], "pool_ids": [pool["id"]]}])
    gslb = asker.gslb(steering_policy="geo", geomap_id=geomap["id"])["id"]
    assert asker.used(GSLB_POOL, pool["id"]) == asker.used(GSLB_MONITOR, web["id"]) == [gslb]
    asker.change(GSLB_POOL, pool["id"], monitors=[{"monitor_id": ping["id"]}])
    assert asker.used(GSLB_MONITOR, ping["id"]) == [gslb]
    assert asker.used(GSLB_MONITOR, web["id"]) == []
    asker.change(GSLB_GEOMAP, geomap["id"], rules=[{"countries": ["DE"], "pool_ids": [other["id"]]}])
    assert asker.used(GSLB_POOL, other["id"]) == [gslb]
    assert asker.used(GSLB_POOL, pool["id"]) == asker.used(GSLB_MONITOR, ping["id"]) == []
    asker.change(GSLB, gslb, geomap_id=None)
    assert asker.used(GSLB_GEOMAP, geomap["id"]) == []


def test_a_part_in_use_stays_and_its_users_are_named(asker):
    asker.zone()
    monitor = asker.made(GSLB_MONITOR, MINE, type="http")
    pool = asker.pool("192.0.2.1", name="east", monitors=[{"monitor_id": monitor["id"]}])
    gslb = asker.gslb(pool)["id"]
    assert "in use by GSLB www.example.test. and" in refused(Conflict, asker.delete, GSLB_POOL, pool["id"])
    assert "in use by GSLB Pool east and" in refused(Conflict, asker.delete, GSLB_MONITOR, monitor["id"])
    asker.delete(GSLB, gslb)
    asker.delete(GSLB_POOL, pool["id"])
    asker.delete(GSLB_MONITOR, monitor["id"])
    with asker.door.database.read() as tx:
        assert rows.count(tx, GSLB_MEMBER, pool_id=pool["id"]) == 0


def test_a_deleted_gslb_is_gone_when_that_is_in_effect(asker):
    zone = asker.zone()
    gslb = asker.gslb()["id"]
    asker.settle()
    asker.delete(GSLB, gslb)
    assert asker.status(GSLB, gslb) == "PENDING_DELETE"
    refused(Conflict, asker.change, GSLB, gslb, name="x")
    assert "www.example.test." in refused(Conflict, asker.delete, GSLB_ZONE, zone["id"])
    again = asker.gslb()["id"]
    asker.settle()
    assert asker.shown(GSLB, gslb) is None
    assert asker.status(GSLB, again) == "ACTIVE"
    assert "exists already" in refused(Conflict, asker.gslb)


def test_a_quota_counts_gslbs_and_their_parts(asker):
    asker.zone()
    for name in "abc":
        asker.gslb(fqdn=f"{name}.example.test")
    assert "Quota" in refused(Forbidden, asker.gslb, fqdn="d.example.test")


def test_only_addresses_that_may_be_checked_are_members(asker):
    pool = asker.pool()
    for address, why in (
        ("169.254.169.254", "link-local"),
        ("127.0.0.1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
    ):
        assert why in refused(Refused, asker.member, pool, address=address)
    assert "loopback" in refused(Refused, asker.member, pool, address="192.0.2.1", monitor_address="127.0.0.1")
    settings = asker.door.settings.model_copy(update={"gslb_allowed_targets": "127.0.0.0/8"})
    allowing = Asker(replace(asker.door, settings=settings))
    assert allowing.member(pool, address="127.0.0.1")["address"] == "127.0.0.1"


def test_two_members_are_not_in_one_place(asker):
    pool = asker.pool("192.0.2.1")
    asker.member(pool, address="192.0.2.1", port=81)
    said = refused(Conflict, asker.member, pool, address="192.0.2.1", port=81)
    assert "192.0.2.1 port 81" in said
    asker.member(pool, type="hostname", hostname="a.example.org")
    refused(Conflict, asker.member, pool, type="hostname", hostname="A.example.org.")


def test_types_of_members_are_known_and_kosmos_words_are_heard(asker):
    pool = asker.pool()
    assert asker.member(pool, type="IP", address="192.0.2.1")["type"] == "ip"
    assert "there are: hostname, ip, load_balancer" in refused(Refused, asker.member, pool, type="fax")
    said = refused(Refused, asker.member, pool, type="neutron_lbaas_v2", loadbalancer_id=NOWHERE)
    assert "a member of type octavia_lb needs region_id" in said
    assert "ip" in refused(Refused, asker.member, pool, type="hostname", hostname="a.org", address="192.0.2.1")


def test_a_load_balancer_is_a_member_where_it_is(asker):
    pool = asker.pool()
    subnet = {"vip_subnet_id": initial.SUBNET_ID}
    own = writes.create(asker.door, MINE, LOADBALANCER, subnet).document
    theirs = writes.create(asker.door, THEIRS, LOADBALANCER, subnet).document
    assert asker.member(pool, type="load_balancer", loadbalancer_id=own["id"])["address"] is None
    said = refused(Refused, asker.member, pool, type="load_balancer", loadbalancer_id=theirs["id"])
    assert f"Load Balancer {theirs['id']} not found." in said
    west = asker.made(GSLB_REGION, name="west")["id"]
    away = {"type": "load_balancer", "loadbalancer_id": NOWHERE, "region_id": west}
    assert "has not told of it" in refused(Refused, asker.member, pool, **away)
    with asker.door.database.transaction() as tx:
        loadbalancers.report(tx, west, [Told(NOWHERE, ("192.0.2.9",), "ONLINE", 15.0)])
    assert asker.member(pool, **away)["region_id"] == west


def test_a_monitor_is_one_that_there_is_and_told_what_it_wants(asker):
    wish = {"parameters": {"path": "no", "nonsense": 1}, "regions": [NOWHERE]}
    said = refused(Refused, asker.made, GSLB_MONITOR, MINE, type="http", **wish)
    assert "parameters.path" in said
    assert "nonsense" in said
    assert f"GSLB Region {NOWHERE} not found." in said
    said = refused(Refused, asker.made, GSLB_MONITOR, MINE, type="http", interval=1, timeout=2, **wish)
    assert "timeout must be less" in said
    assert "nonsense" in said
    assert "there are: dns, exec" in refused(Refused, asker.made, GSLB_MONITOR, MINE, type="fax")
    program = {"type": "exec", "parameters": {"program": "/usr/bin/true"}}
    refused(Forbidden, asker.made, GSLB_MONITOR, MINE, **program)
    assert asker.made(GSLB_MONITOR, ADMIN, **program)["type"] == "exec"


def test_places_are_the_operators(asker):
    for kind, body in ((GSLB_REGION, {"name": "east"}), (GSLB_BACKEND, {"driver": "noop"})):
        refused(Forbidden, asker.made, kind, MINE, **body)
        assert asker.made(kind, ADMIN, **body)["id"]
    refused(Conflict, asker.made, GSLB_REGION, ADMIN, name="east")


def test_a_place_in_use_stays(asker):
    zone = asker.zone()
    assert "in use by GSLB Zone example.test." in refused(Conflict, asker.delete, GSLB_BACKEND, zone["backend_id"])
    region = asker.made(GSLB_REGION, name="east")["id"]
    monitor = asker.made(GSLB_MONITOR, MINE, name="web", type="http", regions=[region])
    assert "in use by GSLB Monitor web" in refused(Conflict, asker.delete, GSLB_REGION, region)
    asker.delete(GSLB_MONITOR, monitor["id"])
    pool = asker.pool(name="of the east", region_id=region)
    assert "in use by GSLB Pool of the east" in refused(Conflict, asker.delete, GSLB_REGION, region)
    asker.delete(GSLB_POOL, pool["id"])
    asker.delete(GSLB_REGION, region)
    asker.delete(GSLB_ZONE, zone["id"])
    asker.delete(GSLB_BACKEND, zone["backend_id"])


def test_a_changed_place_wakes_those_that_it_matters_to(asker):
    asker.zone()
    region = asker.made(GSLB_REGION, name="east")["id"]
    gslb = asker.gslb()["id"]
    asker.settle()
    assert asker.due() == set()
    asker.change(GSLB_REGION, region, enabled=False)
    assert asker.due() == {gslb}
    assert asker.status(GSLB, gslb) == "ACTIVE"
    asker.settle()


def test_credentials_are_sealed_and_never_shown(asker):
    backend = asker.made(GSLB_BACKEND, driver="powerdns", url="http://192.0.2.53:8081", credentials={"api_key": "hush"})
    assert backend["credentials"] == {}
    key = backend["id"]
    with asker.door.database.transaction() as tx:
        assert credentials.of(tx, asker.door, key) == {"api_key": "hush"}
        assert b"hush" not in parts.credentials(tx, key)
    asker.change(GSLB_BACKEND, key, description="another")
    with asker.door.database.transaction() as tx:
        assert credentials.of(tx, asker.door, key) == {"api_key": "hush"}
    asker.change(GSLB_BACKEND, key, credentials={"api_key": "other"})
    with asker.door.database.transaction() as tx:
        assert credentials.of(tx, asker.door, key) == {"api_key": "other"}
    asker.delete(GSLB_BACKEND, key)
    with asker.door.database.transaction() as tx:
        assert parts.credentials(tx, key) is None


def test_a_backend_is_of_a_driver_that_there_is(asker):
    said = refused(Refused, asker.made, GSLB_BACKEND, driver="carrier_pigeon")
    assert "there are: designate, noop, powerdns, rfc2136" in said
    assert "needs url" in refused(Refused, asker.made, GSLB_BACKEND, driver="powerdns")
    assert "geo" in asker.made(GSLB_BACKEND, driver="noop")["policies"]


def test_what_is_not_there_is_said_so(asker):
    for kind in (GSLB, GSLB_POOL, GSLB_MONITOR, GSLB_GEOMAP, GSLB_REGION, GSLB_BACKEND, GSLB_ZONE):
        refused(NotFound, asker.change, kind, NOWHERE, name="x")
        refused(NotFound, asker.delete, kind, NOWHERE)
    refused(NotFound, asker.made, GSLB_MEMBER, MINE, NOWHERE, address="192.0.2.1")


def test_a_stale_wish_is_refused(asker):
    asker.zone()
    pool = asker.pool()
    gslb = asker.gslb(pool)
    stale = writes.Precondition(frozenset({"0"}))
    for kind, key in ((GSLB, gslb["id"]), (GSLB_POOL, pool["id"])):
        with pytest.raises(PreconditionFailed):
            writes.change(asker.door, MINE, kind, key, {"name": "x"}, precondition=stale)


def test_a_part_is_not_deleted_while_somebody_comes_to_use_it(asker):
    asker.zone()
    settings = asker.door.settings.model_copy(update={"quota_gslb": -1})
    asker = Asker(replace(asker.door, settings=settings))
    pools = [asker.pool()["id"] for _ in range(4)]

    def use(number, key):
        asker.gslb({"id": key}, fqdn=f"{number}.example.test")

    def drop(_number, key):
        asker.delete(GSLB_POOL, key)

    with ThreadPoolExecutor(8) as threads:
        wishes = [threads.submit(act, number, key) for number, key in enumerate(pools) for act in (use, drop)]
    errors = [wish.exception() for wish in wishes]
    for place, key in enumerate(pools):
        used, dropped = errors[2 * place : 2 * place + 2]
        assert (used is None) != (dropped is None), (used, dropped)
        assert (asker.shown(GSLB_POOL, key) is None) == (dropped is None)
        assert isinstance(used or dropped, Refused | Conflict)


def pigeon(parameters):
    """Where its loft is."""
    if "loft" not in parameters:
        raise ValueError("say in which loft it is")
    return f"192.0.2.{parameters['loft']}"


@pytest.fixture
def plugin(monkeypatch):
    """A package with a type of member is installed."""
    known = drivers._points

    def points(family):
        point = EntryPoint("pigeon", f"{__name__}:pigeon", "caryatid.member_types")
        return {"pigeon": point} if family == "member_types" else known(family)

    monkeypatch.setattr(drivers, "_points", points)


@pytest.mark.usefixtures("plugin")
def test_a_plugin_finds_out_where_its_members_are(asker):
    pool = asker.pool()
    member = asker.member(pool, type="pigeon", parameters={"loft": "3"})
    assert member["address"] == "192.0.2.3"
    change = {"parent_id": pool["id"], "parameters": {"loft": "4"}}
    assert asker.change(GSLB_MEMBER, member["id"], **change).document["address"] == "192.0.2.4"
    assert "say in which loft" in refused(Refused, asker.member, pool, type="pigeon")
