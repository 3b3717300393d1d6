# SPDX-License-Identifier: Apache-2.0
"""What a wish's references stand for: read and checked before it is accepted, kept with it, handed to drivers.

Whoever reconciles reads what was kept, and asks no key store.
"""

import base64
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from uuid import uuid4

from caryatid import log
from caryatid.drivers.secrets.base import SecretsDriver, SecretsError, UnreadableError
from caryatid.errors import Busy, Fault, Refused
from caryatid.model import CERTIFICATE
from caryatid.model.bundle import AUTHORITIES_OF, Bundle, Material, Purpose, Reference, named, references
from caryatid.model.certificate import Certificate
from caryatid.model.consequences import replace
from caryatid.model.event import system
from caryatid.model.tree import Tree
from caryatid.model.types import CONTROL
from caryatid.plan import bundles as plan
from caryatid.plan.bundles import Unusable
from caryatid.store import bundles as store
from caryatid.store import events
from caryatid.store.database import Tx

from .door import Door
from .receipt import moment
from .vault import MasterKey, NoMasterKey

WATCH = system("certificates")
AT_ONCE = 8
DEADLINE_S = 5.0
"""For all that a wish names; a key store that takes longer is held to be away."""
REFERENCE_MAX = 255
READ_MAX = 2000
Key = tuple[str, Purpose]
Answer = Material | SecretsError


@dataclass(frozen=True)
class Fetched:
    """What was read for a wish, and what is wrong with it."""

    bundles: Mapping[Key, Bundle] = field(default_factory=dict, repr=False)
    faults: tuple[Fault, ...] = ()


def fetch(
    door: Door,
    project_id: str,
    wanted: Iterable[Mapping[str, object]],
    known: Mapping[Key, Bundle] | None = None,
) -> Fetched:
    """What listeners and pools with these attributes name: each reference read once, all side by side.

    What is `known` is not read, but for authorities and lists of what they have revoked: those are read together.
    Raises Refused for more than READ_MAX.
    """
    rows = [row for attributes in wanted if (row := tuple(filter(_readable, named(attributes))))]
    if not rows:
        return Fetched()
    known = known or {}
    unread = with_partners(rows, {reference.key for row in rows for reference in row} - known.keys())
    if len(unread) > READ_MAX:
        why = f"Validation failure: a request names at most {READ_MAX} certificate container references."
        raise Refused([Fault(why, rows[0][0].attribute)])
    answers = _read_for_wish(door, sorted({(reference, project_id) for reference, _ in unread}))
    judged = judge(rows, {reference: answer for (reference, _), answer in answers.items()}, known)
    return Fetched(judged.found, tuple(dict.fromkeys(_fault(*wrong) for wrong in judged.wrong)))


def _read_for_wish(door: Door, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Answer]:
    """Raises Busy when too many wishes wait for the key store already."""
    if not wanted:
        return {}
    if not door.reading.acquire(blocking=False):
        raise Busy("The key store takes long to answer, and others are waiting for it. Try again.")
    try:
        return read_all(door.secrets, wanted, DEADLINE_S)
    finally:
        door.reading.release()


def with_partners(rows: Iterable[Sequence[Reference]], keys: set[Key]) -> set[Key]:
    """These, and what is good only together with one of them."""
    return {*keys, *chain.from_iterable(pair for pair in pairs(rows) if not keys.isdisjoint(pair))}


def pairs(rows: Iterable[Sequence[Reference]]) -> Iterator[tuple[Key, Key]]:
    """Lists of what is revoked, and the authorities whose they are, of each listener or pool that names both."""
    for row in rows:
        keys = {reference.attribute: reference.key for reference in row}
        for lists, authorities in AUTHORITIES_OF.items():
            if lists in keys and authorities in keys:
                yield keys[lists], keys[authorities]


def read_all(
    driver: SecretsDriver, wanted: Sequence[tuple[str, str]], deadline_s: float
) -> dict[tuple[str, str], Answer]:
    """What the key store answers for each (reference, project); where it does not in time, that it did not."""
    if not wanted:
        return {}
    pool = ThreadPoolExecutor(min(AT_ONCE, len(wanted)), thread_name_prefix="secrets")
    asked = {pair: pool.submit(_read, driver, *pair) for pair in wanted}
    wait(asked.values(), deadline_s)
    pool.shutdown(wait=False, cancel_futures=True)
    return {pair: _answer(future) for pair, future in asked.items()}


def stored(tx: Tx, door: Door, root_id: str, wanted: Collection[Key]) -> dict[Key, Bundle]:
    """What the load balancer has of that. What cannot be unsealed is not in it; raises NoMasterKey if nothing can."""
    kept = store.of(tx, root_id, {reference for reference, _ in wanted}) if wanted else []
    if not kept:
        return {}
    key = door.vault.key(tx)
    return {
        which: found for one in kept if (which := key_of(one.certificate)) in wanted and (found := opened(key, one))
    }


def with_bundles(tx: Tx, door: Door, tree: Tree) -> Tree:
    """The tree, with what its references stand for. Those of which nothing is kept, it is without: whoever renders it
    refuses the object that names them. They are read again at once."""
    rows = chain((node.listener for node in tree.listeners), (node.pool for node in tree.pools))
    wanted = {reference.key for row in rows for reference in references(row)}
    if not wanted or tree.deleted:
        return tree
    found = stored(tx, door, tree.loadbalancer.id, wanted)
    if len(found) < len(wanted):
        store.look_at(tx, tree.loadbalancer.id)
    return dataclasses.replace(tree, bundles=found)


def keep(tx: Tx, door: Door, root_id: str, project_id: str, found: Mapping[Key, Bundle]) -> None:
    """The load balancer has these. The caller has the root's lock. Raises NoMasterKey."""
    if not found:
        return
    key, at = door.vault.ensured(tx), moment()
    kept = store.of(tx, root_id, {reference for reference, _ in found})
    before = {key_of(one.certificate): intact(key, one) for one in kept}
    shared = {"project_id": project_id, "loadbalancer_id": root_id, "created_at": at, "checked_at": at}
    for reference, purpose in found.keys() - before.keys():
        new = {"id": str(uuid4()), "reference": reference, "purpose": purpose}
        before[reference, purpose] = Certificate.model_validate({**shared, **new})
    for which, certificate in sorted(before.items(), key=lambda one: one[1].id):
        if which in found:
            write(tx, key, certificate, found[which], at)


def write(tx: Tx, key: MasterKey, certificate: Certificate, bundle: Bundle, at: str) -> None:
    """The reference stands for this, as was found at `at`; nothing is wrong with it."""
    now = replace(certificate, checked_at=at, problem=None)
    if bundle.digest == certificate.digest:
        store.note(tx, now)
        return
    told = {name: getattr(bundle, name) for name in ("digest", "subject", "issuer", "not_before", "not_after")}
    now = replace(now, **told, names=list(bundle.names), updated_at=at, announced=None, stapled_until=None)
    now = replace(now, staple_due=None, unstapled=None)
    store.keep(tx, now, key.seal(_bound_to(now), bundle.pem.encode()))


def key_of(certificate: Certificate) -> Key:
    return certificate.reference, certificate.purpose


def intact(key: MasterKey, kept: store.Kept) -> Certificate:
    """The certificate; without its digest, if what HAProxy is given for it cannot be read any more."""
    return kept.certificate if opened(key, kept) else replace(kept.certificate, digest="")


def opened(key: MasterKey, kept: store.Kept) -> Bundle | None:
    """What was sealed; None: this is not what it was."""
    one = kept.certificate
    try:
        pem = key.unseal(_bound_to(one), kept.sealed).decode()
    except NoMasterKey:
        log.get().error("what was kept for a reference cannot be read", certificate=one.id)
        return None
    return Bundle(
        pem=pem,
        digest=one.digest,
        subject=one.subject,
        issuer=one.issuer,
        names=tuple(one.names),
        not_before=one.not_before,
        not_after=one.not_after,
        staple=base64.b64encode(kept.staple or b"").decode(),
    )


def say(tx: Tx, certificate: Certificate, action: str, **detail: str | None) -> None:
    """It has happened to the certificate: an event, and a line in the log."""
    told = {"reference": certificate.reference, "purpose": certificate.purpose, **detail}
    root_id, project_id = certificate.loadbalancer_id, certificate.project_id
    key, kind = certificate.id, CERTIFICATE.name
    events.append(tx, action, kind, key, by=WATCH, project_id=project_id, root_id=root_id, detail=told)
    log.get().info(f"certificate {action}", root=root_id, **told)


def judge(rows: Iterable[Sequence[Reference]], answers: Mapping[str, Answer], known: Mapping[Key, Bundle]) -> "Judged":
    """Whether what was answered is right for listeners and pools, each with the references that it names. What is
    `known` serves where there is no answer."""
    judged, serving, now = Judged(), dict(known), datetime.now(UTC)
    for row in rows:
        theirs = dict(pairs([row]))
        for reference in row:
            key, answer = reference.key, answers.get(reference.reference)
            authorities = serving.get(theirs[key]) if key in theirs else None
            kept = None if isinstance(answer, Material) else known.get(key)
            if authorities is None and (kept or key in judged.found):
                continue
            try:
                material = Material(payload=kept.pem.encode()) if kept else _material(answer)
                bundle = plan.read(material, reference.purpose, now, authorities=authorities)
            except (Unusable, SecretsError) as error:
                judged.wrong.append((reference, error))
            else:
                serving[key] = bundle
                judged.found.update({} if kept else {key: bundle})
    return judged


@dataclass(frozen=True)
class Judged:
    """What is right of what was read, and what is wrong."""

    found: dict[Key, Bundle] = field(default_factory=dict, repr=False)
    wrong: list[tuple[Reference, Unusable | SecretsError]] = field(default_factory=list)


def outcome(error: Unusable | SecretsError | None) -> str:
    """In a word, for the metrics, of what stays in use."""
    match error:
        case None:
            return "same"
        case Unusable():
            return "refused"
        case UnreadableError():
            return "unreadable"
        case _:
            return "unanswered"


def _material(answer: Answer | None) -> Material:
    if isinstance(answer, Material):
        return answer
    raise answer or SecretsError("It was not read.")


def _fault(reference: Reference, error: Unusable | SecretsError) -> Fault:
    """Of the wish; or, if it may be right and only nobody can say so now, of nobody's."""
    away = isinstance(error, SecretsError) and not isinstance(error, UnreadableError)
    why = f"{error} Try again." if away else str(error)
    said = f"Could not retrieve certificate: {reference.reference} ({reference.attribute}): {why}"
    return Fault(said, reference.attribute, 503 if away else 400)


def _readable(reference: Reference) -> bool:
    """Others are refused by the attribute's own type."""
    return len(reference.reference) <= REFERENCE_MAX and not CONTROL.search(reference.reference)


def _read(driver: SecretsDriver, reference: str, project_id: str) -> Answer:
    try:
        return driver.read(reference, project_id)
    except SecretsError as error:
        return error
    except Exception:  # noqa: BLE001  a driver's fault is not the wish's
        log.get().exception("the key store's driver failed")
        return SecretsError("The key store cannot be read; the log says why.")


def _answer(future: Future[Answer]) -> Answer:
    if future.done() and not future.cancelled():
        return future.result()
    return SecretsError("The key store does not answer.")


def _bound_to(certificate: Certificate) -> str:
    return f"bundle {certificate.loadbalancer_id} {certificate.purpose} {certificate.reference}"
