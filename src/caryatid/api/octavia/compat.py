# SPDX-License-Identifier: Apache-2.0
"""Where the v2 wire differs from the models: older names, envelopes, what is shown how (facts: octavia.md §2.3)."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from caryatid.errors import Fault, Refused
from caryatid.model import L7POLICY, QUOTA
from caryatid.model.kind import Kind
from caryatid.model.quota import ALIASES

Document = Mapping[str, Any]
Show = Callable[[Document], dict[str, Any]]

TENANT = {"tenant_id": "project_id"}
FILTERS = {"load_balancer_id": "loadbalancer_id"}
"""Older names of filters. `tenant_id` is none: it is refused, as ever."""
INTERNAL = {QUOTA.name: ("id",)}
"""Attributes that the wire does not know."""
ARGUMENTS = {
    "loadbalancer": "load_balancer",
    "healthmonitor": "health_monitor_",
    "l7rule": "rule_",
    "quota": "quotas",
    "flavorprofile": "flavor_profile_",
}
"""How messages call the body as a whole, where it is not `<kind>_`."""


def older_names(kind: Kind) -> dict[str, str]:
    """Older names of the kind's attributes, each with the name it has now."""
    names = dict(TENANT) if kind.owned else {}
    return names | ALIASES if kind is QUOTA else names


def unwrap(kind: Kind, body: Any, wrapper: str = "") -> Any:
    """What stands in the envelope. Raises Refused if there is none, or anything beside it."""
    key = wrapper or kind.wrapper
    argument = ARGUMENTS.get(kind.name, f"{kind.name}_")
    if body is None:
        raise Refused([Fault(f'Missing argument: "{argument}"', key)])
    if not isinstance(body, dict):
        raise Refused([Fault(f'The body should be an object with the key "{key}".', key)])
    faults = [Fault(f"Unknown attribute for argument {argument}: {name}", name) for name in body if name != key]
    if key not in body:
        faults.append(Fault(f'Missing argument: "{key}"', key))
    if faults:
        raise Refused(faults)
    return body[key]


def create_body(kind: Kind, body: Any) -> Any:
    """The body of a create in today's names. What belongs to a load balancer takes its project from there: a
    project that is named all the same is not an error, and not heard."""
    body = _renamed(kind, body)
    if isinstance(body, dict) and kind.owned and "project_id" not in kind.creatable:
        return {name: value for name, value in body.items() if name != "project_id"}
    return body


def change_body(kind: Kind, body: Any) -> Any:
    """The body of a change in today's names."""
    if kind is L7POLICY and body == {}:
        raise Refused([Fault("Invalid update options")])
    return _renamed(kind, body) if kind is QUOTA else body


def _renamed(kind: Kind, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    older = older_names(kind)
    if older.keys().isdisjoint(body):
        return body
    renamed: dict[str, Any] = {}
    faults = []
    for name, value in body.items():
        now = older.get(name) or name
        if now in renamed and renamed[now] != value:
            faults.append(Fault(f"Validation failure: {name} and {now} are one, and say different things.", name))
        renamed[now] = value
    if faults:
        raise Refused(faults)
    return renamed


def shower(kind: Kind, *, without: Collection[str] = ()) -> Show:
    """What turns a document of the kind into what the wire shows of it; made once, for speed.

    `without` are keys that are not shown.
    """
    again = [(name, now) for name, now in older_names(kind).items() if now not in without]
    internal = {*INTERNAL.get(kind.name, ()), *without}
    known = {a.name for a in kind.shown} - internal
    lists = [a.name for a in kind.backs if a.back and not a.back.one and a.name in known]
    refs = [(a.ref.shown, a.name) for a in kind.shown if a.ref and a.ref.shown and a.ref.shown != "itself"]
    hidden = [*(set(kind.attributes) - known), *(name for _, name in refs)]
    refs = [(name, source) for name, source in refs if name not in internal]
    unset = [a.name for a in kind.shown if not a.access.unset_shown and a.name in known]

    def show(document: Document) -> dict[str, Any]:
        shown = {**document}
        for name, source in again:
            shown[name] = shown[source]
        for name in lists:
            shown[name] = [{"id": key} for key in shown[name]]
        for name, source in refs:
            key = shown[source]
            shown[name] = [] if key is None else [{"id": key}]
        for name in hidden:
            shown.pop(name, None)
        for name in unset:
            if shown[name] is None:
                del shown[name]
        return shown

    return show


def pick(shown: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Only the `fields` of what is shown; unknown ones are as if not asked for. No fields: all."""
    return {name: shown[name] for name in fields if name in shown} if fields else shown
