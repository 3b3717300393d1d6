# SPDX-License-Identifier: Apache-2.0
"""How a configuration comes into effect: not at all, at run time, by a reload or by a start. Decided here alone."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

import structlog

from caryatid.agent import exchange, runtime, servers, verdict
from caryatid.agent.amphora import Amphora, in_turn
from caryatid.agent.files import needs_process
from caryatid.agent.keys import NO_MEMORY, named_in, noted
from caryatid.agent.namespace import NamespaceError
from caryatid.agent.networks import Networks
from caryatid.agent.supervisor import Failure, Supervisor
from caryatid.places import write_atomically
from caryatid.wire.agent import Applied, Configuration, How, Refusal, Stale, Wanting

UNASSIGNABLE = "cannot bind socket (Cannot assign requested address)"
"""What HAProxy says of an address that is not the host's. No object is at fault: addresses come and go."""

log = structlog.get_logger()


class Broken(NamedTuple):
    """It was not refused, yet is not in effect: to be asked for again."""

    reason: str


Outcome = Applied | Refusal | Stale | Broken | Wanting


async def install(
    amphora: Amphora, wanted: Configuration, supervisor: Supervisor, networks: Networks, haproxy: str
) -> Outcome:
    """Put a configuration into effect, or say why not; then the last good one stays.

    One at a time for an amphora: see in_turn.
    """
    async with in_turn(amphora, wanted) as refusal:
        if refusal:
            return refusal
        if lacking := await asyncio.to_thread(_lacking, amphora, wanted):
            return lacking
        before = amphora.files.load_ruleset()
        try:
            await networks.protect(amphora, wanted.nftables)
            outcome = await Installation(amphora, wanted, supervisor, haproxy).run()
            if isinstance(outcome, Applied):
                outcome = await _share_out(amphora, wanted, outcome)
                await networks.claim(amphora, told=True)
            elif isinstance(outcome, Refusal):
                await networks.protect(amphora, before)
                if amphora.datagrams:
                    await amphora.datagrams.restore()
        except NamespaceError as error:
            return Broken(str(error))
        return outcome


async def _share_out(amphora: Amphora, wanted: Configuration, done: Applied) -> Applied:
    """Afterwards datagrams are shared out as the configuration says. Raises NamespaceError."""
    if amphora.datagrams is None:
        if wanted.datagrams:
            raise NamespaceError("Datagrams need a network of their own.")
        return done
    changed = await amphora.datagrams.apply(wanted.datagrams)
    return Applied(hash=done.hash, how="runtime") if changed and done.how == "unchanged" else done


def _lacking(amphora: Amphora, wanted: Configuration) -> Wanting | Broken | None:
    """What of the contents that it names is not here; or that nothing secret can be kept here."""
    if not wanted.keys:
        return None
    keys = amphora.files.keys
    if keys is None:
        return Broken(NO_MEMORY)
    missing = keys.missing(wanted.keys.values())
    return Wanting(wanting=missing) if missing else None


class Installation:
    """One configuration on its way into effect. Its caller holds the amphora's lock."""

    def __init__(self, amphora: Amphora, wanted: Configuration, supervisor: Supervisor, haproxy: str) -> None:
        self.amphora = amphora
        self.wanted = wanted
        self.table = amphora.files.server_table(wanted.servers)
        self.before = amphora.record
        self._began = time.monotonic()
        self._supervisor = supervisor
        self._haproxy = haproxy

    async def run(self) -> Outcome:
        amphora, wanted, before = self.amphora, self.wanted, self.before
        if wanted.hash == before.hash and amphora.healthy:
            return await self._note_numbers()
        text = amphora.files.render(wanted.text)
        text = noted(text, wanted.keys) if wanted.keys else text
        await asyncio.to_thread(self._begin, text)
        if not needs_process(text):
            return await self._stop()
        if before.hash and wanted.base_hash == before.base_hash and amphora.process is not None:
            if await self._apply_keys() and await servers.apply(amphora, self.table):
                return await self._settle("runtime")
            log.info("a reload is needed", amphora=amphora.id)
        if amphora.process is None:
            return await self._start(text)
        return await self._reload(text)

    # -- the ways

    async def _note_numbers(self) -> Outcome:
        wanted, record = self.wanted, self.before
        if wanted.keys:
            await asyncio.to_thread(self.amphora.files.arrange_keys)
            self.amphora.wanting = False
        if (wanted.fence, wanted.generation) != record.order:
            self.amphora.record = record.model_copy(update={"fence": wanted.fence, "generation": wanted.generation})
            await asyncio.to_thread(self.amphora.files.save_record, self.amphora.record, durable=True)
        return Applied(hash=wanted.hash, how="unchanged")

    async def _stop(self) -> Outcome:
        self.amphora.wanted = False
        await self._supervisor.stop(self.amphora)
        return await self._settle("stopped")

    async def _apply_keys(self) -> bool:
        """HAProxy uses the contents that its names shall stand for; False: not all of them."""
        files = self.amphora.files
        if files.keys is None or not self.wanted.keys:
            return True
        before = await asyncio.to_thread(named_in, files.configuration)
        try:
            wanted = await asyncio.to_thread(exchange.changes, files.keys, before, self.wanted.keys)
            return wanted is not None and await exchange.exchange(files.stats_socket, wanted)
        except (runtime.RuntimeUnavailable, OSError):
            return False

    async def _start(self, text: str) -> Outcome:
        """A start checks by itself, so `-c` is asked only when it failed."""
        amphora, files = self.amphora, self.amphora.files
        await asyncio.to_thread(self._swap)
        orphaned = amphora.record.pid
        amphora.wanted = True
        failure = await self._supervisor.start(amphora)
        if failure is None:
            await self._supervisor.end_orphans(amphora, orphaned)
            return await self._settle("started")
        said = await self._check(files.configuration) if failure.refused else ""
        self._swap_back()
        if files.configuration.exists() and files.has_frontend():
            await self._supervisor.start(amphora)
        amphora.wanted = files.has_frontend()
        return self._failed(failure, said, text)

    async def _reload(self, text: str) -> Outcome:
        amphora, files = self.amphora, self.amphora.files
        if files.keys and self.wanted.keys:
            await asyncio.to_thread(files.keys.link, self.wanted.keys)
        if said := await self._check(files.candidate):
            return self._failed(Failure(said, refused=True), said, text)
        try:
            states = await runtime.server_states(files.stats_socket)
        except runtime.RuntimeUnavailable:
            states = []
        content = runtime.as_state_file(states, self.table).encode()
        write_atomically(files.server_state, content, durable=False)
        await asyncio.to_thread(self._swap)
        amphora.wanted = True
        failure = await self._supervisor.reload(amphora)
        if failure is None:
            amphora.leaving.clear()
            return await self._settle("reloaded")
        self._swap_back()
        return self._failed(failure, "", text)

    # -- what is written down

    def _begin(self, text: str) -> None:
        """Before anything happens: the numbers, durably, and that from here on the effect is unknown."""
        files, wanted, before = self.amphora.files, self.wanted, self.before
        update = {"fence": wanted.fence, "generation": wanted.generation, "loadbalancer_id": wanted.loadbalancer_id}
        self.amphora.record = before.model_copy(update={**update, "hash": "", "base_hash": ""})
        files.make()
        for name, content in wanted.files.items():
            write_atomically(files.directory / name, content.encode(), durable=False)
        write_atomically(files.candidate, text.encode(), durable=False)
        files.save_record(self.amphora.record, durable=True)

    def _swap(self) -> None:
        files = self.amphora.files
        files.previous.unlink(missing_ok=True)
        if files.configuration.exists():
            files.previous.hardlink_to(files.configuration)
        files.candidate.replace(files.configuration)

    def _swap_back(self) -> None:
        files = self.amphora.files
        if files.previous.exists():
            files.previous.replace(files.configuration)
        else:
            files.configuration.unlink(missing_ok=True)

    async def _settle(self, how: How) -> Applied:
        amphora, wanted = self.amphora, self.wanted
        amphora.record = amphora.record.model_copy(update={"hash": wanted.hash, "base_hash": wanted.base_hash})
        amphora.servers = self.table
        await asyncio.to_thread(self._write_settled, how)
        took_ms = round((time.monotonic() - self._began) * 1000, 1)
        log.info("installed", amphora=amphora.id, generation=wanted.generation, how=how, took_ms=took_ms)
        return Applied(hash=wanted.hash, how=how)

    def _write_settled(self, how: How) -> None:
        files = self.amphora.files
        if files.candidate.exists():
            files.candidate.replace(files.configuration)
        if how in ("started", "reloaded"):
            files.previous.unlink(missing_ok=True)
            files.good.unlink(missing_ok=True)
            files.good.hardlink_to(files.configuration)
        if self.amphora.keyed or self.wanted.keys:
            self._write_keys(how)
        files.save_servers(self.table.values())
        files.save_record(self.amphora.record, durable=False)

    def _write_keys(self, how: How) -> None:
        """The names stand for what they do in the text, also in the last good one: old contents are not kept for it."""
        files, wanted = self.amphora.files, self.wanted
        self.amphora.keyed, self.amphora.wanting = bool(wanted.keys), False
        if how == "stopped":
            files.good.unlink(missing_ok=True)
        elif how == "runtime" and files.good.exists() and named_in(files.good) != wanted.keys:
            content = noted(files.good.read_text(), wanted.keys).encode()
            write_atomically(files.good, content, durable=False)
        files.arrange_keys()
        files.prune_keys()

    def _failed(self, failure: Failure, said: str, text: str) -> Outcome:
        """The last good configuration goes on; the numbers stay, so that the refused one does not come back later."""
        amphora, before = self.amphora, self.before
        same_servers = amphora.process is not None and before.base_hash != self.wanted.base_hash
        kept = {"hash": before.hash, "base_hash": before.base_hash} if same_servers else {}
        amphora.record = amphora.record.model_copy(update=kept)
        amphora.files.candidate.unlink(missing_ok=True)
        amphora.files.save_record(amphora.record, durable=False)
        amphora.files.arrange_keys()
        if not failure.refused:
            log.error("installation failed", amphora=amphora.id, said=failure.said[-1000:])
            return Broken("HAProxy did not become ready in time.")
        if UNASSIGNABLE in (said or failure.said):
            log.error("an address is not here", amphora=amphora.id, said=failure.said[-1000:])
            return Broken("HAProxy was to listen on an address that is not here (yet).")
        answer = verdict.refusal((said or failure.said).replace(f"{amphora.files.keys_dir}/", ""), text)
        log.warning("configuration refused", amphora=amphora.id, reason=answer.reason, culprits=answer.culprits)
        return answer

    async def _check(self, configuration: Path) -> str:
        try:
            return await verdict.check(self._haproxy, configuration)
        except (TimeoutError, OSError):
            return ""
