# SPDX-License-Identifier: Apache-2.0
"""What is left to do for a load balancer: steps, in an order in which it is safe to stop after any.

A machine is there before an address is brought to it, an address before a configuration answers on it; and on the
way out the other way round. Every step may be repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caryatid.model.amphora import Amphora


@dataclass(frozen=True)
class Build:
    """The machine of the amphora exists and its agent answers."""

    amphora_id: str

    def __str__(self) -> str:
        return f"build amphora {self.amphora_id}"


@dataclass(frozen=True)
class Plug:
    """The VIPs can be answered by the amphora."""

    amphora_id: str

    def __str__(self) -> str:
        return f"bring the VIPs to amphora {self.amphora_id}"


@dataclass(frozen=True)
class Configure:
    """All these amphorae do what the tree says, each with a deadline of its own."""

    amphora_ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"configure amphora {', '.join(self.amphora_ids)}"


@dataclass(frozen=True)
class Clear:
    """Nothing of the load balancer is left on the amphora."""

    amphora_id: str

    def __str__(self) -> str:
        return f"clear amphora {self.amphora_id}"


@dataclass(frozen=True)
class Unplug:
    """The amphora no longer has the VIPs."""

    amphora_id: str

    def __str__(self) -> str:
        return f"take the VIPs from amphora {self.amphora_id}"


@dataclass(frozen=True)
class Destroy:
    """The machine of the amphora does not exist, nor does its row."""

    amphora_id: str

    def __str__(self) -> str:
        return f"remove amphora {self.amphora_id}"


Step = Build | Plug | Configure | Clear | Unplug | Destroy

UNBUILT = ("PENDING_CREATE", "BOOTING")
UNPLUGGED = (*UNBUILT, "READY")
"""A spare that has been taken is READY: it is there, and has no VIPs yet."""
LEAVING = ("PENDING_DELETE", "ERROR")


def steps(amphorae: Sequence[Amphora], *, deleted: bool) -> list[Step]:
    """What is left to do, given the amphorae that the load balancer shall have and those that shall go.

    `deleted`: the load balancer itself goes, and with it every amphora.
    """
    going = [a for a in amphorae if deleted or a.status in LEAVING]
    staying = [a for a in amphorae if a not in going]
    return [*_raise(staying), *_remove(going)]


def _raise(amphorae: Sequence[Amphora]) -> Iterator[Step]:
    for amphora in amphorae:
        if amphora.status in UNBUILT:
            yield Build(amphora.id)
        if amphora.status in UNPLUGGED:
            yield Plug(amphora.id)
    if amphorae:
        yield Configure(tuple(amphora.id for amphora in amphorae))


def _remove(amphorae: Sequence[Amphora]) -> Iterator[Step]:
    for amphora in amphorae:
        yield Clear(amphora.id)
        yield Unplug(amphora.id)
        yield Destroy(amphora.id)
