# SPDX-License-Identifier: Apache-2.0
"""What Keystone shows of what is here: one domain, one region, and where each service is."""

from collections.abc import Mapping
from typing import Any, Final

BASE: Final = "/identity"
VERSION: Final = f"{BASE}/v3"
DOMAIN: Final = {"id": "default", "name": "Default"}
REGION: Final = "RegionOne"
INTERFACES: Final = ("public", "internal", "admin")
SERVICES: Final = {
    "identity": ("keystone", BASE),
    "key-manager": ("barbican", ""),
    "load-balancer": ("octavia", ""),
    "network": ("neutron", "/network"),
}
"""Each type with the name that clients expect, and where it is; they add the versions themselves."""
Shape = dict[str, Any]
TEXT: Final = {"type": "string"}
NAMED: Final = {"type": "object", "properties": {"id": TEXT, "name": TEXT}}
OF_DOMAIN: Final[dict[str, Any]] = {"type": "object", "properties": {"id": TEXT, "name": TEXT, "domain": NAMED}}
LOGIN: Final = {
    "type": "object",
    "required": ["identity"],
    "properties": {
        "identity": {
            "type": "object",
            "required": ["methods"],
            "properties": {
                "methods": {"type": "array", "items": {"enum": ["password", "token", "application_credential"]}},
                "password": {
                    "type": "object",
                    "properties": {"user": {**OF_DOMAIN, "properties": {**OF_DOMAIN["properties"], "password": TEXT}}},
                },
                "token": {"type": "object", "properties": {"id": TEXT}},
                "application_credential": {
                    "type": "object",
                    "properties": {"id": TEXT, "name": TEXT, "secret": TEXT, "user": OF_DOMAIN},
                },
            },
        },
        "scope": {"type": "object", "properties": {"project": OF_DOMAIN}},
    },
}
"""What is sent to log in, by one of the methods."""


def called(document: Mapping[str, Any]) -> Shape:
    return {name: document[name] for name in ("id", "name")}


def catalog(base: str) -> list[Shape]:
    """Where each service is. `base`: where we are."""
    found = []
    for kind, (name, path) in SERVICES.items():
        place = {"url": f"{base}{path}", "region": REGION, "region_id": REGION}
        endpoints = [{"id": f"{name}-{each}", "interface": each, **place} for each in INTERFACES]
        found.append({"id": name, "type": kind, "name": name, "endpoints": endpoints})
    return found


def version(base: str) -> Shape:
    """What Keystone says of its version 3."""
    media = [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]
    links = [{"rel": "self", "href": f"{base}{VERSION}/"}]
    return {"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": links, "media-types": media}


def project(document: Mapping[str, Any], base: str) -> Shape:
    return {
        **called(document),
        "description": document["description"],
        "enabled": document["enabled"],
        "domain_id": DOMAIN["id"],
        "parent_id": DOMAIN["id"],
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": f"{base}{VERSION}/projects/{document['id']}"},
    }


def user(document: Mapping[str, Any], base: str) -> Shape:
    return {
        **called(document),
        "description": document["description"],
        "enabled": document["enabled"],
        "domain_id": DOMAIN["id"],
        "default_project_id": document["default_project_id"],
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{base}{VERSION}/users/{document['id']}"},
    }


def domain(base: str) -> Shape:
    links = {"self": f"{base}{VERSION}/domains/{DOMAIN['id']}"}
    return {**DOMAIN, "description": "The only one.", "enabled": True, "tags": [], "options": {}, "links": links}


def role(name: str, base: str) -> Shape:
    links = {"self": f"{base}{VERSION}/roles/{name}"}
    return {"id": name, "name": name, "description": None, "domain_id": None, "options": {}, "links": links}
