# SPDX-License-Identifier: Apache-2.0
"""An agent that is alone on a machine made for one amphora: what it is told at the first boot, and keeps for others.

The seed's file (`wire/seed.py`) has a secret that works once, so it is read once and removed when the host is enrolled.
What else it says (who this is, which address, where the uplinks are) is kept in the state directory before that: after
a reboot the machine goes on with it. If the answer to the enrolment is lost, the token is used up: the machine is given
up at its deadline, and another one is made.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel, ConfigDict

from caryatid.agent.settings import AgentSettings, Uplink, make_private
from caryatid.errors import CaryatidError
from caryatid.places import write_atomically
from caryatid.wire.seed import SEED_BYTES_MAX, FirstBoot, read

if TYPE_CHECKING:
    from caryatid.agent.links import Link, Links

KEPT = "firstboot.json"
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
LOOPBACK = "lo"
OURS = ("bridge", "macvlan")
"""Kinds of interfaces that agents make; a bridge has the MAC of what is in it."""

log = structlog.get_logger()


class NotSeeded(CaryatidError):
    """The machine was not told what it needs."""


class KeptNic(BaseModel):
    """An interface."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    number: int
    mac: str
    address: IPv4Interface | IPv6Interface | None
    gateway: str


class Kept(BaseModel):
    """What is kept of a seed's file: no secret."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    amphora_id: str
    name: str
    port: int
    uplinks: dict[str, int]
    nics: list[KeptNic]


def prepare(path: Path, known: AgentSettings) -> AgentSettings:
    """The settings of this machine's agent; its interfaces have their addresses. `path`: the seed's file; where it is
    no more, what was kept counts. Raises NotSeeded, SeedRefused, NamespaceError, UnusableDirectory."""
    make_private(known.state_dir)
    found = _read(path)
    kept = _kept(found) if found else _load(known.state_dir)
    if found:
        write_atomically(known.state_dir / KEPT, kept.model_dump_json().encode(), durable=True)
    if not kept.nics or kept.nics[0].address is None:
        raise NotSeeded(f"Machine {kept.name} was given no address: its first interface belongs on a Ganeti network.")
    names = connect(kept.nics)
    address = kept.nics[0].address.ip
    where = f"{f'[{address}]' if address.version == 6 else address}:{kept.port}"  # noqa: PLR2004  a version of IP
    return replace(
        known,
        name=kept.name,
        listen=where,
        advertise=f"https://{where}",
        capacity=1,
        uplinks=_uplinks(kept, names),
        token=found.seed.token if found else "",
    )


def forget(path: Path) -> None:
    """The seed's file is gone, also after a power cut. May be repeated."""
    if not path.exists():
        return
    path.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    log.info("seed removed")


def connect(nics: Sequence[KeptNic]) -> dict[int, str]:
    """Each interface is up, and has its address; the first one's gateway is the way out. Number → name of each."""
    from caryatid.agent.links import Links, Route  # late: it costs memory, and is for machines like this one alone

    with Links() as links:
        links.up(LOOPBACK)
        present = {link.mac.lower(): link for link in links.all() if link.mac and link.kind not in OURS}
        names = {nic.number: _name(links, present, nic) for nic in nics}
        for nic in nics:
            name = names[nic.number]
            links.up(name)
            if nic.address is not None and nic.address not in links.addresses(name):
                links.add_address(name, nic.address)
        first = nics[0]
        if first.gateway and first.address and not links.default_interfaces():
            links.set_route(Route(EVERYWHERE[first.address.version], names[first.number], first.gateway))
    return names


def _name(links: "Links", present: Mapping[str, "Link"], nic: KeptNic) -> str:
    """By its MAC, whatever the kernel calls it; else as kernels count. Raises NotSeeded."""
    found = present.get(nic.mac) if nic.mac else None
    found = found or links.find(f"eth{nic.number}")
    if found is None:
        raise NotSeeded(f"Interface {nic.number} ({nic.mac or 'no MAC told'}) is not on this machine.")
    return found.name


def _uplinks(kept: Kept, names: Mapping[int, str]) -> tuple[Uplink, ...]:
    """Amphorae are on them beside the machine itself, whose address may be on the same."""
    return tuple(Uplink(name, "macvlan", names.get(number, f"eth{number}")) for name, number in kept.uplinks.items())


def _read(path: Path) -> FirstBoot | None:
    """None: there is no such file."""
    try:
        with path.open() as file:
            return read(file.read(SEED_BYTES_MAX))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise NotSeeded(f"{path} cannot be read: {type(error).__name__}.") from None


def _kept(found: FirstBoot) -> Kept:
    seed = found.seed
    nics = [KeptNic(number=one.number, mac=one.mac, address=one.address, gateway=one.gateway) for one in found.nics]
    return Kept(amphora_id=seed.amphora_id, name=seed.name, port=seed.port, uplinks=seed.uplinks, nics=nics)


def _load(state_dir: Path) -> Kept:
    try:
        return Kept.model_validate_json((state_dir / KEPT).read_bytes())
    except (OSError, ValueError):
        raise NotSeeded("There is no seed, and none was kept from an earlier boot.") from None
