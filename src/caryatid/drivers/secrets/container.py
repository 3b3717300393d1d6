# SPDX-License-Identifier: Apache-2.0
"""What a reference of Barbican's kind stands for: one secret, or those that a container names."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from caryatid.model.bundle import Material
from caryatid.model.secret import PARTS, Kept

from .base import UnreadableError


def read(kept: Kept, secret: Callable[[str], bytes], container: Callable[[str], Mapping[str, str]]) -> Material:
    """`secret`: what the secret of this id is. `container`: ids of the secrets in the container of this id, by name.
    Both, and this, raise SecretsError."""
    if kept.collection == "secrets":
        return Material(payload=secret(kept.id))
    named = container(kept.id)
    if "certificate" not in named:
        raise UnreadableError("The container has no secret called certificate.")

    with ThreadPoolExecutor(len(PARTS), thread_name_prefix="parts") as pool:
        parts = {name: pool.submit(secret, named[name]) for name in PARTS if name in named}
    found = {name: future.result() for name, future in parts.items()}
    return Material(
        certificate=found["certificate"],
        private_key=found.get("private_key", b""),
        passphrase=found.get("private_key_passphrase", b""),
        intermediates=found.get("intermediates", b""),
    )
