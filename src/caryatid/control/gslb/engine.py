# SPDX-License-Identifier: Apache-2.0
"""Gslbs, answered as they shall be: what is due is decided about, published, seen to be published, settled.

    begin(door, claims, since) → cases      read at one moment, decided together, what may be told written down
    publish(door, place, cases)             one zone told; blocks
    verify(door, place, cases)              its name servers asked; blocks
    settling.settle(door, cases)            what came of them, in one transaction
    attend(door, claims, since) → outcomes  all of that, one after the other

It is safe to be stopped anywhere: before anybody is told anything it is written down under a generation that nobody
else has (`told.py`). Whoever has lost his lease writes nothing, and what he published is published again by another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from caryatid import log, metrics
from caryatid.control.door import Door
from caryatid.drivers import NoSuchDriver
from caryatid.drivers.dns.base import DnsError, DnsRefusedError, Publication
from caryatid.errors import Busy
from caryatid.plan.guard import Limits
from caryatid.store import attempts, events, jobs, work
from caryatid.store.claim import Claim, Outcome
from caryatid.store.database import Tx
from caryatid.store.gslb import state

from . import telling
from .cases import INTERNAL_ERROR, Case
from .guarding import Decided, decide_all
from .publishing import Place, Result, by_place, check, tell, todo
from .scenes import Opened, Scene, gather
from .settling import settle
from .told import Entry


def attend(door: Door, claims: Sequence[Claim], since: float = 0.0) -> list[Outcome]:
    """These gslbs answer as they shall, or it is known why not. Of those that are another's by now nothing is said."""
    cases = begin(door, claims, since)
    for place in list(dict.fromkeys(place for case in cases for place in case.publications)):
        here = [case for case in cases if place in case.publications]
        publish(door, place, here)
        verify(door, place, here)
    settle(door, cases)
    return [case.outcome for case in cases if not case.lost]


def begin(door: Door, claims: Sequence[Claim], since: float = 0.0) -> list[Case]:
    """What is to be done for each. `since`: when we began to hear of votes (seconds since the epoch). One of which
    nothing can be made is given back, and does not keep the others."""
    try:
        return _begun(door, claims, since)
    except Busy:
        raise
    except Exception:  # noqa: BLE001  whichever it was, the others can be answered
        log.get().exception("decision failed", root=claims[0].root_id if len(claims) == 1 else "one of many")
    if len(claims) == 1:
        return [Case.broken(claims[0])]
    return [case for claim in claims for case in begin(door, [claim], since)]


def _begun(door: Door, claims: Sequence[Claim], since: float) -> list[Case]:
    with door.database.read() as tx:
        gathered = gather(tx, door, [claim.root_id for claim in claims])
    decided = decide_all(gathered, since, Limits(door.settings.gslb_guard_percent, lifted=gathered.lifted))
    _show(decided)
    cases = []
    for claim in claims:
        case = Case(claim, gathered, gathered.scenes.get(claim.root_id), decided.decisions.get(claim.root_id))
        case.held = bool(case.decision and case.decision.unagreed & decided.guarded.keep)
        if case.scene is not None:
            _consider(case, case.scene)
        cases.append(case)
    if any(case.busy for case in cases) or decided.noted or decided.forgotten:
        with door.database.transaction() as tx:
            _write_ahead(tx, [case for case in cases if case.busy])
            state.keep_statuses(tx, decided.noted)
            events.append_all(tx, list(telling.kept(cases, decided)))
            state.forget_statuses(tx, state.GUARD, decided.forgotten)
    return cases


def _show(decided: Decided) -> None:
    metrics.GSLB_GUARDED.set(decided.kept)
    if decided.guarded.keep:
        log.get().warning("members are kept in answers", reason=decided.guarded.why)


def publish(door: Door, place: Place, cases: Sequence[Case]) -> None:
    """Name servers are told all that these have to tell in one zone; what came of it is kept in the cases. Raises
    nothing."""
    wanted = [publication for case in cases for publication in case.publications[place]]
    opened = cases[0].gathered.backends.get(place[0])
    if opened is None:  # it was removed, with everything in it
        return
    try:
        result = _published(door, opened, place, wanted)
    except Exception:  # noqa: BLE001  whatever it was, the work is given back
        log.get().exception("publishing failed", backend=place[0], zone=place[1])
        result = Result.all_failed(wanted, INTERNAL_ERROR)
    if result.failed or result.refused:
        door.dns.doubt_zone(*place)
    for case in cases:
        case.take(place, result)


def verify(door: Door, place: Place, cases: Sequence[Case]) -> None:
    """All name servers of the zone are asked whether they answer as these have told them; what came of it is kept in
    the cases. Raises nothing."""
    wanted = [publication for case in cases if case.told for publication in case.publications[place]]
    opened = cases[0].gathered.backends.get(place[0])
    if opened is None or not wanted:
        return
    try:
        unseen = check(door.dns.open(opened.backend, opened.credentials), place[1], wanted)
    except Exception:  # noqa: BLE001  whatever it was, the work is given back
        log.get().exception("asking name servers failed", backend=place[0], zone=place[1])
        unseen = {(each.fqdn, each.rrtype): INTERNAL_ERROR for each in wanted}
    for case in cases:
        if case.told:
            case.see(place, unseen)


def _published(door: Door, opened: Opened, place: Place, wanted: Sequence[Publication]) -> Result:
    if opened.problem:
        return Result.all_failed(wanted, opened.problem)
    try:
        driver = door.dns.open(opened.backend, opened.credentials)
        door.dns.ensure_zone(driver, *place)
    except DnsRefusedError as error:
        return Result.all_refused(wanted, str(error))
    except (DnsError, NoSuchDriver) as error:
        return Result.all_failed(wanted, str(error))
    return tell(driver, place[1], wanted)


def _consider(case: Case, scene: Scene) -> None:
    """What has to be told, or why nothing can be."""
    wanted: list[Entry] = []
    if case.decision is not None:
        zone, backend = scene.tree.zone, scene.tree.backend
        if zone is None or backend is None:
            case.problem = "Its zone is no more."
            return
        if scene.gslb.fqdn in case.gathered.leaving:
            case.problem = "Its name is still being withdrawn for the gslb that had it before."
            return
        wanted = [Entry.of(backend.id, zone.name, answers) for answers in case.decision.answers.values()]
    case.todo = todo(wanted, scene.told, scene.state.generation)
    case.generation = scene.state.generation


def _write_ahead(tx: Tx, cases: Sequence[Case]) -> None:
    """Whoever comes after us knows what may be out there, and whoever was before us comes too late. Those whose lease
    is lost tell nothing."""
    mine = work.mine_of(tx, [case.claim for case in cases])
    for case in cases:
        case.lost = case.claim not in mine
    cases = [case for case in cases if not case.lost]
    _begin_attempts(tx, cases)
    numbers = state.advance(tx, [case.claim.root_id for case in cases if case.todo is not None and case.todo.new])
    state.remember(tx, [_ahead(case, case.scene, numbers) for case in cases if case.scene and case.id in numbers])
    for case in cases:
        if case.todo and case.scene is not None:
            case.publications = by_place(case.scene.gslb.fqdn, case.generation, case.todo)


def _ahead(case: Case, scene: Scene, numbers: Mapping[str, int]) -> state.State:
    case.generation = numbers[scene.id]
    assert case.todo is not None  # noqa: S101  it has a number
    if case.generation != scene.state.generation + 1:  # somebody has come to doubt what is out there
        case.todo = replace(case.todo, publish=frozenset(entry.where for entry in case.todo.wanted))
    return replace(scene.state, published=scene.told.with_wanted(case.todo.wanted).document())


def _begin_attempts(tx: Tx, cases: Iterable[Case]) -> None:
    """Whoever has asked for something sees that it is being done. Of some name servers were being asked under the same
    claim: their attempts go on."""
    wanted: dict[Claim, int] = {}
    for case in cases:
        tree = case.scene.tree if case.scene is not None else None
        if tree is not None and tree.generation > tree.observed_generation:
            case.attempt = True
            wanted[case.claim] = tree.generation
    new = attempts.begin_all(tx, wanted)
    jobs.tell_begun(tx, {claim: wanted[claim] for claim in new if not claim.tries})
