# SPDX-License-Identifier: Apache-2.0
"""The API's process."""

import asyncio
import os
import socket
import ssl
from ipaddress import ip_address

import uvicorn
import uvloop

from caryatid import log, tracing
from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.control import authority
from caryatid.control.credentials import OnDemand
from caryatid.errors import CaryatidError
from caryatid.services import process, wiring
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from caryatid.wire.tls import Server, listening_socket

STOP_S = 5
NO_ACCESS_CONTROL = "noauth"


def run(settings: Settings) -> None:
    """Answers requests until told to stop. Raises CaryatidError when it would be open to others without a lock."""
    log.configure(settings.log_level, settings.log_format, service="api")
    tracing.configure(settings.otel_endpoint, "api")
    process.follow_parent()
    process.keep_memory()
    process.open_many()
    host, port = process.split(settings.listen)
    host = "127.0.0.1" if host == "localhost" else host
    _look_at(settings, host)
    with process.cannot_listen("API", settings.listen):
        listener = listening_socket(host, port)
    uvloop.run(_serve(settings, listener))


def _look_at(settings: Settings, host: str) -> None:
    """What an operator has to know of where the API listens is in the log. Raises CaryatidError."""
    far, open_to_all = not ip_address(host).is_loopback, settings.identity_driver == NO_ACCESS_CONTROL
    if far and open_to_all:
        raise CaryatidError(
            f"Without access control the API listens on loopback addresses only, not on {host}: anybody could do "
            "everything. Set identity_driver to local or keystone, or put a proxy that authenticates in front of it."
        )
    if open_to_all:
        log.get().warning("no access control: whoever reaches this machine's own addresses may do everything")
    if far and not settings.listen_tls_certificate:
        log.get().warning(
            "tokens and passwords cross the network as they are: set listen_tls_certificate, or put a proxy before it",
            listen=settings.listen,
        )
    if settings.listen_tls_certificate:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.listen_tls_certificate, settings.listen_tls_key, lambda: b"")
        except (OSError, ValueError) as error:
            raise CaryatidError(f"The certificate of the API cannot be used: {error}") from error


async def _serve(settings: Settings, listener: socket.socket) -> None:
    database = Database(settings.database_url)
    agents = OnDemand(lambda: authority.open_registry(database, settings), f"api-{os.getpid()}")
    door = wiring.door(settings, agents.client, database)
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
        ssl_certfile=settings.listen_tls_certificate,
        ssl_keyfile=settings.listen_tls_key,
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
