# SPDX-License-Identifier: Apache-2.0
"""How configurations come into effect, seen from a client of the load balancer."""

import asyncio
import json
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from caryatid.agent import runtime
from caryatid.agent.amphora import Amphora
from caryatid.agent.process import look
from caryatid.wire.agent import Applied, Configuration, Refusal, Stale

CA = (Path(__file__).parent.parent / "plan" / "log-ca.pem").read_text()


def how(outcome):
    assert isinstance(outcome, Applied), outcome
    return outcome.how


def test_a_new_amphora_serves_when_its_configuration_is_acknowledged(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            plan = plan.having(plan.server(port))
            assert how(await agent.put_configuration(plan.render())) == "started"
            assert await world.get(plan) == (200, "one")

    world.run(scenario)


def test_what_a_configuration_names_beside_it_is_there_before_haproxy_reads_it(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            wanted = plan.having(plan.server(port)).render()
            text = wanted.text.replace("global\n", "global\n    ca-base @DIR@\n", 1)
            ring = f"ring r\n    server s 127.0.0.1:{port} ssl verify required ca-file log-ca-1.pem\n"
            wanted = wanted.model_copy(update={"text": f"{text}{ring}", "files": {"log-ca-1.pem": CA}})
            assert how(await agent.put_configuration(wanted)) == "started"
            assert await world.get(plan) == (200, "one")

    world.run(scenario)


def test_no_file_is_written_outside_the_directory(world):
    wanted = world.plan().render().model_dump()
    for name in ("../x.pem", "/x.pem", "haproxy.cfg", "a/b.pem", ".pem", "x.pem\n"):
        with pytest.raises(ValidationError):
            Configuration.model_validate({**wanted, "files": {name: ""}})


def test_the_same_configuration_again_changes_nothing(world):
    async def scenario(agent):
        plan = world.plan()
        await agent.put_configuration(plan.render())
        worker = agent.amphorae[plan.amphora_id].worker
        again = plan.changed().render()
        assert how(await agent.put_configuration(again)) == "unchanged"
        assert agent.amphorae[plan.amphora_id].worker == worker
        assert agent.amphorae[plan.amphora_id].record.generation == plan.generation + 1

    world.run(scenario)


def test_members_change_without_a_reload(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port1, world.member("two") as port2, world.member("three") as port3:
            one, two = plan.server(port1), plan.server(port2)
            plan = plan.having(one)
            await agent.put_configuration(plan.render())
            worker = agent.amphorae[plan.amphora_id].worker
            steps = [
                ((one, two), {"one", "two"}),
                ((one._replace(enabled=False), two), {"two"}),
                ((one, two), {"one", "two"}),
                ((one, two._replace(weight=0)), {"one"}),
                ((one._replace(weight=2), two._replace(port=port3)), {"one", "three"}),
                ((two,), {"two"}),
                ((two, one._replace(options="check inter 100 fall 1 rise 1")), {"one", "two"}),
            ]
            for servers, expected in steps:
                plan = plan.having(*servers)
                assert how(await agent.put_configuration(plan.render())) == "runtime"
                assert await world.who_answers(plan) == expected
            assert agent.amphorae[plan.amphora_id].worker == worker
            assert (await agent.details(agent.amphorae[plan.amphora_id])).reloads == 0
            assert look(worker)

    world.run(scenario)


def test_a_new_member_that_is_checked_gets_traffic_only_while_it_answers(world):
    async def scenario(agent):
        plan = world.plan()
        check = "check inter 50 fall 1 rise 1"
        async with world.member("one") as port:
            plan = plan.having(plan.server(port, options=check))
            await agent.put_configuration(plan.render())
            async with world.member("two") as other:
                plan = plan.having(*plan.servers, plan.server(other, options=check))
                assert how(await agent.put_configuration(plan.render())) == "runtime"
                assert await world.who_answers(plan) == {"one", "two"}

            async def only_one() -> bool:
                return await world.who_answers(plan) == {"one"}

            await world.eventually(only_one)

    world.run(scenario)


def test_a_member_disabled_at_run_time_gets_traffic_when_enabled_after_a_reload(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port1, world.member("two") as port2:
            one, two = plan.server(port1), plan.server(port2)
            plan = plan.having(one, two)
            await agent.put_configuration(plan.render())
            plan = plan.having(one._replace(enabled=False), two._replace(weight=0))
            assert how(await agent.put_configuration(plan.render())) == "runtime"
            plan = plan.changed(extra="maxconn 500")
            assert how(await agent.put_configuration(plan.render())) == "reloaded"
            plan = plan.having(one, two)
            assert how(await agent.put_configuration(plan.render())) == "runtime"
            assert await world.who_answers(plan) == {"one", "two"}
            disabled = plan.having(one._replace(enabled=False), two)
            assert how(await agent.put_configuration(disabled.render())) == "runtime"
            both = disabled.changed(extra="maxconn 501", servers=(one, two))
            assert how(await agent.put_configuration(both.render())) == "reloaded"
            assert await world.who_answers(both) == {"one", "two"}

    world.run(scenario)


def test_a_dead_member_stays_out_over_a_reload(world):
    async def scenario(agent):
        plan = world.plan()
        check = "check inter 100 downinter 60s fall 1 rise 1"
        async with world.member("one") as port:
            dead = plan.server(1, options=check)
            plan = plan.having(plan.server(port, options=check), dead)
            await agent.put_configuration(plan.render())
            amphora = agent.amphorae[plan.amphora_id]

            async def seen_dead() -> bool:
                rows = await runtime.statistics(amphora.files.stats_socket)
                return any(row.name == dead.name and row.status == "DOWN" for row in rows)

            await world.eventually(seen_dead)
            plan = plan.changed(extra="maxconn 500")
            assert how(await agent.put_configuration(plan.render())) == "reloaded"
            assert await seen_dead()

    world.run(scenario)


def test_a_reload_drops_no_request(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            plan = plan.having(plan.server(port))
            await agent.put_configuration(plan.render())
            stop = asyncio.Event()
            statuses: list[int] = []

            async def load() -> None:
                while not stop.is_set():
                    statuses.append((await world.get(plan))[0])

            clients = [asyncio.create_task(load()) for _ in range(4)]
            for number in range(5):
                plan = plan.changed(extra=f"maxconn {900 + number}")
                assert how(await agent.put_configuration(plan.render())) == "reloaded"
            stop.set()
            await asyncio.gather(*clients)
            assert len(statuses) > 100
            assert set(statuses) == {200}

    world.run(scenario)


def test_a_refused_configuration_names_the_culprit_and_the_last_good_one_goes_on(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            plan = plan.having(plan.server(port))
            await agent.put_configuration(plan.render())
            amphora = agent.amphorae[plan.amphora_id]
            worker = amphora.worker
            outcome = await agent.put_configuration(plan.changed(extra="frobnicate yes").render())
            assert isinstance(outcome, Refusal)
            assert outcome.culprits == [plan.listener]
            assert "frobnicate" in outcome.reason
            assert str(world.settings.state_dir) not in outcome.reason
            bad = plan.server(port, options="frobnicate")
            later = plan.changed(generation=8, extra="maxconn 9", servers=(*plan.servers, bad))
            outcome = await agent.put_configuration(later.render())
            assert isinstance(outcome, Refusal)
            assert outcome.culprits == [bad.name]
            assert amphora.worker == worker
            assert await world.get(plan) == (200, "one")
            assert amphora.record.hash == plan.render().hash
            back = plan.changed(generation=9)
            assert how(await agent.put_configuration(back.render())) == "unchanged"

    world.run(scenario)


def test_a_first_configuration_that_is_refused_leaves_nothing_running(world):
    async def scenario(agent):
        plan = world.plan()
        outcome = await agent.put_configuration(plan.changed(extra="frobnicate yes").render())
        assert isinstance(outcome, Refusal)
        assert outcome.culprits == [plan.listener]
        assert world.processes(plan) == []
        good = plan.changed(generation=5)
        assert how(await agent.put_configuration(good.render())) == "started"

    world.run(scenario)


def test_an_address_that_is_taken_is_a_refusal_naming_the_listener(world):
    async def scenario(agent):
        plan = world.plan()
        taken = await asyncio.start_server(lambda _r, w: w.close(), plan.address, world.port)
        async with taken:
            outcome = await agent.put_configuration(plan.render())
            assert isinstance(outcome, Refusal)
            assert outcome.culprits == [plan.listener]
            assert "cannot bind" in outcome.reason
        assert how(await agent.put_configuration(plan.changed().render())) == "started"

    world.run(scenario)


def test_an_older_fence_or_generation_is_refused_also_after_a_restart_of_the_agent(world):
    plan = world.plan(generation=5, fence=7)

    async def first(agent):
        assert how(await agent.put_configuration(plan.render())) == "started"
        older = plan.changed(fence=6, generation=9, extra="maxconn 7")
        assert isinstance(await agent.put_configuration(older.render()), Stale)

    async def second(agent):
        for fence, generation in ((6, 9), (7, 4)):
            older = plan.changed(fence=fence, generation=generation, extra="maxconn 7")
            assert isinstance(await agent.put_configuration(older.render()), Stale)
        assert how(await agent.put_configuration(plan.changed(fence=8, generation=5).render())) == "unchanged"

    world.run(first, second)


def test_a_deleted_amphora_leaves_nothing_and_does_not_come_back_by_a_late_request(world):
    plan = world.plan(generation=5, fence=7)

    async def first(agent):
        await agent.put_configuration(plan.render())
        assert world.processes(plan)
        assert isinstance(await agent.delete(plan.amphora_id, 4, 6), Stale)
        assert await agent.delete(plan.amphora_id, 6, 7) is None
        assert world.processes(plan) == []
        assert not (world.settings.amphorae_dir / plan.amphora_id).exists()
        assert list(world.settings.sockets_dir.iterdir()) == []
        assert await agent.delete(plan.amphora_id, 6, 7) is None

    async def second(agent):
        assert agent.amphorae == {}
        assert isinstance(await agent.put_configuration(plan.changed(generation=6).render()), Stale)
        assert await agent.delete(plan.amphora_id, 6, 7) is None
        assert world.processes(plan) == []
        assert how(await agent.put_configuration(plan.changed(fence=8).render())) == "started"

    async def third(agent):
        assert agent.amphorae[plan.amphora_id].healthy

    world.run(first, second, third)


def test_without_a_listener_there_is_no_process(world):
    async def scenario(agent):
        plan = world.plan()
        assert how(await agent.put_configuration(plan.changed(frontend=False).render())) == "stopped"
        assert world.processes(plan) == []
        assert agent.amphorae[plan.amphora_id].healthy
        plan = plan.changed(generation=5)
        assert how(await agent.put_configuration(plan.render())) == "started"
        plan = plan.changed(frontend=False)
        assert how(await agent.put_configuration(plan.render())) == "stopped"
        assert world.processes(plan) == []
        assert how(await agent.put_configuration(plan.changed().render())) == "unchanged"

    world.run(scenario)


def test_of_those_that_wait_only_the_newest_is_applied(world):
    async def scenario(agent):
        plan = world.plan()
        await agent.put_configuration(plan.render())
        plans = [plan.changed(generation=number, extra=f"maxconn {number}") for number in range(2, 12)]
        outcomes = await asyncio.gather(*(agent.put_configuration(one.render()) for one in plans))
        assert isinstance(outcomes[-1], Applied)
        assert sum(isinstance(one, Stale) for one in outcomes) >= 8
        assert (await agent.details(agent.amphorae[plan.amphora_id])).reloads <= 2
        assert agent.amphorae[plan.amphora_id].record.hash == plans[-1].render().hash

    world.run(scenario)


def test_a_removed_member_with_connections_gets_nothing_new_and_goes_when_they_end(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("slow", delay_s=0.6) as slow, world.member("one") as port:
            one, busy = plan.server(port), plan.server(slow)
            plan = plan.having(busy)
            await agent.put_configuration(plan.render())
            pending = asyncio.create_task(world.get(plan))
            await asyncio.sleep(0.2)
            plan = plan.having(one)
            assert how(await agent.put_configuration(plan.render())) == "runtime"
            amphora: Amphora = agent.amphorae[plan.amphora_id]
            assert await world.who_answers(plan) == {"one"}
            assert await pending == (200, "slow")

            async def gone() -> bool:
                states = await runtime.server_states(amphora.files.stats_socket)
                return {state.name for state in states} == {one.name} and not amphora.leaving

            await world.eventually(gone)

    world.run(scenario)


def test_a_removed_member_goes_when_its_connections_end_though_the_agent_has_been_restarted(world):
    plan = world.plan()
    members = AsyncExitStack()
    left = []

    async def scenario(agent):
        busy = plan.server(await members.enter_async_context(world.member("slow", delay_s=1)))
        one = plan.server(await members.enter_async_context(world.member("one")))
        begun = plan.having(busy)
        await agent.put_configuration(begun.render())
        pending = asyncio.create_task(world.get(plan))
        await asyncio.sleep(0.2)
        assert how(await agent.put_configuration(begun.having(one).render())) == "runtime"
        assert await _named(agent.amphorae[plan.amphora_id].files.stats_socket, {one.name, busy.name})
        left.extend([one, pending])

    async def after(agent):
        one, pending = left
        assert await pending == (200, "slow")
        await world.eventually(partial(_named, agent.amphorae[plan.amphora_id].files.stats_socket, {one.name}))
        await members.aclose()

    world.run(scenario, after)


async def _named(socket, names):
    return {state.name for state in await runtime.server_states(socket)} == names


def test_a_member_that_cannot_be_said_at_run_time_comes_by_a_reload(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            await agent.put_configuration(plan.render())
            plan = plan.having(plan.server(port, options="cookie x"))
            assert how(await agent.put_configuration(plan.render())) == "reloaded"
            assert await world.get(plan) == (200, "one")

    world.run(scenario)


def test_after_a_crash_in_the_middle_the_next_configuration_is_installed_whole(world):
    plan = world.plan()

    async def first(agent):
        await agent.put_configuration(plan.render())
        amphora = agent.amphorae[plan.amphora_id]
        record = amphora.record.model_copy(update={"hash": "", "base_hash": ""})
        amphora.files.save_record(record, durable=True)

    async def second(agent):
        assert how(await agent.put_configuration(plan.changed().render())) == "reloaded"

    world.run(first, second)


def test_thousands_of_new_members_come_with_one_reload_and_a_weight_without(world):
    async def scenario(agent):
        plan = world.plan()
        servers = [plan.server(1 + number % 60000, options="") for number in range(2000)]
        plan = plan.having(*servers[:1])
        await agent.put_configuration(plan.render())
        plan = plan.having(*servers)
        assert how(await agent.put_configuration(plan.render())) == "reloaded"
        worker = agent.amphorae[plan.amphora_id].worker
        plan = plan.having(servers[0]._replace(weight=7), *servers[1:])
        assert how(await agent.put_configuration(plan.render())) == "runtime"
        assert agent.amphorae[plan.amphora_id].worker == worker

    world.run(scenario)


def test_many_ports_leave_fewer_connections_rather_than_no_haproxy(world):
    async def scenario(agent):
        plan = world.plan()
        ports = "\n    ".join(f"bind {plan.address}:{19000 + number}" for number in range(300))
        wanted = plan.changed(extra=ports).render()
        text = wanted.text.replace("@MAXCONN:4000@", "@MAXCONN:1000000@")
        assert how(await agent.put_configuration(wanted.model_copy(update={"text": text}))) == "started"

    world.run(scenario)


def test_the_record_says_what_is_in_effect(world):
    async def scenario(agent):
        plan = world.plan(generation=3, fence=2)
        await agent.put_configuration(plan.render())
        record = json.loads(agent.amphorae[plan.amphora_id].files.record.read_text())
        assert (record["fence"], record["generation"], record["hash"]) == (2, 3, plan.render().hash)
        assert record["pid"] == agent.amphorae[plan.amphora_id].process.pid

    world.run(scenario)
