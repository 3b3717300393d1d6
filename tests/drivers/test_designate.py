# SPDX-License-Identifier: Apache-2.0
"""A real Designate, whose one name server is a real BIND."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx2
import pytest

from bench.waiting import free_port, until
from caryatid.drivers.dns.base import Backend, DnsError, DnsRefusedError
from caryatid.drivers.dns.designate import BY_NAME_MAX, DesignateDriver
from tests.cloud import running
from tests.drivers.dns_contract import V4, V6, DnsContract, Rig, gone, listed, settled, wanted
from tests.drivers.dns_servers import ADDRESS, ZONE, Primary, primary

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
PATIENCE_S = 60


@dataclass
class Designate:
    """It, and what somebody does there by hand."""

    backend: Backend
    http: httpx2.Client
    signal: Callable[[int], None]
    bind: Primary

    def find(self, fqdn, rrtype):
        (zone,) = self.http.get("/zones", params={"name": ZONE}).json()["zones"]
        path = f"/zones/{zone['id']}/recordsets"
        return path, self.http.get(path, params={"name": fqdn, "type": rrtype}).json()["recordsets"]

    def make(self, fqdn, rrtype, content):
        path, found = self.find(fqdn, rrtype)
        body = {"ttl": 30, "records": [content]}
        if found:
            answer = self.http.put(f"{path}/{found[0]['id']}", json=body)
        else:
            answer = self.http.post(path, json={"name": fqdn, "type": rrtype, **body})
        assert answer.status_code == 202, answer.text
        until(lambda: self.find(fqdn, rrtype)[1][0]["status"] == "ACTIVE", f"{fqdn} is there", PATIENCE_S)


@pytest.fixture(scope="module")
def designate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    mdns = free_port()
    with (
        primary("secondary", folder / "bind", primary_port=mdns) as bind,
        running("designate", folder / "designate", str(mdns), str(bind.port)) as server,
    ):
        options = {"auth": "none", "email": "hostmaster@gslb.example", "patience_s": 1}
        backend = Backend("b", f"{server.url}/v2", options=options, name_servers=((ADDRESS, bind.port),), timeout_s=30)
        with httpx2.Client(base_url=backend.url, timeout=PATIENCE_S) as http:
            DesignateDriver(backend).ensure_zone(ZONE)
            yield Designate(backend, http, server.process.send_signal, bind)


@pytest.fixture
def rig(designate):
    def stop():
        designate.signal(signal.SIGSTOP)
        made.driver = DesignateDriver(replace(designate.backend, timeout_s=0.5))

    def start():
        designate.signal(signal.SIGCONT)
        made.driver = driver

    driver = DesignateDriver(designate.backend)
    made = Rig(driver, ZONE, designate.make, stop, start, designate.backend.name_servers, tries=5)
    return made


class TestDesignate(DnsContract):
    def test_many_names_are_published_together(self, rig):
        """Not as many as elsewhere: each is a request of its own."""
        many = [wanted(rig.name(f"n{number}"), V4) for number in range(BY_NAME_MAX + 2)]
        settled(rig, *many)
        assert {each.fqdn for each in rig.driver.published(ZONE)} >= {each.fqdn for each in many}

    def test_a_cname_beside_what_people_made_is_refused_in_designates_words(self, rig):
        name = rig.name()
        rig.make(name, "MX", f"10 mail.{ZONE}")
        with pytest.raises(DnsRefusedError, match=name):
            rig.driver.publish(ZONE, [wanted(name, "elsewhere.example.", rrtype="CNAME")])
        assert listed(rig, name) == {}

    def test_a_wildcard_is_found_again_also_when_it_has_nothing(self, rig):
        name = f"*.{rig.name()}"
        settled(rig, wanted(name, V4), wanted(name, rrtype="AAAA"))
        settled(rig, wanted(name, generation=2), wanted(name, V6, generation=2))
        assert {rrtype: generation for rrtype, (generation, _) in listed(rig, name).items()} == {"A": 2, "AAAA": 2}
        settled(rig, gone(name), gone(name, "AAAA"))
        assert listed(rig, name) == {}

    def test_name_servers_that_designate_cannot_tell_are_waited_for_until_the_deadline(self, rig, designate):
        hasty = DesignateDriver(replace(designate.backend, options={"auth": "none", "deadline_s": 0.3}))
        name = rig.name()
        with (
            designate.bind.silent(),
            pytest.raises(DnsError, match=f"has not told its name servers of {name}") as error,
        ):
            hasty.publish(ZONE, [wanted(name, V4)])
        assert not isinstance(error.value, DnsRefusedError)
        settled(rig, wanted(name, V4))

    def test_a_zone_that_is_not_there_is_asked_of_people_unless_an_address_is_given(self, rig, designate):
        ours = DesignateDriver(replace(designate.backend, options={"auth": "none"}))
        with pytest.raises(DnsRefusedError, match="openstack zone create"):
            ours.ensure_zone("nowhere.example.")
        with pytest.raises(DnsRefusedError, match=r"no zone nowhere\.example\."):
            ours.published("nowhere.example.")


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (Backend("b", options={"auth": "none"}), "no url"),
        (Backend("b", "http://127.0.0.1:1", credentials={"password": "secret"}), "auth_url, username, project_name"),
        (Backend("b", "http://127.0.0.1:1", options={"auth": "none", "deadline_s": "soon"}), "number of seconds"),
    ],
    ids=["url", "credentials", "deadline"],
)
def test_a_backend_that_cannot_be_used_is_refused_without_showing_its_secrets(backend, said):
    with pytest.raises(DnsRefusedError, match=said) as error:
        DesignateDriver(backend)
    assert "secret" not in str(error.value)
