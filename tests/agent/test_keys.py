# SPDX-License-Identifier: Apache-2.0
"""Keys on an amphora's host: in memory alone, for nobody else, and asked for anew when they are gone."""

import asyncio
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from caryatid.agent import keys as module
from caryatid.agent import settings
from caryatid.agent.install import Broken
from caryatid.agent.keys import Keys, NotTaken, Unfit, named, noted, plain_swaps
from caryatid.agent.run import stop_data_plane
from caryatid.agent.settings import in_memory
from caryatid.wire.agent import Stale, Wanting
from tests.agent.keyed import NAME, ONE, digest, first, put, secrets, secured, serves, shown
from tests.agent.test_report import reporting
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority()


# -- how they come


def test_a_configuration_whose_keys_are_not_here_is_not_applied_and_says_what_it_wants(world, authority):
    async def scenario(agent):
        plan = world.plan()
        bundle = authority.keypair("one", ONE)
        wanted = secured(plan, {NAME: bundle.pem})
        assert await agent.put_configuration(wanted) == Wanting(wanting=[bundle.digest])
        assert world.processes(plan) == []
        assert await agent.put_secrets(secrets(wanted, bundle.pem)) is None
        assert (await agent.put_configuration(wanted)).how == "started"
        assert await shown(plan) == first(bundle)
        again = wanted.model_copy(update={"generation": 7})
        assert (await agent.put_configuration(again)).how == "unchanged"

    world.run(scenario)


def test_keys_are_in_memory_and_nobody_else_may_read_them(world, authority):
    async def scenario(agent):
        plan = world.plan()
        bundle = authority.keypair("one", ONE)
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})
        keys = agent.amphorae[plan.amphora_id].files.keys
        assert in_memory(keys.directory)
        content = keys.contents / bundle.digest
        assert (keys.directory / NAME).resolve() == content.resolve()
        assert stat.S_IMODE(content.stat().st_mode) == 0o600
        for directory in (keys.directory, keys.contents, keys.directory.parent):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert not in_memory(Path(__file__))

    world.run(scenario)


def test_an_operator_is_told_which_certificates_haproxy_has_and_never_their_keys(world, authority):
    async def scenario(agent):
        contents = {NAME: authority.keypair("one", ONE).pem}
        plan = world.plan()
        await put(agent, secured(plan, contents), contents)
        seen = await agent.diagnostics(agent.amphorae[plan.amphora_id])
        (certificate,) = seen.certificates
        assert (certificate.name, certificate.status) == (NAME, "Used")
        assert (certificate.subject, ONE in certificate.names) == ("/CN=one", True)
        assert certificate.not_after.endswith("GMT")
        assert "PRIVATE" not in seen.model_dump_json()

    world.run(scenario)


def test_a_marked_key_is_nowhere_but_in_memory(world, authority, capfd):
    """In no file of the agent's, nor in what its processes show of themselves, nor in what it says."""
    bundle = authority.keypair("one", ONE)
    mark = bundle.pem.split("PRIVATE KEY-----\n")[1].splitlines()[0].encode()

    async def scenario(agent):
        plan = world.plan()
        wanted = secured(plan, {NAME: bundle.pem})
        await put(agent, wanted, {NAME: bundle.pem})
        bent = secrets(wanted, bundle.pem).model_copy(update={"contents": {"0" * 64: bundle.pem}})
        with pytest.raises(Unfit) as refusal:
            await agent.put_secrets(bent)
        said = f"{refusal.value} {bent!r} {agent.amphorae[plan.amphora_id].files.keys!r}"
        assert mark.decode() not in said
        await agent.put_configuration(secured(plan.changed(extra="frobnicate"), {NAME: bundle.pem}))
        files = [path for path in world.settings.state_dir.parent.rglob("*") if path.is_file()]
        files += [Path(f"/proc/{seen.pid}", name) for seen in world.processes(plan) for name in ("cmdline", "environ")]
        assert len(files) > 5
        assert [path for path in files if mark in path.read_bytes()] == []

    world.run(scenario)
    assert mark.decode() not in "".join(capfd.readouterr())


def test_contents_that_are_not_what_they_are_said_to_be_are_refused_and_none_is_kept(tmp_path):
    keys = Keys(tmp_path / "keys" / "amphora")
    good, bent = "-----BEGIN CERTIFICATE-----", "no PEM, no base64"
    for contents in ({digest(good): good, "0" * 64: good}, {digest(good): good, digest(bent): bent}):
        with pytest.raises(Unfit) as refusal:
            keys.take(contents)
        assert not any(content in str(refusal.value) for content in contents.values())
    assert not keys.directory.exists()


def test_a_host_takes_so_much_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AMPHORA_BYTES_MAX", 100)
    monkeypatch.setattr(module, "HOST_BYTES_MAX", 250)
    contents = ["-----BEGIN " + 79 * letter for letter in "abcde"]
    one, two, three = (Keys(tmp_path / "keys" / name) for name in "123")
    for keys, content in ((one, contents[0]), (two, contents[1])):
        keys.take({digest(content): content})
        keys.take({digest(content): content})
    for keys in (one, three):
        with pytest.raises(NotTaken):
            keys.take({digest(content): content for content in contents[2:4]})
    assert three.missing([digest(contents[2])])


def test_a_host_without_a_place_in_memory_refuses_keys_and_nothing_else(world, authority, monkeypatch):
    monkeypatch.setattr(settings, "SHARED_MEMORY", world.settings.state_dir)
    if in_memory(world.settings.state_dir):
        pytest.skip("All directories for temporary files are in memory here.")

    async def scenario(agent):
        plan = world.plan()
        bundle = authority.keypair("one", ONE)
        wanted = secured(plan, {NAME: bundle.pem})
        for outcome in (await agent.put_configuration(wanted), await agent.put_secrets(secrets(wanted, bundle.pem))):
            assert isinstance(outcome, Broken)
            assert "mount a tmpfs" in outcome.reason
        assert (await agent.put_configuration(plan.changed().render())).how == "started"

    world.run(scenario)


def test_older_secrets_are_refused_and_so_are_those_of_what_was_deleted(world, authority):
    async def scenario(agent):
        plan = world.plan(generation=5, fence=7)
        bundle = authority.keypair("one", ONE)
        wanted = secured(plan, {NAME: bundle.pem})
        await put(agent, wanted, {NAME: bundle.pem})
        for fence, generation in ((6, 9), (7, 4)):
            older = secrets(wanted, "x").model_copy(update={"fence": fence, "generation": generation})
            assert isinstance(await agent.put_secrets(older), Stale)
        keys = agent.amphorae[plan.amphora_id].files.keys
        await agent.delete(plan.amphora_id, 6, 7)
        assert not keys.directory.exists()
        assert isinstance(await agent.put_secrets(secrets(wanted, bundle.pem)), Stale)
        assert not keys.directory.exists()

    world.run(scenario)


# -- what survives what


def test_nothing_is_lost_with_the_agent(world, authority):
    plan = world.plan()
    bundle = authority.keypair("one", ONE)

    async def first_agent(agent):
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})

    async def second_agent(agent):
        amphora = agent.amphorae[plan.amphora_id]
        assert (await agent.put_configuration(secured(plan.changed(), {NAME: bundle.pem}))).how == "unchanged"
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(lambda: serves(plan, bundle))

    world.run(first_agent, second_agent)


def test_after_a_reboot_the_keys_are_asked_for_at_once_and_the_amphora_is_not_held_to_be_lost(world, authority):
    plan = world.plan()
    bundle = authority.keypair("one", ONE)

    async def before(agent):
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})

    async def after(agent):
        amphora = agent.amphorae[plan.amphora_id]
        assert (amphora.wanting, amphora.healthy) == (True, False)
        amphora.down_at -= 60
        amphora.attempt = 10
        assert not amphora.failed
        wanted = secured(plan.changed(), {NAME: bundle.pem})
        assert await agent.put_configuration(wanted) == Wanting(wanting=[bundle.digest])
        assert await put(agent, wanted, {NAME: bundle.pem}) == "started"
        assert (amphora.wanting, amphora.healthy) == (False, True)
        assert await serves(plan, bundle)

    world.run(before)
    for seen in world.processes(plan):
        os.kill(seen.pid, signal.SIGKILL)
    shutil.rmtree(world.settings.keys_dir)
    world.run(after)


def test_haproxy_that_dies_without_its_keys_waits_for_them(world, authority):
    told = []

    async def scenario(agent):
        plan = world.plan()
        agent.changed = lambda amphora: told.append((amphora.healthy, amphora.wanting))
        bundle = authority.keypair("one", ONE)
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})
        amphora = agent.amphorae[plan.amphora_id]
        shutil.rmtree(world.settings.keys_dir)
        told.clear()
        os.kill(amphora.process.pid, signal.SIGKILL)

        async def has_said_so():
            return (False, True) in told

        await world.eventually(has_said_so)
        assert await put(agent, secured(plan.changed(), {NAME: bundle.pem}), {NAME: bundle.pem}) == "started"
        assert await serves(plan, bundle)

    world.run(scenario)


def test_the_health_service_hears_that_keys_are_missing_until_they_are_back(world, authority):
    plan = world.plan()
    bundle = authority.keypair("one", ONE)

    async def before(agent):
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})

    async def after(agent):
        with reporting(agent) as receiver:

            def last():
                said = [one for one in receiver.messages if one.get("amphora_id") == plan.amphora_id]
                return (said[-1]["running"], said[-1].get("wanting"), said[-1].get("failed")) if said else None

            await receiver.until(lambda: last() == (False, True, None))
            await put(agent, secured(plan.changed(), {NAME: bundle.pem}), {NAME: bundle.pem})
            await receiver.until(lambda: last() == (True, None, None))

    world.run(before)
    for seen in world.processes(plan):
        os.kill(seen.pid, signal.SIGKILL)
    shutil.rmtree(world.settings.keys_dir)
    world.run(after)


def test_keys_that_somebody_removed_are_missed_before_they_are_needed(world, authority, monkeypatch):
    monkeypatch.setattr("caryatid.agent.host.TIDY_EVERY_S", 0.05)

    async def scenario(agent):
        plan = world.plan()
        bundle = authority.keypair("one", ONE)
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})
        amphora = agent.amphorae[plan.amphora_id]
        tidying = asyncio.create_task(agent.keep_tidy())
        shutil.rmtree(world.settings.keys_dir)

        async def is_missed():
            return amphora.wanting

        await world.eventually(is_missed)
        tidying.cancel()
        assert await put(agent, secured(plan.changed(), {NAME: bundle.pem}), {NAME: bundle.pem}) == "unchanged"
        assert not amphora.wanting
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(lambda: serves(plan, bundle))

    world.run(scenario)


def test_keys_of_amphorae_that_are_no_more_go_when_the_agent_starts(world, authority):
    bundle = authority.keypair("one", ONE)

    async def forgotten(agent):
        wanted = secured(world.plan(), {NAME: bundle.pem})
        await agent.put_secrets(secrets(wanted, bundle.pem))
        assert list(world.settings.keys_dir.iterdir())

    async def later(_agent):
        assert not list(world.settings.keys_dir.iterdir())

    world.run(forgotten, later)


def test_no_key_is_left_when_the_data_plane_is_stopped(world, authority):
    plan = world.plan()
    bundle = authority.keypair("one", ONE)

    async def scenario(agent):
        await put(agent, secured(plan, {NAME: bundle.pem}), {NAME: bundle.pem})

    world.run(scenario)
    asyncio.run(stop_data_plane(world.settings))
    assert not world.settings.keys_dir.exists()


# -- details


def test_a_configuration_says_what_its_names_stand_for():
    text = "global\n    maxconn 5\n"
    keys = {"b.pem": "b" * 64, "b.pem.ocsp": "c" * 64}
    assert named(noted(text, keys)) == keys
    assert noted(noted(text, keys), {}) == text
    assert named("# key ../x.pem " + 64 * "0" + "\n    # key a.pem " + 64 * "0") == {}


def test_a_swap_that_is_not_encrypted_is_named(tmp_path):
    devices = tmp_path / "block"
    for name, uuid, below in (("dm-0", "CRYPT-LUKS2-x", ()), ("dm-1", "LVM-x", ("dm-0",)), ("dm-2", "LVM-y", ("sda",))):
        for one in ("dm", *(f"slaves/{other}" for other in below)):
            (devices / name / one).mkdir(parents=True)
        (devices / name / "dm" / "uuid").write_text(uuid)
    swaps = tmp_path / "swaps"
    names = ("dm-0", "dm-1", "dm-2", "sda2", "zram0")
    swaps.write_text("".join(["Filename Type\n", *(f"/dev/{name} partition 1 0 -2\n" for name in names)]))
    assert plain_swaps(swaps, devices) == ["/dev/dm-2", "/dev/sda2"]
    assert plain_swaps(tmp_path / "none", devices) == []
