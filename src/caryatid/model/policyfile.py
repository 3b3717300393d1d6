# SPDX-License-Identifier: Apache-2.0
"""An operator's policy file: rules by name, in YAML or JSON, as oslo.policy reads it; and a sample of one."""

from collections.abc import Iterator
from typing import Any

import yaml

from .checks import RuleError, Text
from .policy import BASE, RULES, TEXTS, Policy


def read(text: str, name: str) -> Policy:
    """The rules in force with the file whose `text` this is. Raises ValueError, naming file, line and rule."""
    lines: dict[str, int] = {}
    changed: dict[str, Text] = {}
    try:
        for rule, said, line in _rules(text):
            if rule in changed:
                raise ValueError(f"{name}, line {line}: Rule {rule}: it is there twice.")
            changed[rule], lines[rule] = said, line
        return Policy.of(changed)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{name}, line {line}: It is not YAML: {error.problem}.") from None
    except yaml.YAMLError:
        raise ValueError(f"{name}: It is not YAML.") from None
    except RuleError as error:
        where = f", line {lines[error.rule]}" if error.rule in lines else ""
        raise ValueError(f"{name}{where}: {error}") from None


def _rules(text: str) -> Iterator[tuple[str, Any, int]]:
    """Name, rule and line of each. Raises ValueError, YAMLError."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise RuleError("", "the file should be an object: rules by their names.")
    for key, value in node.value:
        found = yaml.constructor.SafeConstructor().construct_document(value)
        yield str(key.value), "" if found is None else found, key.start_mark.line + 1


def sample() -> Iterator[str]:
    """The lines of a file that says what holds anyway."""
    yield "# What holds where no file says otherwise. A file need only name the rules that it changes."
    for title, rules in (("What rules are made of", BASE), ("Rules of actions", RULES)):
        yield ""
        yield f"# {title}"
        for rule in rules:
            yield f'"{rule}": "{TEXTS[rule]}"'
