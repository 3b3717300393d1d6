# SPDX-License-Identifier: Apache-2.0
"""L7 policies: the first one, in order of position, all of whose rules hold decides, whatever its action.

HAProxy judges `use_backend` only after every `http-request`. So a pool that a policy chose is noted in a variable
where a later policy rejects or redirects: such a policy then no longer applies. (Octavia puts every REJECT before
every redirection before every pool.) Headers are inserted in the backend, so rules see what the client sent.
"""

from collections.abc import Iterator

from caryatid.model.l7 import CompareType, L7Policy, L7Rule
from caryatid.model.listener import Listener
from caryatid.model.tree import ListenerNode, PolicyNode, PoolNode
from caryatid.plan import quote

from .sheet import Sheet, Unrenderable

MATCHES: dict[CompareType, str] = {
    "EQUAL_TO": "str",
    "STARTS_WITH": "beg",
    "ENDS_WITH": "end",
    "CONTAINS": "sub",
    "REGEX": "reg",
}
CHOSEN = "var(txn.pool)"


def backend_name(pool: PoolNode, listener: Listener) -> str:
    """A pool is a backend for each listener that sends to it."""
    return f"{quote.name(pool.pool.id)}:{quote.name(listener.id)}"


def effective(node: ListenerNode) -> tuple[PolicyNode, ...]:
    """The policies that can decide: enabled, with an enabled rule, and not sending to a disabled pool."""
    return tuple(policy for policy in node.l7policies if _effective(policy))


def _effective(node: PolicyNode) -> bool:
    if not node.rules_up:
        return False
    pool = node.redirect_pool
    return node.policy.action != "REDIRECT_TO_POOL" or bool(pool and pool.pool.admin_state_up)


def judges_certificates(node: ListenerNode) -> bool:
    """Whether rules ask how good a client's certificate is; so bad ones must come as far as there."""
    rules = (rule for policy in effective(node) for rule in policy.rules_up)
    return node.listener.client_authentication == "OPTIONAL" and any(r.type == "SSL_VERIFY_RESULT" for r in rules)


def write(sheet: Sheet, node: ListenerNode) -> None:
    """The policies of a listener, into its frontend."""
    policies = effective(node)
    last_answer = max((i for i, p in enumerate(policies) if p.redirect_pool is None), default=-1)
    noted: dict[str, None] = {}
    for place, policy in enumerate(policies):
        if node.listener.protocol not in ("HTTP", "TERMINATED_HTTPS"):
            raise Unrenderable("l7policy", policy.policy.id, f"not on a {node.listener.protocol} listener")
        _rules(sheet, policy, judged=judges_certificates(node))
        sheet.about("l7policy", policy.policy.id)
        condition = _condition(policy, free=not noted)
        if policy.redirect_pool is None:
            sheet.add([f"http-request {_answer(policy.policy)} if {condition}"])
            continue
        backend = backend_name(policy.redirect_pool, node.listener)
        if place > last_answer:
            sheet.add(f"use_backend {b} if {{ {CHOSEN} -m str {b} }}" for b in noted)
            noted = {}
            sheet.add([f"use_backend {backend} if {_condition(policy, free=True)}"])
        else:
            if not noted:
                sheet.add([f"acl chosen {CHOSEN} -m found"])
            noted[backend] = None
            sheet.add([f"http-request set-var(txn.pool) str({backend}) if {condition}"])
    sheet.add(f"use_backend {b} if {{ {CHOSEN} -m str {b} }}" for b in noted)


def _condition(node: PolicyNode, *, free: bool) -> str:
    """All of its rules; `free`: nothing can have been chosen before."""
    words = [f"{'!' if rule.invert else ''}{rule.id}" for rule in node.rules_up]
    return " ".join(words if free else ["!chosen", *words])


def _answer(policy: L7Policy) -> str:
    code = policy.redirect_http_code or 302
    match policy.action:
        case "REJECT":
            return "deny"
        case "REDIRECT_TO_URL":
            return f"redirect code {code:d} location {quote.log_format(policy.redirect_url or '')}"
        case "REDIRECT_PREFIX":
            return f"redirect code {code:d} prefix {quote.log_format(policy.redirect_prefix or '')}"
        case "REDIRECT_TO_POOL":
            raise Unrenderable("l7policy", policy.id, "it has no pool to send to")


def _rules(sheet: Sheet, node: PolicyNode, *, judged: bool) -> None:
    for rule in node.rules_up:
        sheet.about("l7rule", rule.id)
        if judged and rule.type == "SSL_DN_FIELD":
            sheet.add(_believed(rule))
        else:
            sheet.add(f"acl {rule.id} {test}" for test in _tests(rule))


def _believed(rule: L7Rule) -> Iterator[str]:
    """The rule, where clients come as far as here with certificates that are not good: these name nobody."""
    name = f"txn.dn_{quote.name(rule.id).replace('-', '')}"
    yield f"http-request set-var({name}) {_name(rule)} if {{ ssl_c_verify 0 }}"
    yield f"acl {rule.id} var({name}) {_matching(rule)}"


def _tests(rule: L7Rule) -> Iterator[str]:
    """What the rule looks at and for; more than one: any of them will do."""
    matching = _matching(rule)
    match rule.type:
        case "HOST_NAME":  # with the port that the client named, if any, and without
            yield f"req.hdr(host) -i {matching}"
            yield f"req.hdr(host),host_only -i {matching}"
        case "PATH":
            yield f"path {matching}"
        case "FILE_TYPE" if rule.compare_type == "REGEX":
            yield f"path {matching}"
        case "FILE_TYPE":
            yield f"path -m end -- {quote.word('.' + rule.value.removeprefix('.'))}"
        case "HEADER":
            yield f"{_header(rule)} {matching}"
        case "COOKIE":
            yield f"{quote.fetch('req.cook', rule.key or '')} {matching}"
        case "SSL_CONN_HAS_CERT":
            yield "ssl_c_used"
        case "SSL_VERIFY_RESULT":
            yield f"ssl_c_verify {int(rule.value):d}"
        case "SSL_DN_FIELD":
            yield f"{_name(rule)} {matching}"


def _matching(rule: L7Rule) -> str:
    return f"-m {MATCHES[rule.compare_type]} -- {quote.word(rule.value)}"


def _name(rule: L7Rule) -> str:
    return quote.fetch("ssl_c_s_dn", rule.key or "")


def _header(rule: L7Rule) -> str:
    """A header is a list of values between commas, unless it is compared with a value that has one itself."""
    whole = "," in rule.value and rule.compare_type != "REGEX"
    return quote.fetch("req.fhdr" if whole else "req.hdr", rule.key or "")
