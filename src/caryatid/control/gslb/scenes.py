# SPDX-License-Identifier: Apache-2.0
"""All that decisions about some gslbs are made from, read at one moment in a few statements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from caryatid.control.door import Door
from caryatid.control.vault import NoMasterKey
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_POOL
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.place import GslbBackend
from caryatid.model.gslb.tree import GslbTree
from caryatid.plan import gslb as plan
from caryatid.store import clock, leases
from caryatid.store.database import Tx
from caryatid.store.gslb import loadbalancers, state, trees, uses, votes
from caryatid.store.gslb.state import State, Status

from . import credentials, watch
from .lifting import lifted
from .told import Told
from .wanted import Said, gslb_of, pools_of, regions_of


@dataclass(frozen=True, slots=True)
class Scene:
    """One gslb."""

    tree: GslbTree
    state: State
    told: Told
    gslb: plan.Gslb
    pools: Mapping[str, plan.Pool]
    memory: plan.Memory

    @property
    def id(self) -> str:
        return self.tree.gslb.id


@dataclass(frozen=True, slots=True)
class Opened:
    """A backend, and what to show to it."""

    backend: GslbBackend
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: str = ""
    """Why it cannot be used."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Some gslbs at one moment."""

    now: float
    """Seconds since the epoch."""
    scenes: Mapping[str, Scene]
    """By gslb; those that are no more are missing."""
    regions: Mapping[str, plan.Region]
    backends: Mapping[str, Opened]
    statuses: Mapping[tuple[str, str], Status]
    """How gslbs, pools and members were: (kind, id)."""
    leaving: frozenset[str]
    """Names that are still being withdrawn for gslbs which were deleted."""
    speakers: Mapping[str, str]
    """Pool → the gslb that says how it and its members stand."""
    guarded: Mapping[str, Status]
    """Members that went without agreeing evidence lately, or were kept from it (`guarding.py`)."""
    members: int
    """How many there are in the whole service."""
    watched: bool
    """Somebody sees to it that we hear of votes that expire."""
    lifted: bool = False
    """An operator has said that members which would go are down."""


NOTHING = Gathered(0.0, {}, {}, {}, {}, frozenset(), {}, {}, 0, watched=False)


def gather(tx: Tx, door: Door, gslb_ids: Sequence[str]) -> Gathered:
    """What there is of these."""
    found = trees.load(tx, gslb_ids)
    states = state.load(tx, gslb_ids)
    members = [member for tree in found for some in tree.members.values() for member in some]
    said = _said(tx, {member.id: member for member in members})
    new = [tree.gslb.fqdn for tree in found if not (tree.gslb.id in states and states[tree.gslb.id].generation)]
    compiled: dict[str, plan.Pool] = {}
    scenes = {
        tree.gslb.id: _scene(tree, states.get(tree.gslb.id) or State(tree.gslb.id), said, compiled) for tree in found
    }
    pools = list(dict.fromkeys(pool_id for tree in found for pool_id in tree.pools))
    return Gathered(
        clock.now(tx),
        scenes,
        regions_of(trees.regions(tx)),
        _backends(tx, door, scenes.values()),
        _statuses(tx, gslb_ids, pools, list(dict.fromkeys(member.id for member in members))),
        frozenset(gslb.fqdn for gslb in trees.namesakes(tx, new) if gslb.deleted),
        uses.speakers(tx, GSLB_POOL.name, pools),
        {status.id: status for status in state.all_of(tx, state.GUARD)},
        trees.count_members(tx),
        leases.held(tx, watch.DUTY),
        lifted(tx),
    )


def _said(tx: Tx, members: Mapping[str, GslbMember]) -> Said:
    return Said(votes.of_members(tx, list(members)), loadbalancers.own_of(tx, list(members.values())))


def _scene(tree: GslbTree, known: State, said: Said, pools: dict[str, plan.Pool]) -> Scene:
    memory = plan.Memory.read(known.memory)
    return Scene(tree, known, Told.read(known.published), gslb_of(tree), pools_of(tree, said, pools), memory)


def _backends(tx: Tx, door: Door, scenes: Iterable[Scene]) -> dict[str, Opened]:
    """Those in which the names are, and those in which they were."""
    named = {scene.tree.backend.id for scene in scenes if scene.tree.backend is not None}
    named |= {entry.backend_id for scene in scenes for entry in scene.told.entries}
    return opened(tx, door, sorted(named))


def opened(tx: Tx, door: Door, ids: Sequence[str]) -> dict[str, Opened]:
    """These backends, as far as they are there."""
    found = cast(dict[str, GslbBackend], trees.some(tx, GSLB_BACKEND, ids))
    return {key: _open(tx, door, backend) for key, backend in found.items()}


def _open(tx: Tx, door: Door, backend: GslbBackend) -> Opened:
    try:
        return Opened(backend, credentials.of(tx, door, backend.id))
    except NoMasterKey as error:
        return Opened(backend, problem=str(error))


def _statuses(
    tx: Tx, gslbs: Sequence[str], pools: Sequence[str], members: Sequence[str]
) -> dict[tuple[str, str], Status]:
    known = [(GSLB.name, gslbs), (GSLB_POOL.name, pools), (GSLB_MEMBER.name, members)]
    return {(kind, key): status for kind, ids in known for key, status in state.statuses(tx, kind, ids).items()}
