# SPDX-License-Identifier: Apache-2.0
"""A conductor with its door for checkers, over real TLS, and checkers that have enrolled with it."""

import asyncio
from contextlib import asynccontextmanager

from caryatid.api.checks import Checking
from caryatid.api.conductor import create_app
from caryatid.api.news import News
from caryatid.control import authority
from caryatid.control.credentials import Credentials
from caryatid.control.gslb import tokens
from caryatid.model import GSLB_REGION
from caryatid.plan import certificates
from caryatid.store.wake import Wakeups
from caryatid.wire.checkers import ChecksClient, Newcomer
from caryatid.wire.conductor import EnrolmentToken
from caryatid.wire.tls import client_context, listening_socket, server
from tests.store.gslb.conftest import Orchard


class Place:
    """A conductor, and what it looks after."""

    def __init__(self, registry, wakeups, url, news):
        self.registry, self.wakeups, self.url, self.news = registry, wakeups, url, news
        self.orchard = Orchard(registry.database)

    def region(self, name="fra", **more):
        body = {"name": name, **more}
        return self.orchard.part(GSLB_REGION, **body)

    def token(self, region_id):
        """For a checker of the region."""
        made = tokens.new_token(self.registry, region_id)
        return EnrolmentToken(**{**made.model_dump(), "url": self.url})

    async def checker(self, region_id):
        """What it was told, and the client, of a checker that has enrolled."""
        token = self.token(region_id)
        key = certificates.new_key()
        trust = authority.trust_of(self.registry).bundle
        stranger = ChecksClient([self.url], client_context(trust))
        try:
            newcomer = Newcomer(
                token_id=token.id, secret=token.secret, csr_pem=certificates.request(key).decode(), name="c1"
            )
            welcome = await stranger.enrol(newcomer)
        finally:
            await stranger.close()
        self.context = client_context(welcome.ca_pem, welcome.certificate_pem.encode() + key)
        return welcome, ChecksClient([self.url], self.context)


@asynccontextmanager
async def conducted(registry, **limits):
    wakeups = Wakeups(registry.database)
    wakeups.start()
    news = News(wakeups)
    checking = Checking(registry, news, **limits)
    listener = listening_socket("127.0.0.1", 0)
    serving = server(create_app(registry, checking.routes()), Credentials(registry, "controller-test").server())
    task = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        yield Place(registry, wakeups, f"https://127.0.0.1:{listener.getsockname()[1]}", news)
    finally:
        serving.should_exit = True
        await checking.close()
        await task
        listener.close()
        wakeups.close()
