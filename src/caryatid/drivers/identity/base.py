# SPDX-License-Identifier: Apache-2.0
"""The identity driver interface: who is it that shows this, and what may they do."""

from typing import Protocol

from caryatid.model.policy import Identified, Shown


class IdentityDriver(Protocol):
    """Knows users, their projects and roles. Called by threads, may block; ends within its own timeouts."""

    def identify(self, shown: Shown) -> Identified:
        """Raises errors.Unauthorized for what is not (or no longer) believed, errors.Busy when it cannot be said now.

        The API keeps the answer until `Identified.until`, or until `store.wake` says "access", whichever is first.
        """
