# SPDX-License-Identifier: Apache-2.0
"""Types that JSON has no word for, and the spellings that the v2 wire forgives (facts: octavia.md §2.3, §2.18)."""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import pcre2
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
CLOCK_TEXT = 26  # 2026-11-20T19:05:25.123456
NUMBER_DIGITS_MAX = 20
REGEX_LENGTH_MAX = 255


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"Value not an unambiguous boolean: {value}")


def _integer(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= NUMBER_DIGITS_MAX and re.fullmatch(r"[+-]?[0-9]+", value.strip()):
        return int(value)
    return value


def _uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("Value should be UUID format") from None


def _address(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError("Value should be IPv4 or IPv6 format") from None
    if getattr(address, "scope_id", None):
        raise ValueError("Value should be IPv4 or IPv6 format")
    return str(address)


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError("Value should be IPv4 or IPv6 CIDR format") from None


def http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x20\x7f]", value):
        raise ValueError("Value must be a valid URL string")
    return value


def _url_path(value: str) -> str:
    parts = urlsplit(value) if value.startswith("/") and not value.startswith("//") else None
    if parts is None or parts.scheme or parts.netloc or re.search(r"[\s\x00-\x20\x7f]", value):
        raise ValueError("Value must be a valid URL Path string")
    return value


def _one_line(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("Value must not contain control characters")
    return value


def regex_problem(pattern: str) -> str | None:
    """Why HAProxy would not take `pattern` (None: it will). HAProxy compiles with PCRE2, so we ask PCRE2."""
    if len(pattern) > REGEX_LENGTH_MAX:
        return f"regular expressions are limited to {REGEX_LENGTH_MAX} characters"
    try:
        pcre2.compile(pattern)
    except pcre2.LibraryError as error:
        return str(error)
    return None


Bool = Annotated[bool, BeforeValidator(_boolean), WithJsonSchema({"type": "boolean"})]
Int = Annotated[int, BeforeValidator(_integer)]
Id = Annotated[str, AfterValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
ProjectId = Annotated[str, Field(min_length=1, max_length=36, pattern=r"^[A-Za-z0-9._-]+$")]
Name = Annotated[str, Field(max_length=255)]
Line = Annotated[str, Field(max_length=255), AfterValidator(_one_line)]
Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "format": "ip"})]
Cidr = Annotated[str, AfterValidator(_cidr), WithJsonSchema({"type": "string", "format": "cidr"})]
Port = Annotated[Int, Field(ge=1, le=65535)]
Url = Annotated[
    str,
    Field(max_length=255),
    AfterValidator(http_url),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": 255}),
]
UrlPath = Annotated[str, Field(max_length=2048), AfterValidator(_url_path)]
HostName = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$",
    ),
]
ContainerRef = Annotated[str, Field(max_length=255), AfterValidator(_one_line)]
Ciphers = Annotated[str, Field(max_length=2048, pattern=r"^[A-Za-z0-9\-+!:@=_.]+$")]
Time = Annotated[str, Field(max_length=CLOCK_TEXT), WithJsonSchema({"type": "string", "format": "date-time"})]
"""UTC, ISO 8601 without a zone, as the v2 wire writes it: `2026-11-20T19:05:25.123456`."""


def _tags(value: list[str]) -> list[str]:
    return sorted(set(value))


Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=64), AfterValidator(_tags)]
"""Short labels of the user's; an unordered set (kept sorted)."""
