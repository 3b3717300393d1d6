# SPDX-License-Identifier: Apache-2.0
"""A figure: what was to be reached, what was measured; and the table of them."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One row. `limit` is the most (or, with `at_least`, the least) that `value` may be; None: only shown."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> str:
        sign = "≥" if self.at_least else "≤"
        target = "" if self.limit is None else f"{sign} {_number(self.limit)} {self.unit}"
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return f"| {self.name} | {target} | {_number(self.value)} {self.unit} | {met} | {self.note} |"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], unit: str = "ms") -> str:
    """How the values lie, for a note."""
    ordered = sorted(values)
    return f"n={len(ordered)}, {_number(ordered[0])}…{_number(ordered[-1])} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> str:
    """What it was measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, kernel {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} before it began"
    )


def table(figures: Iterable[Figure]) -> str:
    head = "| | target | measured | met | |\n|---|---|---|---|---|"
    return "\n".join([head, *(figure.row() for figure in figures)])


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def write(name: str, text: str) -> Path:
    """The text is in `bench/results`, under a name that was not there before."""
    RESULTS.mkdir(exist_ok=True)
    path, number = RESULTS / f"{name}.md", 1
    while path.exists():
        number += 1
        path = RESULTS / f"{name}-{number}.md"
    path.write_text(text)
    return path
