# SPDX-License-Identifier: Apache-2.0
"""What a profile may say."""

import pytest

from caryatid.model.flavor import FlavorData, ZoneData, data_faults


@pytest.mark.parametrize("data", [
    {},
    {"loadbalancer_topology": "ACTIVE_STANDBY", "anti_affinity": "strict", "host_labels": {"disk": "ssd"}},
    {"spares": 100, "haproxy_threads": 64, "haproxy_maxconn": 1, "compute_flavor": "small"},
    {"log_flows": False, "log_format": "%ci"},
    {"haproxy_threads": None, "log_flows": None},
])  # fmt: skip
def test_what_is_declared_is_taken(data: dict[str, object]) -> None:
    assert list(data_faults(FlavorData, "flavor_data", data)) == []


@pytest.mark.parametrize(("data", "key"), [
    ({"colour": "red"}, "colour"),
    ({"spares": 101}, "spares"),
    ({"spares": "3"}, "spares"),
    ({"spares": True}, "spares"),
    ({"haproxy_threads": 0}, "haproxy_threads"),
    ({"haproxy_threads": 65}, "haproxy_threads"),
    ({"haproxy_maxconn": 1.5}, "haproxy_maxconn"),
    ({"anti_affinity": "sometimes"}, "anti_affinity"),
    ({"loadbalancer_topology": "MANY"}, "loadbalancer_topology"),
    ({"host_labels": ["ssd"]}, "host_labels"),
    ({"host_labels": {"disk": 1}}, "host_labels.disk"),
    ({"host_labels": {"": "x"}}, "host_labels"),
    ({"log_flows": "yes"}, "log_flows"),
])  # fmt: skip
def test_what_is_not_is_refused_by_its_name(data: dict[str, object], key: str) -> None:
    (fault,) = data_faults(FlavorData, "flavor_data", data)
    assert key in fault.message
    assert fault.status == 400
    assert fault.attribute == "flavor_data"


def test_every_fault_is_named_at_once() -> None:
    found = list(data_faults(FlavorData, "flavor_data", {"spares": -1, "colour": "red", "log_flows": 5, "size": 1}))
    assert len(found) == 4


def test_zones_have_keys_of_their_own() -> None:
    assert list(data_faults(ZoneData, "availability_zone_data", {"host_labels": {"rack": "r1"}})) == []
    assert list(data_faults(ZoneData, "availability_zone_data", {"spares": 1}))
