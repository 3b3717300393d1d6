# SPDX-License-Identifier: Apache-2.0
"""One try of one check, from its wish to what came of it, within its time."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from time import monotonic
from typing import Any, Final

import orjson
import structlog

from caryatid.wire.checks import Check as Wanted

from .checks.base import OURS, Check, Contexts, Failed, Means, Place, Programs, Unable, reason_of
from .outcome import Outcome
from .targets import LookUp, Names, Targets, looked_up

GROUP: Final = "caryatid.checks"
REASON_MAX: Final = 500
PREPARED_MAX: Final = 4096
SEARCHES_AT_ONCE: Final = 2
MS: Final = 1000

log = structlog.get_logger()


class Tries:
    """Tries checks; on one event loop, any number at once."""

    def __init__(self, targets: Targets, programs: Sequence[str] = (), look_up: LookUp = looked_up) -> None:
        """`programs`: those that the check `exec` may start."""
        self._names = Names(targets, look_up)
        self._searching = ThreadPoolExecutor(SEARCHES_AT_ONCE, thread_name_prefix="search")
        self._means = Means(self._names.reach, Contexts(), self._searching, Programs(frozenset(programs)))
        self._kinds = {point.name: point for point in entry_points(group=GROUP)}
        self._prepared: dict[tuple[str, bytes], Check] = {}
        self._complaints: set[tuple[str, str]] = set()

    def know(self, contents: Mapping[str, str]) -> None:
        """What checks name in the key store stands for this (digest → PEM), and what is not in it is forgotten."""
        if self._means.contexts.know(contents):
            self._prepared.clear()

    async def once(self, check: Wanted, contents: Mapping[str, str] | None = None) -> Outcome:
        """Ends within `check.timeout_s`. `contents`: for this once, instead of what is known."""
        place = Place(check.address, check.port, check.address.rstrip("."), check.timeout_s)
        begun: float | None = None
        try:
            prepared = self._check(check.type, check.parameters, contents)
            async with asyncio.timeout(check.timeout_s):
                place.ours = getattr(prepared, "elsewhere", False)
                if not place.ours:
                    place.address = await self._reached(place)
                place.doing, begun = "connecting", monotonic()
                await prepared.ask(place)
        except TimeoutError:
            return _failed(f"no end within {check.timeout_s:g} s: {place.doing}", begun, ours=place.ours)
        except Failed as failed:
            return _failed(str(failed), begun)
        except Unable as unable:
            return _failed(str(unable), begun, ours=True)
        except OSError as error:
            return _failed(f"{place.doing}: {reason_of(error)}", begun, ours=place.ours or error.errno in OURS)
        except Exception as error:  # noqa: BLE001  a check may be anybody's; whoever schedules them must go on
            self._complain(check, error)
            return _failed(f"the check {check.type} is broken: {type(error).__name__}", begun, ours=True)
        return _passed((monotonic() - begun) * MS, check.parameters.get("max_rtt_ms"), measured=place.measured)

    def _complain(self, check: Wanted, error: Exception) -> None:
        """Once of each kind: the next one comes with the next check."""
        kind = (check.type, type(error).__name__)
        if kind not in self._complaints:
            self._complaints.add(kind)
            log.error("check.broken", type=check.type, monitor_id=check.monitor_id, exc_info=error)

    async def _reached(self, place: Place) -> str:
        place.ours = True
        address = await self._names.reach(place.name)
        place.ours = False
        return address

    async def close(self) -> None:
        """Nothing is being tried any more."""
        await self._names.close()
        self._searching.shutdown(wait=False, cancel_futures=True)

    def _check(self, kind: str, parameters: Mapping[str, Any], contents: Mapping[str, str] | None) -> Check:
        if contents:
            return _made(self._kinds.get(kind), kind, parameters, replace(self._means, contexts=Contexts(contents)))
        key = (kind, orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS))
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= PREPARED_MAX:
                self._prepared.clear()
            prepared = self._prepared[key] = _made(self._kinds.get(kind), kind, parameters, self._means)
        return prepared


def _made(point: EntryPoint | None, kind: str, parameters: Mapping[str, Any], means: Means) -> Check:
    if point is None:
        raise Unable(f"this checker knows no check {kind}")
    try:
        check: Check = point.load()(parameters, means)
    except (ValueError, KeyError) as error:
        raise Unable(f"the parameters of the check {kind} are not right: {error}") from error
    return check


def _passed(rtt_ms: float, limit_ms: Any, *, measured: bool) -> Outcome:
    if isinstance(limit_ms, int | float) and rtt_ms > limit_ms:
        return Outcome(up=False, reason=f"it took {rtt_ms:.1f} ms, expected {limit_ms:g} ms at most", rtt_ms=rtt_ms)
    return Outcome(up=True, rtt_ms=rtt_ms if measured else None)


def _failed(reason: str, begun: float | None, *, ours: bool = False) -> Outcome:
    text = "".join(char if char.isprintable() else " " for char in reason)
    short = text if len(text) <= REASON_MAX else f"{text[: REASON_MAX - 1]}…"
    took_ms = None if begun is None or ours else (monotonic() - begun) * MS
    return Outcome(up=False, reason=short, rtt_ms=took_ms, ours=ours)
