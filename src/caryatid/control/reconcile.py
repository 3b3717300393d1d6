# SPDX-License-Identifier: Apache-2.0
"""A load balancer, made what it shall be: root → Done | Again | Failed.

Everything is read afresh; nothing is remembered from an earlier attempt. It is safe to be stopped anywhere.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from caryatid import log
from caryatid.drivers.amphora.base import AmphoraDriverError, OvertakenError, ProvisioningErrors
from caryatid.drivers.compute.base import ComputeError
from caryatid.drivers.network.base import NetworkError
from caryatid.errors import Busy, LeaseLost
from caryatid.model import PORT
from caryatid.model.amphora import Leg, Placed
from caryatid.model.consequences import replace
from caryatid.model.network import Port
from caryatid.model.tree import Tree
from caryatid.plan import placement
from caryatid.plan.steps import LEAVING, Configure, Step, steps
from caryatid.store import attempts, bindings, jobs, rows, work
from caryatid.store import bundles as bundle_store
from caryatid.store import hosts as host_store
from caryatid.store import tree as trees
from caryatid.store.claim import Again, Claim, Done, Failed, Outcome
from caryatid.store.database import Tx

from . import building, bundles, legs, placing, references
from .attempt import Attempt
from .door import Door
from .perform import NotYetError, Performer
from .receipt import moment
from .remedies import INTERNAL, REFUSED, remedy
from .vault import NoMasterKey

OVERTAKEN_S = 0.2
REFUSALS_MAX = 50
"""Objects set aside in one attempt before the configuration as a whole is held to be at fault."""


@dataclass(frozen=True)
class Scene:
    """What an attempt has before it."""

    tree: Tree
    placed: Mapping[str, Placed]
    fleet: placing.Fleet


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
        return Again("An internal error; see the worker's log.", attempt.generation, remedy=INTERNAL)


def reconcile(door: Door, attempt: Attempt) -> Outcome:  # noqa: PLR0911  one for each way it can end
    """One attempt at the root that `attempt` has claimed."""
    refused: dict[str, str] = {}
    for _ in range(REFUSALS_MAX):
        try:
            scene = _look(door, attempt, refused)
            if scene is None:
                return Done(attempt.generation)
            behind = _act(door, attempt, scene)
        except ProvisioningErrors as error:
            attempt.say(f"refused: {error}")
            culprits = {key: why for key, why in error.culprits.items() if key not in refused}
            if not culprits:
                return Failed(str(error), attempt.generation, remedy(error))
            refused |= culprits
        except OvertakenError as error:
            attempt.say(str(error))
            attempt.overtaken = error.fence
            return Again(str(error), attempt.generation, after_s=OVERTAKEN_S)
        except NotYetError as error:
            attempt.say(str(error))
            return Again(str(error), attempt.generation, after_s=error.after_s)
        except (AmphoraDriverError, ComputeError, NetworkError, NoMasterKey, legs.NoAddressError) as error:
            return _not_now(attempt, error)
        except NotImplementedError as error:
            return Failed(f"The driver cannot do this: {error}", attempt.generation, remedy(error))
        else:
            return _outcome(scene, refused, behind)
    return Failed("Too many objects were refused.", attempt.generation)


def _not_now(attempt: Attempt, error: Exception) -> Again | Failed:
    """It could not be done; a compute driver may know that it will not be."""
    attempt.say(str(error))
    if isinstance(error, ComputeError) and error.hopeless:
        return Failed(str(error), attempt.generation, remedy(error))
    return Again(str(error), attempt.generation, remedy=remedy(error))


def finish(tx: Tx, attempt: Attempt, outcome: Outcome) -> None:
    """What goes with the outcome, in the transaction that settles it: a deleted load balancer frees its ports."""
    root = rows.lock_root(tx, attempt.claim.root_id)
    if isinstance(outcome, Done) and root is not None and root.deleted_generation is not None:
        release(tx, attempt.claim.root_id)
        bundle_store.remove_all(tx, attempt.claim.root_id)


def release(tx: Tx, root_id: str) -> None:
    """The ports that came with the load balancer are gone, a user's ports free, and others may listen where it did on
    an address that they share; unless a host still has to remove an amphora of it, when all is kept until it has."""
    if any(stone.loadbalancer_id == root_id for stone in host_store.tombstones(tx)):
        return
    bindings.release(tx, root_id)
    for document in rows.find(tx, PORT, device_id=root_id):
        port = cast(Port, PORT.load(document))
        if port.device_owner == references.MADE:
            rows.delete(tx, PORT, [port.id])
        else:
            rows.change(tx, PORT, replace(port, device_id="", device_owner=""), at=moment())


def _outcome(scene: Scene, refused: Mapping[str, str], behind: Sequence[str]) -> Outcome:
    """`behind`: standbys that do not have the tree yet. Whoever asked for an amphora to move is told if it cannot."""
    fleet = scene.fleet
    if fleet.wanting:
        return Again(fleet.wanting, scene.tree.generation)
    if fleet.held:
        return Again(f"Amphora {fleet.held} is replaced next.", scene.tree.generation, after_s=0.0)
    left = f"Standby amphora {behind[0]} is behind." if behind else ""
    cure = REFUSED if refused and not fleet.stuck else ""
    return Done(scene.tree.generation, culprits={**refused, **fleet.stuck}, remedy=cure, left=left)


def _look(door: Door, attempt: Attempt, refused: Mapping[str, str]) -> Scene | None:
    """The tree, and the amphorae it shall have: rows for those that are wanting, written before anything outside
    is made for them. None: the root is gone."""
    with door.database.transaction() as tx:
        _fence(tx, attempt.claim)
        tree = trees.load_good(tx, attempt.claim.root_id, refused=refused)
        if tree is None:
            return None
        if not attempt.generation:
            attempts.begin(tx, attempt.claim, tree.generation)
            if not attempt.claim.tries:
                jobs.tell_begun(tx, {attempt.claim: tree.generation})
        attempt.generation = tree.generation
        tree = bundles.with_bundles(tx, door, tree)
        shared = () if tree.deleted else legs.legs(tx, tree)
        fleet = placing.gather(tx, tree, shared, door.compute)
        if door.makes_machines and not tree.deleted:
            fleet = _admitted(tx, door, attempt, fleet)
        placed = _placed(tx, tree, shared, fleet)
    for amphora_id, why in fleet.stuck.items():
        attempt.say(f"amphora {amphora_id} stays where it is: {why}")
    return Scene(tree, placed, fleet)


def _admitted(tx: Tx, door: Door, attempt: Attempt, fleet: placing.Fleet) -> placing.Fleet:
    at_once = door.settings.builds_at_once
    found = building.admit(tx, fleet.amphorae, at_once=at_once, priority=attempt.claim.priority)
    return dataclasses.replace(fleet, amphorae=found)


def _placed(tx: Tx, tree: Tree, shared: Sequence[Leg], fleet: placing.Fleet) -> dict[str, Placed]:
    """The amphorae with their hosts, and how they are connected."""
    found = [(legs.connected(tx, tree, amphora, shared), amphora.compute_id) for amphora in fleet.amphorae]
    staying = [amphora for (amphora, _), _ in found if amphora.status not in LEAVING]
    machine = placement.machine(tree.flavor, tree.zone)
    return {
        amphora.id: Placed(
            amphora,
            fleet.hosts.get(host_id or ""),
            own,
            tuple(other for other in staying if other.id != amphora.id),
            machine,
        )
        for (amphora, own), host_id in found
    }


def _act(door: Door, attempt: Attempt, scene: Scene) -> list[str]:
    """Everything is done; returns the standbys that could not be reached."""
    provider = door.provider(scene.tree.loadbalancer.provider)
    todo = steps([placed.amphora for placed in scene.placed.values()], deleted=scene.tree.deleted)
    lost = {key for key, placed in scene.placed.items() if door.compute.has_agents and placed.host is None}
    lost |= scene.fleet.dead
    performer = Performer(door, provider, attempt, scene.tree, scene.placed, scene.fleet.roles, lost)
    attempt.known = attempt.done + len(todo)

    def perform(step: Step) -> None:
        performer(step)
        attempt.done += 1

    from . import flow  # late: TaskFlow takes half a second to load, and what is heard need not wait for it

    try:
        flow.run(todo, perform, attempt.say)
    except (NotYetError, ComputeError):  # a machine takes its time: nobody else waits for it
        performer.ask_for_others(todo)
        if serving := tuple(key for key, placed in scene.placed.items() if placed.amphora.status == "ALLOCATED"):
            flow.run([Configure(serving)], performer, attempt.say)
        raise
    return performer.behind


def _fence(tx: Tx, claim: Claim) -> None:
    if not work.still_mine(tx, claim):
        raise LeaseLost(f"Another worker has load balancer {claim.root_id} now.")
