# SPDX-License-Identifier: Apache-2.0
import pytest

from caryatid.errors import Refused
from caryatid.model import HEALTHMONITOR, KINDS, L7POLICY, L7RULE, LISTENER, LOADBALANCER, MEMBER, POOL, SUBNET

ID = "4f2a0e2e-0000-4000-8000-000000000001"
GIVEN = {"id": ID, "project_id": "p", "created_at": "2026-11-20T19:05:25.000000"}


def faults(act):
    with pytest.raises(Refused) as refused:
        act()
    return [fault.message for fault in refused.value.faults]


def listener(**body):
    return LISTENER.new({"loadbalancer_id": ID, "protocol": "HTTP", "protocol_port": 80, **body}, GIVEN)


def member(**body):
    return MEMBER.new({"address": "192.0.2.1", "protocol_port": 80, **body}, {**GIVEN, "pool_id": ID})


def monitor(**body):
    return HEALTHMONITOR.new({"pool_id": ID, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, **body}, GIVEN)


def policy(**body):
    return L7POLICY.new({"listener_id": ID, "action": "REJECT", **body}, GIVEN)


def rule(**body):
    return L7RULE.new({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x", **body}, {**GIVEN, "l7policy_id": ID})


def test_every_fault_is_named_at_once():
    found = faults(lambda: listener(protocol="FTP", protocol_port=0, colour="red", name=5, hsts_preload=True))
    assert len(found) == 4
    for word in ("protocol", "protocol_port", "colour", "name"):
        assert any(word in text for text in found)


def test_attributes_that_are_wrong_do_not_hide_what_is_wrong_between_others():
    found = faults(lambda: listener(name=5, insert_headers={"X-Bogus": "true"}))
    assert any("name" in text for text in found)
    assert any("X-Bogus" in text for text in found)


@pytest.mark.parametrize("text", ["true", "TRUE", 1, "yes", "on", True])
def test_booleans_are_forgiven_their_spelling(text):
    assert listener(admin_state_up=text).admin_state_up is True


def test_a_boolean_that_is_none_is_refused():
    assert faults(lambda: listener(admin_state_up="maybe")) == [
        "Invalid input for field/attribute admin_state_up. Value: 'maybe'. Value not an unambiguous boolean: maybe"
    ]


def test_numbers_may_be_text_and_text_may_not_be_a_number():
    assert listener(protocol_port="8080").protocol_port == 8080
    assert "Value should be string" in faults(lambda: listener(name=5))[0]


def test_null_means_the_default_but_disables_admin_state():
    row = listener(name=None, connection_limit=None, admin_state_up=None)
    assert (row.name, row.connection_limit, row.admin_state_up) == ("", -1, False)


def test_null_tags_are_as_if_not_sent_and_an_empty_list_clears():
    document = listener(tags=["b", "a", "a"]).model_dump()
    assert document["tags"] == ["a", "b"]
    assert LISTENER.change(document, {"tags": None}).tags == ["a", "b"]
    assert LISTENER.change(document, {"tags": []}).tags == []


def test_a_null_where_a_value_must_be_is_refused_by_name():
    document = monitor().model_dump()
    assert faults(lambda: HEALTHMONITOR.change(document, {"delay": None})) == [
        "Validation failure: None is not a valid option for delay."
    ]


def test_what_cannot_change_is_refused_like_what_is_unknown():
    document = listener().model_dump()
    found = faults(lambda: LISTENER.change(document, {"protocol_port": 81, "colour": "red", "id": ID}))
    assert len(found) == 3
    assert all(text.startswith("Unknown attribute for argument listener.listener: ") for text in found)


def test_the_operators_defaults_fill_what_is_left_out_or_nulled():
    body = {"loadbalancer_id": ID, "protocol": "HTTP", "protocol_port": 80, "timeout_member_data": None}
    row = LISTENER.new(body, GIVEN, {"timeout_client_data": 7, "timeout_member_data": 8})
    assert (row.timeout_client_data, row.timeout_member_data) == (7, 8)


def test_a_loaded_row_is_the_row_that_was_checked():
    row = POOL.new(
        {
            "loadbalancer_id": ID,
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": {"type": "APP_COOKIE", "cookie_name": "c"},
        },
        GIVEN,
    )
    assert POOL.load(row.model_dump()) == row
    assert POOL.load(row.model_dump()).session_persistence.cookie_name == "c"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_attribute_is_described(kind):
    missing = [a.name for a in kind if not a.description and a.name != "tags"]
    assert not missing


def test_a_vip_needs_a_port_a_network_or_a_subnet():
    assert faults(lambda: LOADBALANCER.new({}, GIVEN)) == [
        "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id."
    ]


def test_each_vip_has_a_subnet_of_its_own():
    assert (
        "Duplicate VIP subnet(s)"
        in faults(lambda: LOADBALANCER.new({"vip_subnet_id": ID, "additional_vips": [{"subnet_id": ID}]}, GIVEN))[0]
    )


def test_a_members_address_is_kept_in_its_short_form():
    assert member(address="2001:DB8:0:0::1").address == "2001:db8::1"
    assert faults(lambda: member(address="169.254.169.254"))


def test_http_monitors_have_defaults_that_others_may_not_have():
    row = monitor()
    assert (row.http_method, row.url_path, row.expected_codes) == ("GET", "/", "200")
    assert monitor(type="TCP").url_path is None
    assert faults(lambda: monitor(type="TCP", url_path="/x")) == [
        "Validation failure: url_path is not a valid option for health monitors of type TCP"
    ]


@pytest.mark.parametrize("path", ["x", "http://x/", "/a b", "//host/x", "/a\nb", "/a\r"])
def test_a_url_path_is_a_path(path):
    assert faults(lambda: monitor(url_path=path))


def test_a_domain_name_needs_http_1_1():
    assert monitor(domain_name="a.example", http_version=1.1).domain_name == "a.example"
    assert faults(lambda: monitor(domain_name="a.example"))
    assert faults(lambda: monitor(domain_name="a.example", http_version=1.0))


def test_an_action_keeps_only_what_it_needs():
    row = policy(action="REDIRECT_TO_URL", redirect_url="http://x.example/", redirect_prefix="http://y.example")
    assert (row.redirect_url, row.redirect_prefix, row.redirect_http_code) == ("http://x.example/", None, 302)
    assert policy(redirect_url="http://x.example/").redirect_url is None


def test_an_action_needs_its_target():
    assert faults(lambda: policy(action="REDIRECT_TO_URL")) == [
        "Invalid L7 Policy arguments: redirect_url must not be None"
    ]


def test_a_change_that_names_a_target_means_its_action():
    document = policy().model_dump()
    row = L7POLICY.change(document, {"redirect_prefix": "https://x.example"})
    assert (row.action, row.redirect_prefix) == ("REDIRECT_PREFIX", "https://x.example")


@pytest.mark.parametrize(
    "body",
    [
        {"compare_type": "REGEX", "value": "("},
        {"compare_type": "REGEX", "value": "a" * 256},
        {"type": "HEADER"},
        {"type": "HEADER", "key": "a b"},
        {"type": "COOKIE", "key": "c", "value": "a b"},
        {"type": "FILE_TYPE", "compare_type": "STARTS_WITH"},
        {"type": "SSL_VERIFY_RESULT", "value": "x"},
        {"type": "SSL_CONN_HAS_CERT", "value": "false"},
        {"value": "a\nb"},
        {"value": ""},
    ],
)
def test_rules_that_make_no_sense_are_refused(body):
    assert faults(lambda: rule(**body))


def test_regular_expressions_are_those_of_haproxy():
    assert rule(compare_type="REGEX", value=r"^/(?<name>\w+)$").value


@pytest.mark.parametrize(
    ("persistence", "why"),
    [
        ({"type": "APP_COOKIE"}, "must be specified"),
        ({"type": "SOURCE_IP", "cookie_name": "c"}, "can only be specified"),
        ({"type": "APP_COOKIE", "cookie_name": "a(b"}, "is invalid"),
        ({"type": "SOURCE_IP", "persistence_timeout": 5}, "only for UDP"),
    ],
)
def test_persistence_says_what_its_type_allows(persistence, why):
    body = {
        "loadbalancer_id": ID,
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "session_persistence": persistence,
    }
    assert why in faults(lambda: POOL.new(body, GIVEN))[0]


def test_a_loopback_subnet_is_loopback():
    body = {"network_id": ID, "cidr": "10.0.0.0/24"}
    assert "127.0.0.0/8" in faults(lambda: SUBNET.new(body, GIVEN))[0]
    assert SUBNET.new({"network_id": ID, "cidr": "127.9.0.5/16"}, GIVEN).cidr == "127.9.0.0/16"
