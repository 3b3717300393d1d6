# SPDX-License-Identifier: Apache-2.0
"""The language of policy rules, as oslo.policy has it: what a rule says → a function that judges.

    role:admin or (role:member and project_id:%(project_id)s)

`role:` a role that the caller has, in any case. `rule:` another rule. `user_id:`, `project_id:`, `is_admin:`: what is
known of the caller; nobody has a `system_scope` or `domain_id` here. `%(project_id)s`, `%(user_id)s`: whose it is that
the act is about; what nobody owns has none. `@` or nothing: always; `!`: never. `not` binds closer than `and`, `and`
closer than `or`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

Text = str | Sequence[str | Sequence[str]]
"""A rule: an expression, or the older form: a list of lists of checks, `or` between the lists, `and` within."""
IS_ADMIN: Final = "context_is_admin"
"""The rule that says for whom `is_admin:True` holds."""
OF_CALLER: Final = ("user_id", "project_id", "is_admin", "system_scope", "domain_id")
TEMPLATE = re.compile(r"%\((\w+)\)s")
DEPTH_MAX: Final = 50


class Target(NamedTuple):
    """Whose it is that an act is about."""

    project_id: str | None = None
    user_id: str | None = None


class Asker(Protocol):
    """Who asks."""

    @property
    def user_id(self) -> str: ...
    @property
    def project_id(self) -> str | None: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def is_admin(self) -> bool: ...


Check = Callable[[Asker, Target], bool]


class RuleError(ValueError):
    """A rule that cannot be understood: its name, and a sentence."""

    def __init__(self, rule: str, why: str) -> None:
        self.rule = rule
        self.why = why
        super().__init__(f"Rule {rule}: {why}")


def compiled(texts: Mapping[str, Text]) -> Mapping[str, Check]:
    """Every rule as a function. Raises RuleError for what cannot be understood, names no rule, or leads to itself."""
    checks: dict[str, Check] = {}
    names: dict[str, set[str]] = {}
    for rule, text in texts.items():
        reader = _Reader(checks)
        try:
            checks[rule] = reader.read(text)
        except ValueError as error:
            raise RuleError(rule, str(error)) from None
        names[rule] = reader.named
    for rule, named in names.items():
        if missing := sorted(named - checks.keys()):
            raise RuleError(rule, f"it names the rule {missing[0]}, which there is not.")
    _refuse_circles(names)
    return checks


def named_in(text: Text) -> set[str]:
    """The rules that a rule names. Raises ValueError if it cannot be understood."""
    reader = _Reader({})
    reader.read(text)
    return reader.named


def _refuse_circles(names: Mapping[str, Collection[str]]) -> None:
    settled: set[str] = set()
    for first in names:
        way: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(first, iter(names[first]))]
        while stack:
            rule, rest = stack[-1]
            way[len(stack) - 1 :] = [rule]
            following = next((name for name in rest if name not in settled), None)
            if following is None:
                settled.add(rule)
                stack.pop()
            elif following in way:
                raise RuleError(following, f"it leads to itself, by way of {rule}.")
            else:
                stack.append((following, iter(names[following])))


class _Reader:
    """Reads one rule."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._words: list[str] = []
        self._depth = 0
        self.named: set[str] = set()

    def read(self, text: Any) -> Check:
        if isinstance(text, str):
            return self._expression(text)
        if isinstance(text, list) and all(isinstance(one, str | list) for one in text):
            return self._lists(text)
        raise ValueError("it is neither an expression nor a list of lists of checks.")

    def _expression(self, text: str) -> Check:
        self._words = list(_words(text))[::-1]
        if not self._words:
            return _always
        check = self._or()
        if self._words:
            raise ValueError(f"{self._words[-1]!r} is one too many.")
        return check

    def _lists(self, lists: Sequence[str | Sequence[str]]) -> Check:
        if not lists:
            return _always
        alternatives = [[one] if isinstance(one, str) else one for one in lists if one]
        return _any([_all([self._check(str(word)) for word in words]) for words in alternatives])

    def _or(self) -> Check:
        found = [self._and()]
        while self._took("or"):
            found.append(self._and())
        return _any(found)

    def _and(self) -> Check:
        found = [self._not()]
        while self._took("and"):
            found.append(self._not())
        return _all(found)

    def _not(self) -> Check:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ValueError(f"it is more than {DEPTH_MAX} deep.")
        try:
            if self._took("not"):
                return _negated(self._not())
            if self._took("("):
                within = self._or()
                if not self._took(")"):
                    raise ValueError("a parenthesis is not closed.")
                return within
        finally:
            self._depth -= 1
        word = self._words.pop() if self._words else ""
        if word.lower() in {"", "and", "or", ")"}:
            raise ValueError(f"a check is wanted {f'before {word!r}' if word else 'at its end'}.")
        return self._check(word)

    def _took(self, word: str) -> bool:
        found = bool(self._words) and self._words[-1].lower() == word
        if found:
            self._words.pop()
        return found

    def _check(self, word: str) -> Check:
        if word in {"@", "!"}:
            return _always if word == "@" else _never
        kind, colon, match = word.partition(":")
        if not colon:
            raise ValueError(f"{word!r} is no check: those are like role:member.")
        if unknown := {name for name in TEMPLATE.findall(match) if name not in Target._fields}:
            raise ValueError(f"{word!r}: only %(project_id)s and %(user_id)s are known, not {min(unknown)}.")
        if kind == "rule":
            return self._rule(match)
        if kind == "role":
            return _role(match)
        if kind not in OF_CALLER:
            raise ValueError(f"{word!r} is no check: there are role, rule, {', '.join(OF_CALLER)}, @ and !.")
        return self._is_admin(match) if kind == "is_admin" else _of_caller(kind, match)

    def _rule(self, name: str) -> Check:
        self.named.add(name)
        checks = self._checks

        def check(asker: Asker, target: Target) -> bool:
            return checks[name](asker, target)  # found then: the rule may not have been read yet

        return check

    def _is_admin(self, match: str) -> Check:
        administers = self._rule(IS_ADMIN)

        def check(asker: Asker, target: Target) -> bool:
            return str(asker.is_admin or administers(asker, target)) == match

        return check


def _words(text: str) -> Iterator[str]:
    """Parentheses stand by themselves at the ends of words; within, they are part of `%(…)s`."""
    for word in text.split():
        inner = word.lstrip("(")
        yield from "(" * (len(word) - len(inner))
        core = inner.rstrip(")")
        if core:
            yield core
        yield from ")" * (len(inner) - len(core))


def _filled(match: str) -> Callable[[Target], str | None]:
    """What the right side of a check stands for; None: it names an owner that there is not."""
    names = TEMPLATE.findall(match)
    if not names:
        return lambda _target: match

    def fill(target: Target) -> str | None:
        values = {name: getattr(target, name) for name in names}
        return None if None in values.values() else TEMPLATE.sub(lambda found: values[found[1]], match)

    return fill


def _role(match: str) -> Check:
    if "%(" not in match:
        wanted = match.lower()
        return lambda asker, _target: wanted in asker.roles or wanted in {role.lower() for role in asker.roles}
    filled = _filled(match)

    def check(asker: Asker, target: Target) -> bool:
        role = filled(target)
        return role is not None and role.lower() in {one.lower() for one in asker.roles}

    return check


def _of_caller(name: str, match: str) -> Check:
    if name == match[2:-2] == "project_id":  # most checks are this one
        return lambda asker, target: asker.project_id is not None and asker.project_id == target.project_id
    filled = _filled(match)

    def check(asker: Asker, target: Target) -> bool:
        value = getattr(asker, name, None)
        return value is not None and value == filled(target)

    return check


def _any(checks: Sequence[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    return lambda asker, target: any(check(asker, target) for check in checks)


def _all(checks: Sequence[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    return lambda asker, target: all(check(asker, target) for check in checks)


def _negated(check: Check) -> Check:
    return lambda asker, target: not check(asker, target)


def _always(_asker: Asker, _target: Target) -> bool:
    return True


def _never(_asker: Asker, _target: Target) -> bool:
    return False
