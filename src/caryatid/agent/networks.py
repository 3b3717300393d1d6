# SPDX-License-Identifier: Apache-2.0
"""The networks of one host's amphorae: connected as told, VIPs claimed, and given up when somebody else has them.

Everything slow is done by a thread; what is remembered is an amphora's `record`. Callers hold the amphora's lock.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog

from caryatid.agent import firewall
from caryatid.agent.amphora import Amphora
from caryatid.agent.claim import Voice, others
from caryatid.agent.files import Files, Record
from caryatid.agent.namespace import Namespace, NamespaceError, attempt, find, ours
from caryatid.agent.protocols import carried
from caryatid.agent.settings import AgentSettings, mapped
from caryatid.agent.watch import Watches
from caryatid.wire.conductor import HostFacts
from caryatid.wire.network import Plug

if TYPE_CHECKING:
    from caryatid.agent.plug import Connection  # with pyroute2, only where there are networks

PACKAGES = {"nft": "nftables", "keepalived": "keepalived", "nsenter": "util-linux", "unshare": "util-linux"}
"""Programs that connected amphorae need, and Debian's packages that have them."""
SAY_AFTER_S = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Pauses between announcements of a VIP: any one of them may be lost."""

log = structlog.get_logger()


class Networks:
    """What the amphorae of a host are connected to."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._uplinks = {uplink.name: uplink for uplink in settings.uplinks}
        self._before = settings.state_dir / "before.json"
        self._up_since = time.monotonic()
        self._changing = asyncio.Lock()
        """What routed amphorae share on the host is changed by one at a time."""
        self.watches = Watches(self.release)
        self.attachments: tuple[str, ...] = ("loopback", "host")
        """What amphorae here can be connected to; a fact that the controllers are told."""
        self.uplinks: tuple[str, ...] = ()
        """Names of the physical networks that are usable."""
        self.protocols: tuple[str, ...] = ()
        """Those of datagrams that can be carried."""

    # -- the host

    async def open(self) -> None:
        """Find out what is possible here. What is not is said in the log, with the remedy."""
        if hindrance := await asyncio.to_thread(_hindrance):
            if self._settings.uplinks:
                log.error("no networks", reason=hindrance)
            else:
                log.info("no networks", reason=hindrance)
            return
        self.protocols = tuple(await asyncio.to_thread(carried))
        self.uplinks = tuple(await asyncio.to_thread(self._prepared))
        self.attachments += ("uplink", "routed") if self.uplinks else ("routed",)

    def _prepared(self) -> Iterable[str]:
        from caryatid.agent.links import Links
        from caryatid.agent.uplink import prepare

        usable = []
        for uplink in self._settings.uplinks:
            try:
                with Links() as links:
                    prepare(uplink, links)
            except NamespaceError as error:
                log.error("uplink not usable", uplink=uplink.name, reason=str(error))  # noqa: TRY400  says it all
            else:
                usable.append(uplink.name)
        return usable

    def add_to(self, facts: HostFacts) -> HostFacts:
        """What the controllers are told of the host."""
        told = {"attachments": self.attachments, "uplinks": self.uplinks, "protocols": self.protocols}
        return facts.model_copy(update={name: [*words] for name, words in told.items()})

    async def dismantle(self, known: Iterable[Files]) -> None:
        """Nothing is left of the networks of these amphorae, whose processes have ended. All can be made anew."""
        for files in known:
            record = files.load_record()
            if record is not None and record.network is not None:
                await self.remove(Amphora(record, files), lambda: False)
        await self.remove_leftovers([])

    def leftovers(self, known: Iterable[str]) -> list[str]:
        """Names of namespaces that this agent has made and that belong to none of these amphorae."""
        return [space.path.name for space in self._orphans(known)]

    async def remove_leftovers(self, known: Iterable[str]) -> None:
        for space in self._orphans(known):
            log.warning("leftover namespace removed", namespace=space.path.name)
            await asyncio.to_thread(space.remove)

    def _orphans(self, known: Iterable[str]) -> list[Namespace]:
        wanted = {self.space(amphora_id).path for amphora_id in known}
        return [space for space in ours(self._settings.namespaces) if space.path not in wanted]

    def space(self, amphora_id: str) -> Namespace:
        """The namespace that an amphora has, if it has one."""
        return Namespace.of(self._settings.namespaces, amphora_id)

    # -- one amphora

    async def connect(self, amphora: Amphora) -> None:
        """Afterwards it is connected as its record says. Raises NamespaceError."""
        if "routed" not in self.attachments:
            raise NamespaceError(_hindrance() or "This host makes no network namespaces.")
        amphora.space = self.space(amphora.id)
        async with self._changing if _routed(_plug(amphora)) else nullcontext():
            await asyncio.to_thread(self._connect, amphora)
        self.watches.listen(amphora, _plug(amphora))

    def _connect(self, amphora: Amphora) -> None:
        from caryatid.agent.plug import connect

        files, whole = amphora.files, _whole(amphora)
        if not whole:
            files.connected.unlink(missing_ok=True)
            files.datagrams_state.unlink(missing_ok=True)
        connect(self._connection(amphora), whole=whole)
        if not whole and (ruleset := files.load_ruleset()):
            firewall.load(ruleset, amphora.space)
        files.connected.touch()

    def _connection(self, amphora: Amphora) -> "Connection":
        from caryatid.agent.plug import Connection

        return Connection(_plug(amphora), self.space(amphora.id), amphora.record.number, self._uplinks, self._before)

    async def adopt(self, amphora: Amphora) -> None:
        """After a restart of the agent nothing is touched; after a reboot all is made anew."""
        if amphora.record.network is None:
            return
        amphora.space = self.space(amphora.id)
        try:
            if _whole(amphora):
                self.watches.listen(amphora, _plug(amphora))
            else:
                await self.connect(amphora)
        except NamespaceError as error:
            log.error("not connected", amphora=amphora.id, reason=str(error))  # noqa: TRY400  says it all

    def admit(self, record: Record, known: Iterable[Record]) -> Record:
        """The record of an amphora that is to be connected, with a number that none of the others has."""
        if record.number:
            return record
        taken = {one.number for one in known}
        number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        uid = self._settings.uid_base + number
        mine = self._settings.uid_base and self._settings.worker_user and mapped(uid)
        return record.model_copy(update={"number": number, "uid": uid if mine else 0})

    async def protect(self, amphora: Amphora, ruleset: str) -> None:
        """Put a ruleset into effect, unless it is. Raises NamespaceError."""
        files = amphora.files
        if amphora.space is not None and ruleset and ruleset != files.load_ruleset():
            await asyncio.to_thread(firewall.replace, ruleset, amphora.space)
            files.save_ruleset(ruleset)

    async def claim(self, amphora: Amphora, *, told: bool) -> None:
        """The VIPs are here and the neighbours know. Not `told` to: only those that nobody else has."""
        record = amphora.record
        if amphora.space is None or record.network is None or record.network.shared:
            return
        if told and not record.claims:
            amphora.note(record.model_copy(update={"claims": True}))
        if not amphora.record.claims:
            return
        try:
            voices = await asyncio.to_thread(self._claim, amphora, polite=not told)
        except NamespaceError as error:
            log.error("VIPs not claimed", amphora=amphora.id, reason=str(error))  # noqa: TRY400  says it all
            return
        if voices:
            amphora.spawn(_say(voices))

    def _claim(self, amphora: Amphora, *, polite: bool) -> list[Voice]:
        from caryatid.agent.links import Links, single
        from caryatid.agent.plug import admit, outside, restore_routes

        wanted = self._connection(amphora)
        voices: list[Voice] = []
        for index, name, leg in wanted.legs():
            with wanted.space.entered(), Links() as links:
                present = {str(address.ip) for address in links.addresses(name)}
                vips = [vip for vip in leg.vips if str(single(vip).ip) not in present]
                if polite:
                    vips = [vip for vip in vips if not _taken(amphora, name, vip, self._up_since)]
                for vip in vips:
                    links.add_address(name, single(vip), preferred=False)
                if vips:
                    restore_routes(wanted, links)
                    voices.append(Voice(name, vips))
            with Links() as links:
                admit(links, wanted, index, leg)
                if vips and leg.proxy_arp and leg.attachment == "routed":
                    voices += [Voice(where, vips) for where in outside(links, leg, self._uplinks)]
        return voices

    async def release(self, amphora: Amphora) -> None:
        """The VIPs are not here any more, until the amphora is told to have them."""
        amphora.note(amphora.record.model_copy(update={"claims": False}))
        await asyncio.to_thread(self._release, amphora)

    def _release(self, amphora: Amphora) -> None:
        from caryatid.agent.links import Links, single
        from caryatid.agent.plug import restore_routes, withdraw

        wanted = self._connection(amphora)
        for _, name, leg in wanted.legs():
            wanted.space.drop(name, [str(single(vip).ip) for vip in leg.vips])
        with wanted.space.entered(), Links() as links:
            restore_routes(wanted, links)
        with Links() as links:
            for index, _, leg in wanted.legs():
                withdraw(links, wanted, index, leg)

    async def follow(self, amphora: Amphora, *, has_vips: bool) -> None:
        """One of a pair has got its VIPs, or lost them: routed ones are, or are not, behind this host."""
        if amphora.record.network is None:
            return
        try:
            await asyncio.to_thread(self._follow, amphora, has_vips=has_vips)
        except NamespaceError as error:
            log.error("role not followed", amphora=amphora.id, reason=str(error))  # noqa: TRY400  says it all

    def _follow(self, amphora: Amphora, *, has_vips: bool) -> None:
        from caryatid.agent.links import Links
        from caryatid.agent.plug import admit, outside, withdraw

        wanted = self._connection(amphora)
        with Links() as links:
            for index, _, leg in wanted.legs():
                if not has_vips:
                    withdraw(links, wanted, index, leg)
                    continue
                admit(links, wanted, index, leg)
                if leg.attachment == "routed" and leg.proxy_arp:
                    for where in outside(links, leg, self._uplinks):
                        voice = Voice(where, leg.vips)
                        voice.say()
                        voice.close()

    async def remove(self, amphora: Amphora, besides: Callable[[], bool]) -> None:
        """Nothing is left of its network; nor, unless there are routed amphorae `besides`, of what they need."""
        self.forget(amphora)
        plug = amphora.record.network
        if plug is None:
            return
        try:
            await asyncio.to_thread(self._remove, amphora)
            if _routed(plug):
                async with self._changing:
                    if not besides():
                        await asyncio.to_thread(self._restore)
        except NamespaceError as error:
            log.error("network not removed", amphora=amphora.id, reason=str(error))  # noqa: TRY400

    def _remove(self, amphora: Amphora) -> None:
        from caryatid.agent.plug import disconnect

        disconnect(self._connection(amphora))

    def _restore(self) -> None:
        from caryatid.agent.uplink import restore

        restore(self._before)

    async def seen(self, amphora: Amphora) -> Mapping[str, list[str]]:
        """The addresses on each interface, as they are now."""
        if amphora.record.network is None:
            return {}
        return await asyncio.to_thread(self._seen, amphora)

    def _seen(self, amphora: Amphora) -> dict[str, list[str]]:
        from caryatid.agent.links import Links

        wanted = self._connection(amphora)
        try:
            with wanted.space.entered(), Links() as links:
                return {name: sorted(map(str, links.addresses(name))) for _, name, _ in wanted.legs()}
        except NamespaceError:
            return {}

    def forget(self, amphora: Amphora) -> None:
        """Stop listening for others that claim its VIPs."""
        self.watches.forget(amphora)


async def _say(voices: list[Voice]) -> None:
    try:
        for pause in SAY_AFTER_S:
            await asyncio.sleep(pause)
            for voice in voices:
                voice.say()
    finally:
        for voice in voices:
            voice.close()


def _whole(amphora: Amphora) -> bool:
    """Its namespace is there, and whoever made it came to the end."""
    return amphora.space is not None and amphora.space.exists and amphora.files.connected.exists()


def _taken(amphora: Amphora, interface: str, vip: str, up_since: float) -> bool:
    found = others(interface, vip, up_since)
    if found:
        log.warning("VIP not claimed: another has it", amphora=amphora.id, vip=vip, mac=found.mac)
    return found is not None


def _routed(plug: Plug) -> bool:
    return any(leg.attachment == "routed" for leg in plug.legs)


def _plug(amphora: Amphora) -> Plug:
    plug = amphora.record.network
    if plug is None:
        raise NamespaceError(f"Amphora {amphora.id} was not told its network.")
    return plug


def _hindrance() -> str:
    """Why no namespace can be made here, found by trying; empty if one can."""
    if os.geteuid() != 0:
        return "The agent is not root, so it cannot connect amphorae to networks."
    if missing := [program for program in PACKAGES if not find(program)]:
        packages = sorted({PACKAGES[program] for program in missing})
        return f"{', '.join(missing)} missing: install {' '.join(packages)}."
    try:
        attempt()
    except NamespaceError as error:
        return f"No network namespace can be made: {error}."
    return ""
