# SPDX-License-Identifier: Apache-2.0
"""What is printed, and for whom."""

import json

import pytest
import yaml

from caryatid.cli.output import Output, ordered, plain

DOCUMENT = {
    "updated_at": None,
    "name": "web",
    "tags": ["a", "b"],
    "listeners": [{"id": "l1"}],
    "session_persistence": {"type": "SOURCE_IP", "cookie_name": None},
    "admin_state_up": True,
    "provisioning_status": "ACTIVE",
    "tenant_id": "p",
    "id": "x1",
}


def test_programs_get_the_document_as_it_is(capsys):
    Output("json").one(DOCUMENT)
    assert json.loads(capsys.readouterr().out) == DOCUMENT
    Output("yaml").one(DOCUMENT)
    assert yaml.safe_load(capsys.readouterr().out) == DOCUMENT


def test_people_read_first_what_it_is_called(capsys):
    Output().one(DOCUMENT)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[:3]] == ["id", "name", "provisioning_status"]
    assert lines[2] == ["provisioning_status", "●", "ACTIVE"]
    assert lines[-1] == ["updated_at"]


def test_names_for_older_clients_are_not_in_tables():
    assert ordered(["tenant_id", "load_balancer", "pool"]) == ["pool"]


def test_a_shell_gets_bare_values(capsys):
    Output("value", ("id", "tags")).one(DOCUMENT)
    assert capsys.readouterr().out == "x1\na, b\n"
    Output("value", ("id", "name")).many([DOCUMENT, DOCUMENT], ())
    assert capsys.readouterr().out == "x1\tweb\nx1\tweb\n"


def test_nothing_is_cut_for_a_pipe(capsys):
    long = "x" * 500
    Output().many([{"name": long}], ["name"])
    assert long in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "a\\[b"])
def test_text_of_users_is_not_markup(capsys, text):
    Output().one({"name": text})
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (True, "true"),
        (0, "0"),
        ([{"id": "a"}, {"id": "b"}], "a, b"),
        ({"type": "SOURCE_IP", "cookie_name": None}, "type=SOURCE_IP"),
        ([{"start": "1", "end": "2"}], "start=1 end=2"),
    ],
)
def test_values_in_words(value, words):
    assert plain(value) == words
