# SPDX-License-Identifier: Apache-2.0
"""Memory of the control plane, idle: the proportional share (PSS) of `up` and the three processes that it runs."""

from collections.abc import Iterator

from bench.figures import Figure
from bench.installation import installation
from bench.waiting import pause, pss_bytes

IDLE_S = 5


def run(*, quick: bool) -> Iterator[Figure]:
    with installation() as made:
        for _ in range(20):
            made.get("/v2/lbaas/loadbalancers")
        pause(1 if quick else IDLE_S)
        assert made.process is not None
        found = {"up": made.process.pid, **made.services()}
        sizes = {name: pss_bytes(pid) / (1 << 20) for name, pid in found.items()}
    note = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    yield Figure("memory of the control plane, idle, PSS", sum(sizes.values()), "MiB", 250, note=note)
