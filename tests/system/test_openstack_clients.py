# SPDX-License-Identifier: Apache-2.0
"""The `openstack loadbalancer` command and openstacksdk drive every resource, unchanged."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from bench.installation import Installation
from tests.openstack_command import Shell

pytestmark = pytest.mark.filterwarnings(  # the SDK's own affair
    "ignore:Support for InfluxDB", "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"
)

@pytest.fixture(scope="module")
def shell(noop_installation: Installation) -> Iterator[Shell]:
    with Shell("--os-auth-type", "none", "--os-endpoint", noop_installation.url) as made:
        yield made


@pytest.fixture(scope="module")
def keys(noop_installation: Installation) -> Iterator[Shell]:
    """For the commands of Barbican's client."""
    with Shell("--os-auth-type", "none", "--os-endpoint", f"{noop_installation.url}/v1", word="secret") as made:
        yield made


@pytest.fixture(scope="module")
def cloud(noop_installation: Installation) -> Iterator[Any]:
    made = openstack.connection.Connection(auth_type="none", endpoint=noop_installation.url)
    yield made.load_balancer
    made.close()


@pytest.fixture
def lb(noop_installation: Installation) -> Iterator[str]:
    """A load balancer `lb` with listener `http` and pool `app`, gone after the test."""
    subnet_id = noop_installation.subnet_id()
    pool = {"name": "app", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    listener = {"name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
    wanted = {"name": "lb", "vip_subnet_id": subnet_id, "listeners": [listener]}
    made = noop_installation.post("loadbalancers", {"loadbalancer": wanted})
    noop_installation.active(f"loadbalancers/{made['id']}")
    yield made["id"]
    noop_installation.delete(f"loadbalancers/{made['id']}?cascade=true")
    noop_installation.gone(f"loadbalancers/{made['id']}")


LIFE: dict[str, tuple[str, str, str, str, str, str]] = {
    # resource: create, name, what is set, unset; the attribute that shows both, and its value when set
    "listener": (
        "--protocol HTTP --protocol-port 81 --name one lb",
        "one",
        "--connection-limit 7",
        "--connection-limit",
        "connection_limit",
        "7",
    ),
    "pool": (
        "--protocol HTTP --lb-algorithm ROUND_ROBIN --loadbalancer lb --name one",
        "one",
        "--tag t",
        "--all-tag",
        "tags",
        "t",
    ),
    "member": (
        "--address 192.0.2.1 --protocol-port 80 --name one app",
        "app one",
        "--weight 7",
        "--weight",
        "weight",
        "7",
    ),
    "healthmonitor": (
        "--delay 5 --timeout 3 --max-retries 2 --type HTTP --name one app",
        "one",
        "--url-path /up",
        "--url-path",
        "url_path",
        "/up",
    ),
    "l7policy": (
        "--action REJECT --name one http",
        "one",
        "--description said",
        "--description",
        "description",
        "said",
    ),
}
WIDE = {"listener": -1, "pool": "", "member": 1, "healthmonitor": "/", "l7policy": ""}
"""What the attribute is when it is not set."""


@pytest.mark.parametrize("resource", LIFE)
def test_the_command_leads_a_resource_through_its_life(shell: Shell, lb: str, resource: str) -> None:
    create, name, change, unset, attribute, value = LIFE[resource]
    made = shell.tell(f"{resource} create {create}")
    parent = "app" if resource == "member" else ""
    assert made["id"] in {one["id"] for one in shell.tell(f"{resource} list {parent}")}
    assert shell.tell(f"{resource} show {name}")["id"] == made["id"]
    shell.do(f"{resource} set {change} {name}")
    assert str(shell.tell(f"{resource} show {name}")[attribute]).strip("[]'") == value
    shell.do(f"{resource} unset {unset} {name}")
    assert shell.tell(f"{resource} show {name}")[attribute] in (WIDE[resource], [])
    shell.do(f"{resource} delete {name}")


def test_the_command_leads_a_rule_through_its_life(shell: Shell, lb: str) -> None:
    shell.tell("l7policy create --action REJECT --name policy http")
    made = shell.tell("l7rule create --type PATH --compare-type STARTS_WITH --value /a policy")
    assert [one["id"] for one in shell.tell("l7rule list policy")] == [made["id"]]
    shell.do(f"l7rule set --invert policy {made['id']}")
    assert shell.tell(f"l7rule show policy {made['id']}")["invert"] is True
    shell.do(f"l7rule unset --invert policy {made['id']}")
    assert shell.tell(f"l7rule show policy {made['id']}")["invert"] is False
    shell.do(f"l7rule delete policy {made['id']}")


def test_the_command_leads_a_load_balancer_through_its_life(shell: Shell, noop_installation: Installation) -> None:
    subnet_id = noop_installation.subnet_id()
    made = shell.tell(f"create --name whole --vip-subnet-id {subnet_id} --tag blue --wait")
    assert made["provisioning_status"] == "ACTIVE"
    assert [one["id"] for one in shell.tell("list --name whole")] == [made["id"]]
    assert [one["id"] for one in shell.tell("list --tags blue")] == [made["id"]]
    shell.do("set --description said --wait whole")
    assert shell.tell("show whole")["description"] == "said"
    shell.do("unset --description --all-tag whole")
    shown = shell.tell("show whole")
    assert (shown["description"], shown["tags"]) == ("", [])
    assert "total_connections" in shell.tell("stats show whole")
    tree = json.loads(shell.run("loadbalancer status show whole"))
    assert tree["loadbalancer"]["name"] == "whole"
    shell.do("failover whole --wait")
    shell.do("delete whole --cascade --wait")
    assert shell.tell("list --name whole") == []


def test_the_command_shows_and_fails_over_amphorae(shell: Shell, lb: str) -> None:
    (amphora,) = shell.tell(f"amphora list --loadbalancer {lb}")
    assert shell.tell(f"amphora show {amphora['id']}")["loadbalancer_id"] == lb
    assert "404" in shell.run(f"loadbalancer amphora stats show {amphora['id']}"), "nothing counts without a data plane"
    shell.do(f"amphora configure {amphora['id']}")
    shell.do(f"amphora failover {amphora['id']}")


def test_the_command_sets_quotas(shell: Shell) -> None:
    project = "3d1e5a0c9b7f4f6e8a2c4d6e8f0a1b2c"
    limit = shell.tell("quota defaults show")["load_balancer"]
    assert shell.tell(f"quota set --loadbalancer 500 {project}")["load_balancer"] == 500
    assert shell.tell(f"quota show {project}")["load_balancer"] == 500
    assert project in {one["project_id"] for one in shell.tell("quota list")}
    shell.do(f"quota unset --loadbalancer {project}")
    assert shell.tell(f"quota show {project}")["load_balancer"] == limit
    shell.do(f"quota reset {project}")
    assert shell.tell(f"quota show {project}")["load_balancer"] == limit


@pytest.mark.parametrize(
    ("resource", "data"), [("flavor", "loadbalancer_topology"), ("availabilityzone", "compute_zone")]
)
def test_the_command_leads_flavors_and_zones_through_their_lives(shell: Shell, resource: str, data: str) -> None:
    option = "--flavor-data" if resource == "flavor" else "--availability-zone-data"
    value = shlex.quote(shlex.quote(json.dumps({data: "SINGLE"})))  # it splits twice
    profile, of = f"{resource}profile", f"--{resource}profile"
    made = shell.tell(f"{profile} create --name p --provider amphora {option} {value}")
    assert made["id"] in {one["id"] for one in shell.tell(f"{profile} list")}
    shell.do(f"{profile} set --name q {made['id']}")
    assert shell.tell(f"{profile} show q")["name"] == "q"

    shell.tell(f"{resource} create --name f {of} q --enable")
    assert "f" in {one["name"] for one in shell.tell(f"{resource} list")}
    shell.do(f"{resource} set --description said f")
    assert shell.tell(f"{resource} show f")["description"] == "said"
    shell.do(f"{resource} unset --description f")
    assert shell.tell(f"{resource} show f")["description"] == ""
    shell.do(f"{resource} delete f")
    shell.do(f"{profile} delete q")


def test_the_command_lists_providers_and_what_they_can(shell: Shell) -> None:
    assert "amphora" in {one["name"] for one in shell.tell("provider list")}
    assert {one["type"] for one in shell.tell("provider capability list amphora")} == {"flavor", "availability_zone"}


def test_the_command_says_what_was_wrong(shell: Shell, lb: str) -> None:
    said = shell.run("loadbalancer listener create --protocol HTTP --protocol-port 80 lb")
    assert "409" in said
    assert "80" in said


def test_barbican_s_command_leads_secrets_and_containers_through_their_lives(keys: Shell, tmp_path: Path) -> None:
    file = tmp_path / "site.p12"
    file.write_bytes(b"\x30\x00\xff")
    made = keys.tell(f"store --name site --secret-type certificate --file {file}")
    reference = made["Secret href"]
    assert [one["Secret href"] for one in keys.tell("list --name site")] == [reference]
    shown = keys.tell(f"get {reference}")
    assert (shown["Name"], shown["Status"]) == ("site", "ACTIVE")
    assert "cannot be read" in keys.run(f"secret get {reference} --payload")
    keys.do(f"update {reference} renewed")
    assert keys.tell(f"get {reference}")["Content types"] == {"default": "text/plain"}
    container = keys.tell(f"container create --name site --type certificate --secret certificate={reference}")
    href = container["Container href"]
    assert reference in keys.run(f"secret container get {href}"), "it cannot say so in JSON"
    assert href in keys.run("secret container list --limit 100")
    keys.do(f"container delete {href}")
    keys.do(f"delete {reference}")
    assert "not found" in keys.run(f"secret get {reference}")


# -- openstacksdk


def test_the_sdk_leads_every_resource_of_a_load_balancer_through_its_life(cloud: Any, lb: str) -> None:
    (listener,) = cloud.listeners(load_balancer_id=lb)
    (pool,) = cloud.pools(loadbalancer_id=lb)
    policy = cloud.create_l7_policy(listener_id=listener.id, action="REJECT")
    listeners = {"load_balancer_id": lb, "protocol": "HTTP", "protocol_port": 81}
    lives = (
        ("listener", (), listeners, {"connection_limit": 9}),
        ("pool", (), {"loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "SOURCE_IP"}, {"name": "n"}),
        ("member", (pool.id,), {"address": "192.0.2.7", "protocol_port": 80}, {"weight": 9}),
        (
            "health_monitor",
            (),
            {"pool_id": pool.id, "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2},
            {"delay": 9},
        ),
        ("l7_policy", (), {"listener_id": listener.id, "action": "REJECT"}, {"name": "n"}),
        ("l7_rule", (policy.id,), {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/a"}, {"invert": True}),
    )
    for kind, parents, wanted, change in lives:
        made = getattr(cloud, f"create_{kind}")(*parents, **wanted)
        plural = "l7_policies" if kind == "l7_policy" else f"{kind}s"
        assert made.id in {one.id for one in getattr(cloud, plural)(*parents)}, kind
        changed = getattr(cloud, f"update_{kind}")(made.id, *parents, **change)
        shown = getattr(cloud, f"get_{kind}")(made.id, *parents)
        for name, value in change.items():
            assert getattr(changed, name) == getattr(shown, name) == value, (kind, name)
        getattr(cloud, f"delete_{kind}")(made.id, *parents)


def test_the_sdk_leads_a_load_balancer_through_its_life(cloud: Any, noop_installation: Installation) -> None:
    made = cloud.create_load_balancer(name="sdk", vip_subnet_id=noop_installation.subnet_id(), tags=["a"])
    assert cloud.wait_for_load_balancer(made.id, interval=0.05).provisioning_status == "ACTIVE"
    assert [one.id for one in cloud.load_balancers(name="sdk")] == [made.id]
    assert cloud.update_load_balancer(made.id, description="said").description == "said"
    assert cloud.find_load_balancer("sdk").id == made.id
    assert cloud.get_load_balancer_statistics(made.id).total_connections == 0
    cloud.failover_load_balancer(made.id)
    assert {one.loadbalancer_id for one in cloud.amphorae(loadbalancer_id=made.id)} == {made.id}
    cloud.delete_load_balancer(made.id, cascade=True)
    noop_installation.gone(f"loadbalancers/{made.id}")


def test_the_sdk_sets_quotas_flavors_and_zones(cloud: Any) -> None:
    assert cloud.update_quota("sdk-project", load_balancer=4).load_balancers == 4
    assert cloud.get_quota("sdk-project").load_balancers == 4
    assert cloud.get_quota_default().load_balancers == -1
    cloud.delete_quota("sdk-project")
    profile = cloud.create_flavor_profile(name="s", provider_name="amphora", flavor_data="{}")
    flavor = cloud.create_flavor(name="s", flavor_profile_id=profile.id)
    assert cloud.update_flavor(flavor.id, description="said").description == "said"
    assert flavor.id in {one.id for one in cloud.flavors()}
    cloud.delete_flavor(flavor.id)
    cloud.delete_flavor_profile(profile.id)
    zone_profile = cloud.create_availability_zone_profile(
        name="s", provider_name="amphora", availability_zone_data="{}"
    )
    zone = cloud.create_availability_zone(name="s", availability_zone_profile_id=zone_profile.id)
    assert cloud.get_availability_zone("s").availability_zone_profile_id == zone_profile.id
    assert zone.name in {one.name for one in cloud.availability_zones()}
    cloud.delete_availability_zone("s")
    cloud.delete_availability_zone_profile(zone_profile.id)
    assert "amphora" in {one.name for one in cloud.providers()}
    assert len(list(cloud.provider_flavor_capabilities("amphora"))) > 0
