# SPDX-License-Identifier: Apache-2.0
"""The fully populated create: a load balancer with all below it in one body (facts: octavia.md §2.13).

What may hang where is read off the models: `Back(nested=…)` and `Ref(nested=…)`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from caryatid.api.call import Call, accepted
from caryatid.control import writes
from caryatid.control.door import Door
from caryatid.control.receipt import Accepted, Wanted
from caryatid.errors import Fault, Refused
from caryatid.model import (
    BY_NAME,
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    RATELIMITPOLICY,
    RATELIMITRULE,
)
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller
from caryatid.store import rows
from caryatid.store.database import Tx
from caryatid.store.filters import Query

from .compat import create_body, shower, unwrap

BELOW = (LISTENER, POOL, MEMBER, HEALTHMONITOR, L7POLICY, L7RULE, RATELIMITPOLICY, RATELIMITRULE)
ABOVE = frozenset({"loadbalancer_id", "listener_id", "pool_id", "l7policy_id", "ratelimitpolicy_id"})
"""What a nested resource hangs on: its place says it, not its body."""
REFERENCE = {"name"}
"""A pool that says no more than this is one that is defined elsewhere in the body."""
CHECK_ONLY = {"project_id": "default", "created_at": "", "updated_at": ""}


@dataclass(frozen=True)
class Nest:
    """A place in a body where another resource may stand."""

    key: str
    kind: Kind
    via: str
    """The attribute that joins the two: of the nested one, or, if `referred`, of the one around it."""
    many: bool
    referred: bool


@dataclass
class Node:
    """A resource found in the body."""

    kind: Kind
    body: dict[str, Any]
    id: str = ""
    nodes: dict[str, "Node"] = field(default_factory=dict)
    """References to other nodes, by attribute."""
    pools: dict[str, str] = field(default_factory=dict)
    """References to pools by name, by attribute."""
    given: dict[str, Any] = field(default_factory=dict)


def nests(kind: Kind) -> Iterator[Nest]:
    """Where other resources may stand in the body of `kind`."""
    for a in kind:
        if a.back and a.back.nested:
            yield Nest(a.back.nested, BY_NAME[a.back.kind], a.back.via, many=not a.back.one, referred=False)
        if a.ref and a.ref.nested:
            yield Nest(a.ref.nested, BY_NAME[a.ref.kind], a.name, many=False, referred=True)


NESTS = {kind.name: tuple(nests(kind)) for kind in (LOADBALANCER, *BELOW)}


def flatten(body: Any, objects_max: int) -> tuple[str, Any, list[Wanted]]:
    """Id and own body of the load balancer that `body` asks for, and all that it nests, references resolved.

    Ids ascend in the order of the body, so that lists keep it. Raises Refused with every fault, those within the
    resources included.
    """
    if not isinstance(body, dict):
        return str(uuid4()), body, []
    reader = _Reader(objects_max)
    root = reader.read(LOADBALANCER, body)
    reader.name_pools()
    reader.place_policies()
    for node, key in zip(reader.nodes, sorted(str(uuid4()) for _ in reader.nodes), strict=True):
        node.id = key
    if reader.faults:
        raise Refused([*reader.faults, *_own_faults(reader)])
    return root.id, root.body, [_wanted(node) for node in reader.nodes[1:]]


class _Reader:
    """Walks a body once. `nodes` are in its order, the load balancer first."""

    def __init__(self, objects_max: int) -> None:
        self.objects_max = objects_max
        self.nodes: list[Node] = []
        self.faults: list[Fault] = []
        self.incomplete: set[tuple[str, str]] = set()
        """(name, attribute) of what pools lack."""

    def read(self, kind: Kind, body: dict[str, Any]) -> Node:
        """The node of `body`, which is the root's or nested, and those below it."""
        if len(self.nodes) > self.objects_max:
            why = f"One request creates at most {self.objects_max} objects here."
            raise Refused([Fault(f"Validation failure: {why}", "listeners")])
        inner = {nest.key for nest in NESTS[kind.name]}
        own = {name: value for name, value in body.items() if name not in inner}
        try:
            own = create_body(kind, own)
        except Refused as refused:
            self.faults += refused.faults
        node = Node(kind, own)
        self.nodes.append(node)
        for nest in NESTS[kind.name]:
            for child in self._children(nest, body.get(nest.key)):
                self._hang(node, nest, child)
        return node

    def name_pools(self) -> None:
        """References by name become references; a fault for each name that is missing, or not one pool's."""
        named: dict[str, Node] = {}
        for node in self._of(POOL):
            name = node.body.get("name")
            if not isinstance(name, str) or not name:
                self._fault("Pools must be named when creating a fully populated loadbalancer.")
            elif name in named:
                self._fault(f"Pool names must be unique when creating a fully populated loadbalancer: '{name}' is not.")
            else:
                named[name] = node
                self._incomplete(node, name)
        for node in self.nodes:
            for attribute, name in node.pools.items():
                if name in named:
                    node.nodes[attribute] = named[name]
                else:
                    self._fault(f"Pool '{name}' was referenced but no full definition was found.")

    def place_policies(self) -> None:
        """Policies stand in the order in which they would, had they been created one after the other."""
        for listener in self._of(LISTENER):
            order: list[Node] = []
            for node in self._of(L7POLICY):
                if node.nodes.get("listener_id") is listener:
                    position = node.body.get("position")
                    order.insert(position - 1 if isinstance(position, int) and position > 0 else len(order), node)
            for place, node in enumerate(order, start=1):
                if node.body.get("position") is None or isinstance(node.body["position"], int):
                    node.given["position"] = place

    def _of(self, kind: Kind) -> list[Node]:
        return [node for node in self.nodes if node.kind is kind]

    def _children(self, nest: Nest, value: Any) -> list[dict[str, Any]]:
        if value is None:
            return []
        if nest.many and not isinstance(value, list):
            self._fault(f"Invalid input for field/attribute {nest.key}. Value should be a list", nest.key)
            return []
        found = value if nest.many else [value]
        if not all(isinstance(child, dict) for child in found):
            self._fault(f"Invalid input for field/attribute {nest.key}. Value should be an object", nest.key)
        return [child for child in found if isinstance(child, dict)]

    def _hang(self, node: Node, nest: Nest, child: dict[str, Any]) -> None:
        if nest.referred and node.body.get(nest.via) is not None:
            self._fault(f"Validation failure: {nest.key} and {nest.via} exclude each other.", nest.key)
        if nest.kind is POOL and child.keys() == REFERENCE and isinstance(child["name"], str):
            node.pools[nest.via if nest.referred else f"{nest.key} {child['name']}"] = child["name"]
            return
        self._refuse_above(nest, child)
        below = self.read(nest.kind, child)
        if nest.referred:
            node.nodes[nest.via] = below
        else:
            below.nodes[nest.via] = node
        if "loadbalancer_id" in nest.kind.attributes:
            below.nodes["loadbalancer_id"] = self.nodes[0]

    def _refuse_above(self, nest: Nest, child: dict[str, Any]) -> None:
        for name in child.keys() & ABOVE:
            why = f"Unknown attribute for argument {nest.kind.name}: {name}."
            self._fault(f"{why} Its place in the body says it.", name)

    def _incomplete(self, node: Node, name: str) -> None:
        required = [a.name for a in node.kind.creatable.values() if a.required]
        for attribute in (attribute for attribute in required if node.body.get(attribute) is None):
            self.incomplete.add((name, attribute))
            self._fault(f"Pool definition for '{name}' missing required attribute: {attribute}")

    def _fault(self, message: str, attribute: str = "pools") -> None:
        self.faults.append(Fault(message, attribute))


def _wanted(node: Node) -> Wanted:
    references = {attribute: other.id for attribute, other in node.nodes.items()}
    return Wanted(node.kind, node.id, node.body, {**references, **node.given})


def _own_faults(reader: _Reader) -> Iterator[Fault]:
    """What is wrong within each resource, beside what has been found."""
    for node in reader.nodes:
        wanted = _wanted(node)
        body = {name: value for name, value in node.body.items() if name not in ABOVE or node.kind is LOADBALANCER}
        unresolved = {name: node.id for name in node.pools if " " not in name}
        given = {**CHECK_ONLY, "id": node.id, **unresolved, **wanted.given}
        try:
            node.kind.new(body, given)
        except Refused as refused:
            name = str(node.body.get("name"))
            yield from (fault for fault in refused.faults if (name, fault.attribute) not in reader.incomplete)


SHOW = {
    LISTENER.name: shower(LISTENER, without=("loadbalancers",)),
    POOL.name: shower(POOL, without=("loadbalancers", "healthmonitor_id")),
    HEALTHMONITOR.name: shower(HEALTHMONITOR, without=("pools",)),
    **{kind.name: shower(kind) for kind in (LOADBALANCER, MEMBER, L7POLICY, L7RULE, RATELIMITPOLICY, RATELIMITRULE)},
}


def shown(tx: Tx, document: dict[str, Any], kinds: Sequence[Kind]) -> dict[str, Any]:
    """The load balancer of `document` with all below it, of these kinds, in full."""
    below: dict[str, list[dict[str, Any]]] = {}
    for kind in kinds:
        below[kind.name] = rows.page(tx, kind, Query(filters={"loadbalancer_id": document["id"]}))
    return _full(LOADBALANCER, document, below)


def _full(kind: Kind, document: dict[str, Any], below: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    found: dict[str, Any] = SHOW[kind.name](document)
    for nest in NESTS[kind.name]:
        if nest.referred:
            continue
        children = [
            _full(nest.kind, child, below)
            for child in below.get(nest.kind.name, ())
            if child[nest.via] == document["id"]
        ]
        if nest.many:
            found[nest.key] = children
        elif children:
            found[nest.key] = children[0]
    return found


async def create(call: Call) -> Response:
    """A load balancer, and whatever its body nests."""
    body = unwrap(LOADBALANCER, call.body)
    call.options()
    receipt = await call.act(_create, body)
    return accepted(201, receipt, {LOADBALANCER.wrapper: receipt.document})


def _create(door: Door, caller: Caller, body: Any) -> Accepted:
    loadbalancer_id, own, children = flatten(body, door.settings.nested_objects_max)
    kinds = [kind for kind in BELOW if any(child.kind is kind for child in children)]

    def tell(tx: Tx, document: dict[str, Any]) -> dict[str, Any]:
        return shown(tx, document, kinds) if kinds else SHOW[LOADBALANCER.name](document)

    return writes.create_tree(door, caller, own, children, loadbalancer_id=loadbalancer_id, tell=tell)
