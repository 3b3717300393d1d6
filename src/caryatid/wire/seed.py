# SPDX-License-Identifier: Apache-2.0
"""What a new machine finds when it begins: the seed that a controller made for it, and what Ganeti says of its
interfaces. Pure.

The seed goes as one word through Ganeti's secret OS parameter `seed`, which is kept nowhere. The OS definition's create
script writes a file of lines `NAME=VALUE` into the machine's disk (`/etc/caryatid/seed`, 0600), named as Ganeti names
them towards OS scripts; lines that nobody knows are ignored:

    SEED=<the word: `Seed.encode()`, which the script has as OSP_SEED>
    NIC_0_MAC=aa:00:00:12:34:56
    NIC_0_IP=10.0.0.5
    NIC_0_NETWORK_SUBNET=10.0.0.0/24
    NIC_0_NETWORK_GATEWAY=10.0.0.1
    NIC_1_MAC=aa:00:00:12:34:57

`caryatid agent --seed FILE` reads it once (`agent/firstboot.py`) and removes it when the host is enrolled.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Self

from pydantic import Field

from caryatid.errors import CaryatidError
from caryatid.wire.body import AmphoraId, Body

SEED_BYTES_MAX = 16_384
"""Of a seed's file."""
NICS_MAX = 8
NAME = "SEED"
"""Of the line that has the seed's word."""
LINE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>[^\r\n]*)")
NIC = re.compile(r"NIC_(?P<number>\d{1,2})_(?P<what>MAC|IP|NETWORK_SUBNET6?|NETWORK_GATEWAY6?)")


class SeedRefused(CaryatidError):
    """What was read is no seed."""


class Seed(Body):
    """Made for one amphora's machine, just before that is asked for. It has a secret: never in a log."""

    token: str = Field(max_length=4096, repr=False)
    """Enrolment token (`EnrolmentToken.encode()`) that lets in the agent of this amphora's machine, once."""
    amphora_id: str = AmphoraId
    name: str = Field(min_length=1, max_length=255)
    """What the host is called: the instance's name."""
    port: int = Field(ge=1, le=65535)
    """Of the agent."""
    uplinks: dict[str, int] = Field(default={}, max_length=NICS_MAX)
    """Physical network → number of the interface that leads to it."""

    def encode(self) -> str:
        """As one word, of letters that no shell takes for anything else."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Self:
        """Raises SeedRefused, without repeating any of it, if this is none."""
        try:
            return cls.model_validate_json(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
        except ValueError:
            raise SeedRefused("This is not a seed of Caryatid's.") from None


@dataclass(frozen=True)
class Nic:
    """An interface of the machine, as Ganeti has it."""

    number: int
    mac: str = ""
    """In lower case; empty: not told."""
    address: IPv4Interface | IPv6Interface | None = None
    """With the length of its network's prefix; None: Ganeti gave it none."""
    gateway: str = ""
    """Empty: none."""


@dataclass(frozen=True)
class FirstBoot:
    """All that the file says."""

    seed: Seed
    nics: Sequence[Nic] = ()
    """In the order of their numbers."""


def read(text: str) -> FirstBoot:
    """What is in a seed's file. Raises SeedRefused, without repeating a secret."""
    said = {found["name"]: found["value"].strip() for line in text.splitlines() if (found := LINE.fullmatch(line))}
    if NAME not in said:
        raise SeedRefused(f"There is no line {NAME}=… in the seed's file.")
    nics: dict[int, dict[str, str]] = {}
    for name, value in said.items():
        if value and (found := NIC.fullmatch(name)):
            nics.setdefault(int(found["number"]), {})[found["what"]] = value
    return FirstBoot(Seed.decode(said[NAME]), tuple(_nic(number, nics[number]) for number in sorted(nics)))


def write(word: str, environment: Mapping[str, str]) -> str:
    """The file's text, from the seed's word and the environment that Ganeti gives OS scripts. What scripts do in their
    own language, for whoever does it in ours."""
    lines = [f"{name}={environment[name]}" for name in sorted(environment) if NIC.fullmatch(name)]
    return "\n".join((f"{NAME}={word}", *lines, ""))


def _nic(number: int, said: Mapping[str, str]) -> Nic:
    """Raises SeedRefused."""
    try:
        if "IP" not in said:
            return Nic(number, said.get("MAC", "").lower())
        six = "6" if ip_address(said["IP"]).version == 6 else ""  # noqa: PLR2004  a version of IP
        subnet = said.get(f"NETWORK_SUBNET{six}")
        prefix = f"/{ip_network(subnet).prefixlen}" if subnet else ""
        address = ip_interface(f"{said['IP']}{prefix}")
        gateway = said.get(f"NETWORK_GATEWAY{six}", "")
        return Nic(number, said.get("MAC", "").lower(), address, str(ip_address(gateway)) if gateway else "")
    except ValueError as error:
        raise SeedRefused(f"Interface {number} of the seed's file cannot be understood: {error}.") from None
