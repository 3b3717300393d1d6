# SPDX-License-Identifier: Apache-2.0
"""L7 policies and rules: what is done with a request because of what it says."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from caryatid.errors import Fault

from .field import Access, Back, Key, Listed, Ref
from .kind import Kind
from .resource import Described, Provisioned
from .types import Bool, Id, Int, Line, Url, regex_problem

Action = Literal["REJECT", "REDIRECT_TO_URL", "REDIRECT_TO_POOL", "REDIRECT_PREFIX"]
RuleType = Literal[
    "HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD"
]
CompareType = Literal["REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO"]
POSITION_MAX = 2_147_483_647

TARGETS: dict[Action, str | None] = {
    "REJECT": None,
    "REDIRECT_TO_URL": "redirect_url",
    "REDIRECT_TO_POOL": "redirect_pool_id",
    "REDIRECT_PREFIX": "redirect_prefix",
}
"""The one attribute that each action needs; the others are nulled."""

TOKEN = re.compile(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")  # RFC 7230 §3.2.6
COOKIE_VALUE = re.compile(r"^[\x21-\x7e]+$")
DN_FIELD = re.compile(r"^[a-zA-Z][A-Za-z0-9-]*$")
KEYED: dict[str, re.Pattern[str]] = {"HEADER": TOKEN, "COOKIE": TOKEN, "SSL_DN_FIELD": DN_FIELD}
KEY_IGNORED = ("HOST_NAME", "PATH", "FILE_TYPE")
COMPARES: dict[str, tuple[str, ...]] = {
    "FILE_TYPE": ("REGEX", "EQUAL_TO"),
    "SSL_CONN_HAS_CERT": ("EQUAL_TO",),
    "SSL_VERIFY_RESULT": ("EQUAL_TO",),
}


class L7Policy(Described, Provisioned):
    """What is done with a request that satisfies all of its rules."""

    listener_id: Annotated[Id, Access("create"), Ref("listener")]
    """The listener whose requests it judges."""
    action: Annotated[Action, Listed()]
    """What is done."""
    redirect_pool_id: Annotated[Id | None, Ref("pool", nested="redirect_pool")] = None
    """The pool that serves the request, for REDIRECT_TO_POOL."""
    redirect_url: Url | None = None
    """Where the client is sent, for REDIRECT_TO_URL."""
    redirect_prefix: Url | None = None
    """What is put before the path where the client is sent, for REDIRECT_PREFIX."""
    redirect_http_code: Literal[301, 302, 303, 307, 308] | None = None
    """Status of a redirection; default 302."""
    position: Annotated[Int, Field(ge=1, le=POSITION_MAX), Key(), Listed()] = POSITION_MAX
    """Place among the listener's policies, from 1; beyond the end: last."""
    rules: Annotated[list[Id], Access("generated"), Back("l7rule", "l7policy_id", nested="rules")] = []
    """What a request must satisfy."""

    @model_validator(mode="after")
    def _keep_what_the_action_needs(self) -> Self:
        for name in ("redirect_url", "redirect_pool_id", "redirect_prefix"):
            if name != TARGETS[self.action]:
                setattr(self, name, None)
        if self.action in ("REDIRECT_TO_URL", "REDIRECT_PREFIX"):
            self.redirect_http_code = self.redirect_http_code or 302
        else:
            self.redirect_http_code = None
        return self

    @classmethod
    def implied(cls, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """A change that names a target means the action that needs it."""
        actions = [action for action, target in TARGETS.items() if target and wanted.get(target) is not None]
        return {"action": actions[0]} if len(actions) == 1 else {}

    def faults(self) -> Iterator[Fault]:
        target = TARGETS[self.action]
        if target and getattr(self, target) is None:
            shown = "redirect_pool_id or redirect_pool" if target == "redirect_pool_id" else target
            yield Fault(f"Invalid L7 Policy arguments: {shown} must not be None", target)


class L7Rule(Provisioned):
    """One thing that a request must say."""

    l7policy_id: Annotated[Id, Ref("l7policy", shown=None)]
    """The policy it belongs to."""
    type: Annotated[RuleType, Listed()]
    """The part of the request that is looked at."""
    compare_type: Annotated[CompareType, Listed()]
    """How it is compared."""
    key: Annotated[Line | None, Listed()] = None
    """Name of the header, cookie or distinguished-name field."""
    value: Annotated[Line, Field(min_length=1), Listed()]
    """What it is compared with."""
    invert: Annotated[Bool, Listed()] = False
    """True: the request must not match."""

    @model_validator(mode="after")
    def _drop_a_key_nobody_reads(self) -> Self:
        if self.type in KEY_IGNORED:
            self.key = None
        return self

    def faults(self) -> Iterator[Fault]:
        for message, about in self._problems():
            yield Fault(f"Error parsing L7Rule: {message}", about)

    def _problems(self) -> Iterator[tuple[str, str]]:
        allowed = COMPARES.get(self.type)
        if allowed and self.compare_type not in allowed:
            yield f"{self.type} rules compare by {' or '.join(allowed)}, not {self.compare_type}.", "compare_type"
        pattern = KEYED.get(self.type)
        if pattern and not (self.key and pattern.fullmatch(self.key)):
            yield f"{self.type} rules need a valid key.", "key"
        if self.type in ("SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT") and self.key is not None:
            yield f"{self.type} rules take no key.", "key"
        if self.compare_type == "REGEX" and (why := regex_problem(self.value)):
            yield f"the regular expression is not valid: {why}.", "value"
        if self.type == "COOKIE" and self.compare_type != "REGEX" and not COOKIE_VALUE.fullmatch(self.value):
            yield "a cookie's value has no spaces and only printable ASCII characters.", "value"
        if self.type == "SSL_CONN_HAS_CERT" and self.value.lower() != "true":
            yield "SSL_CONN_HAS_CERT is compared with true.", "value"
        if self.type == "SSL_VERIFY_RESULT" and not re.fullmatch(r"[0-9]{1,9}", self.value):
            yield "SSL_VERIFY_RESULT is compared with a whole number.", "value"


L7POLICY = Kind(
    name="l7policy",
    model=L7Policy,
    title="L7Policy",
    path="/lbaas/l7policies",
    plural="l7policies",
    links="l7policies_links",
    counted=True,
)
L7RULE = Kind(
    name="l7rule",
    model=L7Rule,
    title="L7Rule",
    path="/lbaas/l7policies/{l7policy_id}/rules",
    plural="rules",
    links="rules_links",
    parent="l7policy_id",
    counted=True,
    envelope="rule",
)
