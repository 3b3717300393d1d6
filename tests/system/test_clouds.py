# SPDX-License-Identifier: Apache-2.0
"""OpenStack's clients, unchanged, against an installation that knows its users itself, without any cloud: what
`caryatid up` writes is all that they need."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openstack
import pytest

from bench.installation import Installation
from tests.openstack_command import Shell

pytestmark = pytest.mark.filterwarnings(  # the SDK's own affair
    "ignore:Support for InfluxDB", "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"
)
PASSWORD = "long enough"


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    """Its own client is the first administrator."""
    with Installation(noop=True, environment={"CARYATID_IDENTITY_DRIVER": "local"}) as made:
        made.api.headers["X-Auth-Token"] = (made.directory / "admin.token").read_text().strip()
        yield made


def made(site: Installation, path: str, **body: Any) -> Any:
    return site.send("POST", f"/v1/access/{path}", body)


@pytest.fixture(scope="module")
def alice(site: Installation) -> dict[str, str]:
    """With which a member of the project `hers` starts `openstack`."""
    project_id = made(site, "projects", project={"name": "hers"})["id"]
    user_id = made(site, "users", user={"name": "alice", "password": PASSWORD})["id"]
    made(site, "roles", role={"user_id": user_id, "project_id": project_id, "role": "member"})
    said = {"OS_USERNAME": "alice", "OS_PASSWORD": PASSWORD, "OS_PROJECT_NAME": "hers"}
    domains = {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default"}
    return {"OS_AUTH_URL": f"{site.url}/identity/v3", **said, **domains}


@pytest.fixture(scope="module")
def admin(site: Installation) -> Iterator[Shell]:
    """By the file that the installation wrote."""
    with Shell(OS_CLIENT_CONFIG_FILE=str(site.directory / "clouds.yaml"), OS_CLOUD="caryatid") as shell:
        yield shell


@pytest.fixture(scope="module")
def hers(alice: dict[str, str]) -> Iterator[Shell]:
    with Shell(**alice) as shell:
        yield shell


def test_a_load_balancer_is_made_by_the_name_of_a_subnet(admin: Shell, hers: Shell, site: Installation) -> None:
    lb = hers.tell("create --name lb --vip-subnet-id default")
    (project,) = hers.ask("project list --my-projects")
    assert (project["Name"], project["ID"]) == ("hers", lb["project_id"])
    site.active(f"loadbalancers/{lb['id']}")
    assert [one["name"] for one in admin.tell("list --project hers")] == ["lb"]
    (port,) = hers.ask(f"port list --fixed-ip ip-address={lb['vip_address']}")
    assert port["ID"] == lb["vip_port_id"]
    admin.run("loadbalancer quota set --loadbalancer 7 hers")
    assert admin.tell("quota show hers")["load_balancer"] == 7
    hers.do("delete lb")
    site.gone(f"loadbalancers/{lb['id']}")


def test_what_there_is_is_looked_up_as_in_any_cloud(admin: Shell, hers: Shell) -> None:
    issued = hers.ask("token issue")
    assert issued["id"].startswith("cyt_")
    assert {one["Name"] for one in admin.ask("project list")} >= {"admin", "hers"}
    assert admin.ask("project show hers")["name"] == "hers"
    assert {one["Name"] for one in admin.ask("user list")} >= {"admin", "alice"}
    assert admin.ask("user show alice")["name"] == "alice"
    assert [one["Name"] for one in hers.ask("subnet list")] == ["default"]
    assert hers.ask("subnet show default")["ip_version"] == 4
    assert [one["Name"] for one in hers.ask("network list")] == ["default"]
    assert hers.ask("network show default")["subnets"]
    assert hers.ask("security group list") == []
    services = {"load-balancer", "network", "identity", "key-manager"}
    assert {one["Type"] for one in hers.ask("catalog list")} == services
    assert hers.ask("domain show default")["name"] == "Default"
    assert {one["Name"] for one in admin.ask("role list")} >= {"member", "reader"}


def test_secrets_are_kept_by_barbican_s_command(hers: Shell) -> None:
    kept = hers.ask("secret store --name key --payload hush")
    assert kept["Secret href"] in {one["Secret href"] for one in hers.ask("secret list")}
    assert not hers.run(f"secret delete {kept['Secret href']}")


def test_a_token_of_ours_logs_in_as_an_application_credential(site: Installation, alice: dict[str, str]) -> None:
    user = site.api.get("/v1/access/users?name=alice").json()["users"][0]
    project = site.api.get("/v1/access/projects?name=hers").json()["projects"][0]
    token = made(site, "tokens", token={"user_id": user["id"], "project_id": project["id"], "roles": ["member"]})
    auth = {"auth_url": alice["OS_AUTH_URL"]}
    auth |= {"application_credential_id": token["id"], "application_credential_secret": token["secret"]}
    with openstack.connection.Connection(auth_type="v3applicationcredential", auth=auth) as cloud:
        assert cloud.current_project_id == project["id"]
        subnet = cloud.network.find_subnet("default")
        lb = cloud.load_balancer.create_load_balancer(name="sdk", vip_subnet_id=subnet.id)
        assert cloud.load_balancer.wait_for_load_balancer(lb.id, interval=0.05).provisioning_status == "ACTIVE"
        assert cloud.network.get_port(lb.vip_port_id).fixed_ips[0]["ip_address"] == lb.vip_address
        assert [one.name for one in cloud.network.networks()] == ["default"]
        assert list(cloud.network.security_groups()) == []
        assert cloud.identity.get_project(project["id"]).name == "hers"
        cloud.load_balancer.delete_load_balancer(lb.id)
        site.gone(f"loadbalancers/{lb.id}")


def test_a_plain_clouds_yaml_is_enough(site: Installation, alice: dict[str, str], tmp_path: Path) -> None:
    known = {name[3:].lower(): value for name, value in alice.items()}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"here": {"auth": known}}}))
    loader = openstack.config.OpenStackConfig(config_files=[str(tmp_path / "clouds.yaml")])
    with openstack.connection.Connection(config=loader.get_one("here")) as cloud:
        assert [one.name for one in cloud.list_subnets()] == ["default"]
        assert list(cloud.load_balancer.load_balancers()) == []
        token = cloud.auth_token
        cloud.session.delete(f"{site.url}/identity/v3/auth/tokens", headers={"X-Subject-Token": token})
    assert httpx2.get(f"{site.url}/v2/lbaas/loadbalancers", headers={"X-Auth-Token": token}).status_code == 401


def test_the_files_are_for_their_owner_alone(site: Installation) -> None:
    for name in ("admin.token", "clouds.yaml"):
        assert (site.directory / name).stat().st_mode & 0o077 == 0
