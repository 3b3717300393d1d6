# SPDX-License-Identifier: Apache-2.0
"""What would help, by what went wrong; where the reason itself says it (no host has room, no address is free, the
master key is another), nothing is added."""

from caryatid.drivers.amphora.base import (
    ProvisioningErrors,
    TimeOutException,
    UnauthorizedException,
    UnavailableException,
)
from caryatid.drivers.compute.base import ComputeError

REFUSED = "Change what is refused; what is in effect stays until then."
INTERNAL = "It is tried again by itself; if it stays, report it with the worker's log."
AWAY = (
    "Start the host's agent again; if the host is gone for good, revoke it (`caryatid host revoke`): what it carried "
    "is replaced."
)
REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (UnavailableException, AWAY),
    (TimeOutException, "See how busy the host is; with `agent_timeout_s` it may take longer."),
    (UnauthorizedException, "The host does not believe this controller, or is not believed: enrol the host anew."),
    (ProvisioningErrors, REFUSED),
    (NotImplementedError, "Leave out what the driver cannot do, or use another provider."),
)


def remedy(error: Exception) -> str:
    """What would help; empty: nothing that is known here."""
    if isinstance(error, ComputeError):
        return error.remedy
    return next((sentence for kind, sentence in REMEDIES if isinstance(error, kind)), "")
