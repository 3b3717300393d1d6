# SPDX-License-Identifier: Apache-2.0
"""Another certificate and key in a file that HAProxy has read, at run time.

HAProxy knows each file by its path as the configuration writes it. A transaction (management guide, `set ssl cert`)
changes what is behind it, for all ports and servers that use it; connections that are open go on. What it says
afterwards of the file is compared with what was sent.

Authorities and lists of what is revoked could be exchanged likewise, but HAProxy 2.6 dies of it if it has exchanged a
certificate before (https://github.com/haproxy/haproxy/issues/3165). They come by a reload.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from caryatid.agent import runtime
from caryatid.agent.keys import Keys

STAPLED = ".ocsp"
CHANGES_MAX = 1000
"""For more, a reload is quicker."""
AT_ONCE = 32
"""Changes that are said over one connection: each turn between HAProxy and us takes as long as a change."""
ANSWER_S = 15.0
"""For all of them. A certificate of many ports needs some milliseconds for each."""
SHOWN = re.compile(r"^(?:> )?Filename: ", re.MULTILINE)
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
FINGERPRINT = re.compile(r"^SHA1 FingerPrint: ([0-9A-F]{40})$", re.MULTILINE)


class Change(NamedTuple):
    """Another content for one file, and what is stapled to it."""

    path: Path
    content: str
    staple: str = ""

    @property
    def sayable(self) -> bool:
        """It is a certificate with its key, and short enough."""
        longest = max(map(len, self.commands()))
        return "PRIVATE KEY-----" in self.content and longest < runtime.LINE_BYTES_MAX

    def commands(self) -> list[str]:
        """The transaction, and a look at what has come of it. What is stapled is sent again with the certificate: it
        is lost with another one."""
        parts = [(str(self.path), self.content), *([(f"{self.path}{STAPLED}", self.staple)] if self.staple else [])]
        begun = [f"set ssl cert {path} <<\n{_without_empty_lines(content)}\n" for path, content in parts]
        return [*begun, f"commit ssl cert {self.path}", f"show ssl cert {self.path}"]

    def is_shown_by(self, said: str) -> bool:
        """Whether that is what HAProxy says of the file when it has taken the content."""
        return FINGERPRINT.findall(said) == [_fingerprint(self.content)]


def changes(keys: Keys, before: Mapping[str, str], after: Mapping[str, str]) -> list[Change] | None:
    """From what the names stood for to what they shall stand for; None: a reload has to do it. Raises OSError."""
    names = {name.removesuffix(STAPLED) for name, digest in {*before.items()} ^ {*after.items()}}
    if len(names) > CHANGES_MAX or not all(name in before and name in after for name in names):
        return None
    found = [_change(keys, name, after) for name in sorted(names)]
    return found if all(change.sayable for change in found) else None


async def exchange(socket: Path, wanted: Sequence[Change]) -> bool:
    """Afterwards HAProxy uses these contents and says so; False: not all of them. Raises RuntimeUnavailable."""
    for at in range(0, len(wanted), AT_ONCE):
        batch = wanted[at : at + AT_ONCE]
        commands = [command for change in batch for command in change.commands()]
        said = await runtime.converse(socket, commands, ANSWER_S)
        shown = {text.partition("\n")[0]: text for text in SHOWN.split(said)[1:]}
        wrong = [change for change in batch if not change.is_shown_by(shown.get(str(change.path), ""))]
        if wrong:
            await runtime.converse(socket, [f"abort ssl cert {change.path}" for change in wrong])
            return False
    return True


def _change(keys: Keys, name: str, after: Mapping[str, str]) -> Change:
    staple = after.get(name + STAPLED)
    return Change(keys.directory / name, keys.read(after[name]), keys.read(staple) if staple else "")


def _without_empty_lines(content: str) -> str:
    """An empty line would be the end, and what follows it a command."""
    return "\n".join(line for line in content.splitlines() if line.strip())


def _fingerprint(content: str) -> str:
    """Of the first certificate. SHA-1 is only how HAProxy names it."""
    found = CERTIFICATE.search(content)
    der = base64.b64decode(found[1]) if found else b""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
