# SPDX-License-Identifier: Apache-2.0
"""The API's process."""

import asyncio
import socket
from ipaddress import ip_address

import uvicorn
import uvloop

from caryatid import log
from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.errors import CaryatidError
from caryatid.services import process, wiring
from caryatid.store.wake import Wakeups
from caryatid.wire.tls import Server, listening_socket

STOP_S = 5


def run(settings: Settings) -> None:
    """Answers requests until told to stop. Raises CaryatidError when it would be open to others without a lock."""
    log.configure(settings.log_level, settings.log_format, service="api")
    process.follow_parent()
    process.keep_memory()
    host, port = process.split(settings.listen)
    if not ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
        raise CaryatidError(
            f"Without access control the API listens on loopback addresses only, not on {host}: anybody could do "
            "everything. Put a proxy that authenticates in front of it."
        )
    with process.cannot_listen("API", settings.listen):
        listener = listening_socket("127.0.0.1" if host == "localhost" else host, port)
    uvloop.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    door = wiring.door(settings)
    wakeups = Wakeups(door.database)
    wakeups.start()
    news = News(wakeups)
    config = uvicorn.Config(
        create_app(door, wakeups, news),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    if not serving.done():
        process.ready()
        log.get().info("ready", listen=settings.listen)
        await process.stopped()
    news.close()
    server.should_exit = True
    await serving
    wakeups.close()
    door.database.close()
