# SPDX-License-Identifier: Apache-2.0
"""Settings → database, drivers, door: what services hand to the functions that need it."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

from caryatid.config import Settings
from caryatid.control.accounts import Accounts
from caryatid.control.check import tls_policy
from caryatid.control.door import Door, provider
from caryatid.control.ganeti.desk import Desk
from caryatid.control.secrets import Keep
from caryatid.control.vault import Vault
from caryatid.drivers import load
from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver
from caryatid.drivers.elsewhere import Elsewhere
from caryatid.drivers.setup import Agents, Identity, KeyManager, Keystone, Setup
from caryatid.errors import CaryatidError
from caryatid.plan.haproxy import LogSettings
from caryatid.store.database import Database
from caryatid.target import parse

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def no_tls() -> ssl.SSLContext:
    """For processes that never talk to agents."""
    raise CaryatidError("This process has no certificate to show to agents.")


def log_settings(settings: Settings) -> LogSettings:
    """Who gets logs of amphorae. Raises CaryatidError for what would keep every HAProxy from starting."""
    try:
        return LogSettings(
            tenant=parse(settings.tenant_log_targets),
            admin=parse(settings.admin_log_targets),
            tenant_facility=settings.tenant_log_facility,
            admin_facility=settings.admin_log_facility,
            flows=settings.tenant_log_flows,
            **({"format": settings.tenant_log_format} if settings.tenant_log_format else {}),
            tls_ca=authorities(settings.log_tls_ca) if settings.log_tls_ca else "",
            tls_name=settings.log_tls_name,
        )
    except (ValueError, OSError) as error:
        raise CaryatidError(f"The settings of logs cannot be used: {error}") from error


def authorities(path: Path) -> str:
    """The certificates in a PEM file, and nothing else that it holds. Raises ValueError, OSError."""
    found = CERTIFICATE.findall(path.read_text())
    if not found:
        raise ValueError(f"{path} holds no certificate.")
    text = "".join(f"{certificate}\n" for certificate in found)
    ssl.create_default_context(cadata=text)
    return text


def key_manager(settings: Settings) -> KeyManager | None:
    """The Barbican of the settings. Raises CaryatidError for files that cannot be read."""
    if not settings.barbican_url:
        return None
    try:
        return KeyManager(
            settings.barbican_url,
            tuple(name.strip() for name in settings.barbican_names.split(",") if name.strip()),
            authorities(settings.keystone_ca) if settings.keystone_ca else "",
            _keystone(settings) if settings.keystone_url else None,
            settings.barbican_timeout_s,
        )
    except (ValueError, OSError) as error:
        raise CaryatidError(f"The settings of Barbican cannot be used: {error}") from error


def identity(settings: Settings) -> Identity | None:
    """The Keystone of the settings. Raises CaryatidError for files that cannot be read."""
    if not settings.keystone_url:
        return None
    try:
        return Identity(
            _keystone(settings),
            settings.keystone_public_url,
            authorities(settings.keystone_ca) if settings.keystone_ca else "",
            settings.keystone_timeout_s,
            settings.keystone_cache_s,
        )
    except (ValueError, OSError) as error:
        raise CaryatidError(f"The settings of Keystone cannot be used: {error}") from error


def elsewhere(settings: Settings) -> Elsewhere:
    """Who asks the Octavias and Neutrons of regions. Raises CaryatidError for files that cannot be read."""
    try:
        return Elsewhere(
            _keystone(settings) if settings.keystone_url else None,
            settings.gslb_follow_token_file,
            authorities(settings.keystone_ca) if settings.keystone_ca else "",
            settings.gslb_follow_timeout_s,
        )
    except (ValueError, OSError) as error:
        raise CaryatidError(f"The settings of Keystone cannot be used: {error}") from error


def _keystone(settings: Settings) -> Keystone:
    if settings.keystone_password_file is None:
        raise ValueError("keystone_url needs keystone_password_file.")
    return Keystone(
        settings.keystone_url,
        settings.keystone_user,
        settings.keystone_user_domain,
        settings.keystone_project,
        settings.keystone_project_domain,
        settings.keystone_password_file.read_text().rstrip("\n"),
    )


def door(settings: Settings, context: Callable[[], ssl.SSLContext] = no_tls, database: Database | None = None) -> Door:
    """The door of this process. `context`: TLS towards agents, for processes that talk to them."""
    database = database or Database(settings.database_url)
    setup = Setup(
        Agents(context, settings.agent_timeout_s),
        connection_limit=settings.default_connection_limit,
        hard_stop_after_s=settings.hard_stop_after_s,
        vrrp_interval_s=settings.vrrp_interval_s,
        tls=tls_policy(settings),
        logs=log_settings(settings),
        keep=Keep(database, Vault(settings.state_dir)),
        key_manager=key_manager(settings),
        identity=identity(settings),
        noop_delay_s=settings.noop_delay_s,
        accounts=Accounts(database),
        machines=Desk(database),
    )
    driver: AmphoraLoadBalancerDriver = load("amphora", settings.amphora_driver).connect(setup)
    compute = load("compute", settings.compute_driver).connect(setup)
    providers = provider(driver, compute, load("network", settings.network_driver).connect(setup))
    secrets = load("secrets", settings.secrets_driver).connect(setup)
    identity_driver = load("identity", settings.identity_driver).connect(setup)
    return Door(database, providers, settings, secrets, identity_driver, elsewhere=elsewhere(settings))
