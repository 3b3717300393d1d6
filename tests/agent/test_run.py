# SPDX-License-Identifier: Apache-2.0
"""An agent's whole life against a conductor and a controller: enrolment, mutual TLS, its API, a restart."""

import asyncio
import base64
import contextlib
import os
import ssl
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from caryatid import tracing
from caryatid.agent import identity
from caryatid.agent.identity import NotEnrolled
from caryatid.agent.run import run
from caryatid.drivers.amphora.haproxy import HaproxyDriver
from caryatid.drivers.setup import Agents, Setup
from caryatid.model.amphora import Amphora, Placed, Stamp
from caryatid.model.host import Host
from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.wire.agent import AgentClient, AgentError, AgentRefused, AgentStale, AgentUnauthorized, AgentUnreachable
from caryatid.wire.conductor import (
    CertificateRequest,
    ConductorError,
    ConductorRefused,
    Enrolled,
    Enrolment,
    EnrolmentToken,
    HostFacts,
    NewCertificate,
    Problem,
    Refreshed,
    hash_of,
    new_secret,
)
from caryatid.wire.tls import Peer, client_context, listening_socket, server, server_context
from tests.certificates import Authority

HOST_ID = "6f6ad3a8-44a9-4f1f-93d7-46f0b60a7b6d"


class Conductor:
    """The other side of enrolment, with an authority of its own."""

    def __init__(self):
        self.authority = certificates.new_authority("test", datetime.now(UTC))
        self.ca = self.authority.certificate_pem.decode()
        self.secret = new_secret()
        self.used = False
        self.shown_ca = self.ca
        self.role = "controller"
        self.requests = []
        self.facts = None

    def credentials(self, role, name, days=30.0):
        key = certificates.new_key()
        csr = certificates.request(key)
        return certificates.sign(self.authority, csr, Identity(role, name), datetime.now(UTC), days) + key

    def sign(self, csr_pem):
        identity = Identity("host", HOST_ID)
        return certificates.sign(self.authority, csr_pem.encode(), identity, datetime.now(UTC), 30).decode()

    async def ca_of(self, _request):
        return Response(self.shown_ca)

    async def enrol(self, request):
        body = Enrolment.model_validate_json(await request.body())
        self.requests.append(body)
        if self.used or hash_of(body.secret) != hash_of(self.secret):
            return Response(Problem(reason="no such token").model_dump_json(), 401)
        self.used = True
        self.facts = body.host
        answer = Enrolled(
            host_id=HOST_ID,
            certificate_pem=self.sign(body.csr_pem),
            ca_pem=self.ca,
            heartbeat_key=base64.b64encode(b"k" * 32).decode(),
            health_addresses=["127.0.0.1:9"],
            report_interval=10,
            snapshot_interval=30,
        )
        return Response(answer.model_dump_json(), 201)

    async def refresh(self, request):
        assert request.scope["state"]["peer"] == Peer("host", HOST_ID)
        self.facts = HostFacts.model_validate_json(await request.body())
        answer = Refreshed(health_addresses=["127.0.0.1:9"], report_interval=5, snapshot_interval=30)
        return Response(answer.model_dump_json())

    async def renew(self, request):
        assert request.scope["state"]["peer"] == Peer("host", HOST_ID)
        body = CertificateRequest.model_validate_json(await request.body())
        answer = NewCertificate(certificate_pem=self.sign(body.csr_pem), ca_pem=self.ca)
        return Response(answer.model_dump_json(), 201)

    @contextlib.asynccontextmanager
    async def serving(self):
        routes = [
            Route("/1/ca", self.ca_of),
            Route("/1/enrolments", self.enrol, methods=["POST"]),
            Route("/1/hosts/{id}", self.refresh, methods=["PUT"]),
            Route("/1/hosts/{id}/certificate", self.renew, methods=["POST"]),
        ]
        context = server_context(self.ca, self.credentials(self.role, "c1"), strangers=True)
        door = server(Starlette(routes=routes), context)
        listener = listening_socket("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(door.serve(sockets=[listener]))
        try:
            yield self
        finally:
            door.should_exit = True
            await task
            listener.close()

    def token(self, **change):
        token = {
            "url": self.url,
            "authority": certificates.fingerprint(self.authority.certificate_pem),
            "id": "t1",
            "secret": self.secret,
        }
        return EnrolmentToken(**{**token, **change})

    def client(self, url, role="controller", name="c1", host_id=HOST_ID):
        return AgentClient(url, host_id, client_context(self.ca, self.credentials(role, name)), read_timeout_s=10)


@contextlib.asynccontextmanager
async def running(settings, conductor, token=None):
    """An agent's life; yields the URL where it answers."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    if settings.token_file:
        settings.token_file.write_text((token or conductor.token()).encode() + "\n")
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run(settings, stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        async with asyncio.timeout(10):
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        port = int((settings.state_dir / "port").read_text())
        yield f"https://127.0.0.1:{port}"
    finally:
        waiting.cancel()
        stop.set()
        async with asyncio.timeout(10):
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def enrolling(world):
    """Settings of a host that has a token."""
    return replace(world.settings, token_file=world.settings.state_dir / "token")


def test_a_host_enrols_serves_its_controller_and_is_the_same_after_a_restart(world, enrolling):
    async def whole():
        conductor = Conductor()
        plan = world.plan()
        async with conductor.serving(), world.member("one") as port:
            plan = plan.having(plan.server(port))
            async with running(enrolling, conductor) as url:
                client = conductor.client(url)
                info = await asyncio.to_thread(client.info)
                assert (info.host_id, info.version, info.amphorae) == (HOST_ID, 1, 0)
                assert info.haproxy_version
                assert info.agent_version
                applied = await asyncio.to_thread(client.put_configuration, plan.render())
                assert applied.how == "started"
                assert await world.get(plan) == (200, "one")
                assert conductor.facts.agent_url == url
                client.close()
            assert await world.get(plan) == (200, "one")
            async with running(enrolling, conductor) as again:
                assert again == url
                client = conductor.client(url)
                (state,) = await asyncio.to_thread(client.amphorae)
                assert (state.amphora_id, state.hash, state.running) == (plan.amphora_id, plan.render().hash, True)
                assert (await asyncio.to_thread(client.info)).boot_id > info.boot_id
                details = await asyncio.to_thread(client.amphora, plan.amphora_id)
                assert (details.reloads, len(details.workers), details.restarts) == (0, 1, 0)
                seen = await asyncio.to_thread(client.diagnostics, plan.amphora_id)
                assert seen.info["Name"] == "HAProxy"
                assert seen.check == ""
                assert (seen.namespace, seen.role, seen.certificates) == ("", "", [])
                assert details.started_at - 2 <= seen.worker_started_at <= time.time()
                assert {row["proxy"] for row in seen.proxies} >= {plan.listener, plan.backend}
                assert await asyncio.to_thread(client.amphora, "nobody") is None
                assert await asyncio.to_thread(client.diagnostics, "nobody") is None
                await asyncio.to_thread(client.delete_amphora, plan.amphora_id, 9, 9)
                await asyncio.to_thread(client.delete_amphora, plan.amphora_id, 9, 9)
                assert await asyncio.to_thread(client.amphorae) == []
                client.close()
        assert len(conductor.requests) == 1

    asyncio.run(whole())


def test_what_an_agent_does_is_a_part_of_the_trace_of_whoever_asked(world, enrolling):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)

    async def whole():
        conductor = Conductor()
        async with conductor.serving(), running(enrolling, conductor) as url:
            client = conductor.client(url)
            with tracing.span("attempt"):
                await asyncio.to_thread(client.info)
            client.close()

    try:
        asyncio.run(whole())
        found = {span.name: span for span in exporter.get_finished_spans()}
    finally:
        tracing.close()
    attempt, call, done = (found[name] for name in ("attempt", "agent GET", "info"))
    assert (call.parent.span_id, done.parent.span_id) == (attempt.context.span_id, call.context.span_id)
    assert done.parent.is_remote


def test_refusals_have_their_own_exceptions(world, enrolling):
    async def whole():
        conductor = Conductor()
        plan = world.plan(fence=3)
        async with conductor.serving(), running(enrolling, conductor) as url:
            client = conductor.client(url)
            with pytest.raises(AgentRefused, match="frobnicate") as refused:
                await asyncio.to_thread(client.put_configuration, plan.changed(extra="frobnicate").render())
            assert refused.value.culprits == (plan.listener,)
            await asyncio.to_thread(client.put_configuration, plan.changed(generation=4).render())
            with pytest.raises(AgentStale):
                await asyncio.to_thread(client.put_configuration, plan.changed(fence=2).render())
            with pytest.raises(AgentStale):
                await asyncio.to_thread(client.delete_amphora, plan.amphora_id, 1, 2)
            with pytest.raises(AgentError, match="400"):
                await asyncio.to_thread(client.delete_amphora, "..x", 1, 2)
            with pytest.raises(AgentError, match="400"):
                await asyncio.to_thread(client.delete_amphora, plan.amphora_id, -1, 2)
            client.close()
        client = conductor.client(url)
        with pytest.raises(AgentUnreachable):
            await asyncio.to_thread(client.info)
        client.close()

    asyncio.run(whole())


def test_a_controller_sends_what_a_host_lacks_of_keys(world, enrolling, grow, monkeypatch):
    monkeypatch.setattr("caryatid.drivers.amphora.haproxy.SECRETS_BYTES_MAX", 3000)  # one content a request
    plan = world.plan()
    references = {
        "default_tls_container_ref": "one",
        "sni_container_refs": ["two", "three"],
        "client_authentication": "OPTIONAL",
        "client_ca_tls_container_ref": "authority of clients",
        "client_crl_container_ref": "lists of clients",
    }
    towards = {"tls_container_ref": "four", "ca_tls_container_ref": "of members", "crl_container_ref": "lists"}
    pool = {"name": "app", "protocol": "HTTP", "tls_enabled": True, **towards}
    member = {"address": "127.0.0.1", "protocol_port": 9}
    listener = {"name": "web", "protocol": "TERMINATED_HTTPS", "protocol_port": world.port, **references}
    document = {
        "loadbalancer": {"vip_address": plan.address},
        "listeners": [{**listener, "default_pool": "app"}],
        "pools": [{**pool, "members": [member]}],
    }

    async def shown():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(plan.address, world.port, ssl=context, server_hostname="x")
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return ssl.DER_cert_to_PEM_cert(der)

    async def whole():
        conductor = Conductor()
        context = client_context(conductor.ca, conductor.credentials("controller", "c1"))
        agents = Agents(lambda: context, 10)
        driver = HaproxyDriver.connect(Setup(agents))
        async with conductor.serving(), running(enrolling, conductor) as url:
            host = Host.model_construct(id=HOST_ID, agent_url=url)
            placed = Placed(Amphora.model_construct(id=plan.amphora_id, compute_id=HOST_ID, role="STANDALONE"), host)
            said = []
            whole = [Authority(f"{number}").bundles(grow(document)) for number in range(3)]
            pairs = {key: bundle for key, bundle in whole[2].bundles.items() if key[1] == "keypair"}
            trees = [*whole[:2], replace(whole[2], bundles={**whole[1].bundles, **pairs})]
            for generation, tree in enumerate(trees):
                update = partial(driver.update_load_balancer, placed, tree, Stamp(1, generation))
                said.append(await asyncio.to_thread(update))
                assert tree.bundles["one", "keypair"].pem.startswith(await shown())
            agents.of(host).close()
            assert said == ["HAProxy has started", "HAProxy has reloaded", "applied at run time, without a reload"]

    asyncio.run(whole())


def test_an_inspector_may_look_and_is_not_obeyed(world, enrolling):
    async def whole():
        conductor, plan = Conductor(), world.plan()
        async with conductor.serving(), running(enrolling, conductor) as url:
            controller, inspector = conductor.client(url), conductor.client(url, "inspector", "api-1")
            with pytest.raises(AgentUnauthorized):
                await asyncio.to_thread(inspector.put_configuration, plan.render())
            await asyncio.to_thread(controller.put_configuration, plan.render())
            assert (await asyncio.to_thread(inspector.diagnostics, plan.amphora_id)).info["Name"] == "HAProxy"
            with pytest.raises(AgentUnauthorized):
                await asyncio.to_thread(inspector.delete_amphora, plan.amphora_id, 9, 9)
            (state,) = await asyncio.to_thread(inspector.amphorae)
            assert state.running
            for client in (controller, inspector):
                client.close()

    asyncio.run(whole())


def test_only_a_controller_of_our_authority_is_heard_and_only_this_host_is_believed(world, enrolling):
    async def whole():
        conductor, stranger = Conductor(), Conductor()
        async with conductor.serving(), running(enrolling, conductor) as url:
            for client in (conductor.client(url, "host", "h2"), conductor.client(url, "checker:eu", "k1")):
                for call in (client.info, client.amphorae):
                    with pytest.raises(AgentUnauthorized):
                        await asyncio.to_thread(call)
                client.close()
            impostor = conductor.client(url, host_id="another-host")
            with pytest.raises(AgentUnauthorized):
                await asyncio.to_thread(impostor.info)
            impostor.close()
            foreign = stranger.client(url)
            with pytest.raises(AgentUnauthorized):
                await asyncio.to_thread(foreign.info)
            foreign.close()
            credentials = stranger.credentials("controller", "c1")
            unknown = AgentClient(url, HOST_ID, client_context(conductor.ca, credentials))
            with pytest.raises(AgentError):
                await asyncio.to_thread(unknown.info)
            unknown.close()
            nobody = AgentClient(url, HOST_ID, client_context(conductor.ca))
            with pytest.raises(AgentError):
                await asyncio.to_thread(nobody.info)
            nobody.close()

    asyncio.run(whole())


def test_a_certificate_is_renewed_without_a_restart(world, enrolling):
    async def whole():
        conductor = Conductor()
        async with conductor.serving(), running(enrolling, conductor) as url:
            client = conductor.client(url)
            await asyncio.to_thread(client.info)
            host = identity.load(enrolling)
            before = enrolling.state_dir.joinpath("host.pem").read_bytes()
            assert not host.renewal_due(datetime.now(UTC))
            await host.renew(conductor.facts, datetime.now(UTC))
            after = enrolling.state_dir.joinpath("host.pem").read_bytes()
            assert after != before
            assert certificates.identity_of(after) == Identity("host", HOST_ID)
            port = port_of(url)
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=host.client, server_hostname=HOST_ID)
            assert writer.get_extra_info("peercert")["subject"]
            writer.close()
            client.close()

    asyncio.run(whole())


def test_a_certificate_that_does_not_work_does_not_replace_the_one_that_does(world, enrolling):
    async def whole():
        conductor = Conductor()
        async with conductor.serving(), running(enrolling, conductor):
            host = identity.load(enrolling)
            before = enrolling.state_dir.joinpath("host.pem").read_bytes()
            conductor.sign = lambda csr: certificates.sign(
                conductor.authority, csr.encode(), Identity("host", "somebody-else"), datetime.now(UTC), 30
            ).decode()
            with pytest.raises(ConductorError):
                await host.renew(conductor.facts, datetime.now(UTC))
            assert enrolling.state_dir.joinpath("host.pem").read_bytes() == before
            assert (await host.refresh(conductor.facts, datetime.now(UTC))).health_addresses

    asyncio.run(whole())


def port_of(url):
    return int(url.rpartition(":")[2])


def test_keys_are_for_nobody_else(world, enrolling):
    async def whole():
        conductor = Conductor()
        async with conductor.serving(), running(enrolling, conductor):
            pass
        assert stat.S_IMODE(enrolling.state_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(enrolling.sockets_dir.stat().st_mode) == (0o711 if enrolling.worker_user else 0o700)
        for path in enrolling.state_dir.iterdir():
            if path.is_file() and path.name != "token":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    asyncio.run(whole())


def test_the_secret_goes_only_to_a_controller_of_the_pinned_authority(world, enrolling):
    async def whole():
        wrong = Conductor()
        async with wrong.serving():
            other = certificates.new_authority("other", datetime.now(UTC))
            token = wrong.token(authority=certificates.fingerprint(other.certificate_pem))
            with pytest.raises(ConductorRefused, match="Nothing was sent"):
                async with running(enrolling, wrong, token):
                    pass
            assert wrong.requests == []
        liar = Conductor()
        async with liar.serving():
            liar.shown_ca = other.certificate_pem.decode()
            with pytest.raises(ConductorRefused):
                async with running(enrolling, liar):
                    pass
            assert liar.requests == []

    asyncio.run(whole())


def test_a_host_cannot_pose_as_a_conductor(world, enrolling):
    async def whole():
        posing = Conductor()
        posing.role = "host"
        async with posing.serving():
            settings = enrolling
            stop = asyncio.Event()
            settings.state_dir.mkdir(parents=True)
            settings.token_file.write_text(posing.token().encode())
            task = asyncio.create_task(run(settings, stop))
            await asyncio.sleep(0.5)
            stop.set()
            with pytest.raises(NotEnrolled):
                await task
            assert posing.requests == []

    asyncio.run(whole())


def test_a_token_is_good_once_and_a_host_without_one_says_so(world, enrolling):
    async def whole():
        conductor = Conductor()
        async with conductor.serving():
            conductor.used = True
            with pytest.raises(ConductorRefused, match="no such token"):
                async with running(enrolling, conductor):
                    pass
            with pytest.raises(NotEnrolled, match="token"):
                async with running(world.settings, conductor):
                    pass

    asyncio.run(whole())


def test_a_token_that_is_none_is_refused_without_repeating_it():
    secret = new_secret()
    for word in ("", "x", f"cye1.{secret}", secret):
        with pytest.raises(ConductorRefused) as refused:
            EnrolmentToken.decode(word)
        assert secret not in str(refused.value)
    token = EnrolmentToken(url="https://c", authority="a" * 64, id="t", secret=secret)
    assert EnrolmentToken.decode(token.encode()) == token
    assert secret not in repr(token)


def test_a_directory_that_others_prepared_is_not_used(world, enrolling):
    async def whole():
        enrolling.sockets_dir.parent.mkdir(exist_ok=True)
        if os.getuid() != 0:
            pytest.skip("only root can give a directory away")
        enrolling.sockets_dir.mkdir()
        os.chown(enrolling.sockets_dir, 65534, 65534)
        with pytest.raises(Exception, match="not a directory of uid"):
            await run(enrolling, asyncio.Event())

    asyncio.run(whole())


def test_tls_is_at_least_1_3(world, enrolling):
    async def whole():
        conductor = Conductor()
        async with conductor.serving(), running(enrolling, conductor) as url:
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname = False
            old.verify_mode = ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port_of(url), ssl=old)

    asyncio.run(whole())
