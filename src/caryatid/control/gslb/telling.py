# SPDX-License-Identifier: Apache-2.0
"""What the event log says of gslbs, their pools and members: it is where their history is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL
from caryatid.model.event import called, system
from caryatid.plan import gslb as plan
from caryatid.plan.steering import Decision
from caryatid.store import clock, events
from caryatid.store.gslb.state import KEPT, Status

from .cases import Case
from .guarding import Decided
from .scenes import Scene

ENGINE = system("engine")
SAID_MAX = 32
"""Votes that one event tells."""
Answers = Mapping[str, tuple[Sequence[str], Sequence[str]]]


def answers(case: Case, scene: Scene, decision: Decision, changed: Answers) -> dict[str, Any]:
    """Name servers were told something else."""
    detail = {
        "changed": {rrtype: [[*before], [*after]] for rrtype, (before, after) in changed.items()},
        "cause": decision.why[0],
        "why": [*decision.why],
        "generation": case.generation,
        "fqdn": scene.gslb.fqdn,
    }
    return _event("answer", GSLB.name, scene.id, scene.tree.gslb.project_id, detail)


def kept(cases: Sequence[Case], decided: Decided) -> Iterator[dict[str, Any]]:
    """Members that the guard keeps in answers from now on."""
    new = {row.id for row in decided.noted if row.operating_status == KEPT}
    for case in cases:
        mine = sorted(new & case.decision.unagreed) if case.decision is not None else []
        if mine and case.scene is not None:
            detail = {"reason": decided.guarded.why, "members": mine[:SAID_MAX], "fqdn": case.scene.gslb.fqdn}
            yield _event("guard", GSLB.name, case.id, case.scene.tree.gslb.project_id, detail)


def statuses(case: Case, scene: Scene, decision: Decision, found: Sequence[Status]) -> Iterator[dict[str, Any]]:
    """Those that are others now, what is below first."""
    members = {member.id: member for some in scene.tree.members.values() for member in some}
    said = {member.id: member for pool in scene.pools.values() for member in pool.members}
    for status in reversed(found):
        known = case.gathered.statuses.get((status.kind, status.id))
        old = known.operating_status if known is not None else None
        if old == status.operating_status:
            continue
        changed = {"operating_status": [old, status.operating_status]}
        detail: dict[str, Any] = {"changed": changed, "cause": status.reason}
        if status.kind == GSLB_MEMBER.name:
            member = members[status.id]
            why = decision.members[status.id].why(case.gathered.regions)
            detail |= {"cause": why, **called(vars(member)), "per_region": votes(said[status.id], case)}
            yield _event("status", status.kind, status.id, member.project_id, detail)
        elif status.kind == GSLB_POOL.name:
            pool = scene.tree.pools[status.id]
            yield _event("status", status.kind, status.id, pool.project_id, detail | called(vars(pool)))
        else:
            detail |= {"cause": status.reason or decision.why[0], "fqdn": scene.gslb.fqdn}
            yield _event("status", status.kind, status.id, scene.tree.gslb.project_id, detail)


def votes(member: plan.Member, case: Case) -> list[dict[str, Any]]:
    """What each region says of it."""
    regions = case.gathered.regions
    told = []
    for monitor_id, said in sorted(member.votes.items()):
        for vote in sorted(said, key=lambda vote: vote.region_id):
            region = regions.get(vote.region_id)
            told.append(
                {
                    "region": region.name if region is not None else vote.region_id,
                    "monitor_id": monitor_id or None,
                    "vote": vote.word,
                    "since": clock.text(vote.at),
                    "at": clock.text(vote.confirmed_at),
                    "reason": vote.reason,
                }
            )
    return told[:SAID_MAX]


def _event(action: str, kind: str, key: str, project_id: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    return events.happened(action, kind, key, by=ENGINE, project_id=project_id, root_id=None, detail=detail)
