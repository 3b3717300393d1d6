# SPDX-License-Identifier: Apache-2.0
"""Rulesets for nftables: each is one transaction, in effect as a whole or not at all."""

import subprocess

from caryatid.agent.namespace import Namespace, NamespaceError, find

DEADLINE_S = 10.0


def load(ruleset: str, space: Namespace | None = None) -> None:
    """Put it into effect in a namespace; None: in our own. Raises NamespaceError; then everything is as before."""
    prefix = space.spawn_prefix() if space else []
    command = [*prefix, find("nft") or "nft", "-f", "-"]
    try:
        ended = subprocess.run(command, input=ruleset.encode(), capture_output=True, check=False, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"nft (package nftables): {error}") from error
    if ended.returncode:
        raise NamespaceError(f"nft: {ended.stderr.decode(errors='replace').strip()}")
