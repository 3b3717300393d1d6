# SPDX-License-Identifier: Apache-2.0
"""Certificates in use are watched: read again from time to time, replaced when they were renewed, and told of before
they end. Whatever goes wrong is shown; what was right before stays in use."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from caryatid import log, metrics
from caryatid.drivers.secrets.base import SecretsError
from caryatid.model.bundle import Bundle, Reference
from caryatid.model.certificate import Certificate
from caryatid.model.consequences import replace
from caryatid.plan.bundles import Unusable
from caryatid.store import bundles as store
from caryatid.store import rows, work
from caryatid.store.clock import text
from caryatid.store.database import Tx
from caryatid.store.gslb import bundles as of_monitors

from .bundles import (
    Answer,
    Judged,
    Key,
    intact,
    judge,
    keep,
    key_of,
    opened,
    outcome,
    pairs,
    read_all,
    say,
    with_partners,
    write,
)
from .door import Door
from .vault import MasterKey

AT_ONCE = 64
"""Read in one turn: the rest comes with the next."""
DEADLINE_S = 6.0
DAY_S = 86400
WARNINGS_DAYS = (30, 7, 1, 0)
"""So many days before the end of something in use an event says so; not of what lives hardly longer than that."""


Answers = dict[tuple[str, str], Answer]


@dataclass(frozen=True)
class Looked:
    """What was found for one load balancer."""

    root_id: str
    project_id: str
    seen: Mapping[Key, str]
    """Digest of each that was read again, as it was before."""
    found: Mapping[Key, Bundle]
    problems: Mapping[Key, Unusable | SecretsError]


def look(door: Door) -> None:
    """What has not been read for `certificate_check_s` is read again, and what follows from it is done."""
    before = text(datetime.now(UTC).timestamp() - door.settings.certificate_check_s)
    with door.database.read() as tx:
        due = store.due(tx, before, AT_ONCE)
    if not due:
        return
    wanted = dict.fromkeys((one.certificate.reference, one.certificate.project_id) for one in due)
    answers = read_all(door.secrets, list(wanted), DEADLINE_S)
    by_root = sorted((one.certificate for one in due), key=lambda one: one.loadbalancer_id)
    for root_id, group in groupby(by_root, key=lambda one: one.loadbalancer_id):
        certificates = list(group)
        try:
            looked = _looked(door, root_id, set(map(key_of, certificates)), answers)
            with door.database.transaction() as tx:
                _follow(tx, door, looked)
        except Exception:  # noqa: BLE001  one load balancer's fault is not another's
            log.get().exception("certificates could not be looked at", root=root_id)
            with door.database.transaction() as tx:
                store.looked_at(tx, [one.id for one in certificates], text(datetime.now(UTC).timestamp()))


def count(door: Door) -> None:
    """The metrics are those of what is in use now."""
    with door.database.read() as tx:
        found = [*store.ends(tx), *of_monitors.ends(tx)]
    now = datetime.now(UTC)
    left = [_days(end, now) for end, _ in found if end]
    metrics.CERTIFICATES.labels("all").set(len(found))
    metrics.CERTIFICATES.labels("problem").set(sum(1 for _, problem in found if problem))
    for days in WARNINGS_DAYS:
        metrics.CERTIFICATES.labels(f"{days}d").set(sum(1 for one in left if one <= days))
    metrics.CERTIFICATE_EXPIRY_SECONDS.set(min(left) * DAY_S if left else math.inf)


def _looked(door: Door, root_id: str, due: set[Key], answers: Answers) -> Looked:
    """Judged before anything is locked: that takes a while."""
    with door.database.read() as tx:
        kept = {key_of(one.certificate): one for one in store.of(tx, root_id)}
        naming = [use.references for use in store.uses(tx, [root_id], good=True)]
        key = door.vault.key(tx)
    project_id = next(iter(kept.values())).certificate.project_id if kept else ""
    missing = {reference.key for row in naming for reference in row} - kept.keys()
    unread = with_partners(naming, due | missing)
    more = {(reference, project_id) for reference, _ in unread} - answers.keys()
    answers = answers | read_all(door.secrets, sorted(more), DEADLINE_S)
    theirs = {reference: answers[reference, project_id] for reference, _ in unread}
    known = {which: bundle for which, one in kept.items() if which not in unread and (bundle := opened(key, one))}
    judged = judge([_readable(row, theirs, known) for row in naming], theirs, known)
    problems = _problems(naming, judged)
    seen = {which: intact(key, kept[which]).digest for which in unread & kept.keys()}
    found = {which: bundle for which, bundle in judged.found.items() if which in unread - problems.keys()}
    return Looked(root_id, project_id, seen, found, problems)


def _readable(
    row: Sequence[Reference], answers: Mapping[str, object], known: Mapping[Key, Bundle]
) -> Sequence[Reference]:
    return [one for one in row if one.reference in answers or one.key in known]


def _problems(naming: Sequence[Sequence[Reference]], judged: Judged) -> dict[Key, Unusable | SecretsError]:
    """What is wrong with each. Authorities are not replaced without the list of what they have revoked."""
    problems = {reference.key: error for reference, error in judged.wrong}
    for lists, authorities in pairs(naming):
        error = problems.get(lists)
        if error is not None:
            problems.setdefault(authorities, error)
    return problems


def _follow(tx: Tx, door: Door, looked: Looked) -> None:
    """What was found is so, where nobody has been quicker; what nobody names any more is gone."""
    if rows.lock_root(tx, looked.root_id) is None:
        store.remove_all(tx, looked.root_id)
        return
    key, now = door.vault.ensured(tx), datetime.now(UTC)
    named = {one.key for use in store.uses(tx, [looked.root_id], good=True) for one in use.references}
    kept = {key_of(one.certificate): one for one in store.of(tx, looked.root_id)}
    store.remove(tx, [one.certificate.id for which, one in kept.items() if which not in named])
    renewed = [
        which
        for which in sorted(looked.seen.keys() & kept.keys() & named, key=lambda one: kept[one].certificate.id)
        if (certificate := intact(key, kept[which])).digest == looked.seen[which]
        and _took(tx, key, certificate, looked, now)
    ]
    lost = {one: bundle for one, bundle in looked.found.items() if one in named and one not in kept}
    keep(tx, door, looked.root_id, looked.project_id, lost)
    if renewed or lost:
        work.wake_root(tx, looked.root_id)


def _took(tx: Tx, key: MasterKey, certificate: Certificate, looked: Looked, now: datetime) -> bool:
    """Whether something else is in use now."""
    which, at = key_of(certificate), text(now.timestamp())
    bundle, error = looked.found.get(which), looked.problems.get(which)
    if bundle is not None and bundle.digest != certificate.digest:
        write(tx, key, certificate, bundle, at)
        say(tx, certificate, "renewed", subject=bundle.subject, not_after=bundle.not_after)
        metrics.CERTIFICATE_READINGS.labels("renewed").inc()
        return True
    problem = str(error) if error else None
    if isinstance(error, Unusable) and problem != certificate.problem and _days_left(certificate, now) > 0:
        say(tx, certificate, "refused", reason=problem)
    metrics.CERTIFICATE_READINGS.labels(outcome(error)).inc()
    store.note(tx, replace(_announced(tx, certificate, now), checked_at=at, problem=problem))
    return False


def _announced(tx: Tx, certificate: Certificate, now: datetime) -> Certificate:
    """That it ends soon, or has, is said once for each of the warnings that are due."""
    left = _days_left(certificate, now)
    due = [days for days in WARNINGS_DAYS if left <= days and 2 * days <= _life_days(certificate)]
    if not due or (certificate.announced is not None and certificate.announced <= min(due)):
        return certificate
    say(tx, certificate, "expiring" if left > 0 else "expired", not_after=certificate.not_after)
    return replace(certificate, announced=min(due))


def _days_left(certificate: Certificate, now: datetime) -> float:
    return _days(certificate.not_after, now) if certificate.not_after else math.inf


def _life_days(certificate: Certificate) -> float:
    return _days(certificate.not_after, datetime.fromisoformat(certificate.not_before).replace(tzinfo=UTC))


def _days(end: str, since: datetime) -> float:
    return (datetime.fromisoformat(end).replace(tzinfo=UTC) - since).total_seconds() / DAY_S
