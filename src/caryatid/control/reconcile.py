# SPDX-License-Identifier: Apache-2.0
"""A load balancer, made what it shall be: root → Done | Again | Failed.

Everything is read afresh; nothing is remembered from an earlier attempt. It is safe to be stopped anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

from caryatid import log
from caryatid.drivers.amphora.base import AmphoraDriverError, OvertakenError, ProvisioningErrors
from caryatid.drivers.compute.base import ComputeError
from caryatid.drivers.network.base import NetworkError
from caryatid.errors import Busy, LeaseLost
from caryatid.model import AMPHORA, HOST, PORT
from caryatid.model.amphora import Amphora, Placed
from caryatid.model.consequences import replace
from caryatid.model.host import Host
from caryatid.model.network import Port
from caryatid.model.tree import Tree
from caryatid.plan.placement import AmphoraView, HostView, NoCapacity, place
from caryatid.plan.steps import LEAVING, steps
from caryatid.store import hosts as host_store
from caryatid.store import jobs, rows, work
from caryatid.store import tree as trees
from caryatid.store.claim import Again, Claim, Done, Failed, Outcome
from caryatid.store.database import Tx

from . import flow, references
from .attempt import Attempt
from .door import Door
from .perform import NotYetError, Performer
from .receipt import moment

OVERTAKEN_S = 0.2
REFUSALS_MAX = 50
"""Objects set aside in one attempt before the configuration as a whole is held to be at fault."""


@dataclass(frozen=True)
class Scene:
    """What an attempt has before it."""

    tree: Tree
    placed: Mapping[str, Placed]
    wanting: str = ""
    """What could not be had: a sentence, or nothing."""


def attend(door: Door, attempt: Attempt) -> Outcome:
    """The root that `attempt` has claimed is reconciled, and what came of it is settled. Raises LeaseLost."""
    outcome = _reconciled(door, attempt)
    attempt.write(door.database)
    with door.database.transaction() as tx:
        finish(tx, attempt, outcome)
        work.settle(tx, attempt.claim, outcome, provisioning_deadline_s=door.settings.provisioning_deadline_s)
        if attempt.overtaken:  # and yet nobody has taken the lease: the next claim shall be believed
            work.raise_fence(tx, attempt.claim.root_id, attempt.overtaken)
    return outcome


def _reconciled(door: Door, attempt: Attempt) -> Outcome:
    """What came of the attempt. A fault of our own is tried again like one of the world's."""
    try:
        return reconcile(door, attempt)
    except (LeaseLost, Busy):
        raise
    except Exception as error:  # noqa: BLE001  whatever it was, the work is given back
        log.get().exception("attempt failed", root=attempt.claim.root_id)
        attempt.say(f"internal error: {type(error).__name__}")
        return Again("An internal error; see the worker's log.", attempt.generation)


def reconcile(door: Door, attempt: Attempt) -> Outcome:  # noqa: PLR0911  one for each way it can end
    """One attempt at the root that `attempt` has claimed."""
    refused: dict[str, str] = {}
    for _ in range(REFUSALS_MAX):
        scene = _look(door, attempt, refused)
        if scene is None:
            return Done(attempt.generation)
        attempt.generation = scene.tree.generation
        try:
            _act(door, attempt, scene)
        except ProvisioningErrors as error:
            attempt.say(f"refused: {error}")
            culprits = {key: why for key, why in error.culprits.items() if key not in refused}
            if not culprits:
                return Failed(str(error), scene.tree.generation)
            refused |= culprits
        except OvertakenError as error:
            attempt.say(str(error))
            attempt.overtaken = error.fence
            return Again(str(error), scene.tree.generation, after_s=OVERTAKEN_S)
        except NotYetError as error:
            return Again(str(error), scene.tree.generation, after_s=error.after_s)
        except (AmphoraDriverError, ComputeError, NetworkError) as error:
            attempt.say(str(error))
            return Again(str(error), scene.tree.generation)
        except NotImplementedError as error:
            return Failed(f"The driver cannot do this: {error}", scene.tree.generation)
        else:
            return _outcome(scene, refused)
    return Failed("Too many objects were refused.", attempt.generation)


def finish(tx: Tx, attempt: Attempt, outcome: Outcome) -> None:
    """What goes with the outcome, in the transaction that settles it: a deleted load balancer frees its ports."""
    root = rows.lock_root(tx, attempt.claim.root_id)
    if isinstance(outcome, Done) and root is not None and root.deleted_generation is not None:
        release(tx, attempt.claim.root_id)


def release(tx: Tx, root_id: str) -> None:
    """The ports that came with the load balancer are gone, a user's ports free; unless a host still has to remove
    an amphora of it, when they are kept until it has."""
    if any(stone.loadbalancer_id == root_id for stone in host_store.tombstones(tx)):
        return
    for document in rows.find(tx, PORT, device_id=root_id):
        port = cast(Port, PORT.load(document))
        if port.device_owner == references.MADE:
            rows.delete(tx, PORT, [port.id])
        else:
            rows.change(tx, PORT, replace(port, device_id="", device_owner=""), at=moment())


def _outcome(scene: Scene, refused: Mapping[str, str]) -> Outcome:
    if scene.wanting:
        return Again(scene.wanting, scene.tree.generation)
    return Done(scene.tree.generation, culprits=refused)


def _look(door: Door, attempt: Attempt, refused: Mapping[str, str]) -> Scene | None:
    """The tree, and the amphorae it shall have: rows for those that are wanting, written before anything outside
    is made for them. None: the root is gone."""
    with door.database.transaction() as tx:
        _fence(tx, attempt.claim)
        tree = trees.load_good(tx, attempt.claim.root_id, refused=refused)
        if tree is None:
            return None
        if not attempt.generation:
            jobs.begin_attempt(tx, attempt.claim, tree.generation)
        amphorae = _amphorae(tx, tree.loadbalancer.id)
        hosts = {host.id: host for host in (cast(Host, HOST.load(d)) for d in rows.find(tx, HOST))}
        if tree.deleted:
            amphorae, wanting = [_leave(tx, amphora) for amphora in amphorae], ""
        else:
            amphorae, wanting = _place(tx, door, tree, amphorae, hosts)
        placed = {a.id: Placed(a, hosts.get(a.compute_id or "")) for a in amphorae}
        return Scene(tree, placed, wanting)


def _act(door: Door, attempt: Attempt, scene: Scene) -> None:
    provider = door.provider(scene.tree.loadbalancer.provider)
    todo = steps([placed.amphora for placed in scene.placed.values()], deleted=scene.tree.deleted)
    flow.run(todo, Performer(door, provider, attempt, scene.tree, scene.placed), attempt.say)


def _amphorae(tx: Tx, root_id: str) -> list[Amphora]:
    return [cast(Amphora, AMPHORA.load(document)) for document in rows.find(tx, AMPHORA, loadbalancer_id=root_id)]


def _place(
    tx: Tx, door: Door, tree: Tree, amphorae: list[Amphora], hosts: Mapping[str, Host]
) -> tuple[list[Amphora], str]:
    """The amphorae, with rows for those that are wanting; and what could not be had."""
    topology = tree.flavor.get("loadbalancer_topology", "SINGLE")
    settled = [a for a in amphorae if a.status not in LEAVING]
    views = [AmphoraView(a.id, a.compute_id, a.role, a.status) for a in settled]
    placement = place(topology, _host_views(tx, door, hosts), views)
    if isinstance(placement, NoCapacity):
        return amphorae, placement.reason
    surplus = {a.id for a in settled if a.id in placement.remove}
    kept = [_leave(tx, a) if a.id in surplus else a for a in amphorae]
    at = moment()
    fresh = [
        Amphora(
            id=str(uuid4()),
            created_at=at,
            updated_at=at,
            loadbalancer_id=tree.loadbalancer.id,
            compute_id=host_id,
            role=role,
        )
        for host_id, role in placement.build
    ]
    rows.insert(tx, AMPHORA, fresh)
    return [*kept, *fresh], ""


def _host_views(tx: Tx, door: Door, hosts: Mapping[str, Host]) -> list[HostView]:
    """The hosts that may carry amphorae. Where the compute driver makes machines, there is always room for a pair."""
    if door.settings.compute_driver != "hosts":
        return [HostView(name, enabled=True, capacity=1 << 30, used=0, labels={}) for name in ("made-1", "made-2")]
    used = rows.tally(tx, AMPHORA, "compute_id")
    return [
        HostView(host.id, enabled=host.enabled, capacity=host.capacity, used=used.get(host.id, 0), labels=host.labels)
        for host in hosts.values()
    ]


def _leave(tx: Tx, amphora: Amphora) -> Amphora:
    if amphora.status in LEAVING:
        return amphora
    at = moment()
    leaving = replace(amphora, status="PENDING_DELETE", updated_at=at)
    rows.change(tx, AMPHORA, leaving, at=at)
    return leaving


def _fence(tx: Tx, claim: Claim) -> None:
    if not work.still_mine(tx, claim):
        raise LeaseLost(f"Another worker has load balancer {claim.root_id} now.")
