# SPDX-License-Identifier: Apache-2.0
"""Certificates in use, as the API shows them; and what it answers when references are wrong."""

import dataclasses

import pytest

from caryatid.control import stapling, watch
from caryatid.drivers.noop import WORLD, self_made
from caryatid.drivers.secrets.base import SecretsError
from caryatid.model.bundle import Material


@pytest.fixture
def tls(api):
    """A function: a listener that names these."""
    root = api.loadbalancer(name="l")

    def listener(port=8443, project=None, **more):
        wish = {"loadbalancer_id": root["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": port, **more}
        return api.post("/v2/lbaas/listeners", json={"listener": wish})

    return listener


def certificates(api, query="", **kwargs):
    return api.get(f"/v1/certificates{query}", **kwargs).json()["certificates"]


def test_certificates_in_use_are_listed_with_those_who_name_them(api, tls):
    first = tls(default_tls_container_ref="noop:a", sni_container_refs=["noop:b"]).json()["listener"]
    second = tls(port=8444, default_tls_container_ref="noop:b").json()["listener"]
    wish = {"loadbalancer_id": first["loadbalancers"][0]["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    pool = api.create("/pools", "pool", **wish, tls_enabled=True, ca_tls_container_ref="noop:a")
    found = {(one["reference"], one["purpose"]): one for one in certificates(api)}
    assert set(found) == {("noop:a", "keypair"), ("noop:b", "keypair"), ("noop:a", "authorities")}
    assert found["noop:a", "keypair"]["listeners"] == [first["id"]]
    assert sorted(found["noop:b", "keypair"]["listeners"]) == sorted([first["id"], second["id"]])
    assert (found["noop:a", "authorities"]["listeners"], found["noop:a", "authorities"]["pools"]) == ([], [pool["id"]])
    one = found["noop:a", "keypair"]
    assert api.get(f"/v1/certificates/{one['id']}").json() == {"certificate": one}
    assert (one["subject"], one["problem"]) == ("CN=a", None)
    assert one["not_before"] < one["checked_at"] < one["not_after"]


def test_nothing_that_is_secret_is_shown(api, tls):
    tls(default_tls_container_ref="noop:a")
    (one,) = certificates(api)
    assert "PRIVATE" not in str(one)
    assert not {"sealed", "pem", "announced", "staple_due"} & one.keys()


def test_the_list_can_be_filtered_and_cut(api, tls):
    made = tls(default_tls_container_ref="noop:a", sni_container_refs=["noop:b", "noop:c"]).json()["listener"]
    root_id = made["loadbalancers"][0]["id"]
    assert [one["reference"] for one in certificates(api, "?reference=noop:b")] == ["noop:b"]
    assert len(certificates(api, f"?loadbalancer_id={root_id}&purpose=keypair")) == 3
    assert certificates(api, "?purpose=revocations") == []
    assert len(certificates(api, "?limit=2&sort=not_after:desc")) == 2
    assert certificates(api, "?project_id=other") == []


def test_nobody_changes_what_is_in_use_here(api, tls):
    tls(default_tls_container_ref="noop:a")
    (one,) = certificates(api)
    path = f"/v1/certificates/{one['id']}"
    assert api.put(path, json={"certificate": {}}).status_code == 405
    assert api.delete(path).status_code == 405
    assert api.post("/v1/certificates", json={"certificate": {}}).status_code == 405
    assert api.get("/v1/certificates/none").status_code == 404


def test_a_wrong_certificate_is_answered_400_naming_the_attribute_and_what_is_wrong(api, tls):
    WORLD.secrets["k:x"] = Material(payload=b"no certificate")
    answer = tls(sni_container_refs=["k:x"])
    assert answer.status_code == 400
    said = answer.json()["faultstring"]
    assert said.startswith("Could not retrieve certificate: k:x (sni_container_refs): ")
    assert certificates(api) == []
    assert api.get("/v2/lbaas/listeners").json()["listeners"] == []


def test_a_fully_populated_create_is_checked_as_a_whole(api):
    WORLD.secrets["k:x"] = Material(payload=b"no certificate")
    secured = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "noop:a"}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    listener = {**secured, "protocol_port": 8443, "default_pool": {**pool, "ca_tls_container_ref": "k:x"}}
    wish = {"vip_subnet_id": "00000000-0000-4000-8000-000000000002", "listeners": [listener]}
    answer = api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": wish})
    assert answer.status_code == 400
    assert "k:x (ca_tls_container_ref)" in answer.json()["faultstring"]
    WORLD.secrets.clear()
    assert api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": wish}).status_code == 201
    assert {one["reference"] for one in certificates(api)} == {"noop:a", "k:x"}


@pytest.mark.parametrize("children", ["x", 5, ["x"], [5], [None], [[]], [{"sni_container_refs": [5, None, {}]}]])
def test_what_is_no_listener_names_nothing(api, children):
    wish = {"vip_subnet_id": "00000000-0000-4000-8000-000000000002", "listeners": children}
    assert api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": wish}).status_code == 400


def test_a_request_names_so_many_references_at_most(api, tls):
    calls = WORLD.calls
    answer = tls(sni_container_refs=[f"r{number}" for number in range(3000)])
    assert answer.status_code == 400
    assert WORLD.calls == calls


@pytest.mark.parametrize("wrong", ["", "x" * 256, "a\nb", 5, {}, [[]], ["x" * 256], [5], ["a\x7f"]])
def test_what_is_no_reference_is_refused_and_not_read(api, tls, wrong):
    calls = WORLD.calls
    named = {"sni_container_refs": wrong} if isinstance(wrong, list) else {"default_tls_container_ref": wrong}
    assert tls(**named).status_code == 400
    assert WORLD.calls == calls


def test_a_key_store_that_is_away_is_answered_503_to_try_again(api, tls):
    def away(_number, name):
        if name == "read":
            raise SecretsError("The key store is away.")

    WORLD.mishap = away
    answer = tls(default_tls_container_ref="noop:a")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "The key store is away. Try again." in answer.json()["faultstring"]


def test_a_certificate_comes_is_renewed_and_goes_on_each_database(any_api):
    api = any_api
    often = api.door.settings.model_copy(update={"certificate_check_s": 0.000001})
    door = dataclasses.replace(api.door, settings=often)
    root = api.loadbalancer(name="l")
    wish = {"loadbalancer_id": root["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    made = api.create("/listeners", "listener", **wish, default_tls_container_ref="noop:a")
    api.settle()
    (before,) = certificates(api)
    WORLD.secrets["noop:a"] = Material(payload=self_made("noop:b"))
    watch.look(door)
    watch.count(door)
    stapling.staple(door)
    api.settle()
    (after,) = certificates(api)
    (tree,) = WORLD.trees.values()
    assert (before["subject"], after["subject"]) == ("CN=a", "CN=b")
    assert tree.bundles["noop:a", "keypair"].digest == after["digest"]
    assert api.delete(f"/v2/lbaas/listeners/{made['id']}").status_code == 204
    api.settle()
    watch.look(door)
    assert certificates(api) == []


def test_any_reference_will_do_in_the_noop_world(api, tls):
    odd = ["barbican://x", "http://10.0.0.1/v1/containers/1", "ä ö", "%s'\"; --"]
    assert tls(default_tls_container_ref=odd[0], sni_container_refs=odd).status_code == 201
    api.settle()
    assert {one["reference"] for one in certificates(api)} == set(odd)
