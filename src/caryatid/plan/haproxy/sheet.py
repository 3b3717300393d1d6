# SPDX-License-Identifier: Apache-2.0
"""What is written on while a configuration is rendered: its text, its servers, and whose lines come next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from caryatid.model.bundle import Bundle, Purpose
from caryatid.plan import quote


class Unrenderable(ValueError):
    """The object `kind` `id` cannot be written as HAProxy configuration; `reason` says why."""

    def __init__(self, kind: str, key: str, reason: str) -> None:
        super().__init__(f"{kind} {key}: {reason}")
        self.kind = kind
        self.id = key
        self.reason = reason


class Server(NamedTuple):
    """A server line as data: what may be changed at run time, and `options`, the rest of the line."""

    backend: str
    name: str
    address: str
    port: int
    weight: int
    enabled: bool
    options: str


@dataclass(frozen=True)
class Rendered:
    """A whole configuration. Equal `base_hash`: the difference is in servers that the runtime API can change."""

    text: str
    servers: tuple[Server, ...]
    hash: str
    """SHA-256, hexadecimal, of `text` and of what its keys contain."""
    base_hash: str
    """The same of all that only a reload can change."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What `text` names under `@DIR@/`, by name; a name stands for one content."""
    keys: Mapping[str, Bundle] = field(default_factory=dict, repr=False)
    """What `text` names under `@KEYS@/`, by name. A name stands for a reference: the content may change at run time,
    so `base_hash` does not cover it."""


class Sheet:
    """The configuration so far. `about` names the object that the lines after it come from.

    `bundles`: what may be named under `@KEYS@/`, as a tree has it.
    """

    def __init__(self, kind: str, key: str, bundles: Mapping[tuple[str, Purpose], Bundle] | None = None) -> None:
        self.current = "", ""
        self.files: dict[str, str] = {}
        self.keys: dict[str, Bundle] = {}
        self._bundles = bundles or {}
        self._text: list[str] = []
        self._base: list[str] = []
        self._servers: list[Server] = []
        self.about(kind, key)

    def about(self, kind: str, key: str) -> None:
        """Writes the comment by which the agent names the culprit of a refusal."""
        if self.current == (kind, key):
            return
        self.current = kind, key
        self._line(f"# {kind} {quote.name(key)}")

    def key(self, reference: str, purpose: Purpose) -> str:
        """The path where HAProxy finds what `reference` stands for. Raises Unrenderable if that is not there."""
        bundle = self._bundles.get((reference, purpose))
        if bundle is None:
            raise Unrenderable(*self.current, f"what {reference} stands for ({purpose}) has not been read yet")
        name = f"{_digest(f'{purpose} {reference}')[:32]}.pem"
        self.keys[name] = bundle
        return f"@KEYS@/{name}"

    def section(self, header: str, lines: Iterable[str] = ()) -> None:
        self._line(header)
        self.add(lines)

    def add(self, lines: Iterable[str]) -> None:
        """Directives of the current section."""
        for line in lines:
            self._line(f"    {line}")

    def pin(self, fact: str) -> None:
        """What does not stand in the text, but can only be changed by a reload."""
        self._base.append(fact)

    def server(self, server: Server, *, pinned: bool) -> None:
        """One server. `pinned`: the runtime API can change its weight and enablement, but not add or remove it."""
        backend, key, address, port, weight, enabled, options = server
        where = f"{quote.host(address)}:{port:d}"
        rest = f" {options}" if options else ""
        end = "" if enabled else " disabled"
        self._text.append(f"# member {quote.name(key)}\n    server {key} {where} weight {weight:d}{rest}{end}")
        self._servers.append(server)
        if pinned:
            self._base.append(f"{backend}/{key} {where}{rest}")

    def rendered(self) -> Rendered:
        text, base = "\n".join([*self._text, ""]), "\n".join([*self._base, ""])
        contents = "".join(f"{name} {self.keys[name].digest} {self.keys[name].staple}\n" for name in sorted(self.keys))
        return Rendered(text, tuple(self._servers), _digest(text + contents), _digest(base), self.files, self.keys)

    def _line(self, line: str) -> None:
        self._text.append(line)
        self._base.append(line)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
