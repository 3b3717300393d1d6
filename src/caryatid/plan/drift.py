# SPDX-License-Identifier: Apache-2.0
"""Where hosts and the database differ: what hosts have and should not, and what they should have and do not."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple


class Found(NamedTuple):
    """An amphora that a host has."""

    amphora_id: str
    loadbalancer_id: str
    generation: int
    """Of the configuration that was asked for last."""
    settled: bool
    """That configuration is known to be in effect."""


class Expected(NamedTuple):
    """An amphora that there shall be."""

    host_id: str | None
    loadbalancer_id: str | None
    generation: int
    """Of its load balancer, as it is in effect."""
    settled: bool
    """It has been built, and nobody is doing anything with its load balancer, or is about to."""


class Orphan(NamedTuple):
    """An amphora on a host where it should not be."""

    host_id: str
    found: Found


class Drift(NamedTuple):
    """What was found."""

    orphans: list[Orphan]
    due: dict[str, str]
    """Load balancers that are to be looked at → why."""


def drift(
    found: Mapping[str, Collection[Found]],
    before: Mapping[str, Expected],
    after: Mapping[str, Expected],
    buried: Collection[str],
) -> Drift:
    """Compare what hosts answered with what should be there. Hosts that did not answer are not among `found`.

    `before` and `after`: what was expected before and after the hosts were asked; what has changed in between is not
    judged. `buried`: amphorae that are being removed already.
    """
    orphans = [
        Orphan(host_id, one)
        for host_id, amphorae in found.items()
        for one in amphorae
        if one.amphora_id not in buried and not _may_be_there(one.amphora_id, host_id, before, after)
    ]
    due: dict[str, str] = {}
    for amphora_id, wanted in after.items():
        answer = found.get(wanted.host_id or "")
        if answer is not None and wanted.loadbalancer_id and wanted.settled and wanted == before.get(amphora_id):
            why = _fault(amphora_id, wanted, answer)
            if why:
                due.setdefault(wanted.loadbalancer_id, why)
    return Drift(orphans, due)


def _may_be_there(amphora_id: str, host_id: str, *expectations: Mapping[str, Expected]) -> bool:
    """One that has no host yet may be anywhere."""
    known = [expected[amphora_id].host_id for expected in expectations if amphora_id in expected]
    return any(place in (host_id, None) for place in known)


def _fault(amphora_id: str, wanted: Expected, found: Iterable[Found]) -> str:
    one = next((one for one in found if one.amphora_id == amphora_id), None)
    if one is None:
        return f"amphora {amphora_id} is missing on its host"
    if not one.settled:
        return f"amphora {amphora_id} does not know what it runs"
    if one.generation != wanted.generation:
        return f"amphora {amphora_id} runs generation {one.generation} instead of {wanted.generation}"
    return ""
