# SPDX-License-Identifier: Apache-2.0
"""Which packets reach an amphora. That nftables means the same by it: tests/agent/networks/test_confined.py."""

from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import AdditionalVip, LoadBalancer
from caryatid.model.network import Subnet
from caryatid.model.tree import ListenerNode, Tree
from caryatid.plan.nftables import render

LEG = Leg(Subnet.model_construct(id="s"), "default", ("192.0.2.1", "2001:db8::1"))


def listener(**attributes):
    known = {"id": "l", "protocol": "HTTP", "protocol_port": 80, "admin_state_up": True, "allowed_cidrs": None}
    return Listener.model_construct(**{**known, **attributes})


def ruleset(*listeners, peers=(), legs=(LEG,), up=True, deleted=False):
    more = [AdditionalVip.model_construct(ip_address="2001:db8::1", subnet_id="s")]
    balancer = LoadBalancer.model_construct(
        id="lb", admin_state_up=up, vip_address="192.0.2.1", vip_subnet_id="s", additional_vips=more
    )
    tree = Tree(balancer, tuple(ListenerNode(one) for one in listeners), deleted=deleted)
    placed = Placed(Amphora.model_construct(id="a"), legs=legs, peers=peers)
    return render(tree, placed)


def rules(*listeners, **known):
    """Those about listeners and peers, without what they all have."""
    return [line.strip() for line in ruleset(*listeners, **known).splitlines() if "addr {" in line]


def test_an_amphora_without_a_namespace_has_no_rules():
    assert ruleset(listener(), legs=()) == ""


def test_a_ruleset_replaces_what_was_there_and_drops_what_it_does_not_name():
    assert ruleset().startswith("flush ruleset\n")
    assert "policy drop;" in ruleset()
    assert rules() == []


def test_a_listeners_port_is_open_on_its_vips_of_both_families():
    assert rules(listener(protocol_port=443)) == [
        "ip daddr { 192.0.2.1/32 } tcp dport 443 accept",
        "ip6 daddr { 2001:db8::1/128 } tcp dport 443 accept",
    ]


def test_datagrams_that_no_member_takes_are_refused():
    assert rules(listener(protocol="UDP", protocol_port=53))[0] == "ip daddr { 192.0.2.1/32 } udp dport 53 reject"


def test_allowed_networks_count_in_their_family_and_overlapping_ones_once():
    allowed = ["198.51.100.0/24", "198.51.100.128/25", "2001:db8:1::/48"]
    assert rules(listener(allowed_cidrs=allowed)) == [
        "ip daddr { 192.0.2.1/32 } tcp dport 80 ip saddr { 198.51.100.0/24 } accept",
        "ip6 daddr { 2001:db8::1/128 } tcp dport 80 ip6 saddr { 2001:db8:1::/48 } accept",
    ]


def test_nobody_gets_in_where_nobody_is_allowed():
    assert rules(listener(allowed_cidrs=[])) == []


def test_what_is_disabled_is_closed():
    assert rules(listener(admin_state_up=False)) == []
    assert rules(listener(), up=False) == []
    assert rules(listener(), deleted=True) == []


def test_vrrp_and_sessions_come_from_peers_alone():
    peers = (Amphora.model_construct(id="b", vrrp_ip="192.0.2.11"), Amphora.model_construct(id="c", vrrp_ip=None))
    assert rules(peers=peers) == [
        "ip saddr { 192.0.2.11/32 } meta l4proto 112 accept",
        "ip saddr { 192.0.2.11/32 } tcp dport 1025 accept",
    ]
