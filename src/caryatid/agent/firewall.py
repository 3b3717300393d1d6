# SPDX-License-Identifier: Apache-2.0
"""Rulesets for nftables: each is one transaction, in effect as a whole or not at all."""

import re
import subprocess

from caryatid.agent.namespace import Namespace, NamespaceError, find

DEADLINE_S = 10.0
OBJECT = re.compile(r"^\s*(chain|map|counter|ct timeout) (\S+) \{", re.MULTILINE)
TABLE = re.compile(r"^flush table (\S+ \S+)$", re.MULTILINE)


def load(ruleset: str, space: Namespace | None = None) -> None:
    """Put it into effect in a namespace; None: in our own. Raises NamespaceError; then everything is as before."""
    _nft(["-f", "-"], space, ruleset)


def replace(ruleset: str, space: Namespace) -> None:
    """The same; of a table that it only flushes nothing else is left than what it names: maps and counters that it does
    name are as they were."""
    stale = []
    if found := TABLE.search(ruleset):
        there = set(OBJECT.findall(_nft(["--terse", "list", "ruleset"], space)))
        stale = [f"delete {kind} {found[1]} {name}" for kind, name in sorted(there - set(OBJECT.findall(ruleset)))]
    load("\n".join([ruleset, *stale, ""]), space)


def _nft(words: list[str], space: Namespace | None, told: str = "") -> str:
    prefix = space.spawn_prefix() if space else []
    command = [*prefix, find("nft") or "nft", *words]
    try:
        ended = subprocess.run(command, input=told.encode(), capture_output=True, check=False, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"nft (package nftables): {error}") from error
    if ended.returncode:
        raise NamespaceError(f"nft: {ended.stderr.decode(errors='replace').strip()}")
    return ended.stdout.decode(errors="replace")
