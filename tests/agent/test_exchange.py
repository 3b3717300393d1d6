# SPDX-License-Identifier: Apache-2.0
"""Other contents for the names that a configuration has: without a reload where that can be, and never half."""

import base64
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from caryatid.agent import runtime
from caryatid.agent.exchange import Change
from caryatid.wire.agent import Refusal
from tests.agent.keyed import (
    CA,
    CRL,
    NAME,
    ONE,
    TWO,
    ask,
    close,
    connect,
    first,
    held,
    make_old,
    put,
    secrets,
    secured,
    serves,
    shown,
)
from tests.certificates import NOW, Authority


@pytest.fixture(scope="module")
def authority():
    return Authority()


def test_another_certificate_comes_without_a_reload_and_connections_stay(world, authority):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port, world.member("two") as other:
            plan = plan.having(plan.server(port))
            old, new = authority.keypair("old", ONE), authority.keypair("new", ONE)
            await put(agent, secured(plan, {NAME: old.pem}), {NAME: old.pem})
            amphora = agent.amphorae[plan.amphora_id]
            worker = amphora.worker
            connection = await connect(plan)
            assert await ask(connection) == 200
            make_old(amphora)
            plan = plan.having(plan.server(other))
            assert await put(agent, secured(plan, {NAME: new.pem}), {NAME: new.pem}) == "runtime"
            assert await shown(plan) == first(new)
            assert await ask(connection) == 200
            assert await world.who_answers(plan) == {"two"}
            assert amphora.worker == worker
            assert held(amphora) == {new.digest}
            await close(connection)

    world.run(scenario)


def test_after_an_exchange_haproxy_starts_and_reloads_with_what_came(world, authority):
    async def scenario(agent):
        plan = world.plan()
        old, new = authority.keypair("old", ONE), authority.keypair("new", ONE)
        for bundle in (old, new):
            plan = plan.changed()
            await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})
        plan = plan.changed(extra="maxconn 500")
        assert await put(agent, secured(plan, {NAME: new.pem}), {}) == "reloaded"
        assert await shown(plan) == first(new)
        amphora = agent.amphorae[plan.amphora_id]
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(lambda: serves(plan, new))

    world.run(scenario)


def test_authorities_and_lists_of_what_is_revoked_are_exchanged_by_a_reload(world, authority, tmp_path):
    other = Authority("Other")
    revoked = authority.sign("he")
    clients = [tmp_path / f"{number}.pem" for number in range(3)]
    files = (authority.keypair("me").pem, other.keypair("you").pem, authority.file(revoked))
    for path, content in zip(clients, files, strict=True):
        path.write_text(content)
    words = f"crt @KEYS@/{NAME} ca-file @KEYS@/{CA} crl-file @KEYS@/{CRL} verify required"

    async def let_in(plan, client):
        connection = None
        try:
            connection = await connect(plan, client)
            return await ask(connection) == 200
        except OSError:
            return False
        finally:
            if connection:
                await close(connection)

    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            plan = plan.having(plan.server(port))
            contents = {
                NAME: authority.keypair("one", ONE).pem,
                CA: authority.authorities().pem,
                CRL: authority.revocations().pem,
            }
            await put(agent, secured(plan, contents, words), contents)
            assert [await let_in(plan, who) for who in clients] == [True, False, True]
            contents |= {
                CA: authority.authorities().pem + other.authorities().pem,
                CRL: authority.revocations(revoked).pem + other.revocations().pem,
            }
            plan = plan.changed()
            assert await put(agent, secured(plan, contents, words), contents) == "reloaded"
            assert [await let_in(plan, who) for who in clients] == [True, True, False]

    world.run(scenario)


def test_what_is_stapled_comes_and_goes_with_its_certificate(world, authority):
    async def stapled(agent, plan):
        files = agent.amphorae[plan.amphora_id].files
        said = await runtime.call(files.stats_socket, f"show ssl cert {files.keys.directory / NAME}.ocsp")
        return next((line.strip() for line in said.splitlines() if "This Update" in line), "")

    def contents(bundle, at=None):
        return {NAME: bundle.pem} | ({f"{NAME}.ocsp": response(authority, bundle, at)} if at else {})

    async def scenario(agent):
        plan = world.plan()
        one, two = authority.keypair("one", ONE), authority.keypair("two", ONE)
        first_at, second_at = NOW, NOW + timedelta(seconds=60)
        for bundle, at, how in (
            (one, first_at, "started"),
            (one, second_at, "runtime"),
            (two, first_at, "runtime"),
            (two, None, "runtime"),
            (two, second_at, "runtime"),
        ):
            plan = plan.changed()
            wanted = contents(bundle, at)
            assert await put(agent, secured(plan, wanted), wanted) == how
            assert await stapled(agent, plan) == (f"This Update: {at:%b %e %H:%M:%S %Y} GMT" if at else "")
            assert await shown(plan) == first(bundle)
        plan = plan.changed(extra="maxconn 500")
        assert await put(agent, secured(plan, wanted), wanted) == "reloaded"
        assert await stapled(agent, plan) == f"This Update: {second_at:%b %e %H:%M:%S %Y} GMT"

    world.run(scenario)


def response(authority, bundle, at):
    """An OCSP response, as it is sent."""
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=first(bundle),
        issuer=authority.paper.certificate,
        algorithm=hashes.SHA1(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=at,
        next_update=at + timedelta(days=1),
        revocation_time=None,
        revocation_reason=None,
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority.paper.certificate)
    content = signed.sign(authority.paper.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return base64.b64encode(content).decode()


def test_a_chain_too_long_for_the_runtime_api_comes_by_a_reload(world, authority):
    async def scenario(agent):
        plan = world.plan()
        old, new = authority.keypair("old", ONE), authority.keypair("new", ONE)
        certificate, begin, key = new.pem.partition("-----BEGIN PRIVATE")
        long = certificate + "".join(Authority(f"{number}").authorities().pem for number in range(40)) + begin + key
        for content, how in ((old.pem, "started"), (long, "reloaded"), (old.pem, "runtime")):
            plan = plan.changed()
            assert await put(agent, secured(plan, {NAME: content}), {NAME: content}) == how
        assert await shown(plan) == first(old)

    world.run(scenario)


def test_contents_that_haproxy_refuses_leave_the_last_good_ones_in_effect(world, authority):
    async def scenario(agent):
        plan = world.plan()
        good = authority.keypair("one", ONE)
        certificate, _, _ = authority.keypair("two", ONE).pem.partition("-----BEGIN PRIVATE")
        bent = certificate + good.pem[good.pem.index("-----BEGIN PRIVATE") :]
        await put(agent, secured(plan, {NAME: good.pem}), {NAME: good.pem})
        amphora = agent.amphorae[plan.amphora_id]
        worker = amphora.worker
        wrong = secured(plan.changed(), {NAME: bent})
        await agent.put_secrets(secrets(wrong, bent))
        outcome = await agent.put_configuration(wrong)
        assert isinstance(outcome, Refusal)
        assert outcome.culprits == [plan.listener]
        assert str(world.settings.keys_dir) not in outcome.reason
        assert amphora.worker == worker
        assert await shown(plan) == first(good)
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(lambda: serves(plan, good))

    world.run(scenario)


def test_a_refused_configuration_leaves_its_predecessor_its_own_keys(world, authority):
    async def scenario(agent):
        plan = world.plan()
        one, two = authority.keypair("one", ONE), authority.keypair("two", TWO)
        await put(agent, secured(plan, {NAME: one.pem}), {NAME: one.pem})
        wrong = secured(plan.changed(extra="frobnicate"), {NAME: two.pem, CA: two.pem})
        await agent.put_secrets(secrets(wrong, two.pem))
        assert isinstance(await agent.put_configuration(wrong), Refusal)
        amphora = agent.amphorae[plan.amphora_id]
        assert {path.name for path in amphora.files.keys.directory.iterdir()} == {NAME, "contents"}
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(lambda: serves(plan, one))

    world.run(scenario)


def test_what_nobody_names_is_gone_when_it_is_not_awaited_any_more(world, authority):
    async def scenario(agent):
        plan = world.plan()
        one, two = authority.keypair("one", ONE), authority.keypair("two", TWO)
        wanted = secured(plan, {NAME: one.pem})
        await agent.put_secrets(secrets(wanted, one.pem, two.pem))
        await agent.put_configuration(wanted)
        amphora = agent.amphorae[plan.amphora_id]
        assert held(amphora) == {one.digest, two.digest}
        make_old(amphora)
        assert (await agent.put_configuration(plan.changed(frontend=False).render())).how == "stopped"
        assert not amphora.files.keys.directory.exists()

    world.run(scenario)


def test_an_empty_line_in_a_content_does_not_end_it():
    change = Change(Path("/k/a.pem"), "-----BEGIN PRIVATE KEY-----\n\n \nshow info\r\n\r\nx")
    assert change.commands()[0] == "set ssl cert /k/a.pem <<\n-----BEGIN PRIVATE KEY-----\nshow info\nx\n"
