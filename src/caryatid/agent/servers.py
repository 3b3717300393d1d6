# SPDX-License-Identifier: Apache-2.0
"""Servers come, change and go while HAProxy runs."""

import asyncio
import ipaddress

from caryatid.agent import runtime
from caryatid.agent.amphora import Amphora
from caryatid.wire.agent import Server

ADDED_AT_RUN_TIME_MAX = 500
"""`add server` takes longer the more servers there are; for more new ones than this a reload is quicker."""
SWEEP_AFTER_S = (0.2, 0.2, 1.0, 1.0, 5.0, 15.0, 60.0, 120.0)

Table = dict[tuple[str, str], Server]


async def apply(amphora: Amphora, table: Table) -> bool:
    """The difference to the table that is in force is applied; False if anything is not as wanted afterwards."""
    difference = Difference(amphora.servers, table)
    socket = amphora.files.stats_socket
    if not difference.expressible:
        return False
    try:
        if await runtime.call_all(socket, difference.commands()):
            return False
        complaints = await runtime.call_all(socket, [runtime.remove(server) for server in difference.gone])
        if not all(said.startswith(runtime.STILL_CONNECTED) for said in complaints):
            return False
        leaving = amphora.leaving | {(server.backend, server.name) for server in difference.gone}
        left = await _verified(amphora, table, difference.backends, leaving)
    except runtime.RuntimeUnavailable:
        return False
    if left is None:
        return False
    if left - amphora.leaving:
        amphora.leaving |= left
        amphora.spawn(sweep(amphora))
    return True


class Difference:
    """What distinguishes two server tables."""

    def __init__(self, old: Table, new: Table) -> None:
        self.gone = [server for key, server in old.items() if key not in new]
        self.added = [server for key, server in new.items() if key not in old]
        self.replaced: list[tuple[Server, Server]] = []
        self.changed: list[tuple[Server, Server]] = []
        for key, server in new.items():
            was = old.get(key)
            if was is None or was == server:
                continue
            lasting = (was.address, was.port, was.options) == (server.address, server.port, server.options)
            (self.changed if lasting else self.replaced).append((was, server))

    @property
    def touched(self) -> list[Server]:
        return [*self.gone, *self.added, *(new for _, new in self.replaced), *(new for _, new in self.changed)]

    @property
    def expressible(self) -> bool:
        """Whether it can be said at run time, and not more slowly than by a reload."""
        return len(self.added) <= ADDED_AT_RUN_TIME_MAX and all(map(runtime.expressible, self.touched))

    @property
    def backends(self) -> set[str]:
        return {server.backend for server in self.touched}

    def commands(self) -> list[str]:
        """All but the removal of what is gone: close off, make anew, add, change. Capacity grows before it shrinks."""
        lines = [line for server in self.added for line in runtime.add(server)]
        lines += [line for old, new in self.changed for line in runtime.change(old, new)]
        for old, new in self.replaced:
            lines += [runtime.close_off(old), runtime.remove(old), *runtime.add(new)]
        return lines + [runtime.close_off(server) for server in self.gone]


async def _verified(
    amphora: Amphora, wanted: Table, backends: set[str], leaving: set[tuple[str, str]]
) -> set[tuple[str, str]] | None:
    """Compare HAProxy's servers with the table. Returns what is still there of `leaving`; None at any mismatch."""
    left = set()
    found = set()
    for backend in backends:
        for state in await runtime.server_states(amphora.files.stats_socket, backend):
            key = (state.backend, state.name)
            server = wanted.get(key)
            if server is None and key in leaving and not state.in_use:
                left.add(key)
            elif server is None or not _same(state, server):
                return None
            else:
                found.add(key)
    expected = {key for key in wanted if key[0] in backends}
    return left if found == expected else None


def _same(state: runtime.ServerState, server: Server) -> bool:
    if (state.weight, state.in_use, state.port) != (server.weight, server.enabled, server.port):
        return False
    return state.address == server.address or ipaddress.ip_address(state.address) == ipaddress.ip_address(
        server.address
    )


async def sweep_adopted(amphora: Amphora) -> None:
    """The same for those that an agent before this one has closed off, and could not remove while it lived."""
    try:
        states = await runtime.server_states(amphora.files.stats_socket)
    except runtime.RuntimeUnavailable:
        return
    present = {(state.backend, state.name) for state in states if not state.in_use}
    amphora.leaving |= present - amphora.servers.keys()
    await sweep(amphora)


async def sweep(amphora: Amphora) -> None:
    """Remove servers that had connections, as soon as they have none. What remains in the end waits for a reload."""
    for pause_s in SWEEP_AFTER_S:
        await asyncio.sleep(pause_s)
        async with amphora.lock:
            if amphora.process is None or not amphora.leaving:
                return
            commands = [line for key in amphora.leaving for line in runtime.expel(*key)]
            backends = {backend for backend, _ in amphora.leaving}
            try:
                await runtime.call_all(amphora.files.stats_socket, commands)
                states = [
                    state for one in backends for state in await runtime.server_states(amphora.files.stats_socket, one)
                ]
            except runtime.RuntimeUnavailable:
                continue
            amphora.leaving &= {(state.backend, state.name) for state in states}
