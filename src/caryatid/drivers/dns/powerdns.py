# SPDX-License-Identifier: Apache-2.0
"""PowerDNS, told over its HTTP API (4.7 or newer, a backend that keeps comments: generic SQL).

Before anything is changed, what is there is read: what somebody else made is not touched, a higher generation not
replaced. All changes of a zone are one PATCH, which takes effect as a whole, and at once. What it takes it may still
not be able to answer (a LUA record that has a fault is SERVFAIL), hence `verify`.
"""

import json
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

import httpx2

from caryatid.drivers.asking import Answer, Asking, NotAnsweredError
from caryatid.model.gslb.words import POLICIES, SteeringPolicy

from . import static
from .asking import differences
from .base import Backend, DnsError, DnsRefusedError, Publication, Published
from .options import flag, seconds
from .rrsets import Able, Held, Rrset, changes
from .static import Refusals

PATH = "/api/v1/servers"
RRSETS_MAX = 1000
BYTES_MAX = 1_500_000
"""In one PATCH; PowerDNS takes 2 MB (`webserver-max-bodysize`)."""
RRSET_BYTES = 400
"""Of an RRset without what its records contain, about."""
ONE_BY_ONE = 8
"""Names that are looked for each by itself; of more, the whole zone is read."""
FOUND_MAX = 10_000
ANSWER_BYTES_MAX = 1 << 28
WITH_PLACES: frozenset[SteeringPolicy] = frozenset({"proximity", "latency"})
ZONE_TTL_S = 3600
MOMENT_S = 3.0
"""For which name servers may say what was before: caches, and those that read the same database a moment later."""
NEGATIVE_S = 10
"""For which resolvers may believe that there is nothing."""


class PowerDnsDriver:
    """Threads may share it."""

    policies: frozenset[SteeringPolicy] = frozenset(POLICIES)

    def __init__(self, backend: Backend) -> None:
        """Raises DnsRefusedError if the backend cannot be used as it is described."""
        if not backend.url:
            raise DnsRefusedError("The backend has no url of PowerDNS's API.")
        self._backend = backend
        self._zones = f"{backend.url.rstrip('/')}{PATH}/{quote(str(backend.options.get('server', 'localhost')))}"
        self._headers = {"X-API-Key": backend.credentials.get("api_key", "")}
        self._asking = _asking(backend)
        self._patience_s = seconds(backend, "patience_s", MOMENT_S)
        self._able = Able(flag(backend, "lua", default=True), flag(backend, "geo", default=False))
        self.policies = _policies(self._able)
        self._lua_seen = False
        """Its configuration lets it answer LUA records."""

    def ensure_zone(self, zone: str) -> None:
        answer = self._ask("GET", f"{_path(zone)}?rrsets=false")
        if answer.status != httpx2.codes.NOT_FOUND:
            return
        made = self._ask("POST", "/zones", self._new(zone), also=httpx2.codes.CONFLICT)
        if made.status == httpx2.codes.NOT_FOUND:
            raise DnsRefusedError(f"{self._backend.url} has no {PATH}: it is no API of PowerDNS, or not that server.")

    def publish(self, zone: str, wanted: Sequence[Publication]) -> None:
        refusals = Refusals()
        by_name = sorted(wanted, key=lambda each: each.fqdn)
        names = {fqdn: list(some) for fqdn, some in groupby(by_name, key=lambda each: each.fqdn)}
        self._keep_whole(zone, names)
        held = self._held(zone, list(names))
        able = self._now_able(wanted)
        by_names = [changes(fqdn, some, held.get(fqdn, Held()), able, refusals) for fqdn, some in names.items()]
        for batch in _batches(by_names):
            self._put(zone, batch, names, refusals)
        refusals.end()

    def verify(self, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
        return differences(self._backend.name_servers, wanted, self._backend.timeout_s, self._patience_s)

    def published(self, zone: str) -> Sequence[Published]:
        return [mark.published(fqdn) for fqdn, held in self._zone(zone).items() for mark in held.marks.values()]

    def _keep_whole(self, zone: str, names: Iterable[str]) -> None:
        """What PowerDNS works out of a whole zone at each change, which takes long, is worked out where it is needed:
        in a signed zone, and where a name is below one that nobody has made, which then exists (NODATA)."""
        answer = self._ask("GET", f"{_path(zone)}?rrsets=false")
        self._there(zone, answer)
        known = _json(answer, dict)
        needed = known.get("dnssec") or any(name.removesuffix(zone).count(".") > 1 for name in names)
        if needed and not known.get("api_rectify"):
            self._ask("PUT", _path(zone), {"api_rectify": True})

    def _now_able(self, wanted: Sequence[Publication]) -> Able:
        """What the server can do as it is configured, which it is asked until it can do what is wished."""
        if (
            self._lua_seen
            or not self._able.lua
            or all(each.answers is None or each.answers.is_plain for each in wanted)
        ):
            return self._able
        settings = {each["name"]: each["value"] for each in _json(self._ask("GET", "/config"), list)}
        if settings.get("enable-lua-records", "") in {"no", "off"}:
            return replace(
                self._able, lua=False, no_lua="PowerDNS's setting enable-lua-records is no: shared is wanted"
            )
        self._lua_seen = True
        return self._able

    def _put(
        self, zone: str, rrsets: Sequence[Rrset], wanted: Mapping[str, Sequence[Publication]], refusals: Refusals
    ) -> None:
        """All of them, which are `wanted` of their names; where one is not taken, each name by itself, so that no other
        waits for it."""
        answer = self._ask("PATCH", _path(zone), {"rrsets": rrsets}, also=httpx2.codes.UNPROCESSABLE_CONTENT)
        self._there(zone, answer)
        if answer.status != httpx2.codes.UNPROCESSABLE_CONTENT:
            return
        names = {rrset["name"] for rrset in rrsets}
        if len(names) == 1:
            (name,) = names
            refusals.add(f"{name} is not taken: {_why(answer)}", *wanted[name])
            return
        for name in sorted(names):
            self._put(zone, [rrset for rrset in rrsets if rrset["name"] == name], wanted, refusals)

    def _held(self, zone: str, names: Sequence[str]) -> Mapping[str, Held]:
        """What there is at these names, or more."""
        if len(names) > ONE_BY_ONE or any("*" in name for name in names):
            return self._zone(zone)
        return {name: self._found(zone, name) for name in names}

    def _found(self, zone: str, name: str) -> Held:
        """What a search finds: it costs less than what is given of a zone, which has all its comments with it."""
        asked = urlencode({"q": name.rstrip("."), "max": FOUND_MAX})
        held = Held()
        for each in _json(self._ask("GET", f"/search-data?{asked}"), list):
            if each.get("zone_id") != zone or each.get("name") != name:
                continue
            if each["object_type"] == "comment":
                held.take(each["type"], comments=[each["content"]])
            elif each["object_type"] == "record":
                held.take(each["type"], contents=[each["content"]], ttl=each.get("ttl", 0))
        return held

    def _zone(self, zone: str) -> Mapping[str, Held]:
        answer = self._ask("GET", _path(zone))
        self._there(zone, answer)
        names: dict[str, Held] = {}
        for rrset in _json(answer, dict)["rrsets"]:
            names.setdefault(rrset["name"], Held()).take(
                rrset["type"],
                contents=[record["content"] for record in rrset["records"]],
                comments=[comment["content"] for comment in rrset["comments"]],
                ttl=rrset["ttl"],
            )
        return names

    def _new(self, zone: str) -> Mapping[str, Any]:
        """A zone with an SOA by which nobody believes for long that there is nothing."""
        options = self._backend.options
        named = _named(options.get("nameservers", []))
        own = f"ns1.{zone}"
        soa = f"{(named or [own])[0]} hostmaster.{zone} 1 10800 3600 604800 {NEGATIVE_S}"
        rrsets = [_rrset(zone, "SOA", [soa])]
        if not named:
            addresses = [ip_address(address) for address, _ in self._backend.name_servers]
            for rrtype, version in (("A", 4), ("AAAA", 6)):
                found = sorted({str(address) for address in addresses if address.version == version})
                rrsets += [_rrset(own, rrtype, found)] if found else []
        return {
            "name": zone,
            "kind": options.get("zone_kind", "Native"),
            "nameservers": named or [own],
            "soa_edit_api": "INCREASE",
            "api_rectify": False,
            "rrsets": rrsets,
        }

    def _there(self, zone: str, answer: Answer) -> None:
        if answer.status == httpx2.codes.NOT_FOUND:
            raise DnsRefusedError(f"{self._backend.url} has no zone {zone} (any more).")

    def _ask(self, method: str, path: str, body: Any = None, *, also: int = 0) -> Answer:
        """What is answered: well, 404, or what may be answered `also`."""
        try:
            answer = self._asking.ask(method, f"{self._zones}{path}", headers=self._headers, body=body)
        except NotAnsweredError as error:
            raise DnsError(str(error)) from error
        if answer.status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            raise DnsRefusedError(f"{self._backend.url} does not take the credential api_key, or not from here.")
        if answer.status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise DnsError(f"{self._backend.url} answers {answer.status}: {_why(answer)}")
        if answer.status >= httpx2.codes.BAD_REQUEST and answer.status not in {httpx2.codes.NOT_FOUND, also}:
            raise DnsRefusedError(f"{self._backend.url} answers {answer.status}: {_why(answer)}")
        return answer


def _asking(backend: Backend) -> Asking:
    try:
        return Asking.of(str(backend.options.get("authorities", "")), backend.timeout_s, ANSWER_BYTES_MAX)
    except (ssl.SSLError, ValueError) as error:
        raise DnsRefusedError("The option authorities is PEM, of certificates.") from error


def _named(option: Any) -> Sequence[str]:
    """Names, as a list or with commas between, with dots at their ends."""
    names = option.split(",") if isinstance(option, str) else option
    if not isinstance(names, list | tuple):
        raise DnsRefusedError("The option nameservers is a list of names.")
    return [f"{str(name).strip().rstrip('.')}." for name in names if str(name).strip()]


def _batches(names: Iterable[Sequence[Rrset]]) -> Iterator[Sequence[Rrset]]:
    """What is put together; what belongs to one name is."""
    batch: list[Rrset] = []
    total = 0
    for rrsets in names:
        size = sum(RRSET_BYTES + sum(len(each["content"]) for each in rrset.get("records", ())) for rrset in rrsets)
        if batch and (len(batch) + len(rrsets) > RRSETS_MAX or total + size > BYTES_MAX):
            yield batch
            batch, total = [], 0
        batch.extend(rrsets)
        total += size
    if batch:
        yield batch


def _policies(able: Able) -> frozenset[SteeringPolicy]:
    if not able.lua:
        return static.POLICIES
    return frozenset(POLICIES) - (frozenset() if able.geo else WITH_PLACES)


def _rrset(name: str, rrtype: str, contents: Sequence[str]) -> Rrset:
    records = [{"content": content, "disabled": False} for content in contents]
    return {"name": name, "type": rrtype, "ttl": ZONE_TTL_S, "records": records}


def _path(zone: str) -> str:
    """PowerDNS writes a slash of a name, which none of ours has, otherwise than URLs do."""
    return f"/zones/{quote(zone)}"


def _json(answer: Answer, shape: type) -> Any:
    try:
        document = json.loads(answer.content)
    except ValueError as error:
        raise DnsError("The server answers, but not as PowerDNS does.") from error
    if not isinstance(document, shape):
        raise DnsError("The server answers, but not as PowerDNS does.")
    return document


def _why(answer: Answer) -> str:
    try:
        return str(json.loads(answer.content)["error"])[:300]
    except (ValueError, TypeError, KeyError):
        return answer.content[:300].decode(errors="replace")
