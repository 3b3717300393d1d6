# SPDX-License-Identifier: Apache-2.0
"""The agent: all amphorae of one host, and what the controller may ask of them."""

import asyncio
import importlib.metadata
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from caryatid import metrics
from caryatid.agent import runtime, servers
from caryatid.agent.amphora import Amphora, in_turn, stale
from caryatid.agent.datagrams import Datagrams
from caryatid.agent.diagnosis import diagnose
from caryatid.agent.files import Files, Record, load_tombstones, save_tombstone
from caryatid.agent.install import Broken, Outcome, install
from caryatid.agent.keepalived import Keepalived
from caryatid.agent.keys import NO_MEMORY, NotTaken, named_in, plain_swaps, remove_others
from caryatid.agent.namespace import NamespaceError, find
from caryatid.agent.networks import Networks
from caryatid.agent.ports import bindable_from
from caryatid.agent.process import Seen, table
from caryatid.agent.settings import AgentSettings
from caryatid.agent.supervisor import Supervisor, end_found, found_by_configuration
from caryatid.wire.agent import (
    VERSION,
    AgentInfo,
    AmphoraDetails,
    Applied,
    Configuration,
    Diagnostics,
    Refusal,
    Secrets,
    Stale,
    Wanting,
)
from caryatid.wire.network import Plug

ADOPTED_AT_ONCE = 8
CHECKS_AT_ONCE = 400
"""Of members for datagrams: each is a socket, and an agent has a thousand or so. More members wait for each other."""
TIDY_EVERY_S = 60.0

log = structlog.get_logger()


def _nothing(_: Amphora) -> None:
    pass


async def _nothing_yet(_: Amphora) -> None:
    pass


class Agent:
    """Everything one agent knows. Made for one event loop.

    `changed`, `role_changed`, `members_changed`, `installed` and `before_reload` are for whoever reports; see
    Supervisor, Keepalived, Datagrams.
    """

    def __init__(self, settings: AgentSettings, host_id: str, boot_id: int | None = None) -> None:
        self.settings = settings
        self.host_id = host_id
        self.boot_id = boot_id if boot_id is not None else time.time_ns() // 1_000_000
        self.amphorae: dict[str, Amphora] = {}
        self.changed: Callable[[Amphora], None] = _nothing
        self.role_changed: Callable[[Amphora], None] = _nothing
        self.members_changed: Callable[[Amphora], None] = _nothing
        self.installed: Callable[[Amphora], None] = _nothing
        self.removed: Callable[[Amphora], None] = _nothing
        self.before_reload: Callable[[Amphora], Awaitable[None]] = _nothing_yet
        self.bindable_from = bindable_from()
        self.haproxy_version = ""
        self._tombstones: dict[str, Record] = {}
        self._has_keys = False
        self.networks = Networks(settings)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._supervisor = Supervisor(settings.haproxy, self._tell_changed, self._tell_before_reload)

    async def open(self) -> None:
        """Make the directories, read what is on disk, adopt what runs, start what should. Then all is as recorded."""
        self.settings.make_directories()
        self.haproxy_version = await haproxy_version(self.settings.haproxy)
        self._tombstones = load_tombstones(self.settings.tombstones_dir)
        await self.networks.open()
        processes = list(table())
        running = found_by_configuration(self.settings.amphorae_dir, processes)
        paired = found_by_configuration(self.settings.amphorae_dir, processes, "keepalived.conf")
        gate = asyncio.Semaphore(ADOPTED_AT_ONCE)

        async def adopt(directory: str) -> None:
            async with gate:
                await self._adopt(directory, running.get(directory, []), paired.get(directory, []))

        names = {path.name for path in self.settings.amphorae_dir.iterdir() if path.is_dir()} | {*running, *paired}
        await asyncio.gather(*(adopt(name) for name in names))
        await self.networks.remove_leftovers(self.amphorae)
        if self.settings.keys_dir:
            known = [amphora.files.keys for amphora in self.amphorae.values()]
            await asyncio.to_thread(remove_others, self.settings.keys_dir, known)

    def _tell_changed(self, amphora: Amphora) -> None:
        """The pair first: of all that a death sets going, the other amphora's taking over is the most urgent."""
        if amphora.keepalived:
            amphora.keepalived.serve(serving=amphora.healthy)
        if amphora.space is not None and amphora.healthy and not amphora.gone:
            amphora.spawn(self._claim(amphora))
        self.changed(amphora)

    def _tell_role(self, amphora: Amphora) -> None:
        if amphora.keepalived and not amphora.gone:
            amphora.spawn(self.networks.follow(amphora, has_vips=amphora.keepalived.role == "MASTER"))
        self.role_changed(amphora)

    async def _claim(self, amphora: Amphora) -> None:
        """It serves again: after a reboot its VIPs are nowhere."""
        async with amphora.lock:
            if not amphora.gone:
                await self.networks.claim(amphora, told=False)

    async def _tell_before_reload(self, amphora: Amphora) -> None:
        await self.before_reload(amphora)

    async def _adopt(self, amphora_id: str, running: list[Seen], paired: list[Seen]) -> None:
        files = Files.of(self.settings, amphora_id)
        record = files.load_record()
        tombstone = self._tombstones.get(amphora_id)
        deleted = record is not None and tombstone is not None and record.order <= tombstone.order
        if record is None or record.amphora_id != amphora_id or deleted:
            await end_found(paired + running)
            await asyncio.to_thread(files.remove)
            return
        files = replace(files, uid=record.uid)
        files.make()
        amphora = Amphora(record, files)
        amphora.servers = {(server.backend, server.name): server for server in files.load_servers()}
        amphora.keyed = bool(named_in(files.configuration))
        self.amphorae[amphora_id] = amphora
        await self.networks.adopt(amphora)
        if datagrams := self._datagrams(amphora):
            await datagrams.adopt()
        if keepalived := self._keepalived(amphora):
            await keepalived.adopt(paired, serving=bool(running) or not files.has_frontend())
        await self._supervisor.adopt(amphora, running)
        if amphora.process is not None and amphora.servers:
            amphora.spawn(servers.sweep_adopted(amphora))

    async def keep_tidy(self) -> None:
        """Keep what HAProxies write within bounds, for ever. Run as a task."""
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            for amphora in list(self.amphorae.values()):
                amphora.files.trim_output()
                await self._look_after_keys(amphora)

    async def _look_after_keys(self, amphora: Amphora) -> None:
        keys = amphora.files.keys
        if amphora.keyed or (keys and keys.directory.exists()):
            async with amphora.lock:
                if not amphora.gone:
                    self._supervisor.look_after_keys(amphora)

    def close(self) -> None:
        """Let go of everything; the HAProxies go on."""
        for amphora in self.amphorae.values():
            self.networks.forget(amphora)
            amphora.close()

    async def put_network(self, plug: Plug) -> Stale | Broken | None:
        """Afterwards the amphora is connected so. Refuses what is older than a deletion, or than anything asked for."""
        if refusal := self._buried(plug):
            return refusal
        amphora = self.amphorae.get(plug.amphora_id) or self._new(plug)
        async with in_turn(amphora, plug) as refusal:
            if refusal:
                return refusal
            try:
                await self._connect(amphora, plug)
            except NamespaceError as error:
                log.error("not connected", amphora=amphora.id, reason=str(error))  # noqa: TRY400  says it all
                return Broken(str(error))
        return None

    async def _connect(self, amphora: Amphora, plug: Plug) -> None:
        known = [other.record for other in self.amphorae.values()]
        record = self.networks.admit(amphora.record, known)
        update = {"fence": plug.fence, "generation": plug.generation, "network": plug}
        amphora.record = record.model_copy(update=update)
        amphora.files = replace(amphora.files, uid=record.uid)
        await asyncio.to_thread(amphora.files.make)
        await asyncio.to_thread(amphora.note, amphora.record)
        await self.networks.connect(amphora)
        self._datagrams(amphora)

    async def put_secrets(self, secrets: Secrets) -> Stale | Broken | None:
        """Afterwards these contents are here, for a configuration that follows. Refuses what is older than a deletion,
        or than anything asked for. Raises keys.Unfit."""
        if refusal := self._buried(secrets):
            return refusal
        amphora = self.amphorae.get(secrets.amphora_id) or self._new(secrets)
        async with in_turn(amphora, secrets) as refusal:
            if refusal:
                return refusal
            if amphora.files.keys is None:
                return Broken(NO_MEMORY)
            try:
                await asyncio.to_thread(amphora.files.keys.take, secrets.contents)
                await self._warn_of_swaps()
            except NotTaken as error:
                log.error("keys not taken", amphora=amphora.id, reason=str(error))  # noqa: TRY400  says it all
                return Broken(str(error))
        return None

    async def _warn_of_swaps(self) -> None:
        """Once, when there is something to lose."""
        if not self._has_keys:
            self._has_keys = True
            if swaps := await asyncio.to_thread(plain_swaps):
                remedy = "encrypt the swap, or do without"
                log.warning("keys may be swapped out to a disk in clear", swaps=swaps, remedy=remedy)

    def _buried(self, wanted: Configuration | Plug | Secrets) -> Stale | None:
        tombstone = self._tombstones.get(wanted.amphora_id)
        if tombstone and (wanted.fence, wanted.generation) <= tombstone.order:
            return Stale(reason=f"Amphora {wanted.amphora_id} was deleted.", fence=tombstone.fence)
        return None

    async def put_configuration(self, configuration: Configuration) -> Outcome:
        """See install(). Refuses what is older than a deletion."""
        if refusal := self._buried(configuration):
            return refusal
        amphora = self.amphorae.get(configuration.amphora_id) or self._new(configuration)
        with metrics.AGENT_APPLY_SECONDS.time():
            outcome = await install(amphora, configuration, self._supervisor, self.networks, self.settings.haproxy)
        metrics.AGENT_APPLIES.labels(_how(outcome)).inc()
        if isinstance(outcome, Applied):
            outcome = await self._share(amphora, configuration) or outcome
        self.installed(amphora)
        return outcome

    async def _share(self, amphora: Amphora, configuration: Configuration) -> Broken | None:
        """Afterwards keepalived runs as the configuration says; or why not."""
        keepalived = self._keepalived(amphora)
        if keepalived is None:
            return Broken("One of a pair needs a network of its own.") if configuration.keepalived else None
        async with amphora.lock:
            if amphora.gone or (configuration.fence, configuration.generation) < amphora.newest:
                return None
            try:
                said = await keepalived.apply(configuration.keepalived, serving=amphora.healthy)
            except (OSError, NamespaceError) as error:
                said = str(error)
        return Broken(f"keepalived does not run: {said}") if said else None

    def _keepalived(self, amphora: Amphora) -> Keepalived | None:
        """Its keepalived, running or not; None: it has no namespace for one."""
        if amphora.keepalived is None and amphora.space is not None:
            program = find("keepalived") or "keepalived"
            told = partial(self._tell_role, amphora)
            amphora.keepalived = Keepalived(amphora.files, amphora.space, program, told)
        return amphora.keepalived

    def _datagrams(self, amphora: Amphora) -> Datagrams | None:
        """Its part for datagrams, with or without listeners; None: it has no namespace for them."""
        if amphora.datagrams is None and amphora.space is not None:
            told = partial(self._tell_members, amphora)
            amphora.datagrams = Datagrams(amphora.files, amphora.space, self._checks, told)
        return amphora.datagrams

    def _tell_members(self, amphora: Amphora) -> None:
        self.members_changed(amphora)

    def _new(self, wanted: Configuration | Plug | Secrets) -> Amphora:
        record = Record(
            amphora_id=wanted.amphora_id,
            loadbalancer_id=wanted.loadbalancer_id,
            generation=wanted.generation,
            fence=wanted.fence,
        )
        amphora = Amphora(record, Files.of(self.settings, wanted.amphora_id))
        self.amphorae[amphora.id] = amphora
        return amphora

    async def delete(self, amphora_id: str, generation: int, fence: int) -> Stale | None:
        """Afterwards nothing is left but a tombstone. May be repeated."""
        amphora = self.amphorae.get(amphora_id)
        known = amphora.record if amphora else self._tombstones.get(amphora_id)
        newest = max(amphora.newest, known.order) if amphora and known else known.order if known else (0, 0)
        if (fence, generation) < newest:
            return stale(amphora_id, newest)
        loadbalancer_id = known.loadbalancer_id if known else ""
        tombstone = Record(amphora_id=amphora_id, loadbalancer_id=loadbalancer_id, generation=generation, fence=fence)
        if amphora:
            amphora.newest = (fence, generation)
        self._tombstones[amphora_id] = tombstone
        await asyncio.to_thread(save_tombstone, self.settings.tombstones_dir, tombstone)
        if amphora:
            await self._remove(amphora)
        return None

    async def _remove(self, amphora: Amphora) -> None:
        async with amphora.lock:
            if amphora.gone:
                return
            amphora.wanted = False
            if amphora.keepalived:
                await amphora.keepalived.stop()
            await self._supervisor.stop(amphora)
            amphora.close()
            await self.networks.remove(amphora, partial(self._routed_besides, amphora))
            await asyncio.to_thread(amphora.files.remove)
            if self.amphorae.get(amphora.id) is amphora:
                del self.amphorae[amphora.id]
        self.removed(amphora)
        log.info("deleted", amphora=amphora.id)

    def _routed_besides(self, amphora: Amphora) -> bool:
        """Whether any other amphora has routed addresses."""
        others = (other.record.network for other in self.amphorae.values() if other is not amphora)
        return any(leg.attachment == "routed" for plug in others if plug for leg in plug.legs)

    def info(self) -> AgentInfo:
        """The agent and its host."""
        return AgentInfo(
            version=VERSION,
            host_id=self.host_id,
            agent_version=agent_version(),
            haproxy_version=self.haproxy_version,
            bindable_from=self.bindable_from,
            boot_id=self.boot_id,
            amphorae=len(self.amphorae),
        )

    async def details(self, amphora: Amphora) -> AmphoraDetails:
        """One amphora and its processes."""
        extra: dict[str, Any] = {"restarts": amphora.restarts, "claims": amphora.record.claims}
        extra["interfaces"] = await self.networks.seen(amphora)
        if amphora.process:
            try:
                seen = await runtime.processes(amphora.files.master_socket, 1.0)
                extra |= {"reloads": seen.reloads, "workers": list(seen.workers)}
            except runtime.RuntimeUnavailable:
                pass
        return AmphoraDetails(**amphora.state(), **extra)

    async def diagnostics(self, amphora: Amphora) -> Diagnostics:
        """See diagnose()."""
        return await diagnose(amphora, self.settings.haproxy)


def _how(outcome: Outcome) -> str:
    """How a configuration came into effect, or why not."""
    match outcome:
        case Applied():
            return outcome.how
        case Stale():
            return "overtaken"
        case Refusal():
            return "refused"
        case Wanting():
            return "wanting"
        case Broken():
            return "broken"


def agent_version() -> str:
    """Version of this package."""
    return importlib.metadata.version("caryatid")


async def haproxy_version(haproxy: str) -> str:
    """What `haproxy -v` calls itself, such as 2.6.12; empty if it cannot be run."""
    try:
        process = await asyncio.create_subprocess_exec(haproxy, "-v", stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(5):
            said, _ = await process.communicate()
    except (OSError, TimeoutError):
        return ""
    found = re.search(r"version (\d+(?:\.\d+)*)", said.decode(errors="replace"))
    return found[1] if found else ""
