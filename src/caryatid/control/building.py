# SPDX-License-Identifier: Apache-2.0
"""Whose machine is built next: no more at a time than the compute driver shall have to do with."""

from collections.abc import Sequence

from caryatid.model import AMPHORA
from caryatid.model.amphora import Amphora
from caryatid.model.consequences import replace
from caryatid.store import builds, hosts, rows
from caryatid.store.database import Tx

from .receipt import moment
from .verdicts import PRIORITY

TURN_S = 5.0
"""Seconds after which whoever waits asks again."""
RESERVE = 0.2
"""Of `builds_at_once`, kept beyond it for what replaces the lost."""


def admit(tx: Tx, amphorae: Sequence[Amphora], *, at_once: int, priority: int) -> list[Amphora]:
    """The same amphorae; those whose turn it is are BOOTING, and may be built. No turn has who is less urgent than
    others that wait."""
    new = [amphora for amphora in amphorae if amphora.status == "PENDING_CREATE"]
    if not new:
        return list(amphorae)
    hosts.lock(tx)  # nobody else counts now
    most = at_once + (max(1, round(at_once * RESERVE)) if priority >= PRIORITY else 0)
    free = most - builds.under_way(tx) - builds.waiting(tx, above=priority, within_s=TURN_S)
    at = moment()
    admitted = {one.id: replace(one, status="BOOTING", updated_at=at) for one in new[: max(0, free)]}
    for one in admitted.values():
        rows.change(tx, AMPHORA, one, at=at)
    return [admitted.get(one.id, one) for one in amphorae]
