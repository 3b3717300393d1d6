# SPDX-License-Identifier: Apache-2.0
"""Attributes in words."""

import pytest
from click.testing import CliRunner

from caryatid.cli.explain import documents, lines
from caryatid.cli.main import cli
from caryatid.model import KINDS, L7RULE, LISTENER, LOADBALANCER, POOL


def line(kind, name):
    return next(words for words in lines(kind) if words.attribute == name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_attribute_of_the_wire_is_explained(kind):
    names = {words.attribute for words in lines(kind)}
    assert names >= {*kind.creatable, *(attribute.name for attribute in kind.shown)}
    assert all(words.description and words.type for words in lines(kind))


def test_type_default_and_limits_are_those_of_the_declaration():
    port = line(LISTENER, "protocol_port")
    assert (port.type, port.set, port.default) == ("integer", "at create", "required")
    assert port.limits == "≥ 1; ≤ 65535"
    assert line(LISTENER, "hsts_max_age").limits == "≥ 0"
    assert line(LISTENER, "timeout_client_data").limits.startswith("≥ 0; ≤ ")
    assert line(LISTENER, "default_pool_id").type == "uuid or null"
    assert line(POOL, "lb_algorithm").limits.startswith("ROUND_ROBIN, ")
    assert line(LISTENER, "insert_headers").type == "object of texts"
    assert line(LISTENER, "l7policies").type == 'list of {"id"}'


def test_what_null_means_is_said_where_it_is_not_the_default():
    assert "Null means false." in line(POOL, "admin_state_up").description
    assert "Null is ignored." in line(POOL, "tags").description


def test_what_a_path_gives_is_not_asked_for_in_a_body():
    assert line(L7RULE, "l7policy_id").set == "by the path"


def test_documents_inside_are_explained_too():
    assert {name for name, _ in documents(LOADBALANCER)} == {"additional_vips"}
    assert {words.attribute for words in dict(documents(POOL))["session_persistence"]} >= {"type", "cookie_name"}


def test_the_screen_shows_them_without_an_api():
    shown = CliRunner().invoke(cli, ["explain", "pool"])
    assert shown.exit_code == 0
    assert "lb_algorithm" in shown.output
    assert CliRunner().invoke(cli, ["explain", "loadbalancer"]).exit_code == 0
    assert CliRunner().invoke(cli, ["explain", "nothing"]).exit_code == 2
