# SPDX-License-Identifier: Apache-2.0
"""Secrets that this installation keeps itself, in its own database (`/v1/secrets`, `/v1/containers`)."""

from collections.abc import Mapping
from typing import Self

from caryatid.drivers.setup import Keep, Setup
from caryatid.errors import CaryatidError
from caryatid.model.bundle import Material
from caryatid.model.secret import kept

from .base import UnreadableError
from .container import read


class LocalDriver:
    """Reads what the project keeps here. Of a reference the path counts, whatever host is before it."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        if setup.keep is None:
            raise CaryatidError("This process has no database to read secrets from.")
        return cls(setup.keep)

    def read(self, reference: str, project_id: str) -> Material:
        named = kept(reference)
        if named is None:
            raise UnreadableError("It is no reference of a secret or container: those end with /v1/secrets/ID or so.")

        def container(key: str) -> Mapping[str, str]:
            found = {name: kept(one) for name, one in self._keep.container(key, project_id).items()}
            return {name: one.id for name, one in found.items() if one}

        return read(named, lambda key: self._keep.secret(key, project_id), container)
