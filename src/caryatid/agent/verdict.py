# SPDX-License-Identifier: Apache-2.0
"""What HAProxy says against a configuration: the reason in a sentence, and the objects at fault."""

import asyncio
import re
from pathlib import Path

from caryatid.wire.agent import Refusal

CHECK_DEADLINE_S = 20.0
REASON_CHARACTERS_MAX = 1000
CULPRITS_MAX = 50
OBJECT = re.compile(r"^#\s+[\w-]+\s+(?P<id>[\w.-]+)\s*$", re.ASCII)
ALERT = re.compile(r"^\[ALERT\]\s+\(\d+\)\s*:\s*(?:config\s*:\s*)?(?P<said>.*)$")
LINE = re.compile(r"\[?[^\s\[\]]*haproxy\.cfg[^\s\[\]:]*:(?P<line>\d+)\]?")
WORD = re.compile(r"[A-Za-z0-9_-]+")
SUMMARY = re.compile(
    r"Fatal errors found|Error\(s\) found|exit-on-failure|All workers exited|Current worker|\[[^\]]*main\(\)\]"
)
"""Alerts that only say that there were others."""


async def check(haproxy: str, configuration: Path) -> str:
    """Everything `haproxy -c` says against a configuration; empty if it is accepted."""
    return await against(haproxy, "-c", "-f", str(configuration))


async def against(*command: str) -> str:
    """Everything that a program says which checks a configuration and refuses it; empty if it is accepted.

    Raises TimeoutError.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return (said.decode(errors="replace") or "It gave no reason.") if process.returncode else ""


def refusal(said: str, text: str) -> Refusal:
    """Read HAProxy's alerts. A line number names the object whose comment is above it; an id in the words, itself."""
    owners = _owners(text)
    known = {owner for owner in owners if owner}
    reasons: dict[str, None] = {}
    culprits: dict[str, None] = {}
    for line in said.splitlines():
        found = ALERT.match(line.strip())
        if not found or SUMMARY.match(found["said"]):
            continue
        alert = found["said"]
        numbers = [int(match["line"]) for match in LINE.finditer(alert)][:1]
        named = [owners[number - 1] for number in numbers if 0 < number <= len(owners) and owners[number - 1]]
        culprits |= dict.fromkeys(named or [word for word in WORD.findall(alert) if word in known])
        reasons[LINE.sub("", alert).lstrip(" :").removeprefix("parsing").lstrip(" :")] = None
    reason = "; ".join(filter(None, reasons)) or "HAProxy did not accept the configuration and gave no reason."
    return Refusal(reason=reason[:REASON_CHARACTERS_MAX], culprits=list(culprits)[:CULPRITS_MAX])


def _owners(text: str) -> list[str]:
    """For each line, the id in the nearest comment above it."""
    owners = []
    owner = ""
    for line in text.split("\n"):
        if found := OBJECT.match(line.strip()):
            owner = found["id"]
        owners.append(owner)
    return owners
