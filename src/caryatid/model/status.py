# SPDX-License-Identifier: Apache-2.0
"""The status words of every resource. How provisioning_status is derived: `store/status.py`."""

from typing import Literal

ProvisioningStatus = Literal["PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE", "ACTIVE", "ERROR"]
OperatingStatus = Literal["ONLINE", "OFFLINE", "DEGRADED", "ERROR", "DRAINING", "NO_MONITOR"]
AmphoraStatus = Literal["PENDING_CREATE", "BOOTING", "READY", "ALLOCATED", "PENDING_DELETE", "DELETED", "ERROR"]
AmphoraRole = Literal["STANDALONE", "MASTER", "BACKUP", "FAULT"]

PROVISIONING: dict[ProvisioningStatus, str] = {
    "PENDING_CREATE": "Accepted; never yet in effect.",
    "PENDING_UPDATE": "In effect in an earlier form; a change is on its way. Further changes are welcome.",
    "PENDING_DELETE": "On its way out; refuses changes.",
    "ACTIVE": "In effect as shown.",
    "ERROR": "The last change could not be made so; the reason is in its job. Retried, and open to changes.",
}
OPERATING: dict[OperatingStatus, str] = {
    "ONLINE": "Working.",
    "OFFLINE": "Disabled, or nothing has been heard of it yet.",
    "DEGRADED": "Working in part: some members are down, or a listener is at its connection limit.",
    "ERROR": "Not working: the check fails, or every member is down.",
    "DRAINING": "Weight 0: serves who is there, takes nobody new.",
    "NO_MONITOR": "Serving, but nobody checks it.",
}
