# SPDX-License-Identifier: Apache-2.0
"""A step, done: which driver is called, and what of it is written down. Everything here may happen twice."""

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from caryatid.drivers.amphora.base import (
    AmphoraDriverError,
    NotFoundError,
    OvertakenError,
    ProvisioningErrors,
    TimeOutException,
    UnavailableException,
)
from caryatid.drivers.compute.base import Built, ComputeError, own_hosts
from caryatid.errors import LeaseLost
from caryatid.model import AMPHORA
from caryatid.model.amphora import Amphora, Placed, Stamp
from caryatid.model.consequences import replace
from caryatid.model.event import WORKER
from caryatid.model.tree import Tree
from caryatid.plan.steps import Build, Clear, Configure, Destroy, Plug, Step, Unplug
from caryatid.store import events, hosts, observations, rows, work
from caryatid.store.hosts import Tombstone

from .attempt import Attempt
from .building import TURN_S
from .door import Door, Provider
from .legs import release_own
from .receipt import moment

AWAY = (UnavailableException, TimeOutException)
"""It could not be reached, as opposed to refusing."""
STANDBY_S = 1.0
"""Seconds that a standby is waited for, once the others have what they need."""


class NotYetError(Exception):
    """What was asked for is on its way; to be looked at again after `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass
class Performer:
    """Performs the steps of one attempt."""

    door: Door
    provider: Provider
    attempt: Attempt
    tree: Tree
    placed: Mapping[str, Placed]
    roles: Mapping[str, str] = field(default_factory=dict)
    """Amphora → what VRRP was last seen to make of it."""
    lost: Collection[str] = ()
    """Amphorae that are not waited for: they, their machines or their hosts, are known to be dead."""
    built: dict[str, Built] = field(default_factory=dict)
    """What the compute driver said of the amphorae built in this attempt."""
    asked: set[str] = field(default_factory=set)
    """Amphorae whose machines the compute driver has been asked for in this attempt."""
    behind: list[str] = field(default_factory=list)
    """Standbys that do not have the tree yet."""

    def __call__(self, step: Step) -> None:
        match step:
            case Build(amphora_id):
                self._build(self.placed[amphora_id])
            case Plug(amphora_id):
                self._plug(self.placed[amphora_id])
            case Configure(amphora_ids):
                self._configure([self.placed[key] for key in amphora_ids])
            case Clear(amphora_id):
                self._clear(self.placed[amphora_id])
            case Unplug(amphora_id):
                self.provider.network.remove_vips(self.placed[amphora_id], self.tree.vips, self.stamp)
            case Destroy(amphora_id):
                self._destroy(self.placed[amphora_id])

    def ask_for_others(self, todo: Sequence[Step]) -> None:
        """The machines of all that are to be built have been asked for, though one of them is not there yet."""
        for step in todo:
            if isinstance(step, Build) and step.amphora_id not in self.asked:
                with suppress(NotYetError, ComputeError):
                    self._build(self.placed[step.amphora_id])

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.attempt.claim.fence, self.tree.generation)

    def _build(self, placed: Placed) -> None:
        made = self.door.makes_machines
        self.asked.add(placed.id)
        if made and placed.amphora.status == "PENDING_CREATE":
            at_once = self.door.settings.builds_at_once
            why = f"{at_once} machines (builds_at_once) are being built, or go first"
            raise NotYetError(f"amphora {placed.id} waits for its turn: {why}", TURN_S)
        try:
            built = self.provider.compute.build(placed)
        except ComputeError:
            if made:  # others may be built meanwhile
                self._write(placed, status="PENDING_CREATE")
            raise
        if built.state == "building":
            words = f": {built.words}" if built.words else ""
            raise NotYetError(f"amphora {placed.id} is being built{words}", built.again_s)
        for line in built.said:
            self.attempt.say(f"amphora {placed.id}: {line}")
        self.provider.amphora.finalize_amphora(placed)
        self.built[placed.id] = built

    def _plug(self, placed: Placed) -> None:
        """The VIPs are there, and so the amphora has what it needs: only now it counts as allocated."""
        self.provider.network.ensure_vips(placed, self.tree.vips, self.stamp)
        self.provider.amphora.post_network_plug(placed)
        self.provider.amphora.post_vip_plug(self.tree.loadbalancer)
        first = self.tree.vips[0] if self.tree.vips else None
        self._write(
            placed,
            status="ALLOCATED",
            lb_network_ip=self.built[placed.id].address if placed.id in self.built else placed.amphora.lb_network_ip,
            ha_ip=first.ip_address if first else None,
            ha_port_id=first.port_id if first else None,
            vrrp_ip=placed.amphora.vrrp_ip or (first.ip_address if first else None),
        )

    def _configure(self, targets: list[Placed]) -> None:
        """Each amphora has the tree. A standby that cannot be reached neither delays nor prevents it; it is noted in
        `behind`, and tried again later."""
        if len(targets) == 1:
            self._update(targets[0])
            return
        pool = ThreadPoolExecutor(len(targets))
        try:
            pushes = {pool.submit(copy_context().run, self._update, target): target for target in targets}
            self._await(pushes)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for push, target in pushes.items():
            error = push.exception() if push.done() else TimeOutException(f"amphora {target.id} did not answer in time")
            if error is not None and not (self._can_wait(target) and isinstance(error, AWAY)):
                raise error
            if error is not None:
                self.attempt.say(f"standby amphora {target.id} is behind: {error}")
                self.behind.append(target.id)

    def _await(self, pushes: Mapping[Future[None], Placed]) -> None:
        """Whatever has to be reached has answered; what need not has had a moment more."""
        needed = [push for push, target in pushes.items() if not self._can_wait(target)]
        wait(needed, timeout=self.door.settings.agent_timeout_s * 2)
        wait(pushes, timeout=STANDBY_S)

    def _can_wait(self, target: Placed) -> bool:
        """It was configured before, and the other of the pair is known to have the VIPs."""
        masters = {key for key, role in self.roles.items() if role == "MASTER"}
        return target.amphora.status == "ALLOCATED" and bool(masters - {target.id}) and target.id not in masters

    def _update(self, target: Placed) -> None:
        said = self.provider.amphora.update_load_balancer(target, self.tree, self.stamp)
        if said:
            self.attempt.say(f"amphora {target.id}: {said}")

    def _clear(self, placed: Placed) -> None:
        """Nothing is left on the amphora; or, if its host is lost or revoked, or has not answered for long enough, it
        is written down that it may still be there. One whose own machine never spoke has had nothing."""
        own = own_hosts(self.door.compute)
        if own and placed.amphora.compute_id in (None, placed.id):
            return
        if self.door.compute.has_agents and placed.id in self.lost:
            self._bury(placed, "its host is lost or revoked" if placed.host is None else "its machine runs no more")
            return
        try:
            self.provider.amphora.delete_load_balancer(placed, self.tree, self.stamp)
        except NotFoundError:
            self.attempt.say(f"amphora {placed.id} is gone already")
        except (ProvisioningErrors, OvertakenError):
            raise
        except AmphoraDriverError as error:
            if not own and _age_s(placed.amphora) < self.door.settings.delete_deadline_s:
                raise  # a machine of its own goes, whether or not it answers
            self._bury(placed, str(error))

    def _bury(self, placed: Placed, why: str) -> None:
        what = "its addresses are kept until its machine is gone"
        then = what if self.door.makes_machines else "its host removes it when it returns"
        self.attempt.say(f"amphora {placed.id} cannot be reached ({why}); {then}")
        root_id, host_id = self.tree.loadbalancer.id, placed.amphora.compute_id or ""
        with self.door.database.transaction() as tx:
            self._fence(tx)
            hosts.bury(tx, Tombstone(placed.id, host_id, root_id, self.stamp.generation, self.stamp.fence))

    def _destroy(self, placed: Placed) -> None:
        self.provider.compute.delete(placed)
        with self.door.database.transaction() as tx:
            self._fence(tx)
            rows.delete(tx, AMPHORA, [placed.id])
            root_id, detail = self.tree.loadbalancer.id, {"host": placed.amphora.compute_id}
            events.append(
                tx, "removed", AMPHORA.name, placed.id, by=WORKER, project_id=None, root_id=root_id, detail=detail
            )
            if not hosts.is_buried(tx, placed.id):
                release_own(tx, placed.id)
            observations.amphora_gone(tx, placed.id)

    def _write(self, placed: Placed, **values: Any) -> None:
        at = moment()
        amphora = replace(placed.amphora, updated_at=at, **values)
        with self.door.database.transaction() as tx:
            self._fence(tx)
            rows.change(tx, AMPHORA, amphora, at=at)

    def _fence(self, tx: Any) -> None:
        if not work.still_mine(tx, self.attempt.claim):
            raise LeaseLost(f"Another worker has load balancer {self.attempt.claim.root_id} now.")


def _age_s(amphora: Amphora) -> float:
    """Seconds since the amphora was put on its way out."""
    since = datetime.fromisoformat(f"{amphora.updated_at or amphora.created_at}+00:00")
    return time.time() - since.timestamp()
