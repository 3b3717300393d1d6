# SPDX-License-Identifier: Apache-2.0
"""What every request and every attempt needs at hand: the database, the providers, the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore

from caryatid.config import Settings
from caryatid.drivers.amphora.base import AmphoraLoadBalancerDriver
from caryatid.drivers.compute.base import ComputeDriver
from caryatid.drivers.elsewhere import Elsewhere
from caryatid.drivers.identity.base import IdentityDriver
from caryatid.drivers.network.base import NetworkDriver
from caryatid.drivers.secrets.base import SecretsDriver
from caryatid.errors import CaryatidError, Fault, Refused
from caryatid.model import policyfile
from caryatid.model.flavor import Capabilities
from caryatid.model.policy import BUILT_IN, Policy
from caryatid.store.database import Database

from .dns import Dns
from .vault import Vault

PROVIDER = "amphora"
ALIAS = "octavia"
READING_MAX = 8


@dataclass(frozen=True)
class Provider:
    """A set of drivers that together carry out load balancers."""

    name: str
    description: str
    amphora: AmphoraLoadBalancerDriver
    compute: ComputeDriver
    network: NetworkDriver

    @property
    def capabilities(self) -> Capabilities:
        return self.amphora.capabilities


@dataclass(frozen=True)
class Door:
    """Handed to whoever writes wishes or carries them out."""

    database: Database
    providers: Mapping[str, Provider]
    settings: Settings
    secrets: SecretsDriver
    """The key store, in which references of listeners and pools are looked up."""
    identity: IdentityDriver
    """Who says who asks."""
    dns: Dns = field(default_factory=Dns)
    """How names are published."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    """Who is asked about members that are an Octavia's or a Neutron's."""

    @cached_property
    def reading(self) -> BoundedSemaphore:
        """So many wishes may be waiting for the key store; whoever it hangs shall not hold those that need none."""
        return BoundedSemaphore(READING_MAX)

    @cached_property
    def asking(self) -> BoundedSemaphore:
        """The same of those who know of members elsewhere."""
        return BoundedSemaphore(READING_MAX)

    @cached_property
    def policy(self) -> Policy:
        """Who may do what. Raises CaryatidError for a file that cannot be used."""
        path = self.settings.policy_file
        if path is None:
            return BUILT_IN
        try:
            return policyfile.read(path.read_text(), str(path))
        except (OSError, ValueError) as error:
            raise CaryatidError(f"The policy cannot be used: {error}") from error

    @cached_property
    def vault(self) -> Vault:
        """How what is read there is kept in the database."""
        return Vault(self.settings.state_dir)

    @property
    def compute(self) -> ComputeDriver:
        """What provides the machines of all amphorae."""
        return self.providers[PROVIDER].compute

    @property
    def makes_machines(self) -> bool:
        """The compute driver makes a machine for each amphora; else they go to hosts that have enrolled."""
        return self.compute.makes_machines

    def provider(self, name: str) -> Provider:
        """Raises Refused when no provider is called so."""
        provider = self.providers.get(name)
        if provider is None:
            raise Refused([Fault(f"Provider '{name}' is not enabled.", "provider")])
        return provider


def provider(amphora: AmphoraLoadBalancerDriver, compute: ComputeDriver, network: NetworkDriver) -> dict[str, Provider]:
    """The providers that there are, with these drivers."""
    drivers = (amphora, compute, network)
    return {
        PROVIDER: Provider(PROVIDER, "Amphorae: HAProxy instances that this service runs.", *drivers),
        ALIAS: Provider(ALIAS, f"The same as {PROVIDER}, under its older name.", *drivers),
    }
