# SPDX-License-Identifier: Apache-2.0
"""OCSP responses are fetched for certificates in use, before the last one ends, and shown with them; or it is said why
none is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from caryatid import metrics
from caryatid.drivers.responder import ResponderError, ask
from caryatid.model.bundle import Bundle
from caryatid.model.certificate import Certificate
from caryatid.model.consequences import replace
from caryatid.plan import stapling
from caryatid.plan.stapling import Revoked, Staple, Unstapled
from caryatid.store import bundles as store
from caryatid.store import rows, work
from caryatid.store.bundles import NOT_STAPLED, NOTHING_TO_STAPLE
from caryatid.store.clock import text
from caryatid.store.database import Tx

from .bundles import opened, say
from .door import Door

AT_ONCE = 32
"""Asked for in one turn."""
THREADS = 8
RETRY = timedelta(minutes=5)
OLDEST = timedelta(days=1)
"""After which a response is asked for again, however long it holds: by then the certificate may have been revoked."""
IS_OFF = (
    "The certificate demands that an OCSP response is shown with it, and `ocsp_stapling` is off: clients that insist "
    "refuse it."
)


@dataclass(frozen=True)
class Found:
    """What came of one certificate."""

    staple: Staple | None = None
    due: str = NOTHING_TO_STAPLE
    problem: str | None = None
    revoked: bool = False


def staple(door: Door) -> None:
    """Responses that are due are fetched. Where stapling is off, none is shown."""
    now = datetime.now(UTC)
    is_on = door.settings.ocsp_stapling
    with door.database.read() as tx:
        due = store.unstapled(tx, text(now.timestamp()), AT_ONCE) if is_on else store.stapled(tx, AT_ONCE)
        if not due:
            return
        key = door.vault.key(tx)
    known = [(one, bundle) for one in due if (bundle := opened(key, one))]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="ocsp") as pool:
        found = list(pool.map(lambda pair: _found(door, pair[1], now, is_on=is_on), known))
    for (kept, _), one in zip(known, found, strict=True):
        with door.database.transaction() as tx:
            _follow(tx, kept.certificate, one, now)


def _found(door: Door, bundle: Bundle, now: datetime, *, is_on: bool) -> Found:
    if not is_on:
        return Found(due=NOT_STAPLED, problem=IS_OFF if stapling.is_demanded(bundle) else None)
    try:
        question = stapling.question(bundle)
        if question is None:
            return Found()
        answer = ask(question.url, question.request, private=door.settings.ocsp_private_responders)
        staple = stapling.read(bundle, answer, now)
    except (ResponderError, Unstapled) as error:
        return Found(due=text((now + RETRY).timestamp()), problem=str(error), revoked=isinstance(error, Revoked))
    return Found(staple, text(_again(staple, now).timestamp()))


def _again(staple: Staple, now: datetime) -> datetime:
    """Half way to its end, and not at once."""
    middle = staple.since + (staple.until - staple.since) / 2
    return min(max(middle, now + RETRY), now + OLDEST)


def _follow(tx: Tx, before: Certificate, found: Found, now: datetime) -> None:
    """What was found is so, unless the certificate has been renewed meanwhile. A response that still holds stays."""
    if rows.lock_root(tx, before.loadbalancer_id) is None:
        return
    kept = store.one(tx, before.id)
    if kept is None or kept.certificate.digest != before.digest:
        return
    certificate = replace(kept.certificate, staple_due=found.due, unstapled=found.problem)
    holds = (certificate.stapled_until or "") > text(now.timestamp())
    metrics.STAPLES.labels("failed" if found.problem else "fetched" if found.staple else "none").inc()
    if found.revoked and kept.certificate.unstapled != found.problem:
        say(tx, certificate, "revoked", reason=found.problem)
    if found.staple is None and found.problem and holds and not found.revoked and found.due != NOT_STAPLED:
        store.note(tx, certificate)
        return
    response = found.staple.response if found.staple else None
    until = text(found.staple.until.timestamp()) if found.staple else None
    store.staple(tx, replace(certificate, stapled_until=until), response)
    if response != kept.staple:
        work.wake_root(tx, certificate.loadbalancer_id)
