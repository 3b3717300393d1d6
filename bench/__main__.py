# SPDX-License-Identifier: Apache-2.0
"""Measures and writes a Markdown table: `python -m bench [part …] [--quick]`."""

import argparse
import time

from bench import (
    access,
    api,
    checks,
    datagrams,
    decisions,
    dns,
    events,
    failover,
    figures,
    flow,
    ganeti,
    gslb,
    memory,
    reports,
    rotation,
    site,
    size,
    status,
    takeover,
    throughput,
    tls,
    waiters,
    webhooks,
)
from bench.figures import Figure

PARTS = {
    "api": api.run,
    "access": access.run,
    "flow": flow.run,
    "events": events.run,
    "status": status.run,
    "waiters": waiters.run,
    "webhooks": webhooks.run,
    "size": size.run,
    "reports": reports.run,
    "memory": memory.run,
    "throughput": throughput.run,
    "tls": tls.run,
    "rotation": rotation.run,
    "takeover": takeover.run,
    "failover": failover.measure,
    "udp": datagrams.run,
    "decisions": decisions.run,
    "checks": checks.run,
    "dns": dns.run,
    "gslb": gslb.run,
    "ganeti": ganeti.run,
}
ON_A_SITE = {"takeover", "failover", "udp", "ganeti"}
"""Parts that need hosts with networks: made as root, or (not `ganeti`) in a user namespace."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repetitions")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if ON_A_SITE & set(arguments.parts or PARTS):
        site.enter()
    machine = figures.machine()
    text = [f"# What it costs, {figures.today()}", "", machine + (", quick" if arguments.quick else ""), ""]
    for part in arguments.parts or PARTS:
        print(f"{part} …", flush=True)
        began = time.monotonic()
        rows = [show(row) for row in PARTS[part](quick=arguments.quick)]
        text += [f"## {part}", "", figures.table(rows), "", f"({time.monotonic() - began:.0f} s)", ""]
    print("\n" + "\n".join(text))
    print(f"Written to {figures.write(figures.today(), chr(10).join(text))}")


def show(row: Figure) -> Figure:
    print(f"  {row.row()}", flush=True)
    return row


if __name__ == "__main__":
    main()
