# SPDX-License-Identifier: Apache-2.0
"""The format of a flow log line, as an operator writes it: HAProxy's log-format, and `{{ lb_id }}` and the like.

HAProxy refuses a whole configuration for one wrong word of a format, and a format that suits HTTP for a TCP listener.
So only what every HAProxy since 2.6 takes is let through, and what only HTTP knows becomes `-` where it is not spoken.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

LENGTH_MAX = 2048
DEFAULT = "{{ project_id }} {{ lb_id }} %f %ci %cp %t %{+Q}r %ST %B %U %[ssl_c_verify] %{+Q}[ssl_c_s_dn] %b %s %Tt %tsc"
"""Octavia's fields in its order; `%f` is the listener, `%b` pool and listener, `%s` the member."""
PLACES = ("project_id", "lb_id", "listener_id")
ANYWHERE = frozenset({
    "B", "H", "ID", "T", "Tc", "Td", "Th", "Tl", "Ts", "Tt", "Tu", "Tw", "U", "ac", "b", "bc", "bi",
    "bp", "bq", "ci", "cp", "f", "fc", "fi", "fp", "ft", "lc", "ms", "o", "pid", "rc", "rt", "s", "sc", "si",
    "sp", "sq", "sslc", "sslv", "t", "ts", "tsc",
})  # fmt: skip
HTTP_ONLY = frozenset({
    "CC", "CS", "HM", "HP", "HPO", "HQ", "HU", "HV", "ST", "TR", "Ta", "Ti", "Tq", "Tr", "hr", "hrl", "hs", "hsl",
    "r", "tr", "trg", "trl",
})  # fmt: skip
FETCHES = frozenset({
    "src", "src_port", "dst", "dst_port", "fc_rtt", "fe_name", "ssl_fc", "ssl_fc_protocol", "ssl_fc_cipher",
    "ssl_fc_sni", "ssl_c_used", "ssl_c_verify", "ssl_c_s_dn", "ssl_c_i_dn",
})  # fmt: skip
FETCHES_WITH_FIELD = frozenset({"ssl_c_s_dn", "ssl_c_i_dn"})
SAID_BY_CLIENTS = frozenset({"ssl_c_s_dn", "ssl_c_i_dn", "ssl_fc_sni"})
"""What HAProxy would log as a client says it, so that a name with a line break in it could pretend to be a line."""
CLEANED = r",regsub(\\p{Cc}|\\x22,?,g)]"
"""Control characters and quotes become question marks."""
HTTP_FETCHES = frozenset({"capture.req.method", "capture.req.uri", "capture.req.ver"})
# A field ends where letters and digits end, so what is filled in must not follow at once.
PIECE = re.compile(
    r"(?P<text>(?:[^%{]|%%|\{(?!\{))+)"
    r"|\{\{ *(?P<place>[a-z_]+) *\}\}"
    r"|%(?P<flags>\{[+-][QXEM](?:,[+-][QXEM])*\})?"
    r"(?:(?P<name>[A-Za-z0-9]++)(?!\{\{)|\[(?P<fetch>[a-z_.]+)(?:\((?P<field>[A-Za-z]{1,32})\))?\])"
)
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Misformatted(ValueError):
    """Not a format that HAProxy would take."""


class Piece(NamedTuple):
    """`text` as HAProxy reads it; a `place` is filled in, an `http` one is `-` where HTTP is not spoken."""

    kind: Literal["text", "place", "any", "http"]
    text: str


def parse(text: str) -> tuple[Piece, ...]:
    """The pieces of a format. Raises Misformatted, saying what is wrong."""
    if not text or len(text) > LENGTH_MAX or CONTROL.search(text):
        raise Misformatted(f"A log format has 1 to {LENGTH_MAX} characters, and no control characters.")
    return tuple(_pieces(text))


def _pieces(text: str) -> Iterator[Piece]:
    at = 0
    while at < len(text):
        found = PIECE.match(text, at)
        if found is None:
            raise Misformatted(f"A log format must not have {text[at : at + 20]!r} at character {at + 1}.")
        yield _piece(found)
        at = found.end()


def _piece(found: re.Match[str]) -> Piece:
    if found["text"]:
        return Piece("text", found[0])
    if found["place"] in PLACES:
        return Piece("place", found["place"])
    name, fetch, field = found["name"], found["fetch"], found["field"]
    if name in ANYWHERE or (fetch in FETCHES and (field is None or fetch in FETCHES_WITH_FIELD)):
        return Piece("any", found[0].removesuffix("]") + CLEANED if fetch in SAID_BY_CLIENTS else found[0])
    if name in HTTP_ONLY or (fetch in HTTP_FETCHES and field is None):
        return Piece("http", found[0])
    raise Misformatted(f"A log format must not have {found[0]!r}.")


def fill(pieces: tuple[Piece, ...], places: Mapping[str, str], *, http: bool) -> str:
    """The log-format string, to be quoted as one word."""
    return "".join(_filled(piece, places, http=http) for piece in pieces)


def _filled(piece: Piece, places: Mapping[str, str], *, http: bool) -> str:
    if piece.kind == "place":
        return places[piece.text].replace("%", "%%")
    return "-" if piece.kind == "http" and not http else piece.text
