# SPDX-License-Identifier: Apache-2.0
"""From the name that a user knows to the id that the API wants."""

from typing import Any
from uuid import UUID

from caryatid.model import BY_NAME, GSLB, GSLB_CHECKER, GSLB_MEMBER, GSLB_ZONE, JOB, PROJECT, QUOTA
from caryatid.model.kind import Attribute, Kind

from .client import Client
from .failures import Failure

CANDIDATES_MAX = 10
LISTED = {**BY_NAME, JOB.name: JOB, GSLB_CHECKER.name: GSLB_CHECKER}
"""Kinds that have the verbs of groups."""


def referred(attribute: Attribute) -> Kind | None:
    """The kind that the attribute holds the id of: a mark says so, or its own name does (`vip_subnet_id`)."""
    if attribute.names:
        return BY_NAME[attribute.names]
    stem, _, last = attribute.name.rpartition("_")
    known = BY_NAME.get(stem.rpartition("_")[2]) if last == "id" else None
    return None if known is PROJECT else known  # whoever owns something may be known elsewhere alone


def find(client: Client, kind: Kind, given: str, parent_id: str | None = None) -> str:
    """The key of the one that the user calls `given`: an id, a name, or a member's address:port.

    Raises Failure when there is none, or more than one; then it names the candidates.
    """
    if kind is QUOTA:
        return _project(client, given)
    if kind.key != "id" or is_id(given):
        return given
    filters = _filters(kind, given)
    if not filters:
        raise Failure(f"{kind.title} {given} not found: it has no name, give its id.")
    found = client.all(kind, filters, parent_id, limit=CANDIDATES_MAX + 1)
    if not found:
        raise Failure(f"{kind.title} {given} not found.")
    if len(found) > 1:
        raise Failure(f"{given} names more than one {kind.title}; give the id:", *_candidates(found))
    return str(found[0]["id"])


def _project(client: Client, given: str) -> str:
    """The id of the project of that name; what is none of ours is an id."""
    found = [] if is_id(given) else client.all(PROJECT, [("name", given)], limit=1)
    return str(found[0]["id"]) if found else given


def is_id(given: str) -> bool:
    """Whether it can be no name."""
    try:
        return str(UUID(given)) == given.lower()
    except ValueError:
        return False


def _filters(kind: Kind, given: str) -> list[tuple[str, str]]:
    address, colon, port = given.rpartition(":")
    if kind.name == "member" and colon and port.isdecimal():
        return [("address", address.strip("[]")), ("protocol_port", port)]
    if kind is GSLB_MEMBER and not given.strip("0123456789.:abcdefABCDEF"):
        return [("address", given)]
    if kind is GSLB and "." in given:
        return [("fqdn", absolute(given))]
    if kind is GSLB_ZONE:
        return [("name", absolute(given))]
    return [("name", given)] if "name" in kind.attributes else []


def absolute(name: str) -> str:
    """A domain name as it is kept."""
    return name.lower() if name.endswith(".") else f"{name.lower()}."


def _candidates(found: list[Any]) -> list[str]:
    lines = [" ".join(str(row[name]) for name in ("id", "project_id", "name") if row.get(name)) for row in found]
    return lines[:CANDIDATES_MAX] + (["…"] if len(lines) > CANDIDATES_MAX else [])
