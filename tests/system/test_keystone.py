# SPDX-License-Identifier: Apache-2.0
"""Users of a real Keystone, each with the `openstack` command, get what their roles allow, and nothing else."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx2
import pytest

from bench.installation import Installation
from bench.waiting import until
from tests.cloud import SERVICE, Cloud
from tests.openstack_command import Shell

LOADBALANCERS = "/v2/lbaas/loadbalancers"
CACHE_S = 2
PEOPLE = {
    "anna": ("north", "member"),
    "rita": ("north", "reader"),
    "otto": ("south", "member"),
    "olga": ("north", "load-balancer_observer"),
    "lena": ("north", "load-balancer_member"),
    "gail": ("south", "load-balancer_global_observer"),
    "quin": ("south", "load-balancer_quota_admin"),
    "leo": ("south", "load-balancer_admin"),
    "nora": ("north", "auditor"),
}
DENIED = "Policy does not allow this request to be performed."


@pytest.fixture(scope="module")
def people(cloud: Cloud) -> dict[str, str]:
    """Ids of the users, by name."""
    return {name: cloud.user(name, *where) for name, where in PEOPLE.items()}


@pytest.fixture(scope="module")
def site(cloud: Cloud, people: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that this Keystone has in its catalog; its own client is an administrator."""
    password = tmp_path_factory.mktemp("password") / "password"
    password.write_text(SERVICE)
    environment = {
        "CARYATID_IDENTITY_DRIVER": "keystone",
        "CARYATID_KEYSTONE_URL": cloud.url,
        "CARYATID_KEYSTONE_PASSWORD_FILE": str(password),
        "CARYATID_KEYSTONE_CACHE_S": str(CACHE_S),
        "CARYATID_KEYSTONE_TIMEOUT_S": "2",
    }
    with Installation(noop=True, environment=environment) as made:
        for type_, url in (("load-balancer", made.url), ("network", f"{made.url}/network")):
            service_id = cloud.make("service", type=type_, name=f"caryatid-{type_}")
            cloud.make("endpoint", service_id=service_id, interface="public", url=url)
        made.api.headers["X-Auth-Token"] = cloud.token("admin", "admin")
        yield made


def words(cloud: Cloud, user: str, project: str) -> dict[str, str]:
    """With which somebody starts `openstack`."""
    said = {"OS_AUTH_URL": f"{cloud.url}/v3", "OS_USERNAME": user, "OS_PASSWORD": user, "OS_PROJECT_NAME": project}
    return {**said, "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default"}


class Shells(NamedTuple):
    admin: Shell
    anna: Shell
    rita: Shell
    otto: Shell
    program: Shell


@pytest.fixture(scope="module")
def shells(cloud: Cloud, site: Installation, people: dict[str, str]) -> Iterator[Shells]:
    """Started together: each takes seconds. `program` has an application credential of anna's."""
    shown = cloud.credential(cloud.token("anna", "north"), people["anna"], "program")["application_credential"]
    program = {"OS_APPLICATION_CREDENTIAL_ID": shown["id"], "OS_APPLICATION_CREDENTIAL_SECRET": shown["secret"]}
    with ExitStack() as stack:
        named = {name: Shell(**words(cloud, name, PEOPLE[name][0])) for name in ("anna", "rita", "otto")}
        named["admin"] = Shell(**words(cloud, "admin", "admin"))
        named["program"] = Shell(OS_AUTH_TYPE="v3applicationcredential", OS_AUTH_URL=f"{cloud.url}/v3", **program)
        yield Shells(**{name: stack.enter_context(shell) for name, shell in named.items()})


@pytest.fixture
def lb(shells: Shells, site: Installation) -> Iterator[str]:
    """The name of a load balancer that anna has made."""
    made = shells.anna.tell("create --name north --vip-subnet-id default")
    site.active(f"loadbalancers/{made['id']}")
    yield "north"
    site.delete(f"loadbalancers/{made['id']}?cascade=true")
    site.gone(f"loadbalancers/{made['id']}")


def ask(site: Installation, token: str, method: str = "GET", path: str = LOADBALANCERS, body: Any = None) -> Any:
    return httpx2.request(method, f"{site.url}{path}", headers={"X-Auth-Token": token}, json=body, timeout=30)


def test_each_command_does_what_the_role_of_who_types_it_allows(
    shells: Shells, lb: str, cloud: Cloud, site: Installation
) -> None:
    shown = shells.anna.tell(f"show {lb}")
    assert shown["project_id"] == cloud.find("project", "north")
    for shell in (shells.admin, shells.rita, shells.program):
        assert [one["name"] for one in shell.tell("list")] == [lb]
    assert shells.rita.tell(f"show {lb}")["id"] == shown["id"]
    assert DENIED in shells.rita.run(f"loadbalancer create --vip-subnet-id {site.subnet_id()}")
    assert DENIED in shells.rita.run(f"loadbalancer delete {lb}")
    assert shells.otto.tell("list") == []
    assert DENIED in shells.otto.run(f"loadbalancer show {shown['id']}")
    assert "Unable to locate" in shells.otto.run(f"loadbalancer delete {shown['id']}")
    assert DENIED in shells.anna.run(f"loadbalancer failover {lb}")
    shells.admin.do(f"failover {lb}")
    shells.admin.run("loadbalancer quota set --loadbalancer 7 north")
    assert shells.admin.tell("quota show north")["load_balancer"] == 7
    shells.admin.do("quota reset north")
    made = shells.program.tell(f"create --name programmed --vip-subnet-id {site.subnet_id()}")
    shells.program.do("delete programmed")
    site.gone(f"loadbalancers/{made['id']}")


def test_octavia_s_own_roles_allow_what_they_are_named_for(cloud: Cloud, site: Installation, lb: str) -> None:
    (found,) = site.get(LOADBALANCERS, name=lb)
    one, quota = f"{LOADBALANCERS}/{found['id']}", f"/v2/lbaas/quotas/{found['project_id']}"
    change = ("PUT", one, {"loadbalancer": {"description": "changed"}})
    acts: dict[str, tuple[str, str, Any]] = {
        "see": ("GET", one, None),
        "change": change,
        "limit": ("PUT", quota, {"quota": {"listener": 9}}),
        "amphorae": ("GET", "/v2/octavia/amphorae", None),
    }
    allowed = {
        "olga": {"see"},
        "lena": {"see", "change"},
        "gail": {"see"},
        "quin": {"limit"},
        "leo": set(acts),
        "nora": set(),
    }
    for name, may in allowed.items():
        token = cloud.token(name, PEOPLE[name][0])
        done = {act for act, wish in acts.items() if ask(site, token, *wish).status_code < 400}
        assert done == may, name
    site.send("DELETE", quota)


def test_who_shows_nothing_or_nothing_good_is_told_where_to_go(cloud: Cloud, site: Installation) -> None:
    for headers in ({}, {"X-Auth-Token": "nonsense"}, {"Authorization": "Basic YW5uYTphbm5h"}):
        refused = httpx2.get(f"{site.url}{LOADBALANCERS}", headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == f'Keystone uri="{cloud.url}"'
    assert httpx2.get(f"{site.url}/").status_code == httpx2.get(f"{site.url}/healthcheck").status_code == 200


def test_a_token_of_no_project_may_do_nothing(cloud: Cloud, site: Installation) -> None:
    admin_id = cloud.send("GET", "/users?name=admin").json()["users"][0]["id"]
    cloud.send("PUT", f"/system/users/{admin_id}/roles/{cloud.find('role', 'admin')}")
    for scope in ({"system": {"all": True}}, "unscoped"):
        token = cloud.scoped("admin", scope)
        wish = {"loadbalancer": {"vip_subnet_id": site.subnet_id()}}
        assert ask(site, token).status_code == 403
        assert ask(site, token, "POST", LOADBALANCERS, wish).status_code == 403


def test_a_revoked_token_ends_within_the_time_for_which_it_is_believed(cloud: Cloud, site: Installation) -> None:
    token = cloud.token("anna", "north")
    assert ask(site, token).status_code == 200
    cloud.revoke(token)
    until(lambda: ask(site, token).status_code == 401, "it is not believed", CACHE_S + 1)


def test_without_keystone_who_is_known_goes_on_and_others_shall_come_again(cloud: Cloud, site: Installation) -> None:
    known, other = cloud.token("anna", "north"), cloud.token("rita", "north")
    until(lambda: ask(site, known).status_code == 200, "it is known")
    with cloud.silent():
        assert ask(site, other).status_code == 503, "nobody can say who it is"
        assert ask(site, other).headers["Retry-After"] == "1"
        assert httpx2.get(f"{site.url}/healthcheck").status_code == 200
    until(lambda: ask(site, other).status_code == 200, "Keystone is back")
    with cloud.silent():
        began = time.monotonic()
        while time.monotonic() - began < CACHE_S / 2:
            assert ask(site, other).status_code == 200, "it is known still"
    assert ask(site, known).status_code in {200, 503}
    until(lambda: ask(site, known).status_code == 200, "everybody is known again")
