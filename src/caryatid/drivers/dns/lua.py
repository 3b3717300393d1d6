# SPDX-License-Identifier: Apache-2.0
"""Answers that depend on the client or on chance, as LUA records of PowerDNS (4.7 or newer).

record(answers) → what such a record contains: "A" and code that chooses as `plan/explaining.py` explains.

With `enable-lua-records=shared` a server keeps its Lua state from one query to the next, but compiles a record's code
at each. So that is short: it looks for the function that was made last, under the name of the record, and makes it only
if it is not there or is another. All the rest is a string, which is compiled then.

Code runs in the server with all its rights: nothing comes into it but numbers, addresses, networks and names that were
read and written anew, and codes of two letters. There is neither a quote nor a backslash of somebody else's in it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_network

from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients
from caryatid.model.gslb.words import NAME, NAME_MAX
from caryatid.plan.proximity import EARTH_KM, NEAR_KM
from caryatid.plan.shares import FACTOR, PRIME, ROUNDS, SHIFT

ASN, CONTINENT, COUNTRY, PLACE = 0, 2, 4, 7
"""What `geoiplookup` is asked for: `GeoIPQueryAttribute`, whose names are not there in a shared state."""
CODE = re.compile(r"[A-Z]{2}")
NOTHING = "{}"
"""NOERROR without records."""
DIGEST_BYTES = 12
LENGTH_MAX = 60_000
"""Bytes of a record: less than what fits in one of DNS (65,535)."""
PLACES_MAX = (90.0, 180.0)

OUTER = (
    ";if K{key}~='{digest}' then F{key}=(loadstring or load)([==[{body}]==])() K{key}='{digest}' end return F{key}()"
)
"""The function and what it was made of, by the record's name: there is one for each, whatever there was before."""
MADE = (
    "Made=(Made or 0)+1 if Made>{most} then Made=1 for k in pairs(_G) do "
    "if type(k)=='string' and #k=={length} and k:find('^[KF]%x+$') then _G[k]=nil end end end "
)
"""Names come and go, and nobody says so here: of so many that were made, all are forgotten, and made again in turn."""
MADE_MAX = 50_000
HASH = (
    "local function hash(a,t) "
    "local n=newNetmask(a:toString()..(a:isIPv4() and '/{v4}' or '/{v6}')):getMaskedNetwork():toString()..'|' "
    "local s=0 for i=1,#n do s=(s*{factor}+n:byte(i))%{prime} end "
    "local won,least "
    "for i=1,#t do local c=t[i] local x=(s*c[2]+c[3])%{prime} "
    "for _=1,{rounds} do x=(x*x%{prime}*x+{shift})%{prime} end "
    "local y=-math.log((x+1)/{after})/c[4] if not least or y<least then won,least=c[1],y end end "
    "return won end "
)
"""`plan/shares.py: rendezvous`. Of each candidate: content, FACTOR to the power of its length, its own hash, weight."""
PICK = (
    "local function pick(t,n) local r=pdnsrandom(n) for i=1,#t do r=r-t[i][2] if r<0 then return t[i][1] end end end "
)
"""By weight; `n` is the sum of all."""
FAR = (
    "local function place(a) local la,lo=geoiplookup(a:toString(),{place}):match('^(%-?[%d.]+) (%-?[%d.]+)$') "
    "if la then return math.rad(tonumber(la)),math.rad(tonumber(lo)) end end "
    "local function far(la,lo,t) local d,least={{}},math.huge for i=1,#t do local p=t[i] "
    "local u,v=math.sin((p[1]-la)/2),math.sin((p[2]-lo)/2) "
    "d[i]=math.asin(math.min(1,math.sqrt(u*u+math.cos(la)*p[3]*v*v)))*p[4] "
    "if d[i]<least then least=d[i] end end return d,least+{near} end "
    "local function near(la,lo,t,i) local d,most=far(la,lo,t) return d[i]<=most end "
)
"""`plan/proximity.py`. Of each place: latitude and longitude in radians, the latitude's cosine, a factor to kilometres
with the bias in it."""
NEAREST = (
    "local function nearest(a,t) local la,lo=place(a) if not la then return pick(t,t.n) end "
    "local d,most=far(la,lo,t.p) local r,n={},0 "
    "for i=1,#t do if d[i]<=most then r[#r+1]=t[i] n=n+t[i][2] end end return pick(r,n) end "
)


class UnsayableError(ValueError):
    """It cannot be said in Lua, or must not be."""


def record(answers: Answers) -> str:
    """The record's content. Raises UnsayableError."""
    name = f"{_name(answers.fqdn)}/{_type(answers.rrtype)}"
    body = _body(answers)
    code = OUTER.format(key=_digest(name), digest=_digest(body), body=body)
    if '"' in code or "\\" in code or not code.isascii() or not code.isprintable():
        raise UnsayableError("There is something in the answers that is no part of any.")
    if len(code) > LENGTH_MAX:
        raise UnsayableError(f"The answers are too long for a record of {LENGTH_MAX:,} bytes: {len(code):,}.")
    return f'{answers.rrtype} "{code}"'


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _body(answers: Answers) -> str:
    """What makes the function that answers."""
    choices = list(dict.fromkeys([answers.default, *(variant.choice for variant in answers.variants)]))
    number = {choice: place for place, choice in enumerate(choices, start=1)}
    made = "local c,v={},{} " + "".join(f"c[{number[choice]}]={_choice(answers, choice)} " for choice in choices)
    values, tests = _tests(answers, number)
    who = "bestwho" if answers.use_ecs else "who"
    head = MADE.format(most=MADE_MAX, length=1 + 2 * DIGEST_BYTES) + _functions(answers, choices)
    return f"{head}{made}{values}return function() local a={who} {tests}return c[1](a) end"


def _functions(answers: Answers, choices: Sequence[Choice]) -> str:
    """Those that are needed."""
    ways = {choice.way for choice in choices if choice.candidates}
    found = ""
    if ways & {"weighted", "nearest"}:
        found += PICK
    if "hash" in ways:
        found += HASH.format(
            v4=_whole(answers.hash_prefix_v4, 0, 32),
            v6=_whole(answers.hash_prefix_v6, 0, 128),
            factor=FACTOR,
            prime=PRIME,
            rounds=ROUNDS,
            shift=SHIFT,
            after=PRIME + 1,
        )
    if "nearest" in ways or any(variant.clients.near for variant in answers.variants):
        found += FAR.format(place=PLACE, near=NEAR_KM)
    return found + (NEAREST if "nearest" in ways else "")


def _choice(answers: Answers, choice: Choice) -> str:
    """A function of the client's address."""
    found = [(content_of(answers.rrtype, each.content), each) for each in choice.candidates]
    if not found:
        return f"function() return {NOTHING} end"
    contents = ",".join(f"'{content}'" for content in dict.fromkeys(content for content, _ in found))
    if choice.way == "all":
        count = _whole(choice.count, 1, 1 << 16)
        if count >= len(found):
            return f"(function() local t={{{contents}}} return function() return t end end)()"
        return f"(function() local t={{{contents}}} return function() return pickrandomsample({count},t) end end)()"
    if choice.way == "hash":
        rows = ",".join(_hashed(content, each) for content, each in found)
        return f"(function() local t={{{rows}}} return function(a) return hash(a,t) end end)()"
    rows = ",".join(f"{{'{content}',{_weight(each)}}}" for content, each in found)
    total = sum(_weight(each) for _, each in found)
    if choice.way == "weighted":
        return f"(function() local t={{{rows}}} return function() return pick(t,{total}) end end)()"
    places = _places([(each.latitude or 0.0, each.longitude or 0.0, each.bias) for _, each in found])
    return f"(function() local t={{{rows},n={total},p={places}}} return function(a) return nearest(a,t) end end)()"


def _hashed(content: str, candidate: Candidate) -> str:
    own, text = 0, candidate.content.encode()  # as it stands there, not as it is answered
    for byte in text:
        own = (own * FACTOR + byte) % PRIME
    return f"{{'{content}',{pow(FACTOR, len(text), PRIME)},{own},{_weight(candidate)}}}"


def _places(places: Iterable[tuple[float, float, int]]) -> str:
    rows = []
    for north, east, bias in places:
        share = _whole(bias, -99, 99) / 100
        factor = 1 - share if share >= 0 else 1 / (1 + share)
        la, lo = _degrees(north, east)
        rows.append(f"{{{la!r},{lo!r},{math.cos(la)!r},{2 * EARTH_KM * factor!r}}}")
    return "{" + ",".join(rows) + "}"


def _tests(answers: Answers, number: Mapping[Choice, int]) -> tuple[str, str]:
    """Values that are made once, and what is looked at for each client: the first variant that fits decides."""
    values, tests, known, count = "", "", set[str](), 0
    for variant in answers.variants:
        chosen = f"return c[{number[variant.choice]}](a)"
        for test, value, needs in _of(variant.clients):
            count += 1
            values += f"v[{count}]={value} "
            if needs and needs not in known:
                known.add(needs)
                tests += f"{LOOKED_UP[needs]} "
            tests += f"if {test.format(f'v[{count}]')} then {chosen} end "
    return values, tests


LOOKED_UP = {
    "asn": f"local asn=geoiplookup(a:toString(),{ASN})",
    "country": f"local country=geoiplookup(a:toString(),{COUNTRY}):lower()",
    "continent": f"local continent=geoiplookup(a:toString(),{CONTINENT}):lower()",
    "place": "local la,lo=place(a)",
}
"""At most once for a query."""


def _of(clients: Clients) -> Iterable[tuple[str, str, str]]:
    """Tests of a client, each with the value that it needs ({}) and what has to be looked up."""
    if clients.cidrs:
        cidrs = ",".join(f"'{_network(cidr)}'" for cidr in clients.cidrs)
        yield "{}:match(a)", f"newNMG({{{cidrs}}})", ""
    sets: tuple[tuple[str, list[str]], ...] = (
        ("asn", [str(_whole(asn, 1, 4_294_967_295)) for asn in clients.asns]),
        ("country", [_code(country) for country in clients.countries]),
        ("continent", [_code(continent) for continent in clients.continents]),
    )
    for what, members in sets:
        if members:
            rows = ",".join(f"['{member}']=true" for member in members)
            yield f"{{}}[{what}]", f"{{{rows}}}", what
    if clients.near:
        mine, places = clients.near
        if mine not in places:
            raise UnsayableError("A place is none of those that it was to be nearest of.")
        yield f"la and near(la,lo,{{}},{places.index(mine) + 1})", _places([(*place, 0) for place in places]), "place"


def _weight(candidate: Candidate) -> int:
    return _whole(candidate.weight, 1, 1 << 40)


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise UnsayableError(f"Something that should be a number from {least} to {most} is none.")
    return value


def _degrees(north: float, east: float) -> tuple[float, float]:
    """In radians."""
    for value, most in zip((north, east), PLACES_MAX, strict=True):
        if type(value) not in {int, float} or not -most <= value <= most:
            raise UnsayableError("A place is none on Earth.")
    return math.radians(north), math.radians(east)


def _type(rrtype: str) -> str:
    if rrtype not in {"A", "AAAA", "CNAME"}:
        raise UnsayableError("The type is none that is answered.")
    return rrtype


def content_of(rrtype: str, content: str) -> str:
    """As it is written in answers of the type. Raises UnsayableError for what is none."""
    if _type(rrtype) == "CNAME":
        return _name(content)
    try:
        address = IPv4Address(content) if rrtype == "A" else IPv6Address(content)
    except ValueError as error:
        raise UnsayableError(f"Something that should be an address for {rrtype} is none.") from error
    if getattr(address, "scope_id", None) is not None:
        raise UnsayableError("An address has a zone.")
    return str(address)


def _network(cidr: str) -> str:
    try:
        network = ip_network(cidr, strict=False)
    except ValueError as error:
        raise UnsayableError("Something that should be a network is none.") from error
    if getattr(network.network_address, "scope_id", None) is not None:
        raise UnsayableError("A network has a zone.")
    return str(network)


def _name(name: str) -> str:
    if len(name) > NAME_MAX or not NAME.fullmatch(name):
        raise UnsayableError("Something that should be a domain name is none.")
    return name.lower()


def _code(code: str) -> str:
    if not CODE.fullmatch(code):
        raise UnsayableError("Something that should be a country or continent is none.")
    return code.lower()
