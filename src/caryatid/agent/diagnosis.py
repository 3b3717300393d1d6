# SPDX-License-Identifier: Apache-2.0
"""What an operator is told of one amphora who asks for it: all that HAProxy and the kernel say of it now."""

import time

from caryatid.agent import runtime, verdict
from caryatid.agent.amphora import Amphora
from caryatid.wire.agent import Certificate, Diagnostics

PROXIES_MAX = 2000
OUTPUT_CHARACTERS_MAX = 8000
CERTIFICATES_MAX = 100
TOLD = {
    "Status": "status",
    "Subject": "subject",
    "Subject Alternative Name": "names",
    "Serial": "serial",
    "notAfter": "not_after",
}


async def diagnose(amphora: Amphora, haproxy: str) -> Diagnostics:
    """What HAProxy says about itself."""
    info: dict[str, str] = {}
    rows: list[runtime.Row] = []
    certificates: list[Certificate] = []
    socket = amphora.files.stats_socket
    if amphora.process is not None:
        try:
            info = await runtime.information(socket)
            rows = await runtime.statistics(socket)
            certificates = [await _certificate(amphora, path) for path in await _paths(amphora)]
        except runtime.RuntimeUnavailable as error:
            info |= {"error": str(error)}
    return Diagnostics(
        info=info,
        proxies=[row._asdict() for row in rows[:PROXIES_MAX]],
        check=await verdict.check(haproxy, amphora.files.configuration) if amphora.files.has_frontend() else "",
        output=amphora.files.output_since(0)[-OUTPUT_CHARACTERS_MAX:],
        namespace=amphora.space.path.name if amphora.space else "",
        role=amphora.role or "",
        certificates=certificates,
        worker_started_at=_since(info),
    )


def _since(info: dict[str, str]) -> float | None:
    """When the worker started: at the last reload, if there was one."""
    seconds = info.get("Uptime_sec", "")
    return time.time() - float(seconds) if seconds.isdecimal() else None


async def _paths(amphora: Amphora) -> list[str]:
    """The files of certificates in use, as HAProxy calls them."""
    said = await runtime.call(amphora.files.stats_socket, "show ssl cert")
    return [line for line in said.splitlines() if line.startswith("/")][:CERTIFICATES_MAX]


async def _certificate(amphora: Amphora, path: str) -> Certificate:
    said = await runtime.call(amphora.files.stats_socket, f"show ssl cert {path}")
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}
    told = {attribute: found[name] for name, attribute in TOLD.items() if name in found}
    return Certificate(name=path.rpartition("/")[2], **told)
