# SPDX-License-Identifier: Apache-2.0
"""What the health service hears from a host, from its own socket."""

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import time

import pytest

from caryatid.agent.report import Reporter, interpret
from caryatid.agent.runtime import Row
from caryatid.wire.heartbeat import ReplayGuard, question, unpack

KEY = b"k" * 32
CHECK = "check inter 50 fall 1 rise 1"


class Receiver:
    """Takes reports, and keeps what they say as a health service would."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.guard = ReplayGuard()
        self.messages = []
        self.members = {}
        self.listeners = {}
        self.running = {}
        self.hosts = {}

    async def until(self, condition, deadline_s=5):
        begin = time.perf_counter()
        async with asyncio.timeout(deadline_s):
            while not condition():
                self.take(await asyncio.get_running_loop().sock_recv(self.socket, 2000))
        return time.perf_counter() - begin

    async def for_a_while(self, seconds):
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: False, seconds)

    def take(self, datagram):
        for message in unpack(datagram, lambda _: [KEY], self.guard).messages:
            self.messages.append(message)
            if "host" in message:
                self.hosts |= message["host"]
                continue
            self.running[message["amphora_id"]] = message["running"]
            self.listeners |= {key: (message["epoch"], value) for key, value in message["listeners"].items()}
            for _, members in message["pools"].values():
                self.members |= members


@contextlib.contextmanager
def reporting(agent, report_interval_s=0.2, snapshot_interval_s=30.0):
    receiver = Receiver()
    reporter = Reporter(agent, KEY, [receiver.address], report_interval_s, snapshot_interval_s)
    reporter.open()
    try:
        yield receiver
    finally:
        reporter.close()
        receiver.socket.close()


def test_a_dead_member_is_told_at_once_and_so_is_its_return(world):
    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            async with world.member("two") as port2:
                async with world.member("one") as port1:
                    one, two = plan.server(port1, options=CHECK), plan.server(port2, options=CHECK)
                    plan = plan.having(one, two)
                    await agent.put_configuration(plan.render())
                    await receiver.until(lambda: receiver.members == {one.name: "UP", two.name: "UP"})
                took = await receiver.until(lambda: receiver.members[one.name] == "DOWN")
                print(f"told {took * 1000:.0f} ms after its death (checked every 50 ms)")
                assert took < 1
                assert receiver.members[two.name] == "UP"
                back = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port1)
                async with back:
                    await receiver.until(lambda: receiver.members[one.name] == "UP")

    world.run(scenario)


def test_root_gives_its_rights_away_and_still_hears_of_changes(world):
    if not world.settings.worker_user:
        pytest.skip("only root with a user haproxy has rights to give away")

    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            async with world.member("one") as port:
                one = plan.server(port, options=CHECK)
                await agent.put_configuration(plan.having(one).render())
                await agent.put_configuration(plan.changed(generation=3, servers=(one,), extra="maxconn 9").render())
                await receiver.until(lambda: receiver.members == {one.name: "UP"})
            await receiver.until(lambda: receiver.members[one.name] == "DOWN", 2)
            worker = agent.amphorae[plan.amphora_id].worker
            owner = os.stat(f"/proc/{worker}").st_uid  # noqa: PTH116
            assert pwd.getpwuid(owner).pw_name == world.settings.run_as

    world.run(scenario)


def test_a_change_is_told_twice_because_datagrams_get_lost(world):
    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            dead = plan.server(1, options=CHECK)
            await agent.put_configuration(plan.having(dead).render())
            await receiver.until(lambda: receiver.members.get(dead.name) == "DOWN")

            def told():
                return [one for one in receiver.messages if dead.name in str(one.get("pools")) and "DOWN" in str(one)]

            await receiver.until(lambda: len(told()) >= 2)
            assert told()[0] == told()[1]
            assert told()[0]["checks"] == {dead.name: "L4CON"}, "why it is down"

    world.run(scenario)


def test_counters_are_told_when_they_move_and_begin_again_with_a_new_epoch(world):
    async def scenario(agent):
        plan = world.plan()
        async with world.member("one") as port:
            plan = plan.having(plan.server(port))
            with reporting(agent) as receiver:
                await agent.put_configuration(plan.render())
                for _ in range(5):
                    await world.get(plan)

                def total():
                    return receiver.listeners.get(plan.listener, ("", (0,) * 6))[1][4]

                await receiver.until(lambda: total() == 5)
                epoch, numbers = receiver.listeners[plan.listener]
                assert numbers[0] == "OPEN"
                assert numbers[1] > 5 * 20
                assert numbers[2] > 5 * 20
                await world.get(plan)
                plan = plan.changed(extra="maxconn 500")
                await agent.put_configuration(plan.render())
                await receiver.until(lambda: receiver.listeners[plan.listener][0] != epoch)
                last = [
                    one["listeners"][plan.listener][4]
                    for one in receiver.messages
                    if one.get("epoch") == epoch and plan.listener in one["listeners"]
                ]
                assert max(last) == 6
                assert total() == 0

    world.run(scenario)


def test_nothing_but_the_host_is_told_when_nothing_changes(world):
    async def scenario(agent):
        plan = world.plan()
        await agent.put_configuration(plan.render())
        with reporting(agent, report_interval_s=0.1) as receiver:
            await receiver.until(lambda: receiver.running)
            await receiver.for_a_while(0.3)
            receiver.messages.clear()
            await receiver.for_a_while(0.5)
            assert len(receiver.messages) >= 3
            assert all("host" in one for one in receiver.messages)
            assert receiver.hosts == {plan.amphora_id: (plan.render().hash, plan.generation)}

    world.run(scenario)


def test_a_full_snapshot_comes_in_turns(world):
    async def scenario(agent):
        plan = world.plan()
        await agent.put_configuration(plan.having(plan.server(1)).render())
        with reporting(agent, report_interval_s=0.05, snapshot_interval_s=0.2) as receiver:
            await receiver.for_a_while(1)
            full = [one for one in receiver.messages if one.get("full")]
            assert len(full) >= 3
            assert all(list(one["listeners"]) == [plan.listener] for one in full)
            assert all(list(one["pools"]) == [plan.backend] for one in full)

    world.run(scenario)


def test_who_has_the_key_is_told_everything_when_he_asks(world):
    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            dead = plan.server(1, options=CHECK)
            await agent.put_configuration(plan.having(dead).render())
            await receiver.until(lambda: receiver.members.get(dead.name) == "DOWN")
            await receiver.for_a_while(0.5)
            _, address = await asyncio.get_running_loop().sock_recvfrom(receiver.socket, 2000)
            receiver.messages.clear()
            receiver.socket.sendto(question(b"x" * 32, agent.boot_id), address)
            await receiver.for_a_while(0.5)
            assert not any("amphora_id" in message for message in receiver.messages)
            receiver.socket.sendto(question(KEY, agent.boot_id), address)
            await receiver.until(lambda: any(message.get("full") for message in receiver.messages))

    world.run(scenario)


def test_the_death_of_a_process_is_told_at_once_and_so_is_its_return(world):
    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            await agent.put_configuration(plan.render())
            await receiver.until(lambda: receiver.running.get(plan.amphora_id))
            os.kill(agent.amphorae[plan.amphora_id].process.pid, signal.SIGKILL)
            took = await receiver.until(lambda: receiver.running[plan.amphora_id] is False)
            print(f"told {took * 1000:.1f} ms after the kill")
            await receiver.until(lambda: receiver.running[plan.amphora_id])

    world.run(scenario)


def test_five_thousand_members_are_told_whole(world):
    async def scenario(agent):
        with reporting(agent, report_interval_s=60) as receiver:
            plan = world.plan()
            plan = plan.having(*(plan.server(1 + number) for number in range(5000)))
            await agent.put_configuration(plan.render())
            await receiver.until(lambda: len(receiver.members) == 5000)

    world.run(scenario)


def test_statuses_are_read_as_haproxy_means_them():
    for said, meant in {
        "UP": "UP",
        "UP 1/3": "UP",
        "DOWN": "DOWN",
        "DOWN 1/2": "DOWN",
        "DRAIN": "DRAIN",
        "MAINT": "MAINT",
        "MAINT (via p/x)": "MAINT",
        "NOLB": "DRAIN",
        "no check": "no check",
    }.items():
        _, pools = interpret([Row("p:l", "m", "2", said, 0, 0, 0, 0, 0, 0)])
        assert pools["p:l"][1] == {"m": meant}
    assert interpret([Row("l", "FRONTEND", "0", "OPEN", 4, 5, 9, 1, 2, 3)])[0] == {"l": ("OPEN", 1, 2, 4, 9, 3)}
    assert interpret([Row("l", "FRONTEND", "0", "OPEN", 5, 5, 9, 1, 2, 3)])[0]["l"][0] == "FULL"
