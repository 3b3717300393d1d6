# SPDX-License-Identifier: Apache-2.0
"""An operator's policy file."""

import pytest

from caryatid.model import policyfile
from caryatid.model.policy import TEXTS

YAML = """\
# Whoever has the role may do it.
"load-balancer:write": "role:builder or
                        rule:load-balancer:admin"
load-balancer:read: role:reader   # without quotes
"""


def test_a_file_says_otherwise_what_it_names():
    found = policyfile.read(YAML, "policy.yaml")
    assert found.texts["load-balancer:read"] == "role:reader"
    assert found.texts["load-balancer:write"].startswith("role:builder or")
    assert found.texts["load-balancer:admin"] == TEXTS["load-balancer:admin"]


def test_json_is_yaml_and_an_empty_file_says_nothing():
    assert policyfile.read('{"load-balancer:read": [["@"]]}', "p.json").texts["load-balancer:read"] == [["@"]]
    assert policyfile.read("", "p").texts == policyfile.read("# nothing\n", "p").texts == TEXTS
    assert policyfile.read('"load-balancer:read":', "p").texts["load-balancer:read"] == ""


@pytest.mark.parametrize(("text", "where"), [
    ('"load-balancer:read": "@"\n\n"load-balancer:write": "role:a or"', "p.yaml, line 3: Rule load-balancer:write: "),
    ('"load-balancer:fly": "@"', "p.yaml, line 1: Rule load-balancer:fly: there is no such rule"),
    ('a: "@"\nload-balancer:read: rule:a\na: "!"', "p.yaml, line 3: Rule a: it is there twice."),
    ('"load-balancer:read": "rule:b"\n', "p.yaml, line 1: Rule load-balancer:read: it names the rule b"),
    ('"load-balancer:read": {"a": 1}\n', "p.yaml, line 1: Rule load-balancer:read: it is neither"),
    ("load-balancer:read: @\n", "p.yaml, line 1: It is not YAML"),
    ("- role:admin\n", "p.yaml: Rule : the file should be an object"),
    ("[}", "p.yaml, line 1: It is not YAML"),
    ("\x00", "p.yaml: It is not YAML"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_rule(text, where):
    with pytest.raises(ValueError) as refused:
        policyfile.read(text, "p.yaml")
    assert str(refused.value).startswith(where)


def test_the_sample_says_what_holds_anyway():
    assert policyfile.read("\n".join(policyfile.sample()), "sample").texts == TEXTS
