# SPDX-License-Identifier: Apache-2.0
"""What helps: Ganeti's own words for what went wrong, and what an operator does about it. How long is waited then."""

import re
from dataclasses import dataclass
from typing import Final

from caryatid.wire.rapi.answers import Job, Problem, Trouble

BACKOFF_FIRST_S: Final = 2.0
BACKOFF_MAX_S: Final = 60.0
TEXT_MAX: Final = 500
"""Of Ganeti's own words so many characters are kept."""


@dataclass(frozen=True)
class Why:
    """Why something was not done."""

    reason: str
    remedy: str
    hopeless: bool = False
    """It will not pass by itself: somebody has to mend it."""


def backoff_s(tries: int, *, hopeless: bool) -> float:
    """How long is waited after so many tries, the first one being 1."""
    return BACKOFF_MAX_S if hopeless else min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(tries - 1, 16))


LOST: Final = Why(
    "The answer of the RAPI was lost, and nothing has come of the request.", "It is asked for again: nothing to do."
)
NAMESAKE: Final = Why(
    "There is an instance of that name already, and it is not ours.",
    "Remove or rename it (`gnt-instance remove`), if nobody needs it.",
    hopeless=True,
)
NOBODY_CAME: Final = Why(
    "Its agent has not come before the boot deadline (`boot_deadline_s`); another machine is made.",
    "See its console (`gnt-instance console`). The machines' network must lead to the conductor, and their OS must be "
    "the image with the agent.",
)
STATUSES: Final = {
    "": Why(
        "Its instance is not there any more; another machine is made.",
        "Who removed it is in the cluster's job list (`gnt-job list`).",
    ),
    "ADMIN_down": Why(
        "Its instance was stopped (`gnt-instance shutdown`); another machine is made.",
        "Fail over or delete load balancers rather than stop their machines.",
    ),
    "ADMIN_offline": Why(
        "Its instance was taken offline; another machine is made.",
        "Fail over or delete load balancers rather than take their machines offline.",
    ),
    "USER_down": Why(
        "Its instance has shut itself down; another machine is made.",
        "Its console or its hypervisor's log may say why.",
    ),
    "ERROR_down": Why(
        "Its instance has crashed or was killed (ERROR_down); another machine is made.",
        "The hypervisor's log on its node may say why.",
    ),
    "ERROR_nodedown": Why(
        "Its node does not answer (ERROR_nodedown); another machine is made.", "See the node (`gnt-node list`)."
    ),
    "ERROR_nodeoffline": Why(
        "Its node was marked offline (ERROR_nodeoffline); another machine is made.",
        "When the node is well: `gnt-node modify --offline=no`.",
    ),
}
"""By Ganeti's status of an instance."""


def of_status(status: str, node: str | None) -> Why:
    """Why an instance of this status is none."""
    known = STATUSES.get(status)
    if known is None:
        return Why(f"Its instance does not run ({status}); another machine is made.", "See `gnt-instance info`.")
    return Why(f"{known.reason} (Node: {node}.)", known.remedy) if node and status.startswith("ERROR") else known


ROOM = (
    "Free memory or disk on the nodes, add a node, or lower the machines' size (`machine`, of the flavor or cluster)."
)
DRAIN = "Let jobs in again: `gnt-cluster queue undrain`."
FULL = "The cluster has too many jobs: let them end, and archive what is over (`gnt-job autoarchive`)."
POLICY = (
    "Change the machines' size (`machine`), or the policy (`gnt-cluster modify` or `gnt-group modify` with "
    "`--ipolicy-bounds-specs`, `--ipolicy-vcpu-ratio`, `--ipolicy-disk-templates`)."
)
OS = (
    "Install the OS definition on every node (`gnt-os diagnose` shows what is there), or name another (`caryatid "
    "cluster set --os`)."
)
PROCESSORS = (
    "The nodes have too few processors for the policy: raise its ratio (`gnt-cluster modify --ipolicy-vcpu-ratio`), "
    "add a node, or lower `vcpus`."
)
TEXTS: Final[tuple[tuple[str, str, bool], ...]] = (
    (r"queue.{0,20}drained|queue is drained", DRAIN, False),
    (r"queue is full|queue full|too many jobs", FULL, False),
    (
        r"FailCPU|vcpu.ratio",
        PROCESSORS,
        False,
    ),
    (
        r"FailTags",
        "The allocator keeps machines of one load balancer apart (`htools:iextags`), and has no other node: add one.",
        False,
    ),
    (r"FailMem|FailDisk|FailN1|FailSpindles|No valid allocation|Not enough (memory|disk)", ROOM, False),
    (r"iallocator.{0,60}not found|iallocator.{0,20}missing", "Name an allocator that there is (`hail`).", True),
    (r"disk template.{0,60}not (enabled|allowed)", f"Enable it, or name another (`disk_template`). {POLICY}", True),
    (r"violates policy|ipolicy", POLICY, True),
    (
        r"parameters are not supported by the OS",
        "The OS definition is not ours or too old: it must have the parameter `seed` (its `parameters.list`).",
        True,
    ),
    (r"\bOS\b.{0,80}(not found|not in|not available|validation failed|variant)|Guest OS", OS, True),
    (
        r"free IP|network is full",
        "The network has no free address: `gnt-network info` shows how many it has; enlarge it, or release some.",
        False,
    ),
    (
        r"No netparams found|not connected to",
        "Connect the network to the group of the nodes: `gnt-network connect`.",
        True,
    ),
    (r"Network '.{0,80}' not found", "Make the network (`gnt-network add`), or name another (`nics`).", True),
    (r"group '.{0,80}' not found", "Make the group (`gnt-group add`), or name another (`group`).", True),
    (
        r"hypervisor.{0,80}not enabled",
        "Enable it (`gnt-cluster modify --enabled-hypervisors`), or name another (`hypervisor`).",
        True,
    ),
    (
        r"hypervisor parameter|hvparam|Hypervisor parameter validation|Parameter '",
        "Mend `hypervisor_parameters` of the cluster, or what they name on the nodes.",
        True,
    ),
    (
        r"offline node|drained node|non-vm_capable node|Node '.{0,80}' not known",
        "Another node is chosen. Its state: `gnt-node list -o name,role,vm_capable`.",
        False,
    ),
    (
        r"Failed to connect to|node daemon|noded|Error while (getting|contacting)",
        "The node's daemon must run (`ganeti-noded`) and be reached.",
        False,
    ),
)
"""(what Ganeti's text matches, what helps, whether it is hopeless): the first that does."""
CODES: Final[dict[str, tuple[str, bool]]] = {
    "insufficient_resources": (ROOM, False),
    "temp_insufficient_resources": (ROOM, False),
    "resolver_error": (
        "The name was looked up: let the cluster resolve it, or tell us which check asked (names need not resolve).",
        True,
    ),
    "already_exists": (NAMESAKE.remedy, True),
    "resource_not_unique": ("Something else has the address or name: see `gnt-network info`.", False),
    "unknown_entity": ("Make what it names in the cluster, or mend the cluster's attributes here.", True),
    "wrong_input": ("Mend the cluster's attributes here.", True),
}
"""By Ganeti's word for the error: what helps where no text says more, whether it is hopeless."""
CANCELED: Final = Why("Somebody has cancelled its job.", "It is asked for again: nothing to do.")
ELSE: Final = "See the job in the cluster: `gnt-job info`."
TROUBLES: Final[dict[Trouble, tuple[str, bool]]] = {
    "unreachable": (
        "`ganeti-rapi` must run on the master node, and `rapi_url` lead there, after a failover of the master too.",
        False,
    ),
    "ambiguous": ("`ganeti-luxid` must run on the master node. What was asked for is looked for by its name.", False),
    "denied": (
        "The RAPI's file of users must have `rapi_user` with this password and the right `write`.",
        True,
    ),
    "refused": ("The cluster is of another kind or version than we know: see the cluster's attributes here.", True),
    "missing": ("`rapi_url` must lead to the RAPI of a Ganeti 3.", True),
    "drained": (DRAIN, False),
    "full": (FULL, False),
    "broken": ("See the logs of `ganeti-rapi` and `ganeti-luxid` on the master node.", False),
}
CERTIFICATE: Final = re.compile(r"certificate|CERTIFICATE_|hostname mismatch", re.IGNORECASE)


def of_job(job: Job) -> Why:
    """Why it failed."""
    if job.status == "canceled":
        return CANCELED
    text = _brief(job.error or job.error_kind or f"job {job.id} has failed")
    for pattern, remedy, hopeless in TEXTS:
        if re.search(pattern, job.error, re.IGNORECASE | re.DOTALL):
            return Why(f"Ganeti: {text}", remedy, hopeless)
    remedy, hopeless = CODES.get(job.error_code, (f"{ELSE[:-2]} {job.id}`.", False))
    return Why(f"Ganeti: {text}", remedy, hopeless)


def of_problem(problem: Problem) -> Why:
    """Why there is no answer."""
    remedy, hopeless = TROUBLES[problem.trouble]
    if problem.trouble == "unreachable" and CERTIFICATE.search(problem.text):
        remedy = (
            "Give the certificate of the RAPI, or its authorities, as `rapi_ca`, and call it by the name that the "
            "certificate has."
        )
        hopeless = True
    return Why(_brief(problem.text), remedy, hopeless)


def _brief(text: str) -> str:
    """One line, not too long, and a sentence's end."""
    line = " ".join(text.split())
    line = line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 1]}…"
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."
