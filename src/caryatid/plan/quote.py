# SPDX-License-Identifier: Apache-2.0
r"""The one place where a value becomes HAProxy text.

HAProxy reads a configuration in layers, and a value has to survive each that it passes: words (quotes, backslashes,
`#`, `$`, blanks), then, where the keyword takes one, a log-format string (`%`), or the arguments of a sample fetch
(quotes, parentheses, commas). The words of this module are for those places; nothing else writes foreign text.

In front of HAProxy the agent replaces its own tokens (`@DIR@`, `@RUN@`, …); no accepted value can become one, as `@`
is always written `\x40`.
"""

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SURROGATE = re.compile(r"[\ud800-\udfff]")
PLAIN = re.compile(r"[A-Za-z0-9_.:/=+-]+")
NAME = re.compile(r"[A-Za-z0-9_.:-]+")
ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2


class Unquotable(ValueError):
    """There is no HAProxy text that means exactly this value."""


def word(value: str) -> str:
    """One word that HAProxy reads as exactly `value`. Raises Unquotable for control characters."""
    if PLAIN.fullmatch(value):
        return value
    if CONTROL.search(value):
        raise Unquotable("a value must not contain control characters")
    if SURROGATE.search(value):
        raise Unquotable("a value must be Unicode text")
    return "'" + value.replace("'", "'\\''").replace("@", "'\\x40'") + "'"


def log_format(value: str) -> str:
    """One word whose log-format meaning is exactly `value`."""
    return word(value.replace("%", "%%"))


def fetch(name: str, argument: str) -> str:
    """The sample fetch `name` of a header, cookie or field called `argument`, as one word."""
    if not TOKEN.fullmatch(argument):
        raise Unquotable("the name of a header, cookie or field must be a token")
    return f"{name}({argument})" if NAME.fullmatch(argument) else word(f'{name}("{argument}")')


def name(value: str) -> str:
    """`value` itself, as the name of a proxy, server or ACL, or in a comment. Raises Unquotable if it is not one."""
    if not NAME.fullmatch(value):
        raise Unquotable("a name consists of letters, digits, and . _ : - only")
    return value


def address(value: str) -> str:
    """An IP address."""
    if not ADDRESS.fullmatch(value):
        raise Unquotable("an address must be IPv4 or IPv6")
    return value


def host(value: str) -> str:
    """An IP address, as it is written before a port."""
    return f"[{address(value)}]" if ":" in value else address(value)


def cidr(value: str) -> str:
    """A network, as an address pattern."""
    address, _, length = value.partition("/")
    if not (ADDRESS.fullmatch(address) and length.isascii() and length.isdigit()):
        raise Unquotable("a network must be an address and a prefix length")
    return value
