# SPDX-License-Identifier: Apache-2.0
"""A door with the noop world behind it."""

from caryatid.config import Settings
from caryatid.control.door import Door, provider
from caryatid.control.ganeti.desk import Desk
from caryatid.drivers import load
from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver
from caryatid.drivers.identity.base import IdentityDriver
from caryatid.drivers.identity.noauth import NoAuthDriver
from caryatid.drivers.noop import NoopAmphoraDriver, NoopNetworkDriver, NoopSecretsDriver
from caryatid.drivers.setup import Agents, Setup
from caryatid.services.wiring import no_tls
from caryatid.store.database import Database


def open_door(
    database: Database,
    settings: Settings,
    driver: AmphoraLoadBalancerDriver | None = None,
    identity: IdentityDriver | None = None,
) -> Door:
    """`driver`: what configures amphorae; without it nothing does. `identity`: who says who asks; without it all are
    administrators."""
    setup = Setup(Agents(no_tls, settings.agent_timeout_s), machines=Desk(database))
    compute = load("compute", settings.compute_driver).connect(setup)
    providers = provider(driver or NoopAmphoraDriver(), compute, NoopNetworkDriver())
    return Door(database, providers, settings, NoopSecretsDriver(), identity or NoAuthDriver())
