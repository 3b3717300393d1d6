# SPDX-License-Identifier: Apache-2.0
"""Checkers, for operators: one that is not to be believed any more is refused at once, by its certificate's id."""

from typing import Any, Final

from caryatid.control.door import Door
from caryatid.control.receipt import Accepted, Wish, accepted, rule
from caryatid.errors import Conflict, NotFound
from caryatid.model import GSLB_CHECKER
from caryatid.model.policy import Caller, require
from caryatid.store import wake
from caryatid.store.database import Tx
from caryatid.store.gslb import enrolled, shares, votes
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.store.gslb.trials import ASKED

from .waking import wake_users

REVOKED: Final = "revoked"
"""Channel: who waits at the door for checkers looks whether it is still let in."""


def revoke(door: Door, caller: Caller, checker_id: str) -> Accepted:
    """The checker's certificate is worth nothing. The checks that it made are free for others of its region, and what
    it said of them counts no more; what it reported of load balancers (it has no name in that) expires within seconds.
    Once more changes nothing. Raises NotFound."""
    require(caller, rule(GSLB_CHECKER, "put_revoke"), None)
    with door.database.transaction() as tx:
        known = _known(tx, checker_id)
        held = shares.lock(tx, known.region_id)
        processes = shares.seated_as(tx, checker_id)
        fences = {share.number: share.fence for share in held if share.checker in processes}
        members = votes.forget(tx, known.region_id, fences)
        members += votes.forget_checkers(tx, known.region_id, processes)
        shares.give_back(tx, known.region_id, fences)
        for process in processes:
            shares.unseat(tx, known.region_id, process)
        enrolled.revoke(tx, checker_id)
        wake_users(tx, members)
        for channel in (REVOKED, ASKED):
            wake.notify(tx, channel)
        return accepted(tx, caller, _wish("revoke", known), enrolled.shown(tx, checker_id))


def delete(door: Door, caller: Caller, checker_id: str) -> Accepted:
    """The checker, which was revoked, is not listed any more; it is refused all the same. Raises NotFound, Conflict."""
    require(caller, rule(GSLB_CHECKER, "delete"), None)
    with door.database.transaction() as tx:
        known = _known(tx, checker_id)
        if not known.revoked:
            remedy = f"`caryatid gslb-checker revoke {checker_id}` refuses it."
            raise Conflict(f"{GSLB_CHECKER.title} {known.name} is not revoked: {remedy}")
        enrolled.remove(tx, checker_id)
        return accepted(tx, caller, _wish("delete", known))


def _known(tx: Tx, checker_id: str) -> Enrolled:
    known = enrolled.get(tx, checker_id)
    if known is None:
        raise NotFound(GSLB_CHECKER.title, checker_id)
    return known


def _wish(action: str, known: Enrolled) -> Wish:
    detail: dict[str, Any] = {"name": known.name, "region_id": known.region_id}
    return Wish(action, GSLB_CHECKER.name, known.id, None, None, detail=detail)
