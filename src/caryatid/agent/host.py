# SPDX-License-Identifier: Apache-2.0
"""The agent: all amphorae of one host, and what the controller may ask of them."""

import asyncio
import importlib.metadata
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from caryatid.agent import runtime, verdict
from caryatid.agent.amphora import Amphora
from caryatid.agent.files import Files, Record, load_tombstones, save_tombstone
from caryatid.agent.install import Outcome, install
from caryatid.agent.ports import bindable_from
from caryatid.agent.process import Seen, table
from caryatid.agent.settings import AgentSettings
from caryatid.agent.supervisor import Supervisor, end_found, found_by_configuration
from caryatid.wire.agent import VERSION, AgentInfo, AmphoraDetails, Configuration, Diagnostics, Stale

ADOPTED_AT_ONCE = 8
DIAGNOSTIC_PROXIES_MAX = 2000
OUTPUT_CHARACTERS_MAX = 8000
TIDY_EVERY_S = 60.0

log = structlog.get_logger()


def _nothing(_: Amphora) -> None:
    pass


async def _nothing_yet(_: Amphora) -> None:
    pass


class Agent:
    """Everything one agent knows. Made for one event loop.

    `changed`, `installed` and `before_reload` are for whoever reports; see Supervisor.
    """

    def __init__(self, settings: AgentSettings, host_id: str, boot_id: int | None = None) -> None:
        self.settings = settings
        self.host_id = host_id
        self.boot_id = boot_id if boot_id is not None else time.time_ns() // 1_000_000
        self.amphorae: dict[str, Amphora] = {}
        self.changed: Callable[[Amphora], None] = _nothing
        self.installed: Callable[[Amphora], None] = _nothing
        self.removed: Callable[[Amphora], None] = _nothing
        self.before_reload: Callable[[Amphora], Awaitable[None]] = _nothing_yet
        self.bindable_from = bindable_from()
        self.haproxy_version = ""
        self._tombstones: dict[str, Record] = {}
        self._supervisor = Supervisor(settings.haproxy, self._tell_changed, self._tell_before_reload)

    async def open(self) -> None:
        """Make the directories, read what is on disk, adopt what runs, start what should. Then all is as recorded."""
        self.settings.make_directories()
        self.haproxy_version = await haproxy_version(self.settings.haproxy)
        self._tombstones = load_tombstones(self.settings.tombstones_dir)
        running = found_by_configuration(self.settings.amphorae_dir, table())
        gate = asyncio.Semaphore(ADOPTED_AT_ONCE)

        async def adopt(directory: str) -> None:
            async with gate:
                await self._adopt(directory, running.get(directory, []))

        names = {path.name for path in self.settings.amphorae_dir.iterdir() if path.is_dir()} | set(running)
        await asyncio.gather(*(adopt(name) for name in names))

    def _tell_changed(self, amphora: Amphora) -> None:
        self.changed(amphora)

    async def _tell_before_reload(self, amphora: Amphora) -> None:
        await self.before_reload(amphora)

    async def _adopt(self, amphora_id: str, running: list[Seen]) -> None:
        files = Files.of(self.settings, amphora_id)
        record = files.load_record()
        tombstone = self._tombstones.get(amphora_id)
        deleted = record is not None and tombstone is not None and record.order <= tombstone.order
        if record is None or record.amphora_id != amphora_id or deleted:
            await end_found(running)
            await asyncio.to_thread(files.remove)
            return
        files.make()
        amphora = Amphora(record, files)
        amphora.servers = {(server.backend, server.name): server for server in files.load_servers()}
        self.amphorae[amphora_id] = amphora
        await self._supervisor.adopt(amphora, running)

    async def keep_tidy(self) -> None:
        """Keep what HAProxies write within bounds, for ever. Run as a task."""
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            files = [amphora.files for amphora in self.amphorae.values()]
            for one in files:
                one.trim_output()

    def close(self) -> None:
        """Let go of everything; the HAProxies go on."""
        for amphora in self.amphorae.values():
            amphora.close()

    async def put_configuration(self, configuration: Configuration) -> Outcome:
        """See install(). Refuses what is older than a deletion."""
        tombstone = self._tombstones.get(configuration.amphora_id)
        if tombstone and (configuration.fence, configuration.generation) <= tombstone.order:
            return Stale(reason=f"Amphora {configuration.amphora_id} was deleted.", fence=tombstone.fence)
        amphora = self.amphorae.get(configuration.amphora_id) or self._new(configuration)
        outcome = await install(amphora, configuration, self._supervisor, self.settings.haproxy)
        self.installed(amphora)
        return outcome

    def _new(self, configuration: Configuration) -> Amphora:
        record = Record(
            amphora_id=configuration.amphora_id,
            loadbalancer_id=configuration.loadbalancer_id,
            generation=configuration.generation,
            fence=configuration.fence,
        )
        amphora = Amphora(record, Files.of(self.settings, configuration.amphora_id))
        self.amphorae[amphora.id] = amphora
        return amphora

    async def delete(self, amphora_id: str, generation: int, fence: int) -> Stale | None:
        """Afterwards nothing is left but a tombstone. May be repeated."""
        amphora = self.amphorae.get(amphora_id)
        known = amphora.record if amphora else self._tombstones.get(amphora_id)
        newest = max(amphora.newest, known.order) if amphora and known else known.order if known else (0, 0)
        if (fence, generation) < newest:
            return Stale(
                reason=f"Amphora {amphora_id} was asked for generation {newest[1]} with fence {newest[0]} before.",
                fence=newest[0],
            )
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
            await self._supervisor.stop(amphora)
            amphora.close()
            await asyncio.to_thread(amphora.files.remove)
            if self.amphorae.get(amphora.id) is amphora:
                del self.amphorae[amphora.id]
        self.removed(amphora)
        log.info("deleted", amphora=amphora.id)

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
        extra: dict[str, Any] = {"restarts": amphora.restarts}
        if amphora.process:
            try:
                seen = await runtime.processes(amphora.files.master_socket, 1.0)
                extra |= {"reloads": seen.reloads, "workers": list(seen.workers)}
            except runtime.RuntimeUnavailable:
                pass
        return AmphoraDetails(**amphora.state(), **extra)

    async def diagnostics(self, amphora: Amphora) -> Diagnostics:
        """What HAProxy says about itself."""
        info: dict[str, str] = {}
        rows: list[runtime.Row] = []
        try:
            info = await runtime.information(amphora.files.stats_socket)
            rows = await runtime.statistics(amphora.files.stats_socket)
        except runtime.RuntimeUnavailable as error:
            info = {"error": str(error)}
        check = ""
        if amphora.files.has_frontend():
            check = await verdict.check(self.settings.haproxy, amphora.files.configuration)
        return Diagnostics(
            info=info,
            proxies=[row._asdict() for row in rows[:DIAGNOSTIC_PROXIES_MAX]],
            check=check,
            output=amphora.files.output_since(0)[-OUTPUT_CHARACTERS_MAX:],
        )


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
