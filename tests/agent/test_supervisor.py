# SPDX-License-Identifier: Apache-2.0
"""What happens to traffic when processes die, and who takes them over."""

import os
import signal
import time

from caryatid.agent import runtime
from caryatid.agent.process import look, spawn
from caryatid.agent.run import stop_data_plane
from caryatid.agent.supervisor import BACKOFF_S


async def serving(world, agent):
    """A load balancer with one member; returns its plan, its amphora and what to close."""
    plan = world.plan()
    context = world.member("one")
    port = await context.__aenter__()
    plan = plan.having(plan.server(port))
    await agent.put_configuration(plan.render())
    assert await world.get(plan) == (200, "one")
    return plan, agent.amphorae[plan.amphora_id], context


def test_a_killed_worker_is_replaced_at_once(world):
    async def scenario(agent):
        plan, amphora, member = await serving(world, agent)
        said = []
        agent.changed = lambda one: said.append(one.healthy)
        begin = time.perf_counter()
        os.kill(amphora.worker, signal.SIGKILL)

        async def back() -> bool:
            return amphora.process is not None and amphora.restarts == 1 and await world.get(plan) == (200, "one")

        await world.eventually(back)
        print(f"worker killed, serving again after {(time.perf_counter() - begin) * 1000:.0f} ms")
        assert said == [False, True]
        await member.__aexit__(None, None, None)

    world.run(scenario)


def test_a_killed_master_is_replaced_at_once_and_nothing_of_it_is_left(world):
    async def scenario(agent):
        plan, amphora, member = await serving(world, agent)
        master, worker = amphora.process.pid, amphora.worker
        begin = time.perf_counter()
        os.kill(master, signal.SIGKILL)

        async def back() -> bool:
            replaced = amphora.process is not None and amphora.process.pid != master
            return replaced and await world.get(plan) == (200, "one")

        await world.eventually(back)
        print(f"master killed, serving again after {(time.perf_counter() - begin) * 1000:.0f} ms")
        assert not look(worker)
        assert {seen.session for seen in world.processes(plan)} == {amphora.process.pid}
        await member.__aexit__(None, None, None)

    world.run(scenario)


def test_an_orphan_that_serves_an_old_configuration_ends_when_the_new_one_serves(world):
    """HAProxy's workers end with their master, but nothing promises it: here a whole forgotten instance stands in."""

    async def scenario(agent):
        plan, amphora, member = await serving(world, agent)
        files = amphora.files
        command = [world.settings.haproxy, "-db", "-f", str(files.configuration)]
        orphan = spawn(command, files.output)

        async def orphan_serves() -> bool:
            return (await runtime.information(files.stats_socket)).get("Pid") == str(orphan)

        await world.eventually(orphan_serves)
        master = amphora.process.pid
        amphora.record = amphora.record.model_copy(update={"pid": orphan})
        os.kill(amphora.process.pid, signal.SIGKILL)

        async def ended() -> bool:
            replaced = amphora.process is not None and amphora.process.pid != master
            return replaced and look(orphan) is None

        await world.eventually(ended)
        assert await world.get(plan) == (200, "one")
        os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        await member.__aexit__(None, None, None)

    world.run(scenario)


def test_a_new_agent_adopts_what_runs(world):
    plans = []
    pids = []

    async def first(agent):
        for _ in range(3):
            plan = world.plan()
            plans.append(plan)
            await agent.put_configuration(plan.render())
            pids.append(agent.amphorae[plan.amphora_id].process.pid)

    async def second(agent):
        assert [agent.amphorae[plan.amphora_id].process.pid for plan in plans] == pids
        assert all(agent.amphorae[plan.amphora_id].healthy for plan in plans)
        outcome = await agent.put_configuration(plans[0].changed().render())
        assert outcome.how == "unchanged"
        async with world.member("new") as port:
            plan = plans[0].having(plans[0].server(port))
            assert (await agent.put_configuration(plan.render())).how == "runtime"
            assert await world.get(plan) == (200, "new")
        os.kill(pids[1], signal.SIGKILL)

        async def replaced() -> bool:
            process = agent.amphorae[plans[1].amphora_id].process
            return process is not None and process.pid != pids[1]

        await world.eventually(replaced)

    world.run(first, second)


def test_what_died_while_no_agent_was_there_is_started_and_orphans_end(world):
    plan = world.plan()
    old = []

    async def first(agent):
        await agent.put_configuration(plan.render())
        amphora = agent.amphorae[plan.amphora_id]
        old.extend([amphora.process.pid, amphora.worker])

    async def second(agent):
        amphora = agent.amphorae[plan.amphora_id]
        assert amphora.healthy
        assert amphora.process.pid not in old
        assert await world.get(plan) == (503, (await world.get(plan))[1])

        async def alone() -> bool:
            return {seen.session for seen in world.processes(plan)} == {amphora.process.pid}

        await world.eventually(alone)

    async def kill(agent):
        agent.close()
        os.kill(old[0], signal.SIGKILL)

    world.run(first, kill, second)


def test_a_process_with_a_recycled_pid_is_not_adopted(world):
    plan = world.plan()

    async def first(agent):
        await agent.put_configuration(plan.render())
        amphora = agent.amphorae[plan.amphora_id]
        await stop_data_plane(world.settings)
        record = amphora.record.model_copy(update={"pid": os.getpid()})
        agent.close()
        amphora.files.save_record(record, durable=True)

    async def second(agent):
        assert agent.amphorae[plan.amphora_id].process.pid != os.getpid()
        assert look(os.getpid())

    world.run(first, second)


def test_a_process_of_an_unknown_amphora_is_ended(world):
    plan = world.plan()

    async def first(agent):
        await agent.put_configuration(plan.render())
        agent.amphorae[plan.amphora_id].files.record.unlink()

    async def second(agent):
        assert agent.amphorae == {}
        assert world.processes(plan) == []

    world.run(first, second)


def test_stopping_the_data_plane_leaves_no_process_and_the_next_agent_starts_all(world):
    plan = world.plan()

    async def first(agent):
        await agent.put_configuration(plan.render())

    async def stop(agent):
        agent.close()
        assert await stop_data_plane(world.settings) == 1
        assert world.processes(plan) == []

    async def second(agent):
        assert agent.amphorae[plan.amphora_id].healthy
        assert len(world.processes(plan)) == 2
        assert (await agent.put_configuration(plan.changed().render())).how == "unchanged"

    world.run(first, stop, second)


def test_repeated_deaths_back_off_and_a_worn_out_text_gives_way_to_the_last_good_one(world):
    async def scenario(agent):
        plan, amphora, member = await serving(world, agent)
        amphora.files.configuration.unlink()
        amphora.files.configuration.write_text("global\n    frobnicate\nfrontend x\n")
        os.kill(amphora.worker, signal.SIGKILL)

        async def back() -> bool:
            return await world.get(plan) == (200, "one")

        await world.eventually(back)
        assert amphora.record.hash == ""
        assert BACKOFF_S[0] == 0
        assert max(BACKOFF_S) == 10
        await member.__aexit__(None, None, None)

    world.run(scenario)


def test_an_haproxy_that_keeps_dying_is_tried_ever_more_slowly(world):
    async def scenario(agent):
        plan = world.plan()
        await agent.put_configuration(plan.render())
        amphora = agent.amphorae[plan.amphora_id]
        deaths = []
        for _ in range(4):
            process = amphora.process
            os.kill(amphora.worker, signal.SIGKILL)
            begin = time.monotonic()

            async def replaced(before=process) -> bool:
                return amphora.process not in (None, before)

            await world.eventually(replaced)
            deaths.append(time.monotonic() - begin)
        assert deaths[3] > 0.4
        assert amphora.restarts == 4

    world.run(scenario)
