# SPDX-License-Identifier: Apache-2.0
"""Certificates end, authorities and keys are replaced: agents and controllers reach each other all the while, over
real TLS, also when an agent was away during part of it."""

import asyncio
import base64
import shutil
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from caryatid.agent import identity
from caryatid.agent.app import create_app as agent_app
from caryatid.agent.host import Agent
from caryatid.agent.settings import AgentSettings
from caryatid.api.conductor import create_app
from caryatid.config import Settings
from caryatid.control import admission, authority, rotation
from caryatid.control.credentials import Credentials
from caryatid.errors import NotFound
from caryatid.model import HOST
from caryatid.plan import certificates
from caryatid.store import hosts, rows
from caryatid.store.database import Database
from caryatid.wire.agent import AgentClient, AgentError
from caryatid.wire.conductor import (
    CertificateRequest,
    ConductorError,
    ConductorRefused,
    EnrolmentToken,
    HostFacts,
    HostUnknown,
    key_fingerprint,
)
from caryatid.wire.enrolment import fetch_authority
from caryatid.wire.tls import listening_socket, server

FACTS = HostFacts(
    name="h1",
    agent_url="https://127.0.0.1:7777",
    capacity=10,
    bindable_from=1024,
    agent_version="0.1.0",
    haproxy_version="2.6.12",
)


def now(**ahead):
    return datetime.now(UTC) + timedelta(**ahead)


class Fleet:
    """An installation: its registry, one controller, and hosts that come and go."""

    def __init__(self, directory, registry):
        self.directory = directory
        self.registry = registry
        self.controller = Credentials(registry, "c1")
        self.url = ""

    @asynccontextmanager
    async def conducted(self):
        async with served(create_app(self.registry), self.controller.server()) as port:
            self.url = f"https://127.0.0.1:{port}"
            yield

    def token(self):
        return EnrolmentToken(**{**authority.new_token(self.registry).model_dump(), "url": self.url}).encode()

    def settings(self, name):
        directory = self.directory / name
        directory.mkdir(mode=0o700)
        return AgentSettings(state_dir=directory, run_dir=directory / "r", token_file=directory / "token")

    async def join(self, name, token=None):
        settings = self.settings(name)
        settings.token_file.write_text(token or self.token())
        return await identity.obtain(settings, FACTS, asyncio.Event())

    def restarted(self, name):
        """The host, as its agent is after a restart."""
        return identity.load(AgentSettings(state_dir=self.directory / name))

    async def visit(self, host):
        return await host.refresh(FACTS, now())

    async def answers(self, host):
        """Whether controller and host accept each other, in both directions, on new connections."""
        agent = Agent(AgentSettings(state_dir=self.directory / "x", run_dir=self.directory / "x"), host.host_id, 1)
        async with served(agent_app(agent, lambda: host.client), host.server) as port:
            client = AgentClient(f"https://127.0.0.1:{port}", host.host_id, self.controller.client())
            try:
                info = await asyncio.to_thread(client.info)
            except AgentError:
                return False
            finally:
                client.close()
        try:
            await self.visit(host)
        except ConductorError:
            return False
        return info.host_id == host.host_id

    def advance(self, **ahead):
        """Time passes, and the housekeeper and the controllers look what is due."""
        rotation.advance(self.registry, now(**ahead))
        self.controller.look()
        return rotation.standing(self.registry, now())

    def let_end(self, host, days_ago):
        """The host has a certificate that ended so many days ago."""
        key = identity.new_key()
        wanted = CertificateRequest(csr_pem=identity.request(key))
        past = now(days=-days_ago - self.registry.settings.certificate_days)
        new = admission.renew(self.registry, host.host_id, wanted, past)
        host._show((new.certificate_pem + key).encode())
        host._paths.credentials.write_text(new.certificate_pem + key)


@asynccontextmanager
async def served(app, context):
    listener = listening_socket("127.0.0.1", 0)
    serving = server(app, context)
    task = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        serving.should_exit = True
        await task
        listener.close()


@pytest.fixture
def fleet(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    settings = Settings(state_dir=tmp_path, certificate_days=30, certificate_grace_days=90)
    yield Fleet(tmp_path, authority.open_registry(database, settings))
    database.close()


def run(story, fleet):
    async def whole():
        async with fleet.conducted(), asyncio.timeout(60):
            await story(fleet)

    asyncio.run(whole())


def test_an_authority_is_replaced_while_a_host_is_away_and_nobody_is_lost(fleet):
    async def story(fleet):
        here, away, lost = [await fleet.join(name) for name in ("here", "away", "lost")]
        first = authority.trust_of(fleet.registry).issuer
        rotation.begin(fleet.registry, now())
        fleet.controller.look()
        assert await fleet.answers(here)
        await fleet.visit(lost)
        standing = fleet.advance(hours=1)
        assert (standing.phase, [name for name, _ in standing.waiting]) == ("introducing", [away.host_id])

        away = fleet.restarted("away")
        assert await fleet.answers(away)
        assert fleet.advance(hours=2).phase == "replacing"
        second = authority.trust_of(fleet.registry).issuer
        assert second != first
        issuer = certificates.issuer_of(fleet.controller.certificate, authority.trust_of(fleet.registry).authorities)
        assert certificates.fingerprint(issuer.certificate_pem) == second
        stale = Credentials(fleet.registry, "c2").client()

        assert await fleet.answers(here)  # with a certificate of the old authority; afterwards it has one of the new
        assert await fleet.answers(here)
        assert await fleet.answers(away)
        standing = fleet.advance(hours=5)
        assert (standing.phase, [name for name, _ in standing.waiting]) == ("replacing", [lost.host_id])

        with fleet.registry.database.transaction() as tx:
            hosts.revoke(tx, lost.host_id)
        standing = fleet.advance(hours=6)
        assert (standing.phase, [one for one, _ in standing.authorities]) == ("steady", [second])
        assert await fleet.answers(here)
        assert await fleet.answers(away)
        assert not await fleet.answers(lost)
        assert here.enrolment.ca_pem == authority.trust_of(fleet.registry).bundle
        assert stale is not fleet.controller.client()
        with fleet.registry.database.read() as tx:
            assert {one.issuer for one in hosts.credentials(tx) if not one.revoked} == {second}

    run(story, fleet)


def test_who_has_only_a_certificate_of_the_old_authority_is_no_longer_heard_afterwards(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        old = fleet.controller.client()
        rotation.begin(fleet.registry, now())
        for hours in (1, 2, 4):
            fleet.controller.look()
            await fleet.visit(host)
            fleet.advance(hours=hours)
            await fleet.visit(host)
        assert authority.trust_of(fleet.registry).phase == "steady"
        agent = Agent(AgentSettings(state_dir=fleet.directory / "x", run_dir=fleet.directory / "x"), host.host_id, 1)
        async with served(agent_app(agent, lambda: host.client), host.server) as port:
            client = AgentClient(f"https://127.0.0.1:{port}", host.host_id, old)
            with pytest.raises(AgentError):
                await asyncio.to_thread(client.info)
            client.close()

    run(story, fleet)


def test_a_token_made_before_a_rotation_lets_a_host_in_during_it(fleet):
    async def story(fleet):
        tokens = [fleet.token() for _ in range(2)]
        rotation.begin(fleet.registry, now())
        fleet.controller.look()
        first = await fleet.join("first", tokens[0])
        assert fleet.advance(hours=1).phase == "replacing"
        second = await fleet.join("second", tokens[1])
        third = await fleet.join("third")
        for host in (first, second, third):
            assert await fleet.answers(host)

    run(story, fleet)


def test_an_enrolled_host_cannot_vouch_for_an_authority_of_its_own(fleet):
    """What the pinned authority has signed for a host says nothing of authorities."""

    async def story(fleet):
        host = await fleet.join("rogue")
        pem = host._paths.credentials.read_bytes()
        key = pem[pem.index(b"-----BEGIN PRIVATE") :]
        own = certificates.Authority(certificates.new_authority("x", now()).certificate_pem, key)
        bundle = authority.trust_of(fleet.registry).bundle.encode() + own.certificate_pem + pem

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bundle})

        async with served(app, fleet.controller.server()) as port:
            trusted = await fetch_authority(
                f"https://127.0.0.1:{port}", authority.trust_of(fleet.registry).issuer
            )
        assert trusted == authority.trust_of(fleet.registry).bundle

    run(story, fleet)


def test_a_host_whose_certificate_ended_while_it_was_away_comes_back_by_itself(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        fleet.let_end(host, days_ago=60)
        host = fleet.restarted("h")
        assert not await fleet.answers(host)
        await fleet.visit(host)
        assert await fleet.answers(host)
        with fleet.registry.database.read() as tx:
            ends = rows.get(tx, HOST, host.host_id)["certificate_expiration"]
        assert datetime.fromisoformat(ends + "+00:00") > now(days=29)

    run(story, fleet)


@pytest.mark.parametrize("why", ["too late", "revoked", "superseded", "foreign key", "another's"])
def test_an_ended_certificate_is_renewed_for_nobody_else(fleet, why):
    async def story(fleet):
        host, other = await fleet.join("h"), await fleet.join("o")
        fleet.let_end(host, days_ago=91 if why == "too late" else 10)
        match why:
            case "revoked":
                with fleet.registry.database.transaction() as tx:
                    hosts.revoke(tx, host.host_id)
            case "superseded":
                csr = CertificateRequest(csr_pem=identity.request(identity.new_key()))
                admission.renew(fleet.registry, host.host_id, csr, now())
            case "foreign key":
                pem = host._credentials
                host._credentials = pem[: pem.index(b"-----BEGIN PRIVATE")] + identity.new_key().encode()
            case "another's":
                host._keep(host.enrolment.model_copy(update={"host_id": other.host_id}))
        with pytest.raises(HostUnknown if why == "revoked" else ConductorRefused):
            await fleet.visit(host)

    run(story, fleet)


def test_the_old_certificate_counts_until_the_new_one_is_shown(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        before = credential(fleet, host).certificate_serial
        csr = CertificateRequest(csr_pem=identity.request(identity.new_key()))
        admission.renew(fleet.registry, host.host_id, csr, now())  # the answer is lost on its way
        await fleet.visit(host)
        assert credential(fleet, host).certificate_serial == before
        await host.renew(FACTS, now())
        after = credential(fleet, host)
        assert after.certificate_serial == certificates.fingerprint(host._credentials) != before
        assert after.pending_serial is None

    run(story, fleet)


def credential(fleet, host):
    with fleet.registry.database.read() as tx:
        return hosts.credential(tx, host.host_id)


def test_both_heartbeat_keys_count_until_the_host_signs_with_the_new_one(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        old = host.signing_key
        rotation.replace_key(fleet.registry.database, "h1")
        told = await fleet.visit(host)
        new = base64.b64decode(told.heartbeat_key)
        assert new != old
        assert authority.heartbeat_keys(fleet.registry, host.host_id) == (old, new)
        await fleet.visit(host)  # it has the key, and still signs with the old one
        assert authority.heartbeat_keys(fleet.registry, host.host_id) == (old, new)
        host = fleet.restarted("h")
        assert host.signing_key == new
        assert (await fleet.visit(host)).heartbeat_key == ""
        assert authority.heartbeat_keys(fleet.registry, host.host_id) == (new,)

    run(story, fleet)


def test_a_heartbeat_key_is_replaced_at_its_age_and_not_for_an_agent_that_cannot(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        shown = certificates_of(host)
        registry, host_id = fleet.registry, host.host_id
        said = FACTS.model_copy(update={"heartbeat_key": key_fingerprint(host.signing_key)})
        assert admission.refresh(registry, host_id, said, shown, now(days=364)).heartbeat_key == ""
        assert admission.refresh(registry, host_id, FACTS, shown, now(days=366)).heartbeat_key == ""
        told = admission.refresh(registry, host_id, said, shown, now(days=366))
        again = admission.refresh(registry, host_id, said, shown, now(days=367))
        assert told.heartbeat_key == again.heartbeat_key != ""

    run(story, fleet)


def certificates_of(host):
    pem = host._credentials
    return pem[: pem.index(b"-----BEGIN PRIVATE")]


def test_a_controller_renews_its_own_certificate_and_serves_on(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        before = fleet.controller.certificate
        fleet.controller.look()
        assert fleet.controller.certificate == before
        fleet.controller._make(authority.trust_of(fleet.registry), now(days=-31))
        assert not await fleet.answers(host)
        fleet.controller.look()
        assert await fleet.answers(host)

    run(story, fleet)


def test_a_host_whose_row_is_gone_is_told_that_it_is_unknown_and_stays_out(fleet):
    async def story(fleet):
        host = await fleet.join("h")
        with fleet.registry.database.transaction() as tx:
            rows.delete(tx, HOST, [host.host_id])
        with pytest.raises(HostUnknown):
            await fleet.visit(host)
        with pytest.raises(NotFound):
            admission.renew(fleet.registry, host.host_id, CertificateRequest(csr_pem="x"), now())
        with fleet.registry.database.transaction() as tx:
            assert hosts.purge_credentials(tx) == 1

    run(story, fleet)


def test_amphorae_show_the_end_of_their_hosts_certificate(fleet):
    from caryatid.model import AMPHORA
    from caryatid.model.amphora import Amphora

    async def story(fleet):
        host = await fleet.join("h")
        key = "4f2a0e2e-0000-4000-8000-000000000001"
        at = "2026-11-20T19:05:00.000000"
        with fleet.registry.database.transaction() as tx:
            rows.insert(tx, AMPHORA, [Amphora(id=key, created_at=at, updated_at=at, compute_id=host.host_id)])
        fleet.let_end(host, days_ago=3)
        await fleet.visit(host)
        with fleet.registry.database.read() as tx:
            shown = rows.get(tx, AMPHORA, key)["cert_expiration"]
            assert shown == rows.get(tx, HOST, host.host_id)["certificate_expiration"]
        assert datetime.fromisoformat(shown + "+00:00") > now(days=29)

    run(story, fleet)
