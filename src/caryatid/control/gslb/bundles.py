# SPDX-License-Identifier: Apache-2.0
"""What the references of monitors stand for (a certificate that checks show, authorities that they believe): read and
checked before the wish is accepted, kept encrypted with the monitor, read again from time to time.

In clear it leaves this installation only by the conductor's door, for checkers of regions that make such a check, which
keep it in memory.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from caryatid import log, metrics
from caryatid.control import bundles
from caryatid.control.bundles import WATCH, Answer, Fetched, Judged, Key
from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.control.vault import MasterKey, NoMasterKey
from caryatid.control.watch import AT_ONCE, DAY_S, DEADLINE_S, WARNINGS_DAYS
from caryatid.drivers.secrets.base import SecretsError
from caryatid.errors import NotFound, Refused
from caryatid.model import GSLB, GSLB_MONITOR
from caryatid.model.bundle import Bundle, Purpose, Reference, named
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.parameters import references
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.plan.bundles import Unusable
from caryatid.store import clock, events, rows, wake, work
from caryatid.store.database import Tx
from caryatid.store.gslb import bundles as store
from caryatid.store.gslb.bundles import Held

NOTHING: Final = Fetched()
Json = dict[str, Any]


def fetch(door: Door, project_id: str, kind: Kind, body: Any, known: Mapping[Key, Bundle] | None = None) -> Fetched:
    """What the references in the body of a monitor stand for, and what is wrong with them."""
    wanted = _named(body) if kind is GSLB_MONITOR else {}
    if not wanted:
        return NOTHING
    found = bundles.fetch(door, project_id, [wanted], known)
    faults = (replace(fault, attribute=f"parameters.{fault.attribute}") for fault in found.faults)
    return Fetched(found.bundles, tuple(faults))


def fetched(door: Door, caller: Caller, kind: Kind, key: str, body: Any) -> Fetched:
    """The same of a change: of those that were not named before. Raises NotFound, Forbidden."""
    if kind is not GSLB_MONITOR or not isinstance(body, Mapping) or not isinstance(body.get("parameters"), Mapping):
        return NOTHING
    with door.database.read() as tx:
        document = rows.get(tx, kind, key)
        if document is None:
            raise NotFound(kind.title, key)
        require(caller, rule(kind, "put"), document["project_id"])
        kept = store.of(tx, [key]).get(key, [])
        after = {**document, **body}
        wanted = {reference.key for reference in named(_named(after))}
        if wanted <= {held.key for held in kept}:
            return NOTHING
        known = {held.key: found for held in kept if (found := _opened(door.vault.key(tx), held))}
    return fetch(door, document["project_id"], kind, after, known)


def require_right(read: Fetched) -> None:
    """Raises Refused where something is wrong with what was read."""
    if read.faults:
        raise Refused(read.faults)


def keep(tx: Tx, door: Door, monitor: GslbMonitor, found: Mapping[Key, Bundle]) -> None:
    """The monitor has what it names, and nothing else. Raises NoMasterKey."""
    wanted = {one.purpose: one for one in named(references(monitor.type, monitor.parameters))}
    kept = {held.purpose for held in store.of(tx, [monitor.id]).get(monitor.id, ())}
    store.drop(tx, monitor.id, kept - wanted.keys())
    for purpose, reference in wanted.items():
        if (bundle := found.get(reference.key)) is not None:
            _write(tx, door.vault.ensured(tx), (monitor.id, purpose, monitor.project_id, reference.reference), bundle)


def drop(tx: Tx, monitor_id: str) -> None:
    """The monitor is no more."""
    store.drop(tx, monitor_id, store.PARAMETERS.keys())


def contents(tx: Tx, master: MasterKey | None, digests: Collection[str]) -> dict[str, str]:
    """By digest, in clear. What cannot be unsealed here is not in it, and the log says so."""
    if master is None:
        return {}
    opened = ((held.digest, _opened(master, held)) for held in store.some(tx, digests))
    return {digest: bundle.pem for digest, bundle in opened if bundle is not None}


def with_certificates(tx: Tx, monitors: Sequence[Json]) -> Sequence[Json]:
    """The documents of monitors, what their references stand for filled in."""
    naming = [one["id"] for one in monitors if references(one["type"], one["parameters"])]
    found = store.of(tx, naming)
    for monitor in monitors:
        monitor["certificates"] = [_shown(held) for held in found.get(monitor["id"], ())]
    return monitors


def look(door: Door) -> None:
    """What has not been read for `certificate_check_s` is read again; what was renewed is used from now on, and what
    cannot be used is told of while what was right stays in use."""
    before = clock.text(datetime.now(UTC).timestamp() - door.settings.certificate_check_s)
    with door.database.read() as tx:
        due = store.due(tx, before, AT_ONCE)
    if not due:
        return
    wanted = dict.fromkeys((held.reference, held.project_id) for held in due)
    answers = bundles.read_all(door.secrets, list(wanted), DEADLINE_S)
    for monitor_id, group in groupby(sorted(due, key=lambda one: one.monitor_id), key=lambda one: one.monitor_id):
        theirs = list(group)
        try:
            judged = _judged(theirs, answers)
            with door.database.transaction() as tx:
                _follow(tx, door, theirs, judged)
        except Exception:  # noqa: BLE001  one monitor's fault is not another's
            log.get().exception("what a monitor names could not be looked at", monitor=monitor_id)
            with door.database.transaction() as tx:
                store.looked_at(tx, monitor_id, clock.text(clock.now(tx)))


def _named(body: Any) -> Mapping[str, Any]:
    """The references that the body of a monitor names."""
    parameters = body.get("parameters") if isinstance(body, Mapping) else None
    check = body.get("type") if isinstance(body, Mapping) else None
    if not isinstance(parameters, Mapping) or not isinstance(check, str):
        return {}
    return references(check, parameters)


def _write(tx: Tx, key: MasterKey, whose: tuple[str, Purpose, str, str], bundle: Bundle) -> Held:
    """The reference stands for this. `whose`: monitor, purpose, project, reference."""
    now = clock.now(tx)
    held = Held(
        *whose,
        digest=bundle.digest,
        subject=bundle.subject,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        problem=None,
        announced=None,
        checked_at=clock.text(now),
        changed_at=now,
        sealed=b"",
    )
    held = replace(held, sealed=key.seal(_bound_to(held), bundle.pem.encode()))
    store.keep(tx, held)
    return held


def _opened(key: MasterKey, held: Held) -> Bundle | None:
    """What was sealed; None: it cannot be read any more."""
    try:
        pem = key.unseal(_bound_to(held), held.sealed).decode()
    except NoMasterKey:
        log.get().error("what was kept for a reference of a monitor cannot be read", monitor=held.monitor_id)
        return None
    return Bundle(pem, held.digest, held.subject, "", (), held.not_before, held.not_after)


def _bound_to(held: Held) -> str:
    return f"gslb_monitor {held.monitor_id} {held.purpose} {held.reference}"


def _shown(held: Held) -> Json:
    names = ("purpose", "reference", "subject", "not_after", "problem", "checked_at")
    return {name: getattr(held, name) for name in names}


def _judged(theirs: Iterable[Held], answers: Mapping[tuple[str, str], Answer]) -> Judged:
    row = [Reference(store.PARAMETERS[held.purpose], held.reference, held.purpose) for held in theirs]
    project_id = next(held.project_id for held in theirs)
    said = {reference: answer for (reference, project), answer in answers.items() if project == project_id}
    return bundles.judge([row], said, {})


@dataclass(frozen=True)
class _Read:
    """What was found for one reference."""

    bundle: Bundle | None
    error: Unusable | SecretsError | None


def _follow(tx: Tx, door: Door, theirs: Iterable[Held], judged: Judged) -> None:
    """What was found is so, where nobody has been quicker."""
    wrong = {reference.key: error for reference, error in judged.wrong}
    for before in theirs:
        held = store.locked(tx, before.monitor_id, before.purpose)
        if held is None or (held.reference, held.digest) != (before.reference, before.digest):
            continue
        read = _Read(judged.found.get(held.key), wrong.get(held.key))
        if read.bundle is not None and (read.bundle.digest != held.digest or _opened(door.vault.key(tx), held) is None):
            whose = (held.monitor_id, held.purpose, held.project_id, held.reference)
            now = _write(tx, door.vault.ensured(tx), whose, read.bundle)
            _say(tx, now, "renewed", subject=now.subject, not_after=now.not_after)
            metrics.CERTIFICATE_READINGS.labels("renewed").inc()
            wake.notify(tx, work.CHANNELS[GSLB.name])
        else:
            _note(tx, held, read.error)


def _note(tx: Tx, held: Held, error: Unusable | SecretsError | None) -> None:
    """It stays in use; what is wrong is kept, and that it ends soon is said once for each of the warnings."""
    problem, left_days = (str(error) if error else None), _days_left(held)
    if isinstance(error, Unusable) and problem != held.problem and left_days > 0:
        _say(tx, held, "refused", reason=problem)
    metrics.CERTIFICATE_READINGS.labels(bundles.outcome(error)).inc()
    due = [days for days in WARNINGS_DAYS if left_days <= days and 2 * days <= _life_days(held)]
    announced = held.announced
    if due and (announced is None or announced > min(due)):
        _say(tx, held, "expiring" if left_days > 0 else "expired", not_after=held.not_after)
        announced = min(due)
    store.keep(tx, replace(held, problem=problem, announced=announced, checked_at=clock.text(clock.now(tx))))


def _say(tx: Tx, held: Held, action: str, **detail: str | None) -> None:
    told = {"reference": held.reference, "purpose": held.purpose, **detail}
    kind, key, project_id = GSLB_MONITOR.name, held.monitor_id, held.project_id
    events.append(tx, action, kind, key, by=WATCH, project_id=project_id, root_id=None, detail=told)
    log.get().info(f"certificate of a monitor {action}", monitor=key, **told)


def _days_left(held: Held) -> float:
    return (clock.epoch_s(held.not_after) - datetime.now(UTC).timestamp()) / DAY_S if held.not_after else math.inf


def _life_days(held: Held) -> float:
    return (clock.epoch_s(held.not_after) - clock.epoch_s(held.not_before)) / DAY_S
