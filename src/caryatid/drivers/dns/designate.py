# SPDX-License-Identifier: Apache-2.0
"""A Designate: zones and recordsets over its v2 API, done when it says that its name servers have them.

The mark of a recordset of ours (`drivers/dns/static.py`) is its description. A type of which a name shall have nothing
is kept as a text below the name, which then exists. Designate has no conditional requests: of two engines that come at
the same moment the last one wins, and what its generation was is in the mark.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal, Self
from urllib.parse import urlencode

import httpx2

from caryatid.drivers.asking import Answer, Asking, NotAnsweredError
from caryatid.drivers.keystone import Tokens
from caryatid.drivers.setup import Keystone

from .asking import differences
from .base import Backend, DnsError, DnsRefusedError, Publication, Published
from .options import flag, seconds
from .static import POLICIES, VERSION, Mark, Refusals, plain

BELOW = "_caryatid"
STAR, ANY = "*.", "_any."
NOTHING = '"nothing"'
PAGE = 200
PAGES_MAX = 1000
ANSWER_BYTES_MAX = 1 << 21
BY_NAME_MAX = 8
"""For so many names each is asked for; for more, all of ours."""
ACTIVE_S = 60.0
"""For which Designate may work on a change (option `deadline_s`)."""
SECONDARIES_S = 3.0
"""For which name servers may say what was before, after that (option `patience_s`): ACTIVE is said too early of what is
changed while Designate asks them about something else."""
PAUSES_S = (0.3, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
"""Before it is asked how far it is, again and again; then always the last."""
PASSING = frozenset({408, 429})
SHOWN = 5
"""Of several names, in a sentence."""
Method = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True)
class Recordset:
    """One that is ours, as Designate has it."""

    id: str
    fqdn: str
    """Whose it is."""
    mark: Mark
    ttl: int | None
    records: frozenset[str]
    status: str
    empty: bool
    """It says that there is nothing of the type."""
    leaving: bool
    """It has been deleted, and name servers do not know yet."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self | None:
        """None: it is somebody else's."""
        mark, name = Mark.read(said["description"] or ""), said["name"]
        if mark is None:
            return None
        below = _below("", mark.rrtype)
        empty = said["type"] == "TXT" and name.startswith(below)
        if not empty and said["type"] != mark.rrtype:
            return None
        fqdn = name.removeprefix(below) if empty else name
        if empty and fqdn.startswith(ANY):
            fqdn = STAR + fqdn.removeprefix(ANY)
        records = frozenset(_plain(record) for record in said["records"])
        return cls(said["id"], fqdn, mark, said["ttl"], records, said["status"], empty, said["action"] == "DELETE")

    def says(self, wanted: Mapping[str, Any]) -> bool:
        """Exactly this, and everywhere."""
        same = self.ttl == wanted["ttl"] and self.records == {_plain(record) for record in wanted["records"]}
        return same and self.status == "ACTIVE" and str(self.mark) == wanted["description"]


class DesignateDriver:
    """Threads may share it."""

    policies = POLICIES

    def __init__(self, backend: Backend) -> None:
        """Raises DnsRefusedError if the backend cannot be used as it is described."""
        if not backend.url:
            raise DnsRefusedError("The backend has no url of a Designate.")
        self._backend = backend
        self._base = f"{backend.url.rstrip('/').removesuffix('/v2')}/v2"
        self._patience_s = seconds(backend, "patience_s", SECONDARIES_S)
        self._headers = {"X-Auth-All-Projects": "true"} if flag(backend, "all_projects", default=False) else {}
        self._limit_s = seconds(backend, "deadline_s", ACTIVE_S)
        asking = Asking.of(str(backend.options.get("authorities", "")), backend.timeout_s, ANSWER_BYTES_MAX)
        keystone = None if backend.options.get("auth") == "none" else _keystone(backend)
        self._asking, self._tokens = asking, Tokens(keystone, asking) if keystone else None

    def ensure_zone(self, zone: str) -> None:
        """It is made if the option `email` says whom its SOA shall name."""
        if self._zone(zone) is not None:
            return
        email = self._backend.options.get("email")
        remedy = f"openstack zone create --email hostmaster@example.org {zone}"
        if not email:
            raise DnsRefusedError(f"Designate has no zone {zone} that we see. Who administers it can: {remedy}")
        answer = self._ask("POST", "/zones", {"name": zone, "email": email})
        if answer.status not in (httpx2.codes.ACCEPTED, httpx2.codes.CREATED, httpx2.codes.CONFLICT):
            raise self._failure(answer, f"the zone {zone}")
        self._wait(lambda: [] if self._there(zone)["status"] == "ACTIVE" else [zone])

    def publish(self, zone: str, wanted: Sequence[Publication]) -> None:
        """What is refused does not keep the rest from being published."""
        refusals = Refusals()
        path = f"/zones/{self._there(zone)['id']}/recordsets"
        held = self._held(path, {each.fqdn for each in wanted})
        fine = [
            each
            for each in plain(wanted, refusals)
            if not refusals.overtaken(each, _mark(held, each.fqdn, each.rrtype))
        ]
        gone = {recordset.id: recordset for each in fine for recordset in _in_the_way(held, each)}
        for recordset in gone.values():
            if not recordset.leaving:
                self._delete(path, recordset)
        if {each.fqdn for each in fine if each.answers} & {recordset.fqdn for recordset in gone.values()}:
            self._settled(path, gone)  # while it goes, Designate lets nothing come in its place
        held = {key: recordset for key, recordset in held.items() if recordset.id not in gone}
        changed = [self._put(path, held, each, refusals) for each in fine if each.answers is not None]
        self._settled(path, {*gone, *filter(None, changed)})
        refusals.end()

    def verify(self, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
        return differences(self._backend.name_servers, wanted, self._backend.timeout_s, self._patience_s)

    def published(self, zone: str) -> Sequence[Published]:
        path = f"/zones/{self._there(zone)['id']}/recordsets"
        return [each.mark.published(each.fqdn) for each in self._ours(path) if not each.leaving]

    def _there(self, zone: str) -> Mapping[str, Any]:
        found = self._zone(zone)
        if found is None:
            raise DnsRefusedError(f"Designate has no zone {zone} that we see.")
        return found

    def _zone(self, zone: str) -> Mapping[str, Any] | None:
        found: Sequence[Mapping[str, Any]] = self._document("/zones", {"name": zone})["zones"]
        return next((each for each in found if each["name"].lower() == zone), None)

    def _held(self, path: str, names: set[str]) -> Mapping[tuple[str, str, bool], Recordset]:
        """Ours of these names, by name, type, and whether it says that there is nothing."""
        if len(names) <= BY_NAME_MAX:
            patterns = [f"*{name.removeprefix('*')}" for name in names]
            found: Iterable[Recordset] = [each for pattern in patterns for each in self._ours(path, name=pattern)]
        else:
            found = self._ours(path)
        return {(each.fqdn, each.mark.rrtype, each.empty): each for each in found if each.fqdn in names}

    def _ours(self, path: str, **more: str) -> Iterator[Recordset]:
        """All with a mark."""
        marker = ""
        for _ in range(PAGES_MAX):
            words = {"description": f"{VERSION}*", "limit": str(PAGE), **more, **({"marker": marker} if marker else {})}
            found = self._document(path, words)["recordsets"]
            yield from filter(None, map(Recordset.read, found))
            if len(found) < PAGE:
                return
            marker = found[-1]["id"]

    def _delete(self, path: str, recordset: Recordset) -> None:
        answer = self._ask("DELETE", f"{path}/{recordset.id}")
        if answer.status not in (httpx2.codes.ACCEPTED, httpx2.codes.NO_CONTENT, httpx2.codes.NOT_FOUND):
            raise self._failure(answer, f"{recordset.fqdn} {recordset.mark.rrtype}")

    def _put(
        self, path: str, held: Mapping[tuple[str, str, bool], Recordset], wanted: Publication, refusals: Refusals
    ) -> str | None:
        """The id of what is changed; None: nothing is, or it is refused."""
        body = _body(wanted)
        before = held.get((wanted.fqdn, wanted.rrtype, body["type"] != wanted.rrtype))
        if before is not None and before.says(body):
            return None
        if before is not None:
            body = {key: body[key] for key in ("ttl", "records", "description")}
            answer = self._ask("PUT", f"{path}/{before.id}", body)
        else:
            answer = self._ask("POST", path, body)
        if answer.status in (httpx2.codes.ACCEPTED, httpx2.codes.OK, httpx2.codes.CREATED):
            return str(_document(answer)["id"])
        what = f"{wanted.fqdn} {wanted.rrtype}"
        if answer.status == httpx2.codes.CONFLICT:
            refusals.add(
                f"At {wanted.fqdn} there is {wanted.rrtype} that we have not made: take it away, or take another name.",
                wanted,
            )
            return None
        failure = self._failure(answer, what)
        if not isinstance(failure, DnsRefusedError) or answer.status in (401, 403):
            raise failure
        refusals.add(str(failure), wanted)
        return None

    def _settled(self, path: str, changed: Iterable[str]) -> None:
        """Returns when Designate has no more to do with these. Raises DnsError if it fails, or takes too long."""
        ids = set(changed)
        if not ids:
            return

        def pending() -> Sequence[str]:
            return [each.fqdn for each in self._ours(path, status="PENDING") if each.id in ids]

        self._wait(pending)
        failed = [each.fqdn for each in self._ours(path, status="ERROR") if each.id in ids]
        if failed:
            raise DnsError(f"Designate cannot tell its name servers of {_listed(failed)}: status ERROR.")

    def _wait(self, pending: Callable[[], Sequence[str]]) -> None:
        """Until nothing is pending any more."""
        deadline, pauses = time.monotonic() + self._limit_s, iter(PAUSES_S)
        left: Sequence[str] = ["it"]
        while left:
            time.sleep(next(pauses, PAUSES_S[-1]))  # noqa: TID251  nothing tells when Designate is ready
            late = time.monotonic() > deadline
            left = pending()
            if left and late:
                raise DnsError(
                    f"Designate has not told its name servers of {_listed(left)} within {self._limit_s:g} s."
                )

    def _document(self, path: str, words: Mapping[str, str]) -> Mapping[str, Any]:
        answer = self._ask("GET", f"{path}?{urlencode(words)}")
        if answer.status != httpx2.codes.OK:
            raise self._failure(answer, path)
        return _document(answer)

    def _ask(self, method: Method, path: str, body: Any = None) -> Answer:
        def ask(token: str) -> Answer:
            shown = {"X-Auth-Token": token} if token else {}
            return self._asking.ask(method, self._base + path, headers={**self._headers, **shown}, body=body)

        try:
            return self._tokens.asked(ask) if self._tokens else ask("")
        except NotAnsweredError as error:
            raise DnsError(str(error)) from error

    def _failure(self, answer: Answer, what: str) -> DnsError:
        """What is raised for an answer that is no success."""
        if answer.status >= httpx2.codes.INTERNAL_SERVER_ERROR or answer.status in PASSING:
            return DnsError(f"Designate answers {answer.status} for {what}.")
        if answer.status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            return DnsRefusedError(f"Designate does not let the service change {what}: its user needs a role there.")
        try:
            said = str(json.loads(answer.content).get("message", ""))[:300]
        except (ValueError, AttributeError):
            said = ""
        return DnsRefusedError(f"Designate answers {answer.status} for {what}. {said}".strip())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(sorted(names)[:SHOWN])}{more}"


def _keystone(backend: Backend) -> Keystone:
    shown = backend.credentials
    missing = [name for name in ("auth_url", "username", "password", "project_name") if not shown.get(name)]
    if missing:
        raise DnsRefusedError(
            f"The backend lacks the credentials {', '.join(missing)}; the option auth: none needs none."
        )
    return Keystone(
        url=shown["auth_url"],
        user=shown["username"],
        user_domain=shown.get("user_domain_name", "Default"),
        project=shown["project_name"],
        project_domain=shown.get("project_domain_name", "Default"),
        password=shown["password"],
    )


def _document(answer: Answer) -> Mapping[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError as error:
        raise DnsError("The server answers, but not as Designate does.") from error
    if not isinstance(document, dict):
        raise DnsError("The server answers, but not as Designate does.")
    return document


def _body(wanted: Publication) -> dict[str, Any]:
    """The recordset that says it."""
    answers = wanted.answers
    assert answers is not None  # noqa: S101  what is to go has no body
    mark = Mark.of(wanted.rrtype, wanted.generation, answers)
    records = [candidate.content for candidate in answers.default.candidates]
    common = {"ttl": answers.ttl, "description": str(mark)}
    if records:
        return {"name": wanted.fqdn, "type": wanted.rrtype, "records": records, **common}
    return {"name": _below(wanted.fqdn, wanted.rrtype), "type": "TXT", "records": [NOTHING], **common}


def _below(fqdn: str, rrtype: str) -> str:
    """Where it is kept that there is nothing. An asterisk within a name is nothing to Designate."""
    return f"{rrtype.lower()}.{BELOW}.{ANY + fqdn.removeprefix(STAR) if fqdn.startswith(STAR) else fqdn}"


def _mark(held: Mapping[tuple[str, str, bool], Recordset], fqdn: str, rrtype: str) -> Mark | None:
    found = [held[key].mark for empty in (False, True) if (key := (fqdn, rrtype, empty)) in held]
    return max(found, key=lambda mark: mark.generation, default=None)


def _in_the_way(held: Mapping[tuple[str, str, bool], Recordset], wanted: Publication) -> Iterator[Recordset]:
    """What of ours must go for it."""
    for empty in (False, True):
        there = held.get((wanted.fqdn, wanted.rrtype, empty))
        stays = wanted.answers is not None and empty == (not wanted.answers.default.candidates)
        if there is not None and (there.leaving or not stays):
            yield there


def _plain(record: str) -> str:
    """Addresses are the same however they are written."""
    try:
        return str(ip_address(record))
    except ValueError:
        return record.lower()
