# SPDX-License-Identifier: Apache-2.0
"""Attributes as options."""

import click
import pytest

from caryatid.cli import options
from caryatid.cli.client import Client
from caryatid.cli.options import Pairs, Setting, body, missing, settings
from caryatid.model import (
    GSLB,
    GSLB_BACKEND,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_ZONE,
    HEALTHMONITOR,
    KINDS,
    L7POLICY,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    PORT,
    RATELIMITRULE,
    SUBNET,
)


@pytest.fixture
def nowhere():
    """A client that nothing may be asked of."""
    with Client("http://127.0.0.1:1") as client:
        yield client


def flags(kind, name):
    option = Setting(kind.attributes[name]).option()
    return {*option.opts, *option.secondary_opts}


def test_an_attribute_is_an_option_of_its_name():
    assert flags(LISTENER, "protocol_port") == {"--protocol-port"}


def test_a_switch_has_two_spellings():
    assert flags(POOL, "admin_state_up") == {"--admin-state-up", "--no-admin-state-up", "--enable", "--disable"}


def test_a_reference_may_be_given_with_or_without_id():
    assert flags(L7POLICY, "redirect_pool_id") == {"--redirect-pool", "--redirect-pool-id"}
    assert flags(LISTENER, "loadbalancer_id") == {"--lb", "--loadbalancer", "--loadbalancer-id"}
    assert flags(LOADBALANCER, "vip_subnet_id") == {"--vip-subnet", "--vip-subnet-id"}
    assert flags(POOL, "listener_id") == {"--listener", "--listener-id"}


def test_a_list_is_given_by_repetition():
    option = Setting(LISTENER.attributes["allowed_cidrs"]).option()
    assert option.multiple
    assert {*option.opts} == {"--allowed-cidr", "--allowed-cidrs"}


def test_no_option_is_called_like_one_that_every_command_has():
    assert flags(RATELIMITRULE, "urls") == {"--urls"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_attribute_that_can_be_set_has_an_option_and_its_description(kind):
    for setting in settings(kind.creatable).values():
        option = setting.option(creates=True)
        assert option.help.startswith(" ".join(setting.attribute.description.split()))
        assert ("[required]" in option.help) == setting.required


def test_words_of_an_attribute_are_choices_in_any_case():
    choice = Setting(POOL.attributes["lb_algorithm"]).option().type
    assert choice.convert("round_robin", None, None) == "ROUND_ROBIN"
    with pytest.raises(click.BadParameter):
        choice.convert("fastest", None, None)


def test_numbers_that_are_choices_stay_numbers():
    assert Setting(L7POLICY.attributes["redirect_http_code"]).option().type.convert("301", None, None) == 301
    assert Setting(HEALTHMONITOR.attributes["http_version"]).option().type.convert("1.1", None, None) == 1.1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a=1,b=x=y", {"a": "1", "b": "x=y"}),
        (" a = 1 ", {"a": "1"}),
        ('{"a": 1, "b": [true]}', {"a": 1, "b": [True]}),
        ("", {}),
    ],
)
def test_a_document_is_given_as_pairs_or_json(given, meant):
    assert Pairs().convert(given, None, None) == meant


@pytest.mark.parametrize("given", ["a", "a=1,b", "=1", "{a}", '{"a"'])
def test_what_is_no_document_is_refused(given):
    with pytest.raises(click.BadParameter):
        Pairs().convert(given, None, None)


def test_every_missing_option_is_named_at_once():
    with pytest.raises(click.UsageError, match="--lb, --protocol, --protocol-port"):
        missing(LISTENER, {"name": "x"})


def test_what_the_service_finds_itself_is_not_missing():
    missing(LOADBALANCER, {})
    missing(PORT, {"subnet_id": "x"})


def test_a_body_has_what_was_given_and_nothing_else(nowhere):
    given = {"name": "", "weight": 0, "backup": False, "tags": (), "monitor_port": None, "which": "x"}
    assert body(MEMBER, given, nowhere) == {"name": "", "weight": 0, "backup": False}


def test_lists_of_documents_go_out_as_lists(nowhere):
    pools = ({"start": "127.0.0.1", "end": "127.0.0.9"},)
    assert body(SUBNET, {"allocation_pools": pools}, nowhere) == {"allocation_pools": [*pools]}


def test_an_attribute_is_put_back_to_what_it_is_without_being_given():
    for kind in KINDS:
        for attribute in kind.changeable.values():
            sent = Setting(attribute).unset_value
            if sent is not None:
                assert sent == attribute.default
    assert Setting(POOL.attributes["admin_state_up"]).unset_value is True
    assert Setting(POOL.attributes["tags"]).unset_value == []
    assert Setting(LISTENER.attributes["timeout_client_data"]).unset_value is None


@pytest.mark.parametrize(("kind", "name", "given", "meant"), [
    (GSLB, "pools", "east", {"pool_id": "id of gslb_pool east"}),
    (GSLB, "pools", "pool=east,priority=1", {"pool_id": "id of gslb_pool east", "priority": "1"}),
    (GSLB_POOL, "monitors", "web,must-be-healthy", {"monitor_id": "id of gslb_monitor web", "must_be_healthy": "true"}),
    (GSLB, "rules", "DE+AT,pool=east+west",
     {"countries": ["DE", "AT"], "pool_ids": ["id of gslb_pool east", "id of gslb_pool west"]}),
    (GSLB, "rules", "cidr=192.0.2.0/24,asn=64500,pools=east",
     {"cidrs": ["192.0.2.0/24"], "asns": ["64500"], "pool_ids": ["id of gslb_pool east"]}),
    (GSLB_MONITOR, "quorum", "count,value=2", {"policy": "count", "value": "2"}),
    (GSLB_BACKEND, "name_servers", "192.0.2.53,port=5353", {"address": "192.0.2.53", "port": "5353"}),
])  # fmt: skip
def test_what_is_nested_is_said_in_a_line_and_by_name(kind, name, given, meant, nowhere, monkeypatch):
    monkeypatch.setattr(options, "find", lambda _client, kind, called: f"id of {kind.name} {called}")
    setting = Setting(kind.attributes[name])
    option = setting.option()
    converted = option.type.convert(given, None, None)
    assert setting.value((converted,) if setting.attribute.many else converted, nowhere) in ([meant], meant)


def test_parts_of_global_load_balancing_are_named_by_their_own_kinds():
    assert flags(GSLB_MEMBER, "pool_id") == {"--pool", "--pool-id"}
    assert flags(GSLB_MEMBER, "port_id") == {"--port-id"}, "a port is a number there"
    assert flags(GSLB, "fallback_pool_id") == {"--fallback-pool", "--fallback-pool-id"}
    assert flags(GSLB_ZONE, "backend_id") == {"--backend", "--backend-id"}
    assert flags(GSLB_MONITOR, "regions") == {"--region", "--regions"}


def test_a_secret_document_is_read_from_a_file(tmp_path):
    file = tmp_path / "credentials"
    file.write_text('{"api_key": "hush"}')
    option = Setting(GSLB_BACKEND.attributes["credentials"]).option()
    assert option.opts == ["--credentials-file"]
    assert option.type.convert(str(file), option, None) == {"api_key": "hush"}


def test_an_attribute_that_is_called_like_an_option_of_every_command_has_another():
    assert flags(GSLB_BACKEND, "url") == {"--api-url"}
