# SPDX-License-Identifier: Apache-2.0
"""Every operation is asked by everybody; who is let through is who the rules say, whoever says who asks."""

from caryatid.model import PROJECT, ROLE, TOKEN, USER
from caryatid.model.access import ROLES
from caryatid.model.policy import NOBODY, Caller, allowed
from tests.api.asking import V2, asked, filled

SKIPPED = {
    ("GET", "/v1/secrets/{id}/payload"): "it is refused to everybody",
    ("GET", "/identity/v3/auth/projects"): "it shows everybody its own",
    ("POST", "/v1/subscriptions/{id}/test"): "it asks a server elsewhere",
}
REPLACES = ("PUT", f"{V2}/pools/{{pool_id}}/members")
"""Comes last: afterwards the member that others are about is being deleted."""
REFUSED = (401, 403)
UNCHANGED = '"0.0"'
"""An entity tag that nothing has: who may change something learns that, and changes nothing."""


def ordered(places):
    return sorted(places, key=lambda place: (place == REPLACES, place))


def callers(headers_of, mine, other, roles=ROLES):
    """Caller → headers, for each role in the project that owns what there is, and in another.

    `headers_of(role, project_id)` gives the user's id, and the headers with which it asks.
    """
    found = {}
    for role in roles:
        for project_id in (mine, other):
            user_id, headers = headers_of(role, project_id)
            found[Caller(user_id, project_id, frozenset({role}))] = headers
    return found


def differences(world, operation, ids, who):
    """Where the API is of another opinion than the rule of the operation; `world` asks as an administrator."""
    owner = owner_of(world, operation, ids)
    expected = {caller: verdict(operation, caller, ids, owner) for caller in who}
    wrong = []
    for caller in sorted(who, key=lambda caller: expected[caller]):  # who may delete it comes last
        request = asked(operation, ids)
        request.headers |= who[caller]
        if 412 in operation.errors:
            request.headers["If-Match"] = UNCHANGED
        answer = world.send(request)
        if (answer.status_code not in REFUSED) != expected[caller] or answer.status_code >= 500:
            said = answer.status_code, answer.text[:200]
            wrong.append((sorted(caller.roles), caller.project_id, expected[caller], *said))
    return wrong


def verdict(operation, caller, ids, owner):
    if operation.open:
        return True
    project_id = caller.project_id if owner is NOBODY else owner
    return allowed(caller, operation.rule, project_id, user_of(operation, caller, ids))


def owner_of(world, operation, ids):
    """The project of what is asked for; None: nobody's. NOBODY: it is the caller's own."""
    kind = operation.kind
    if kind is PROJECT and operation.names:
        return ids["projects"]
    if kind in {PROJECT, USER, ROLE, TOKEN}:
        return NOBODY
    if not operation.names and not named_in_body(operation):
        return NOBODY
    one = operation.path[: operation.path.rindex("}") + 1] if operation.names else ""
    shown = world.api.get(filled(one, ids)) if one else None
    document = next(iter(shown.json().values())) if shown is not None and shown.status_code == 200 else None
    if isinstance(document, dict) and "project_id" in document:
        return document["project_id"]
    return ids["mine"] if kind is not None and kind.owned else None


def named_in_body(operation):
    """What is made belongs to a load balancer that is there."""
    kind = operation.kind
    return operation.method == "POST" and kind is not None and kind.root is not None and not kind.is_root


def user_of(operation, caller, ids):
    """Whose it is, of what is somebody's."""
    if operation.kind not in {USER, ROLE, TOKEN}:
        return None
    return caller.user_id if operation.method == "GET" and not operation.names else ids["users"]
