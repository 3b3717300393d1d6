# SPDX-License-Identifier: Apache-2.0
"""Every setting, once. From the environment (`CARYATID_…`), then a TOML file (`--config`), then the default."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from caryatid.places import state_dir
from caryatid.target import parse

CONFIG_VARIABLE = "CARYATID_CONFIG"
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Limit = Annotated[int, Field(ge=-1)]
Facility = Annotated[int, Field(ge=0, le=7)]


def _targets(text: str) -> str:
    parse(text)
    return text


def networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Those that are named, with commas between. Raises ValueError."""
    return [ip_network(word.strip()) for word in text.split(",") if word.strip()]


def _networks(text: str) -> str:
    networks(text)
    return text


LogTargets = Annotated[str, AfterValidator(_targets)]
Networks = Annotated[str, AfterValidator(_networks)]


class Settings(BaseSettings):
    """What an operator may decide."""

    model_config = SettingsConfigDict(
        env_prefix="CARYATID_", extra="forbid", use_attribute_docstrings=True, frozen=True
    )

    state_dir: Path = Field(default_factory=state_dir)
    """Where the embedded database, keys and amphorae are kept."""
    database: str = ""
    """SQLAlchemy URL of the database; empty: SQLite in the state directory."""
    listen: str = "127.0.0.1:9876"
    """Address and port of the API. Without access control (`identity_driver` `noauth`) the address must be a loopback
    one."""
    listen_tls_certificate: Path | None = None
    """PEM file with the API's certificate and what links it to its authority; read at the start. Null: the API speaks
    plain HTTP, for loopback or for a proxy that speaks TLS."""
    listen_tls_key: Path | None = None
    """PEM file with the certificate's private key, without a passphrase."""
    conductor_listen: str = "127.0.0.1:9877"
    """Address and port of the conductor, to which hosts come."""
    conductor_advertise: str = Field(default="", pattern=r"^(https://[^\s/]+)?$")
    """URL under which hosts reach the conductor, for enrolment tokens; empty: `https://` and where it listens."""
    health_listen: str = "127.0.0.1:5555"
    """Address and UDP port to which agents report."""
    health_addresses: str = ""
    """What hosts are told to report to, where several health processes run: their addresses and ports, separated by
    commas. Every one hears every host. Empty: `health_listen` alone."""
    agent_listen: str = "127.0.0.1:0"
    """Address and port of the agent; port 0 chooses one and remembers it. Controllers must be able to reach it."""
    agent_advertise: str = Field(default="", pattern=r"^(https://[^\s/]+)?$")
    """URL under which controllers reach the agent; empty: `https://` and where it listens."""
    agent_join: str = Field(default="", pattern=r"^(https://[^\s/]+/?)?$")
    """URL of the conductor to which the agent belongs; empty: as its enrolment token says."""
    agent_name: str = Field(default="", max_length=255)
    """What the host calls itself; empty: the machine's name."""
    agent_capacity: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Amphorae that the host may carry. Said when it enrols; afterwards `caryatid host set` changes it. So the next."""
    agent_uplinks: str = ""
    """Physical networks on which this host can put amphorae, by name: `default=bridge:eth1` (the agent makes a bridge
    and puts the interface in it; it must have no addresses of the host), `default=macvlan:eth1` (beside the host), or
    `default=br0` (a bridge that is there already); several with commas between. Needs root."""
    agent_uid_base: Annotated[int, Field(ge=0, le=2_147_000_000)] = 2_000_000_000
    """Amphora number n of a host that is in a network namespace runs as this user and group number plus n, and sees no
    files; nobody else should have them. 0: all as the user `haproxy`."""
    agent_labels: dict[str, str] = {}
    """What flavors and availability zones may ask for (`host_labels`); a JSON object in the environment."""
    checker_region: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """Region (name or ID) to which the checker of this machine belongs; empty: as its token says."""
    checker_join: str = Field(default="", pattern=r"^(https://[^\s/,]+/?(,https://[^\s/,]+/?)*)?$")
    """URLs of conductors, separated by commas; when one fails, the checker goes to the next. Empty: as its token
    says."""
    checker_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Checks that a checker makes at a time, and no more than half of the files that it may open."""
    checker_quarantine_percent: Annotated[int, Field(ge=1, le=100)] = 60
    """Of a checker's targets (20 or more): when more go down within one interval, it takes the fault to be its own, and
    says nothing, until its controls can be reached; without controls, for half a minute."""
    checker_programs: str = ""
    """Paths of programs that checks of type `exec` may start, separated by commas; empty: none."""
    checker_metrics_listen: str = ""
    """Address and port where a checker shows its metrics; empty: nowhere."""
    dns_listen: str = Field(default="127.0.0.1:5300", pattern=r"^(\S+:[0-9]{1,5})?$")
    """Address and port of the name server that `caryatid up` starts if PowerDNS is installed (`pdns-server`,
    `pdns-backend-sqlite3`), and that answers for zones of the backend `embedded`. Empty: none is started."""
    dns_geo_databases: str = ""
    """Files of geo data in MaxMind's format (cities, autonomous systems) for the same, separated by commas; needs
    `pdns-backend-geoip`. Empty: it does not know where clients are."""
    metrics_listen: str = "127.0.0.1:9878"
    """Address and port where the core process shows its metrics (`/metrics`); empty: nowhere. The API shows its own."""
    agent_metrics_listen: str = ""
    """Address and port where the agent shows its metrics; empty: nowhere."""
    api_base_uri: str = ""
    """What links begin with; empty: as the request came."""

    amphora_driver: str = "haproxy"
    """Driver that configures amphorae (`haproxy`, `noop`, or an installed one)."""
    compute_driver: str = "hosts"
    """Driver that provides amphorae (`hosts`, `noop`)."""
    network_driver: str = "bridge"
    """Driver that brings VIPs to amphorae: `bridge` (as each subnet's attachment says), `loopback` (127.0.0.0/8 alone),
    `noop`."""
    secrets_driver: str = "local"
    """Driver that reads what container references of listeners and pools stand for: `local` (kept here, under
    `/v1/secrets`), `barbican`, `noop`."""
    identity_driver: str = "local"
    """Driver that says who asks: `local` (users, projects and tokens of this installation, under `/v1/access`),
    `keystone` (whom a Keystone knows, by their tokens), `noauth` (everyone is an administrator; on loopback only)."""
    token_days: Positive = 90
    """Days that a token of ours lasts for which nothing is said."""
    token_days_max: Positive = 365
    """Days that a token of ours lasts at the most; only administrators make such as never end."""
    policy_file: Path | None = None
    """File with rules that say otherwise than the built-in ones who may do what (oslo.policy's YAML or JSON); read at
    the start. Null: none."""
    default_subnet_cidr: str = "127.100.0.0/16"
    """Range of the initial subnet `default`, from which load balancers get their addresses."""

    body_size_max: Positive = 1 << 20
    """Bytes of a request body; a larger one is refused with 413."""
    pagination_max_limit: Positive = 1000
    """Resources in one page of a list."""
    listeners_max: Positive = 100
    """Listeners of a load balancer."""
    members_max: Positive = 5000
    """Members of a pool."""
    nested_objects_max: Positive = 1000
    """Objects in one fully populated create."""

    quota_loadbalancer: Limit = -1
    """Load balancers of a project, where its quota says nothing; -1: no limit."""
    quota_listener: Limit = -1
    """Listeners of a project."""
    quota_pool: Limit = -1
    """Pools of a project."""
    quota_member: Limit = -1
    """Members of a project."""
    quota_healthmonitor: Limit = -1
    """Health monitors of a project."""
    quota_l7policy: Limit = -1
    """L7 policies of a project."""
    quota_l7rule: Limit = -1
    """L7 rules of a project."""
    quota_gslb: Limit = -1
    """Names that a project has answered with what is well."""
    quota_gslb_pool: Limit = -1
    """Pools of these of a project."""
    quota_gslb_member: Limit = -1
    """Members of these of a project."""
    quota_gslb_monitor: Limit = -1
    """Monitors of these of a project."""

    gslb_guard_percent: Annotated[int, Field(ge=1, le=100)] = 50
    """Of all members of gslbs (20 or more): when more would go out of answers within a minute without enough regions
    that agree on it, they stay. 100: never."""
    gslb_allowed_targets: Networks = ""
    """CIDRs that members of gslbs may be in and be checked at, whatever else is said of them; commas between them.
    Without them loopback, link-local, multicast and clouds' metadata addresses may not."""
    gslb_refused_targets: Networks = ""
    """CIDRs that they may not be in, beside these."""
    gslb_controls: str = Field(default="", pattern=r"^([^\s,]+:\d+(, *[^\s,]+:\d+)*)?$")
    """What checkers can reach whenever their network is well, `ADDRESS:PORT` with commas between: a checker that cannot
    says nothing. Empty: none."""
    gslb_region: str = Field(default="local", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Name of the region that this installation is in; made at the first start."""
    gslb_follow_s: Seconds = 30
    """Seconds between two looks at where and how members are of which others know: load balancers of an Octavia, ports
    of a Neutron, what plugins find. What was heard counts for three times as long, and the time for an answer."""
    gslb_follow_token_file: Path | None = None
    """File with a token that these Octavias and Neutrons are shown. None: one of `keystone_url`'s, as the service's
    user; without that none."""
    gslb_follow_timeout_s: Seconds = 4
    """Seconds that one of them may take to answer."""
    checker_embedded: bool = True
    """The core process checks members itself, from the region of this installation."""
    gslb_report_to: str = Field(default="", pattern=r"^(https://[^\s/,]+/?(,https://[^\s/,]+/?)*)?$")
    """URLs of another installation's conductors, with commas between, which are told how the load balancers here are.
    It needs a token of this region made there, in the file `reporter/token` of the state directory. Empty: nobody is
    told."""

    default_connection_limit: Positive = 50_000
    """Connections of a listener whose connection_limit is -1 or 0."""
    default_timeout_client_data_ms: Positive = 50_000
    """Listener timeout_client_data, where not given."""
    default_timeout_member_connect_ms: Positive = 5_000
    """Listener timeout_member_connect, where not given."""
    default_timeout_member_data_ms: Positive = 50_000
    """Listener timeout_member_data, where not given."""
    tls_minimum_version: Literal["", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] = ""
    """The oldest version of TLS that listeners and pools may speak; empty: any. What is older is refused in new wishes,
    and left out of those that are there."""
    tls_prohibited_ciphers: str = Field(default="", pattern=r"^[A-Za-z0-9_:-]*$")
    """Ciphers, by OpenSSL's names with colons between, that no listener or pool may speak; treated like versions."""
    hard_stop_after_s: Positive = 1800
    """Seconds after which an HAProxy that a reload replaced ends, whatever connections it still has."""

    vrrp_interval_s: Annotated[float, Field(ge=0.03, le=40)] = 0.1
    """Seconds between two words of an amphora that has the VIPs to the other of its pair, which takes over when it has
    heard none for a little more than three times that."""

    worker_threads: Positive = 4
    """Load balancers that one worker process reconciles at a time."""
    builds_at_once: Positive = 50
    """Machines that the compute driver is building at a time, all processes together; what replaces lost amphorae may
    use a fifth more. Of no effect on hosts, where nothing has to be built."""
    provisioning_deadline_s: Seconds = 300
    """Seconds after which what could not be put in effect shows ERROR (it is tried further)."""
    delete_deadline_s: Seconds = 30
    """Seconds that a delete waits for a host that does not answer; what is left there is removed when it returns."""
    agent_timeout_s: Seconds = 20
    """Seconds that an agent may take for one request."""
    noop_delay_s: Annotated[float, Field(ge=0)] = 0
    """Seconds that the noop drivers take for each act."""

    report_interval_s: Seconds = 5
    """Seconds between an agent's reports of counters."""
    snapshot_interval_s: Seconds = 30
    """Seconds between an agent's full snapshots of an amphora."""
    certificate_days: Positive = 30
    """Validity of hosts' and controllers' certificates; they renew them when half to a third of it is left."""
    certificate_grace_days: Positive = 90
    """Days after its end for which a host's certificate can still be renewed, by its key: for hosts that were away."""
    heartbeat_key_days: Positive = 365
    """Age at which the key with which a host signs its reports is replaced."""
    certificate_check_s: Seconds = 600
    """Seconds after which a reference to a certificate in use is read again, in case it was renewed."""
    ocsp_stapling: bool = False
    """OCSP responses are fetched for the certificates of listeners, from where these say, and shown with them."""
    ocsp_private_responders: bool = False
    """OCSP responders may be at private addresses, too. Whoever may name certificates chooses what is asked there."""
    orphan_grace_s: Seconds = 300
    """Seconds after which an amphora that a host has, but should not have, is removed there."""
    event_retention_days: Positive = 90
    """Days that events, ended jobs and attempts are kept."""
    job_archive_days: Positive = 1095
    """Days that ended jobs are kept in all: after `event_retention_days` without their logs, and out of lists."""
    subscriptions_max: Positive = 50
    """Subscriptions of a project."""
    webhook_private_targets: Networks = ""
    """Networks that subscriptions may name although they are not public, separated by commas: `10.1.2.0/24, ::1/128`.
    Whoever may subscribe chooses what is posted to there."""
    webhook_ca: Path | None = None
    """PEM file of authorities for the certificates of receivers. None: the machine's."""

    tenant_log_targets: LogTargets = ""
    """Syslog receivers of flows (a line a request or connection), separated by commas, each
    `[udp://|tcp://|tls://]ADDRESS[:PORT]`; every one gets every line. Empty: flows are not logged."""
    tenant_log_flows: bool = True
    """Flows of load balancers are logged whose flavor does not say (`log_flows`)."""
    tenant_log_format: str = ""
    """Format of a flow (HAProxy's log-format with `{{ project_id }}`, `{{ lb_id }}`, `{{ listener_id }}`), where the
    flavor has none (`log_format`); empty: Octavia's."""
    tenant_log_facility: Facility = 0
    """Syslog facility of flows: n of `local<n>`."""
    admin_log_targets: LogTargets = ""
    """Syslog receivers of what HAProxies and this machine's agent have to say, written as `tenant_log_targets`."""
    admin_log_facility: Facility = 1
    """Syslog facility of the same: n of `local<n>`."""
    log_tls_ca: Path | None = None
    """PEM file of certificates against which TLS receivers' are checked."""
    log_tls_name: str = Field(default="", pattern=r"^[A-Za-z0-9.-]*$")
    """Name that TLS receivers' certificates must bear."""

    barbican_url: str = Field(default="", pattern=r"^(https?://[^\s/]+(/[^\s?#]*)?)?$")
    """URL of the Barbican that the secrets driver `barbican` asks."""
    barbican_names: str = ""
    """URLs with which references to it may begin, separated by commas: it may have other addresses for its users.
    Empty: `barbican_url`."""
    barbican_timeout_s: Seconds = 4
    """Seconds that Barbican and Keystone may take for one request."""
    keystone_url: str = Field(default="", pattern=r"^(https?://[^\s/]+(/[^\s?#]*)?)?$")
    """URL of the Keystone that vouches for the service towards Barbican, and of whoever asks towards the service
    (`identity_driver`). Empty: Barbican asks for no token."""
    keystone_public_url: str = Field(default="", pattern=r"^(https?://[^\s/\"]+(/[^\s?#\"]*)?)?$")
    """URL at which users reach the same Keystone, told to whoever comes without a token. Empty: `keystone_url`."""
    keystone_timeout_s: Seconds = 4
    """Seconds that Keystone may take to say whose a token is."""
    keystone_cache_s: Seconds = 60
    """Seconds for which that is believed: a token that is revoked works here for so long at the most."""
    keystone_user: str = "caryatid"
    """The service's user there; whoever keeps a secret for a listener lets this user read it. For `identity_driver`
    `keystone` it needs the role `service` in its project."""
    keystone_user_domain: str = "Default"
    """Domain of the user."""
    keystone_project: str = "service"
    """The project that the user belongs to."""
    keystone_project_domain: str = "Default"
    """Domain of the project."""
    keystone_password_file: Path | None = None
    """File with the user's password, and nothing else."""
    keystone_ca: Path | None = None
    """PEM file of authorities for certificates of Keystone, Barbican, and the Octavias and Neutrons of regions. None:
    the machine's."""

    otel_endpoint: str = Field(default="", pattern=r"^(https?://[^\s/]+(/[^\s?#]*)?)?$")
    """URL of an OTLP receiver (`http://127.0.0.1:4318`) to which every process sends spans; empty: nowhere. Needs the
    extra `otel`."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    log_format: str = "auto"
    """`json`, `text`, or `auto`: text on a terminal."""

    @model_validator(mode="after")
    def _tls_receivers_can_be_checked(self) -> Self:
        targets = parse(f"{self.tenant_log_targets},{self.admin_log_targets}")
        if any(target.scheme == "tls" for target in targets) and not (self.log_tls_ca and self.log_tls_name):
            raise ValueError("A TLS log target needs log_tls_ca and log_tls_name.")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get(CONFIG_VARIABLE)
        toml = (TomlConfigSettingsSource(settings_cls, file),) if file else ()
        return (init_settings, env_settings, *toml)

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.state_dir}/caryatid.db"

    @property
    def webhook_networks(self) -> list[IPv4Network | IPv6Network]:
        return networks(self.webhook_private_targets)

    @property
    def receivers(self) -> list[str]:
        """Where hosts report to."""
        told = [address.strip() for address in self.health_addresses.split(",")]
        return [address for address in told if address] or [self.health_listen]

    @property
    def quotas(self) -> dict[str, int]:
        """Limits of a project whose quota says nothing, by kind."""
        names = (name for name in type(self).model_fields if name.startswith("quota_"))
        return {name.removeprefix("quota_"): getattr(self, name) for name in names}

    @property
    def listener_defaults(self) -> dict[str, int]:
        """The operator's defaults of a listener's attributes."""
        return {
            "timeout_client_data": self.default_timeout_client_data_ms,
            "timeout_member_connect": self.default_timeout_member_connect_ms,
            "timeout_member_data": self.default_timeout_member_data_ms,
        }
