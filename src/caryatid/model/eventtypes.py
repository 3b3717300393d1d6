# SPDX-License-Identifier: Apache-2.0
"""Every type of event, and what it says: kind of the resource, a dot, the act."""

from collections.abc import Iterator, Mapping
from typing import Final

from . import (
    AMPHORA,
    CERTIFICATE,
    DELIVERY,
    GSLB,
    GSLB_GEOMAP,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    KINDS,
    LOADBALANCER,
)
from .kind import Kind

WISHES: Final = {"create": "is wanted", "update": "is wanted otherwise", "delete": "is wanted no more"}
ACTS: Final = {"create": "exists", "update": "is changed", "delete": "is no more"}
ENDS: Final = {
    "begin": "It is being carried out: the first attempt has begun.",
    "end": "Its job has ended: it is in effect, or (`state`) moot, or cancelled.",
    "error": "Its job has failed, for `reason`.",
}
"""What becomes of a job, after the act that it is for: `loadbalancer.create.end`."""
ASKED: Final[Mapping[str, Mapping[str, str]]] = {
    LOADBALANCER.name: {"failover": "Its amphorae are to be replaced."},
    AMPHORA.name: {
        "failover": "It is to be replaced.",
        "configure": "It is to be configured anew.",
        "delete": "It is to be removed.",
        "evacuate": "It is to be replaced on another host.",
        "revoke": "It is to be replaced: its host is not believed any more.",
    },
    GSLB.name: {"sync": "Name servers are to be told anew what it answers."},
}
"""What operators ask for beside wishes; each has a job."""
STATUS: Final = "Its operating status is another: `changed`, and why: `cause`."
OTHERS: Final[Mapping[str, Mapping[str, str]]] = {
    "loadbalancer": {"status": STATUS, "drift": "A host does not have it as it should, for `reason`; it is mended."},
    "listener": {"status": STATUS},
    "pool": {"status": STATUS},
    "member": {"status": STATUS},
    "amphora": {
        "create": "It is being made.",
        "taken": "It was a spare, and serves a load balancer now.",
        "role": "VRRP has given it another part in its pair: `changed`.",
        "lost": "It is lost, and is replaced.",
        "back": "It was lost, and is heard of again.",
        "removed": "It is no more.",
        "stranger": "A host reports an amphora that should not be there.",
        "orphan": "A host has an amphora that nobody knows of.",
        "orphan_removed": "That amphora was removed.",
    },
    "host": {
        "enrol": "It has enrolled.",
        "renew_late": "It has renewed a certificate that had expired.",
        "drain": "It takes no new amphorae.",
        "enable": "It takes new amphorae again.",
        "evacuate": "Its amphorae move to others.",
        "revoke": "It is not believed any more.",
        "silent": "It is silent.",
        "lost": "It is lost: what it carried is replaced.",
        "back": "It was silent or lost, and is heard of again.",
    },
    "failovers": {
        "freeze": "Nobody is declared lost: too many hosts fell silent together.",
        "unfreeze": "Hosts are judged again.",
        "lift": "An operator has said that silent hosts are dead.",
    },
    "gslb_guard": {"lift": "An operator has said that the members which the guard keeps in answers are down."},
    "gslb": {
        "status": STATUS,
        "answer": "Name servers have been told to answer it otherwise: `changed`, and why: `why`.",
        "unpublished": "Name servers answered it otherwise than they had been told: `what`; they are told again.",
        "guard": "Members were kept in answers, for `reason`: `members`.",
    },
    "gslb_region": {
        "enrol": "A checker of it has enrolled: `checker`, on the machine `name`.",
        "token": "A token was made, with which a checker of it can enrol.",
    },
    "gslb_monitor": {
        "tell": "Users have told otherwise of members: `votes`.",
        "renewed": "A reference of it stands for something else in the key store now, which is in use: `reference`.",
        "refused": "What a reference of it stands for now cannot be used, for `reason`; what was right stays in use.",
        "expiring": "What a reference of it stands for ends soon: `not_after`.",
        "expired": "What a reference of it stands for has ended: `not_after`.",
    },
    "gslb_checker": {
        "revoke": "It is refused from now on; what it has said counts no more.",
        "delete": "It was revoked, and is not listed any more.",
    },
    "gslb_pool": {"status": STATUS},
    "gslb_member": {
        "status": STATUS,
        "moved": "Who has it says that it is at other addresses: `changed`; these are answered from now on.",
    },
    "authority": {"rotate": "The authority of the hosts' certificates is in another phase of its rotation."},
    "subscription": {
        "secret": "It has another secret.",
        "replay": "What was sent already, or not accepted, is sent again.",
    },
    "certificate": {
        "renewed": "It was renewed in the key store, and the new one is in use.",
        "refused": "What is in the key store now cannot be used, for `reason`; what was right before stays in use.",
        "expiring": "It ends soon: `not_after`.",
        "expired": "It has ended: `not_after`.",
        "revoked": "Its issuer has revoked it.",
    },
}
"""What happens by itself, or is done to what is no kind."""
MADE: Final = (AMPHORA, CERTIFICATE, DELIVERY)
"""Nobody wishes for them: they follow from wishes."""
PARTS: Final = (GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR, GSLB_GEOMAP)
"""They exist, or are changed, at once; jobs then tell when each gslb that uses them has taken it."""


def _types() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        if kind not in MADE:
            yield from _of(kind)
    for name, acts in ASKED.items():
        for act, said in acts.items():
            yield f"{name}.{act}", said
            yield from ((f"{name}.{act}.{state}", ended) for state, ended in ENDS.items())
    for name, acts in OTHERS.items():
        yield from ((f"{name}.{act}", said) for act, said in acts.items())


def _of(kind: Kind) -> Iterator[tuple[str, str]]:
    for act, said in (WISHES if kind.root else ACTS).items():
        yield f"{kind.name}.{act}", f"It {said}."
        if kind.root or kind in PARTS:
            yield from ((f"{kind.name}.{act}.{state}", ended) for state, ended in ENDS.items())


TYPES: dict[str, str] = dict(_types())
