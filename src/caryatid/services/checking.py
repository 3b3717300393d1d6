# SPDX-License-Identifier: Apache-2.0
"""What the core process has to do with checks: a checker of its own region, which comes through the same door as all
others, and the watch over votes."""

import asyncio
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from caryatid import log
from caryatid.checker.identity import Enrolment, Place
from caryatid.config import Settings
from caryatid.control.authority import Registry
from caryatid.control.door import Door
from caryatid.control.gslb import home, tokens, watch
from caryatid.control.housekeeping import Duty, Housekeeper
from caryatid.errors import Busy, CaryatidError
from caryatid.services import loop
from caryatid.services.checker import TOKEN, serve
from caryatid.store.gslb import enrolled

AGAIN_S = 5.0
FORGET_S = 60.0
JOIN_S = 2.0
FOLDER = "embedded"


class OwnChecker:
    """Members are checked from here while this is entered."""

    def __init__(self, door: Door, registry: Registry, address: tuple[str, int]) -> None:
        """`address`: where the conductor listens."""
        host, port = address[:2]
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  read, not listened on
        self._url = f"https://[{here}]:{port}" if ":" in here else f"https://{here}:{port}"
        self._door, self._registry = door, registry
        self._stop = asyncio.Event()

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._running

    async def _run(self) -> None:
        """Until told to stop; what goes wrong is told, and tried again."""
        settings = self._registry.settings
        while not self._stop.is_set():
            try:
                place = await asyncio.to_thread(self._place, settings)
                if place is None:
                    return
                await serve(settings, place, self._stop)
            except CaryatidError as error:
                log.get().warning("members are not checked from here", reason=str(error))
            except Exception:  # noqa: BLE001  the other services go on
                log.get().exception("members are not checked from here")
            if not self._stop.is_set():
                await _within(self._stop, AGAIN_S)

    def _place(self, settings: Settings) -> Place | None:
        """Where the checker keeps who it is, with a token if it needs one; None: this installation has no region."""
        region_id = home.ensure(self._door)
        if region_id is None:
            return None
        directory = settings.state_dir / "checker" / FOLDER
        place = Place(directory, region_id, [self._url], directory / TOKEN)
        if not self._is_known(place, region_id):
            _leave_token(directory / TOKEN, tokens.new_token(self._registry, region_id).encode())
            place.enrolment.unlink(missing_ok=True)
            place.credentials.unlink(missing_ok=True)
        return place

    def _is_known(self, place: Place, region_id: str) -> bool:
        """Whether what is kept was enrolled with this database."""
        try:
            kept = Enrolment.model_validate_json(place.enrolment.read_bytes())
        except (OSError, ValueError):
            return False
        with self._registry.database.read() as tx:
            known = {one.id: one for one in enrolled.every(tx)}.get(kept.checker_id)
        return known is not None and known.region_id == region_id and not known.revoked


class Watching:
    """It is seen that votes have expired while this is entered, if no other process sees to it."""

    def __init__(self, door: Door) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self._watch = watch.Watch(door.database, holder)
        self._keeper = Housekeeper(door, holder, (Duty("forget votes", FORGET_S, watch.forget),))
        self._stop = threading.Event()

    async def __aenter__(self) -> None:
        self._thread = loop.start("watch votes", self._run)

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, JOIN_S)

    def _run(self) -> None:
        def turn() -> None:
            with suppress(Busy):  # nothing is missed: the next turn looks back to the last one that went well
                self._watch.turn()
                self._keeper.turn()

        loop.every("watch votes", watch.TURN_S, turn, self._stop)
        self._watch.close()


def _leave_token(path: Path, token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)


async def _within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
