# SPDX-License-Identifier: Apache-2.0
"""Which command groups there are and what each can do. Imports no model: `--help` must be quick."""

from dataclasses import dataclass

EXISTING = ("list", "show", "set", "unset", "delete")
"""Verbs of what commands cannot create."""
ALL = ("create", *EXISTING)


@dataclass(frozen=True)
class Group:
    """`caryatid <name> <verb>`: the verbs of one kind."""

    name: str
    kind: str
    """Name of the kind."""
    help: str
    verbs: tuple[str, ...] = ALL
    """Verbs that are made from the attributes."""
    extra: tuple[str, ...] = ()
    """Verbs of this group alone (`extras.py`)."""


GROUPS: dict[str, Group] = {
    group.name: group
    for group in (
        Group("lb", "loadbalancer", "Load balancers.", extra=("failover", "stats", "status")),
        Group("listener", "listener", "Ports of load balancers, and what is done there.", extra=("stats",)),
        Group("pool", "pool", "Members that do the same work."),
        Group("member", "member", "Who does a pool's work.", extra=("replace",)),
        Group("healthmonitor", "healthmonitor", "How a pool's members are checked."),
        Group("l7policy", "l7policy", "What is done with requests because of what they say."),
        Group("l7rule", "l7rule", "What a request must say to satisfy a policy."),
        Group("ratelimitpolicy", "ratelimitpolicy", "What is done with clients that ask too much of a listener."),
        Group("ratelimitrule", "ratelimitrule", "How much a client may have before a policy applies."),
        Group("quota", "quota", "How much a project may have.", EXISTING, extra=("defaults",)),
        Group("flavor", "flavor", "What load balancers can be made like."),
        Group("flavorprofile", "flavorprofile", "What flavors are made from."),
        Group("az", "availability_zone", "Where load balancers can be made."),
        Group("azprofile", "availability_zone_profile", "What availability zones are made from."),
        Group(
            "amphora",
            "amphora",
            "The HAProxy instances behind load balancers.",
            ("list", "show", "delete"),
            ("failover", "configure", "stats", "diagnostics"),
        ),
        Group("provider", "provider", "Who carries load balancers out.", (), ("list", "capabilities")),
        Group("network", "network", "Networks."),
        Group("subnet", "subnet", "Ranges of addresses that load balancers get theirs from."),
        Group("port", "port", "Addresses in use."),
        Group(
            "host",
            "host",
            "Machines that carry amphorae.",
            EXISTING,
            ("drain", "evacuate", "enable", "revoke", "unfreeze"),
        ),
        Group(
            "cluster",
            "cluster",
            "Ganeti clusters in which amphorae are instances.",
            extra=("status", "jobs"),
        ),
        Group(
            "certificate",
            "certificate",
            "What the references of listeners and pools stand for, and until when.",
            ("list", "show"),
        ),
        Group(
            "secret",
            "secret",
            "Certificates and keys that are kept here.",
            (),
            ("create", "list", "show", "set", "delete"),
        ),
        Group(
            "container",
            "container",
            "Secrets that belong together: a certificate, its key, its chain.",
            (),
            ("create", "list", "show", "delete"),
        ),
        Group("project", "project", "What owns resources, and in whose name one asks."),
        Group("user", "user", "Who may ask.", extra=("password",)),
        Group("role", "role", "What users may do in projects.", ("create", "list", "show", "delete")),
        Group("token", "token", "What lets programs ask in a user's name.", ("create", "list", "show", "delete")),
        Group("job", "job", "Receipts of accepted changes.", ("list", "show"), ("wait", "log", "cancel")),
        Group("event", "event", "What has happened.", (), ("list", "follow")),
        Group(
            "subscription",
            "subscription",
            "Webhooks: URLs to which events are posted.",
            extra=("deliveries", "replay", "test", "secret"),
        ),
        Group(
            "gslb",
            "gslb",
            "Names that are answered with what is well.",
            extra=("status", "explain", "history", "watch", "sync", "unfreeze"),
        ),
        Group("gslb-pool", "gslb_pool", "Members in one place, for names."),
        Group("gslb-member", "gslb_member", "What names can be answered with."),
        Group(
            "gslb-monitor",
            "gslb_monitor",
            "How these are checked, from where, and how many must agree.",
            extra=("test", "tell"),
        ),
        Group("gslb-geomap", "gslb_geomap", "Which pools are for clients from where, for several names."),
        Group("gslb-zone", "gslb_zone", "Zones in which names are answered."),
        Group("gslb-backend", "gslb_backend", "DNS servers, and how they are told what to answer."),
        Group("gslb-region", "gslb_region", "Places that members are checked from.", extra=("token",)),
        Group(
            "gslb-checker",
            "gslb_checker",
            "Who checks members, or reports load balancers, for which region.",
            ("list", "show", "delete"),
            ("revoke",),
        ),
    )
}

ALIASES = {
    "loadbalancer": "lb",
    "availabilityzone": "az",
    "availability_zone": "az",
    "availabilityzoneprofile": "azprofile",
    "availability_zone_profile": "azprofile",
}
"""Other spellings of groups; they work and are not listed."""


def group_of(kind: str) -> Group | None:
    """The group of the kind called `kind`."""
    return next((group for group in GROUPS.values() if group.kind == kind), None)
