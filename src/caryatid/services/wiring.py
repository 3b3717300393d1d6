# SPDX-License-Identifier: Apache-2.0
"""Settings → database, drivers, door: what services hand to the functions that need it."""

import ssl
from collections.abc import Callable

from caryatid.config import Settings
from caryatid.control.door import Door, provider
from caryatid.drivers import load
from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver, Setup
from caryatid.errors import CaryatidError
from caryatid.store.database import Database


def no_tls() -> ssl.SSLContext:
    """For processes that never talk to agents."""
    raise CaryatidError("This process has no certificate to show to agents.")


def door(settings: Settings, context: Callable[[], ssl.SSLContext] = no_tls, database: Database | None = None) -> Door:
    """The door of this process. `context`: TLS towards agents, for processes that talk to them."""
    database = database or Database(settings.database_url)
    setup = Setup(
        context,
        timeout_s=settings.agent_timeout_s,
        connection_limit=settings.default_connection_limit,
        hard_stop_after_s=settings.hard_stop_after_s,
    )
    driver: AmphoraLoadBalancerDriver = load("amphora", settings.amphora_driver).connect(setup)
    return Door(database, provider(settings, driver), settings)
