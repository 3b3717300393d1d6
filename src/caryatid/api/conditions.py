# SPDX-License-Identifier: Apache-2.0
"""When an operation answers which status: what the document and the reference pages say of it.

What follows from the operation and its kind is derived; what a rule elsewhere raises is named here, by the policy rule
of the operation, or by its method and path. tests/api/test_documented.py asks for every status that is said.
"""

from collections.abc import Iterator
from dataclasses import replace

from caryatid.model.kind import Kind

from .routing import Operation

GENERIC = {
    304: "It is still as `If-None-Match` says that it is known. No body.",
    401: "Nobody known is asking.",
    406: "The client takes no JSON (`Accept`).",
    408: "The body did not arrive within 30 s.",
    412: "It has been changed since the client read what `If-Match` names.",
    413: "The body is larger than `body_size_max` bytes.",
    415: "The body is not said to be JSON (`Content-Type`).",
    429: "Too many failures of who asks, or from where; `Retry-After` says when to try again.",
    500: "A fault of the service: its log tells under the `X-Openstack-Request-Id` of the answer.",
    503: "The database is busy or away: try again after `Retry-After` seconds.",
    504: "Who was asked did not answer in time.",
}
"""Of any operation."""
PHRASES = dict(
    sorted(
        {
            **GENERIC,
            400: "The request is at fault. `faultstring` has every fault, one a line.",
            403: "Policy does not allow it, or a quota is met.",
            404: "What the path or a reference in the body names is not there.",
            405: "The path is right, the method is not; `Allow` says which are.",
            410: "The cursor is not in the log any more.",
            409: "It is being deleted or in use, or something is like it already. Never because a change is pending.",
            501: "The driver here cannot do this; the answer says what.",
        }.items()
    )
)
"""What each status means, whoever answers it."""

CONFLICT = 409
SPECIFIC = frozenset({404, CONFLICT, 501})
"""What not every operation can answer."""

Said = dict[int, tuple[str, ...]]
BEING_DELETED = "It, or the load balancer that it belongs to, is being deleted."
PORT_TAKEN = "Another listener of the load balancer has the port, or, where load balancers share an address, another's."
REFERENCE = "A container reference cannot be read, or is not what it must be: each reason is named."
KEY_STORE = "The key store did not answer within 5 s, or `master.key` is not here."
NO_TLS = "The drivers cannot speak TLS to members, a version of TLS, or versions with a gap between them."
TOO_MANY_RULES = "The policy has 50 rules."
OTHER_FAMILY = "The pool is of UDP or SCTP, and the load balancer has no VIP of the address's family."
NO_PROJECT = "`project_id` in the path cannot be the id of a project."
LAST_ADMINISTRATOR = "Nobody would be an administrator any more."
UNABLE = "The drivers cannot do what it says as a whole."
PROFILE = "The JSON says what the provider does not know, or gives it a value that cannot be."
USED_PROFILE = "Something is made of it, so that what it says cannot change."
NO_TARGET = "The callback URL is none, or names an address that is not public and not in `webhook_private_targets`."
NO_TYPE = "A type of event does not exist; the load balancer is not there, or not this project's."
ALL_EVENTS = "It is about the events of all projects, which its sender may not see."
NO_ZONE = "No zone of the project, or shared, holds the name."
STRANGE = "A pool, monitor, geomap or region that it names is not there, or not the project's."
NO_POLICY = "The zone's DNS servers cannot do the policy, or what its pools ask for; the answer names those that can."
NO_MEMBER = "There is no such type, an address may not be checked, or the load balancer is not there for the project."
NO_PLACE = "The region does not say where its Octavia or Neutron is, or that knows no such thing of the project."
BUSY_ELSEWHERE = "Too many wishes wait for whoever knows where such members are."
SAME_PLACE = "Another member of the pool is in its place."
NO_CHECK = "There is no such check, or it does not know a parameter; a region is not there."
NO_PROGRAM = "It runs a program, which is an administrator's to ask for."
NO_DRIVER = "There is no such driver, or it needs what is not given."

SUBJECT: Said = {
    400: ("The header `X-Subject-Token` is not there.",),
    403: ("It is another user's token, and the caller no administrator.",),
    404: ("The token is not known, or not any more.",),
}
TOKENS = "/identity/v3/auth/tokens"

RAISED: dict[str, Said] = {
    f"POST {TOKENS}": {
        401: (
            "User and password, token, or application credential are not right.",
            "The method is another, or the scope is no project that is known.",
        ),
        403: (
            "The user has no role in the project, or roles in several and names none.",
            "The token is for another project.",
        ),
    },
    f"GET {TOKENS}": SUBJECT,
    f"HEAD {TOKENS}": SUBJECT,
    f"DELETE {TOKENS}": {**SUBJECT, 409: ("The token was not made by logging in.",)},
    "loadbalancer:post": {
        400: (
            "Network, subnet, port, flavor or availability zone is not there, or not this project's.",
            "Subnet and network, or address and subnet, do not belong together; no address is free.",
            "Any of the objects that the body nests is at fault, as in its own create.",
        ),
        409: ("The address is in use.", "Two nested listeners have one port, or two members of a pool one place."),
        501: ("The flavor asks for a topology that the drivers cannot do, or a nested object for what they cannot.",),
        503: (KEY_STORE,),
    },
    "loadbalancer:put": {501: (UNABLE,)},
    "loadbalancer:delete": {400: ("It has children, and `cascade` is not given.",)},
    "listener:post": {
        400: ("The default pool's protocol does not go with the listener's.", "No host may bind the port.", REFERENCE),
        409: (PORT_TAKEN,),
        501: ("The drivers, the hosts or the VIP's subnet cannot carry the protocol.", NO_TLS),
        503: (KEY_STORE,),
    },
    "listener:put": {
        400: ("The default pool's protocol does not go with the listener's.", REFERENCE),
        501: (NO_TLS, UNABLE),
        503: (KEY_STORE,),
    },
    "pool:post": {
        400: ("Its protocol does not go with that of its listener.", REFERENCE),
        409: ("The listener has a default pool already.",),
        501: ("The drivers cannot do the protocol or the algorithm.", NO_TLS),
        503: (KEY_STORE,),
    },
    "pool:put": {400: (REFERENCE,), 501: ("The drivers cannot do the algorithm.", NO_TLS, UNABLE), 503: (KEY_STORE,)},
    "pool:delete": {409: ("An L7 policy redirects to it.",)},
    "member:post": {400: ("The pool has `members_max` members.", "The subnet is not there."), 501: (OTHER_FAMILY,)},
    "PUT /v2/lbaas/pools/{pool_id}/members": {
        400: ("There are more than `members_max`.", "A subnet is not there."),
        409: ("It names one address and port twice.",),
        501: (OTHER_FAMILY,),
    },
    "healthmonitor:post": {
        400: ("The type does not go with the pool's protocol.",),
        409: ("The pool has a health monitor already.",),
        501: ("The drivers cannot do the type.",),
    },
    "healthmonitor:put": {501: (UNABLE,)},
    "l7policy:post": {
        400: ("The listener's protocol has no L7 policies, or the pool's does not go with it.",),
        501: ("The drivers cannot do L7 policies on such listeners.",),
    },
    "l7policy:put": {400: ("The pool's protocol does not go with the listener's.",), 501: (UNABLE,)},
    "l7rule:post": {409: (TOO_MANY_RULES,)},
    "ratelimitpolicy:post": {
        400: ("The action answers requests, which listeners of the protocol do not read.",),
        409: ("The listener has 20 rate limit policies.",),
        501: ("The drivers cannot do the action, or rate limits on such listeners.",),
    },
    "ratelimitpolicy:put": {501: ("The drivers cannot do the action.",)},
    "ratelimitrule:post": {
        400: ("Listeners of the protocol read nothing that the metric counts.",),
        409: (TOO_MANY_RULES,),
        501: ("The drivers cannot count the metric, or not in one more way.",),
    },
    "ratelimitrule:put": {501: ("The drivers cannot count the metric, or not in one more way.",)},
    "flavor-profile:post": {400: (PROFILE,), 501: ("The drivers cannot do the topology.",)},
    "flavor-profile:put": {400: (PROFILE,), 409: (USED_PROFILE,), 501: ("The drivers cannot do the topology.",)},
    "flavor-profile:delete": {409: ("A flavor is made of it.",)},
    "flavor:post": {400: ("The flavor profile is not there.",)},
    "flavor:delete": {409: ("A load balancer has it.",)},
    "availability-zone-profile:post": {400: (PROFILE,)},
    "availability-zone-profile:put": {400: (PROFILE,), 409: (USED_PROFILE,)},
    "availability-zone-profile:delete": {409: ("An availability zone is made of it.",)},
    "availability-zone:post": {400: ("The availability zone profile is not there.",)},
    "availability-zone:delete": {409: ("A load balancer is in it.",)},
    "network:delete": {409: ("It has subnets.",)},
    "subnet:post": {400: ("The network is not there.",), 501: ("Attachment `bgp` is not built yet.",)},
    "subnet:delete": {409: ("It has ports.",)},
    "port:post": {
        400: ("The subnet is not there, or has no free address.",),
        409: ("The address is in use.",),
    },
    "port:delete": {409: ("A load balancer has it.",)},
    "amphora:put_failover": {409: ("It is a spare.", "Its load balancer is being deleted.")},
    "amphora:put_config": {409: ("It is a spare.", "Its load balancer is being deleted.")},
    "amphora:get_diagnostics": {
        409: ("Its host does not have it.",),
        501: ("The driver cannot ask amphorae.",),
        503: ("Its host cannot be reached.",),
        504: ("Its host did not answer within 5 s.",),
    },
    "amphora:delete": {409: ("It is not in ERROR.",)},
    "amphora:get_stats": {404: ("Nothing has been counted for it yet.",)},
    "loadbalancer:put_failover": {409: ("It is being deleted.",)},
    "host:put_drain": {409: ("It is revoked.",)},
    "host:put_enable": {409: ("It is revoked.",)},
    "host:put_evacuate": {409: ("It is revoked.",)},
    "cluster:post": {400: ("It has no password.",), 409: ("A cluster of that name is there already.",)},
    "cluster:put": {
        400: ("It has another `rapi_url`, and no password for that.",),
        409: ("A cluster of that name is there already.",),
    },
    "cluster:delete": {409: ("It has machines of ours.",)},
    "host:delete": {409: ("It is not revoked, and has amphorae, or some to be removed.",)},
    "secret:post": {501: ("Secrets are kept elsewhere: the secrets driver is neither `local` nor `noop`.",)},
    "container:post": {501: ("Secrets are kept elsewhere: the secrets driver is neither `local` nor `noop`.",)},
    "event:get_all": {
        400: ("A type is none that there is; a time, a number or the cursor cannot be read.",),
        410: ("The event that `after` names was removed by age, or the database restored: some may be missing.",),
    },
    "job:put_cancel": {409: ("It is a wish, which is changed back instead; it has begun, or has ended.",)},
    "quota:get_one": {404: (NO_PROJECT,)},
    "GET /v2/lbaas/quotas/{project_id}/default": {404: (NO_PROJECT,)},
    "project:post": {409: ("A project of that name is there already.",)},
    "project:put": {409: ("A project of that name is there already.", LAST_ADMINISTRATOR)},
    "project:delete": {409: ("It has load balancers, gslbs, secrets or networks.", LAST_ADMINISTRATOR)},
    "user:post": {400: ("The default project is not there.",), 409: ("A user of that name is there already.",)},
    "user:put": {
        400: ("The default project is not there.",),
        403: ("It changes a password that its sender has not shown, or more than its sender's own password.",),
        409: ("A user of that name is there already.", LAST_ADMINISTRATOR),
    },
    "user:delete": {409: (LAST_ADMINISTRATOR,)},
    "role:post": {400: ("The user or the project is not there.",), 409: ("The user has the role there already.",)},
    "role:delete": {409: (LAST_ADMINISTRATOR,)},
    "token:post": {
        400: ("The user or the project is not there; it would end too late, or has ended.",),
        403: ("It would have more roles than its maker has to give, or never end.",),
    },
    "gslb:post": {400: (NO_ZONE, STRANGE), 501: (NO_POLICY,)},
    "gslb:put": {400: (STRANGE,), 501: (NO_POLICY,)},
    "gslb:post_sync": {409: ("It is being deleted.",)},
    "gslb:get_explain": {400: ("`client` is no address.",)},
    "gslb_pool:post": {400: (STRANGE,)},
    "gslb_pool:put": {400: (STRANGE,), 501: ("The DNS servers of a gslb that uses it cannot do what it says.",)},
    "gslb_pool:delete": {409: ("A gslb or a geomap uses it.",)},
    "gslb_member:post": {
        400: (NO_MEMBER, NO_PLACE, "The pool has `members_max` members."),
        409: (SAME_PLACE,),
        503: (BUSY_ELSEWHERE,),
    },
    "gslb_member:put": {400: (NO_MEMBER,), 409: (SAME_PLACE,), 503: (BUSY_ELSEWHERE,)},
    "gslb_monitor:post": {400: (NO_CHECK, REFERENCE), 403: (NO_PROGRAM,), 503: (KEY_STORE,)},
    "gslb_monitor:put": {400: (NO_CHECK, REFERENCE), 403: (NO_PROGRAM,), 503: (KEY_STORE,)},
    "gslb_monitor:delete": {409: ("A pool uses it.",)},
    "gslb_monitor:post_test": {
        400: (
            "It names neither a member nor an address, or both; it is not the project's, or may not be checked.",
            "The monitor is of type passive, and tries nothing.",
        ),
        503: ("Many others are being tried.",),
    },
    "gslb_monitor:put_votes": {
        400: (
            "The monitor is not of type passive.",
            "There are more than 1,000 votes, or none.",
            "A member is not there, not the project's, or in no pool that uses the monitor.",
            "A region is none of the monitor's, or disabled.",
        ),
    },
    "gslb_checker:delete": {409: ("It is not revoked.",)},
    "gslb_geomap:post": {400: (STRANGE,)},
    "gslb_geomap:put": {400: (STRANGE,)},
    "gslb_geomap:delete": {409: ("A gslb uses it.",)},
    "gslb_zone:post": {
        400: ("The backend is not there.",),
        403: ("It would be shared, which is an administrator's to say.",),
        409: (
            "Another one has the same `name`, or is around or within it and another project's.",
            "Names that it would hold are answered in another zone.",
        ),
    },
    "gslb_zone:put": {
        400: ("It would not be shared any more, and others have names in it.",),
        403: ("Whether it is shared is an administrator's to say.",),
    },
    "gslb_zone:delete": {409: ("A gslb is in it.",)},
    "gslb_backend:post": {400: (NO_DRIVER,)},
    "gslb_backend:put": {400: (NO_DRIVER,)},
    "gslb_backend:delete": {409: ("It has zones.",)},
    "gslb_region:post": {409: ("Another one has the same `name`.",)},
    "gslb_region:delete": {409: ("A monitor, a pool or a member names it.",)},
    "gslb_region:post_token": {503: ("`master.key` is not here.",)},
    "subscription:post": {400: (NO_TARGET, NO_TYPE), 403: (ALL_EVENTS, "The project has `subscriptions_max` of them.")},
    "subscription:put": {400: (NO_TARGET, NO_TYPE), 403: (ALL_EVENTS,)},
    "subscription:delete": {403: (ALL_EVENTS,)},
    "subscription:post_secret": {400: ("The secret is not as it must be.",), 403: (ALL_EVENTS,)},
    "subscription:post_replay": {
        400: ("It names more than one of `since`, `after` and `deliveries`, or what it names cannot be read.",),
        403: (ALL_EVENTS,),
    },
    "subscription:post_test": {403: (ALL_EVENTS,), 503: ("Many others are being tried.",)},
    "quota:put": {400: ("A limit is less than -1.", NO_PROJECT)},
    "quota:delete": {404: ("The project has no quota of its own.",)},
    "provider-flavor:get_all": {400: ("There is no such provider.",)},
    "provider-availability-zone:get_all": {400: ("There is no such provider.",)},
}


def conditions(operation: Operation) -> dict[int, tuple[str, ...]]:
    """Every status but the success that the operation answers, and when."""
    codes = sorted({*operation.errors, *(() if operation.open else (401,))})
    return {code: tuple(dict.fromkeys(_reasons(operation, code))) or (PHRASES[code],) for code in codes}


def exact(operation: Operation) -> Operation:
    """The same without those of its errors for which there is no reason here."""
    errors = tuple(code for code in operation.errors if code not in SPECIFIC or any(_reasons(operation, code)))
    return replace(operation, errors=errors)


def _reasons(operation: Operation, code: int) -> Iterator[str]:
    match code:
        case 400:
            yield from _bad_request(operation)
        case 403:
            yield from _forbidden(operation)
        case 404:
            yield from _not_found(operation)
        case 409 if operation.kind is not None and operation.kind.root and operation.method != "GET":
            yield from _conflict(operation, operation.kind)
    if code == CONFLICT and operation.repeatable:
        yield "The Idempotency-Key was used for another request."
    for key in (operation.rule.partition(":")[2], f"{operation.method} {operation.path}"):
        yield from RAISED.get(key, {}).get(code, ())
    if code in GENERIC:
        yield GENERIC[code]


def _bad_request(operation: Operation) -> Iterator[str]:
    if operation.takes is not None and operation.takes.is_json:
        envelope = f", has not the envelope `{operation.takes.wrapper}`" if operation.takes.wrapper else ""
        yield (
            f"The body is no JSON{envelope}, names an attribute that cannot be set here, or gives one a value that it "
            "cannot have."
        )
    elif operation.takes is not None:
        yield "The body is not what its `Content-Type` says, or that is none that is taken."
    if any(parameter.name == "marker" for parameter in operation.query):
        yield "A filter is no attribute, or is given twice; `limit`, `marker` or `sort` cannot be read."
    else:
        yield "The query has a parameter that is not known, or has one twice."


def _forbidden(operation: Operation) -> Iterator[str]:
    if operation.rule:
        yield f"Policy rule `{operation.rule}` does not allow it."
    if operation.method == "POST" and operation.kind is not None and operation.kind.counted:
        yield "The project's quota is met."
    if operation.method != "GET":
        yield "A browser sends it for a page of another site."


def _not_found(operation: Operation) -> Iterator[str]:
    names = operation.names
    if names and names[0] not in {"provider", "project_id"}:
        yield f"{' or '.join(f'`{name}`' for name in names)} in the path is not there."
    if operation.takes is None or operation.kind is None:
        return
    body = operation.kind.creatable if operation.method == "POST" else operation.kind.changeable
    found = [a.name for a in body.values() if a.ref and a.ref.kind in {"loadbalancer", "listener", "pool", "l7policy"}]
    if found:
        yield f"What the body names in {' or '.join(f'`{name}`' for name in found)} is not there."


def _conflict(operation: Operation, kind: Kind) -> Iterator[str]:
    if operation.method != "POST":
        yield BEING_DELETED
    elif kind.name != kind.root:
        yield "What it hangs on is being deleted."
    for names in kind.unique:
        own = [name for name in names if name in kind.creatable]
        if operation.takes is not None and own:
            yield f"Another one has the same {' and '.join(f'`{name}`' for name in own)}."
