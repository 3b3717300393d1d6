# SPDX-License-Identifier: Apache-2.0
"""The door for checkers, over real TLS: who gets in, for which region, and what they are told."""

import asyncio
import json
import shutil
from uuid import uuid4

import httpx2
import pytest

from caryatid.config import Settings
from caryatid.control import authority
from caryatid.control.gslb import revoking, tokens, trials
from caryatid.control.gslb.votes import share_of
from caryatid.errors import Refused
from caryatid.model import GSLB, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION
from caryatid.model.policy import Caller
from caryatid.plan import certificates
from caryatid.store import rows, work
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled, loadbalancers, trees, votes
from caryatid.store.gslb.trials import TRIED
from caryatid.wire.checkers import ChecksClient, ConductorDenied, Newcomer, Standing
from caryatid.wire.checks import (
    SHARES,
    Done,
    Held,
    Known,
    LoadBalancer,
    LoadBalancers,
    Seat,
    Tried,
    Vote,
    Votes,
)
from caryatid.wire.conductor import (
    CONDUCTOR_NAME,
    ConductorClient,
    ConductorRefused,
    EnrolmentToken,
    HostFacts,
    fingerprints,
)
from caryatid.wire.enrolment import enrol as enrol_host
from caryatid.wire.tls import client_context
from tests.conducting import conducted
from tests.doors import open_door

LATE_S = 30
ADMIN = Caller("root", "p1", is_admin=True)


@pytest.fixture
def registry(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    settings = Settings(state_dir=tmp_path, gslb_allowed_targets="192.0.2.0/24", gslb_controls="198.51.100.1:443")
    yield authority.open_registry(database, settings)
    database.close()


def told(registry, story, **limits):
    """What `story(place)` comes to."""

    async def run():
        async with asyncio.timeout(LATE_S), conducted(registry, **limits) as place:
            return await story(place)

    return asyncio.run(run())


async def closing(*clients):
    for client in clients:
        await client.close()


def test_a_checker_enrols_with_a_token_and_is_in_the_region_that_the_token_is_for(registry):
    async def story(place):
        region = place.region("fra")
        welcome, client = await place.checker(region)
        told = await client.stand(Standing(name="c1", release="1", trusts=fingerprints(welcome.ca_pem)))
        renewed = await client.renew(certificates.request(certificates.new_key()).decode())
        await client.close()
        return region, welcome, told, renewed

    region, welcome, standing, renewed = told(registry, story)
    assert (welcome.region_id, welcome.region) == (region, "fra")
    for certificate in (welcome.certificate_pem, renewed.certificate_pem):
        identity = certificates.identity_of(certificate.encode())
        assert identity == (f"checker:{region}", welcome.checker_id)
    assert standing.ca_pem == welcome.ca_pem
    with registry.database.read() as tx:
        (known,) = enrolled.every(tx)
    assert (known.id, known.region_id, known.release, list(known.trusts)) == (
        welcome.checker_id,
        region,
        "1",
        fingerprints(welcome.ca_pem),
    )


def test_a_token_lets_one_in_and_neither_sort_of_token_the_other_sort(registry):
    async def story(place):
        region = place.region()
        trust = client_context(authority.trust_of(registry).bundle)
        client, csr = ChecksClient([place.url], trust), certificates.request(certificates.new_key()).decode()
        token, of_host = tokens.new_token(registry, region), authority.new_token(registry)
        await client.enrol(Newcomer(token_id=token.id, secret=token.secret, csr_pem=csr, name="c"))
        for used in (token, of_host):
            with pytest.raises(ConductorDenied, match="401"):
                await client.enrol(Newcomer(token_id=used.id, secret=used.secret, csr_pem=csr, name="c"))
        fresh = place.token(region)
        facts = HostFacts(
            name="h",
            agent_url="https://127.0.0.1:1",
            capacity=1,
            bindable_from=1024,
            agent_version="1",
            haproxy_version="2",
        )
        with pytest.raises(ConductorRefused, match="401"):
            await enrol_host(fresh, csr, facts)
        await client.close()

    told(registry, story)


def test_a_host_does_not_speak_for_a_region_nor_a_checker_for_a_host_nor_a_stranger_at_all(registry):
    async def story(place):
        region = place.region()
        _, checker = await place.checker(region)
        checker_as_host = ConductorClient(place.url, place.context)
        key = certificates.new_key()
        token = EnrolmentToken(**{**authority.new_token(registry).model_dump(), "url": place.url})
        facts = HostFacts(
            name="h",
            agent_url="https://127.0.0.1:1",
            capacity=1,
            bindable_from=1024,
            agent_version="1",
            haproxy_version="2",
        )
        host = await enrol_host(token, certificates.request(key).decode(), facts)
        as_host = client_context(host.ca_pem, host.certificate_pem.encode() + key)
        host_client = ChecksClient([place.url], as_host)
        stranger = ChecksClient([place.url], client_context(host.ca_pem))
        for client in (host_client, stranger):
            for act in acts(client):
                with pytest.raises(ConductorDenied, match="403"):
                    await act
        with pytest.raises(ConductorRefused, match="403"):
            await checker_as_host.refresh(host.host_id, facts)
        await closing(host_client, stranger, checker, checker_as_host)

    told(registry, story)


def acts(client):
    """Everything that only checkers may ask."""
    yield client.stand(Standing(name="c", release="1"))
    yield client.renew(certificates.request(certificates.new_key()).decode())
    yield client.shares(Seat(checker="c"))
    yield client.wanted(Known(checker="c", shares=[]))
    yield client.votes(Votes(checker="c", votes=[]))
    yield client.tests(Done(checker="c"))
    yield client.loadbalancers(LoadBalancers(loadbalancers=[]))


def test_whoever_was_revoked_or_is_of_a_region_that_is_disabled_or_gone_is_refused(registry):
    async def refused(place, revoke):
        region = place.region(f"r{uuid4().hex[:6]}")
        welcome, client = await place.checker(region)
        await client.shares(Seat(checker="c" + region[:8]))
        with registry.database.transaction() as tx:
            revoke(tx, region, welcome)
        deadline = asyncio.get_running_loop().time() + LATE_S
        while asyncio.get_running_loop().time() < deadline:
            try:
                await client.shares(Seat(checker="c" + region[:8]))
            except ConductorDenied:
                break
            await asyncio.sleep(0.05)
        for act in acts(client):
            with pytest.raises(ConductorDenied, match="403"):
                await act
        await client.close()

    def disable(tx, region, _welcome):
        row = GSLB_REGION.load(rows.get(tx, GSLB_REGION, region))
        rows.change(tx, GSLB_REGION, row.model_copy(update={"enabled": False}), at="2026-11-21T20:00:00.000000")

    async def story(place):
        await refused(place, disable)
        await refused(place, lambda tx, _region, welcome: enrolled.revoke(tx, welcome.checker_id))

    told(registry, story)


def test_one_that_is_revoked_is_refused_at_once_in_what_it_waits_for_too_and_the_others_are_not(registry):
    async def story(place):
        region = place.region()
        place.orchard.whole()
        (welcome, revoked), (_, other) = await place.checker(region), await place.checker(region)
        door = open_door(registry.database, registry.settings)
        held = [one.share for one in (await revoked.shares(Seat(checker="c1"))).held]
        await other.shares(Seat(checker="c2"))
        known = await revoked.wanted(Known(checker="c1", shares=held))
        waiting = [
            asyncio.create_task(client.wanted(Known(checker=name, checks=known.checks, shares=held, wait_s=LATE_S - 1)))
            for client, name in ((revoked, "c1"), (other, "c2"))
        ]
        trying = asyncio.create_task(revoked.tests(Done(checker="c1", wait_s=LATE_S - 1)))
        await asyncio.wait([*waiting, trying], timeout=0.3)
        revoking.revoke(door, ADMIN, welcome.checker_id)
        for act in acts(revoked):
            with pytest.raises(ConductorDenied, match="403"):
                await act
        for poll in (waiting[0], trying):
            with pytest.raises(ConductorDenied, match="none of ours, or not any more"):
                await poll
        assert not waiting[1].done()
        taken = await other.shares(Seat(checker="c2"))
        waiting[1].cancel()
        await asyncio.gather(waiting[1], return_exceptions=True)
        await closing(revoked, other)
        return [one.share for one in taken.held]

    assert told(registry, story) == list(range(SHARES))


def test_that_a_checker_was_heard_of_is_known(registry):
    async def story(place):
        welcome, client = await place.checker(place.region())
        with registry.database.read() as tx:
            before = enrolled.shown(tx, welcome.checker_id)
        await client.stand(Standing(name="m7", release="1.2"))
        await client.close()
        with registry.database.read() as tx:
            return before, enrolled.shown(tx, welcome.checker_id)

    before, after = told(registry, story)
    assert (before["seen_at"], before["name"], before["release"]) == (None, "c1", "")
    assert (after["name"], after["release"]) == ("m7", "1.2")
    assert after["seen_at"]


def test_a_region_is_told_its_checks_and_again_when_they_have_changed(registry):
    async def story(place):
        region = place.region()
        known = place.orchard.whole()
        _, client = await place.checker(region)
        shares = await client.shares(Seat(checker="c1"))
        numbers = [one.share for one in shares.held]
        wanted = await client.wanted(Known(checker="c1", shares=numbers))
        asking = asyncio.create_task(
            client.wanted(Known(checker="c1", checks=wanted.checks, shares=numbers, wait_s=LATE_S - 1))
        )
        await asyncio.sleep(0)
        place.orchard.change_part(GSLB_MONITOR, known["gslb_monitor"])  # nothing that a checker would see
        extra = place.orchard.part(GSLB_MEMBER, pool_id=known["gslb_pool"], address="192.0.2.2", port=81)
        place.orchard.change_part(GSLB_POOL, known["gslb_pool"])
        later = await asking
        await client.close()
        return known, shares, wanted, extra, later

    known, shares, wanted, extra, later = told(registry, story)
    assert [one.share for one in shares.held] == list(range(SHARES))
    (check,) = wanted.wanted
    assert (check.monitor_id, check.member_id) == (known["gslb_monitor"], known["gslb_member"])
    assert (check.type, check.address, check.share, check.word) == ("tcp", "192.0.2.1", share_of(check.member_id), None)
    assert (wanted.allowed, wanted.controls) == (["192.0.2.0/24"], ["198.51.100.1:443"])
    assert {one.member_id: one.port for one in later.wanted} == {known["gslb_member"]: None, extra: 81}
    assert later.checks != wanted.checks
    assert [one.version for one in later.wanted if one.member_id == check.member_id] == [check.version]


def test_votes_reach_the_store_and_who_uses_the_member_and_come_back_as_the_last_word(registry):
    async def story(place):
        region = place.region()
        known = place.orchard.whole()
        asleep(registry.database)
        _, client = await place.checker(region)
        held = {one.share: one.fence for one in (await client.shares(Seat(checker="c1"))).held}
        share = share_of(known["gslb_member"])
        vote = Vote(
            monitor_id=known["gslb_monitor"],
            member_id=known["gslb_member"],
            share=share,
            fence=held[share],
            word="DOWN",
            seq=1,
            reason="no answer",
        )
        stale = vote.model_copy(update={"fence": held[share] - 1, "word": "UP", "seq": 2})
        taken = await client.votes(Votes(checker="c1", votes=[vote]))
        refused = await client.votes(Votes(checker="c1", votes=[stale]))
        wanted = await client.wanted(Known(checker="c1", shares=[share]))
        seat = Seat(checker="c1", held=[Held(share=one, fence=fence) for one, fence in held.items()])
        await client.shares(seat)
        await client.close()
        return known, share, taken, refused, wanted

    known, share, taken, refused, wanted = told(registry, story)
    assert (taken.stale, refused.stale) == ([], [share])
    assert [one.word for one in wanted.wanted] == ["DOWN"]
    with registry.database.read() as tx:
        (seen,) = votes.of_members(tx, [known["gslb_member"]])[known["gslb_member"]]
    assert (seen.word, seen.reason, seen.checker) == ("DOWN", "no answer", "c1")
    assert seen.confirmed_at > seen.at
    assert work.next_due(registry.database, GSLB) == 0


def test_load_balancers_of_a_region_are_known_and_who_uses_them_is_looked_at_when_one_is_otherwise(registry):
    key = str(uuid4())

    async def story(place):
        region = place.region()
        known = place.orchard.whole()
        member = place.orchard.part(
            GSLB_MEMBER,
            pool_id=known["gslb_pool"],
            type="load_balancer",
            address=None,
            loadbalancer_id=key,
            region_id=region,
        )
        _, client = await place.checker(region)
        due, seen = [], []
        for status in ("ONLINE", "ONLINE", "ERROR"):
            asleep(registry.database)
            one = LoadBalancer(id=key, addresses=["192.0.2.7"], operating_status=status, good_s=9)
            await client.loadbalancers(LoadBalancers(loadbalancers=[one]))
            due.append(work.next_due(registry.database, GSLB) == 0)
            with registry.database.read() as tx:
                seen.append(loadbalancers.own_of(tx, trees.members_of(tx, [known["gslb_pool"]]))[member])
        await client.close()
        return region, due, seen

    region, due, seen = told(registry, story)
    assert due == [True, False, True]
    assert [one.word for one in seen] == ["UP", "UP", "DOWN"]
    assert (seen[0].region_id, seen[0].addresses, seen[0].good_s) == (region, ("192.0.2.7",), 9)
    assert seen[0].since == seen[1].since < seen[2].since
    assert seen[1].confirmed_at > seen[0].confirmed_at


def test_a_dry_run_is_made_in_each_region_and_one_without_a_checker_is_named(registry):
    async def answer(client, word):
        """A checker that makes whatever it is given."""
        while True:
            trials = (await client.tests(Done(checker=word, wait_s=10))).trials
            tried = [Tried(id=one.id, word=word, reason=one.check.address, rtt_ms=2.5) for one in trials]
            await client.tests(Done(checker=word, tried=tried))

    async def tried(place, door, monitor, **where):
        asked = trials.ask(door, monitor, **where)
        number = place.news.number(TRIED)
        while (found := trials.found(door, asked)) is None:
            number = await place.news.after(TRIED, number, LATE_S)
        trials.forget(door, asked)
        return found

    async def story(place):
        known = place.orchard.whole()
        door = open_door(registry.database, registry.settings)
        regions = [place.region(name) for name in ("ams", "fra", "muc")]
        clients = [(await place.checker(region))[1] for region in regions[:2]]
        for client, word in zip(clients, ("UP", "DOWN"), strict=True):
            await client.shares(Seat(checker=word))
        answering = [asyncio.create_task(answer(*pair)) for pair in zip(clients, ("UP", "DOWN"), strict=True)]
        found = await tried(place, door, known["gslb_monitor"], member_id=known["gslb_member"])
        with pytest.raises(Refused, match="loopback"):
            trials.ask(door, known["gslb_monitor"], address="127.0.0.1")
        named = await tried(place, door, known["gslb_monitor"], address="www.example.test", port=80)
        for task in answering:
            task.cancel()
        await closing(*clients)
        return found, named

    found, named = told(registry, story)
    assert [(one["region"], one["vote"], one["reason"]) for one in found["regions"]] == [
        ("ams", "UP", "192.0.2.1"),
        ("fra", "DOWN", "192.0.2.1"),
        ("muc", "UNKNOWN", trials.EMPTY),
    ]
    assert [one["reason"] for one in named["regions"]][:2] == ["www.example.test"] * 2
    assert count(registry.database, "gslb_trial") == 0


def test_what_is_too_much_too_often_or_of_another_version_is_refused_with_a_sentence(registry):
    async def story(place):
        _, client = await place.checker(place.region())
        with pytest.raises(ConductorRefused, match="speaks version 1"):
            await client.shares(Seat(version=2, checker="c"))
        async with httpx2.AsyncClient(verify=place.context, trust_env=False) as http:
            named = {"extensions": {"sni_hostname": CONDUCTOR_NAME}}
            url = f"{place.url}/v1/checks/shares"
            broken = await http.post(url, content=b'{"checker": 1}', **named)
            vote = {"monitor_id": "m", "member_id": "m", "share": 1, "fence": 1, "word": "UP", "seq": 1}
            strange = [
                await http.post(f"{place.url}/v1/checks/votes", content=said(vote, **wrong), **named)
                for wrong in ({"reason": "\x00"}, {"member_id": "\x00"}, {"rtt_ms": float("nan")}, {"share": 32})
            ]
            told_of = {"id": "lb", "addresses": ["a.example"], "operating_status": "ONLINE", "good_s": 9}
            named_so = await http.post(
                f"{place.url}/v1/checks/loadbalancers", json={"loadbalancers": [told_of]}, **named
            )
            large = await http.post(url, content=b" " * 70_000, **named)
            codes = [(await http.post(url, content=b"{}", **named)).status_code for _ in range(40)]
        await client.close()
        return [broken, *strange, named_so, large], codes

    answers, codes = told(registry, story, rate=0.001, burst=11)
    assert [one.status_code for one in answers] == [400] * 6 + [413]
    assert "checker" in answers[0].json()["reason"]
    assert {400, 429} >= set(codes) >= {429}


def said(vote, **wrong):
    """A body with such a vote."""
    return json.dumps({"checker": "c", "votes": [{**vote, **wrong}]}).encode()


def asleep(database):
    """No gslb is due."""
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE work SET due_at = NULL")


def count(database, table):
    with database.read() as tx:
        return tx.connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
