# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets and ports as Neutron shows them, to read: `openstack loadbalancer create --vip-subnet-id NAME`,
openstacksdk and Terraform look there for what a load balancer is to be on.

They are at `/network/v2.0`, as in a catalog, and at `/v2`, where clients look that know no other address.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call, Pairs, answer
from caryatid.api.conditions import exact
from caryatid.api.networks import Shared
from caryatid.api.octavia.lists import ORDER, PLACE, TAGS, Page, links, parse
from caryatid.api.resources import FIELDS, READING, SHOWING, Documents, list_parameters
from caryatid.api.routing import Body, Handler, Operation, Parameter
from caryatid.control.receipt import rule
from caryatid.model import NETWORK, PORT, SUBNET
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, allowed
from caryatid.store import rows
from caryatid.store.database import Database
from caryatid.store.filters import Query

BASE = "/network"
VERSION = f"{BASE}/v2.0"
LOOKED_UP = "/v2"
TAG = "Network (as Neutron)"
Document = dict[str, Any]
OTHER = frozenset({"fields", *PLACE, *ORDER, *TAGS})
"""Parameters of a list that are no filters."""
RENAMED = {"tenant_id": "project_id", "provider:physical_network": "physical_network"}
FIXED_IPS = "fixed_ips"
COMMON = ("id", "name", "description", "project_id", "tags")
EXTENSIONS = {
    "pagination": "Pagination support",
    "project-id": "project_id field enabled",
    "sorting": "Sorting support",
    "standard-attr-description": "standard-attr-description",
    "standard-attr-tag": "Tag support for resources with standard attribute",
    "standard-attr-timestamp": "Resource timestamps",
}
EMPTY = {
    "security-groups": "security_groups",
    "security-group-rules": "security_group_rules",
    "floatingips": "floatingips",
}
"""What there is none of here, and is asked for all the same."""


@dataclass(frozen=True)
class View:
    """A kind as Neutron shows it."""

    kind: Kind
    show: Callable[[Mapping[str, Any]], Document]
    """Its own attributes, beside those that all have."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What is the same of all."""
    derived: tuple[str, ...] = ()
    """Attributes that lists can be filtered by once they are made."""


def _network(document: Mapping[str, Any]) -> Document:
    return {"shared": document["shared"], "subnets": document["subnets"]}


def _subnet(document: Mapping[str, Any]) -> Document:
    known = ("network_id", "cidr", "gateway_ip")
    network = ip_network(document["cidr"])
    pools = document["allocation_pools"]
    if not pools:
        first, last = network[0], network[-1]
        inner = (network[1], network[-2]) if int(last) - int(first) > 1 else (first, last)
        pools = [{"start": str(inner[0]), "end": str(inner[1])}]
    return {**{name: document[name] for name in known}, "allocation_pools": pools, "ip_version": network.version}


def _port(document: Mapping[str, Any]) -> Document:
    known = ("network_id", "device_id", "device_owner")
    address = {"subnet_id": document["subnet_id"], "ip_address": str(ip_address(document["ip_address"]))}
    status = "ACTIVE" if document["device_id"] else "DOWN"
    return {**{name: document[name] for name in known}, FIXED_IPS: [address], "status": status}


VIEWS = (
    View(
        NETWORK,
        _network,
        {
            "admin_state_up": True,
            "status": "ACTIVE",
            "router:external": False,
            "is_default": False,
            "port_security_enabled": False,
            "availability_zones": [],
            "availability_zone_hints": [],
        },
    ),
    View(
        SUBNET,
        _subnet,
        {
            "enable_dhcp": False,
            "dns_nameservers": [],
            "host_routes": [],
            "service_types": [],
            "ipv6_address_mode": None,
            "ipv6_ra_mode": None,
            "subnetpool_id": None,
        },
        ("ip_version",),
    ),
    View(
        PORT,
        _port,
        {
            "admin_state_up": True,
            "mac_address": "",
            "port_security_enabled": False,
            "security_groups": [],
            "allowed_address_pairs": [],
            "binding:vnic_type": "normal",
        },
        ("status",),
    ),
)


class Looked(Shared):
    """A kind in Neutron's shape, its attributes by Neutron's names."""

    def __init__(self, view: View) -> None:
        super().__init__(view.kind)
        self.view = view
        self.show = self.show_listed = self._shown

    def page(self, call: Call) -> Page:
        """What the query lets through of what the caller may see."""
        caller = call.caller
        everything = allowed(caller, self._global, None)
        plain, filters = self._meant(call.pairs)
        page = parse(call, self.kind, project_id=None if everything else caller.project_id or "", pairs=plain)
        return replace(page, query=replace(page.query, filters=filters))

    def listed(self, call: Call, page: Page, documents: Documents) -> Response:
        """Filters by what is derived thin out a page that has been found without them."""
        wanted = [(name, value) for name, value in call.pairs if name in self.view.derived]
        documents, more = page.cut(documents)
        shown = [document for document in documents if _fits(self._shown(document), wanted)]
        return answer(200, self._envelope(shown, page.fields, links(call, page, documents, more=more)))

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> Document:
        return self._whole(database, caller, [super().document(database, caller, key, parent_id)])[0]

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        return self._whole(database, caller, super()._page(database, caller, page))

    def _whole(self, database: Database, caller: Caller, documents: Documents) -> Documents:
        """The same, networks with the ids of their subnets that the caller may see."""
        if self.kind is not NETWORK:
            return documents
        owner = None if allowed(caller, rule(SUBNET, "get_all-global"), None) else caller.project_id or ""
        query = Query({"network_id": [one["id"] for one in documents]}, project_id=owner)
        with database.read() as tx:
            found = rows.page(tx, SUBNET, query)
        return [
            {**one, "subnets": [subnet["id"] for subnet in found if subnet["network_id"] == one["id"]]}
            for one in documents
        ]

    def _meant(self, pairs: Pairs) -> tuple[Pairs, dict[str, Any]]:
        """The parameters of a list that are no filters; and filters by our names, of each any of the values."""
        filters: dict[str, Any] = {}
        never = False
        for name, value in pairs:
            if name in OTHER or name in self.view.derived:
                continue
            if name in self.view.fixed:
                never |= not _fits(self.view.fixed, [(name, value)])
                continue
            name, value = _renamed(name, value)  # noqa: PLW2901  the same by our names
            filters.setdefault(name, []).append(value)
        plain = [pair for pair in pairs if pair[0] in OTHER]
        return plain, {**filters, "id": []} if never else filters

    def _shown(self, document: Mapping[str, Any]) -> Document:
        shown = {name: document[name] for name in COMMON}
        made = {"created_at": f"{document['created_at'][:19]}Z", "updated_at": f"{document['updated_at'][:19]}Z"}
        owned = {"tenant_id": document["project_id"], "revision_number": 1}
        return {**shown, **made, **owned, **self.view.fixed, **self.view.show(document)}


def _renamed(name: str, value: str) -> tuple[str, str]:
    """`fixed_ips=subnet_id=X` is the subnet of a port's address."""
    if name == FIXED_IPS:
        name, _, value = value.partition("=")
        return name, value
    return RENAMED.get(name, name), value


def _fits(shown: Mapping[str, Any], wanted: Iterable[tuple[str, str]]) -> bool:
    return all(str(shown[name]).lower() == value.lower() for name, value in wanted)


async def versions(call: Call) -> Response:
    call.options()
    links = [{"rel": "self", "href": f"{call.base_url}{VERSION}/"}]
    return answer(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


async def resources(call: Call) -> Response:
    call.options()
    base = f"{call.base_url}{VERSION}"
    found = [
        {"name": name, "collection": names, "links": [{"rel": "self", "href": f"{base}/{names}"}]}
        for name, names in ((view.kind.name, view.kind.plural) for view in VIEWS)
    ]
    return answer(200, {"resources": found})


async def extensions(call: Call) -> Response:
    call.fields()
    found = [
        {"alias": alias, "name": name, "description": name, "updated": "2026-11-21T00:00:00Z", "links": []}
        for alias, name in EXTENSIONS.items()
    ]
    return answer(200, {"extensions": found})


def _none(name: str) -> Handler:
    async def none(_call: Call) -> Response:
        return answer(200, {name: []})

    return none


def operations() -> list[Operation]:
    looked = [operation for view in VIEWS for base in (VERSION, LOOKED_UP) for operation in _read(view, base)]
    asked: dict[str, Any] = {"tag": TAG, "errors": (400, 406)}
    open_: dict[str, Any] = {**asked, "open": True}
    aliases = Body({"type": "object"}, "extensions", many=True)
    return [
        Operation("GET", BASE, versions, "The versions", gives=Body("Versions"), **open_),
        Operation("GET", VERSION, resources, "What there is", gives=Body({"type": "object"}), **open_),
        Operation("GET", f"{VERSION}/extensions", extensions, "Extensions", gives=aliases, query=(FIELDS,), **asked),
        *(
            Operation("GET", f"{VERSION}/{name}", _none(key), f"List: {name}, of which there are none", TAG,
                      gives=Body({"type": "object"}, key, many=True), errors=(406,))
            for name, key in EMPTY.items()
        ),
        *looked,
    ]  # fmt: skip


def _read(view: View, base: str) -> list[Operation]:
    kind, resource = view.kind, Looked(view)
    path = f"{base}{kind.path}"
    shape = {"type": "object"}
    more = (Parameter(name, "Only those that show this.") for name in (*RENAMED, *view.fixed, *view.derived))
    ports = (Parameter(FIXED_IPS, "`ip_address=…` or `subnet_id=…`."),) if kind is PORT else ()
    title = kind.title.lower()
    shared: dict[str, Any] = {"tag": TAG, "kind": kind}
    return [
        exact(Operation("GET", path, resource.list, f"List: {title}, as Neutron", errors=READING,
                        gives=Body(shape, kind.plural, many=True, links=kind.links), rule=rule(kind, "get_all"),
                        query=(*list_parameters(kind), *more, *ports), **shared)),
        exact(Operation("GET", f"{path}/{{id}}", resource.get, f"Show: {title}, as Neutron", errors=SHOWING,
                        gives=Body(shape, kind.wrapper), rule=rule(kind, "get_one"), query=(FIELDS,), **shared)),
    ]  # fmt: skip
