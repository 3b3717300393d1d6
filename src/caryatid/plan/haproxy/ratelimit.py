# SPDX-License-Identifier: Apache-2.0
"""Rate limits: clients are counted in stick tables, and those that are beyond all rules of a policy are turned away.

A client is judged before it is counted, and what is turned away is not: however hard it tries, it gets as much as the
rules allow. A table is a backend of its own without servers, called `<listener>.<what is counted apart>.<interval>`.
"""

from collections.abc import Iterable, Iterator

from caryatid.model.ratelimit import HTTP_ONLY, RateLimitAction, RateLimitRule, Window
from caryatid.model.tree import ListenerNode, RateLimitNode
from caryatid.plan import quote

from .sheet import Sheet, Unrenderable

WINDOWS = 3
"""HAProxy tracks a request in three tables at most (sc0 to sc2)."""
ENTRIES_MIN = 1_024
"""Of one table, however many there are."""
KILOBYTE = 1_000
PLACE = "var(txn.place),sha1"
"""Client and path together, of a fixed length."""
SORRY = quote.word("Too many requests: this client is beyond its rate limit.")
REFUSALS: dict[RateLimitAction, str] = {"REJECT": "reject", "SILENT_DROP": "silent-drop"}
STORES = {
    "REQUESTS": ("http_req_rate",),
    "REQUESTS_PER_URL": ("http_req_rate",),
    "KBYTES": ("bytes_in_rate", "bytes_out_rate"),
}
"""Metric → what a table keeps for it. A rule is broken if any of them is at its threshold."""


def windows(node: ListenerNode) -> tuple[Window, ...]:
    """The ways in which clients of the listener are counted: a table each."""
    return tuple(dict.fromkeys(rule.window for rule in _rules(node)))


def write(sheet: Sheet, node: ListenerNode, *, http: bool) -> None:
    """Into the listener's frontend: who is turned away, and that the others are counted."""
    if not windows(node):
        return
    if http and any(window.per_url for window in windows(node)):
        sheet.add(["http-request set-var-fmt(txn.place) '%[src] %[path]'"])
    for policy in node.rate_limits:
        if policy.rules_up:
            _policy(sheet, node, policy, http=http)
    sheet.about("listener", node.listener.id)
    for number, window in enumerate(windows(node)):
        track = f"{'http-request' if http else 'tcp-request connection'} track-sc{number:d}"
        sheet.add(f"{track} {_key(window)} table {_table(node, window)}{which}" for which in _counted(node, window))


def write_tables(sheet: Sheet, node: ListenerNode, entries: int, peers: str) -> None:
    """The tables of a listener: `entries` clients each, shared with the peers of that section, if there is one."""
    for window in windows(node):
        sheet.about("listener", node.listener.id)
        key = "binary len 20" if window.per_url else "ipv6"
        stored = dict.fromkeys(name for rule in _rules(node) if rule.window == window for name in STORES[rule.metric])
        store = ",".join(f"{name}({window.interval_s:d}s)" for name in stored)
        shared = f" peers {peers}" if peers else ""
        expire_s = 2 * window.interval_s  # by then every rate is zero
        sheet.section(f"backend {_table(node, window)}", [
            f"stick-table type {key} size {entries:d} expire {expire_s:d}s store {store}{shared}",
        ])


def share(entries: int, nodes: Iterable[ListenerNode]) -> int:
    """Of so many entries, how many each table gets, so that they stay bounded together."""
    return max(entries // max(sum(len(windows(node)) for node in nodes), 1), ENTRIES_MIN)


def _policy(sheet: Sheet, node: ListenerNode, limit: RateLimitNode, *, http: bool) -> None:
    words = []
    for rule in limit.rules_up:
        if rule.metric not in STORES or (rule.metric in HTTP_ONLY and not http):
            raise Unrenderable("ratelimitrule", rule.id, f"metric {rule.metric} is not carried out by this driver")
        sheet.about("ratelimitrule", rule.id)
        sheet.add(_tests(node, rule))
        words += [*([f"{rule.id}:urls"] if rule.urls else []), rule.id]
    sheet.about("ratelimitpolicy", limit.policy.id)
    ruleset = "http-request" if http else "tcp-request connection"
    sheet.add([f"{ruleset} {_answer(limit, http=http)} if {' '.join(words)}"])


def _answer(limit: RateLimitNode, *, http: bool) -> str:
    action = limit.policy.action
    if action == "DENY" and http:
        wait_s = min(rule.interval for rule in limit.rules_up)
        return f"deny deny_status 429 content-type text/plain string {SORRY} hdr Retry-After {wait_s:d}"
    if action not in REFUSALS:
        raise Unrenderable("ratelimitpolicy", limit.policy.id, f"action {action} is not carried out by this driver")
    return REFUSALS[action]


def _tests(node: ListenerNode, rule: RateLimitRule) -> Iterator[str]:
    """Whether the client is at the threshold: one more would be too much. More than one line: any of them will do."""
    for url in rule.urls:
        yield f"acl {rule.id}:urls path -m str -- {quote.word(url)}"
    threshold = rule.threshold * (KILOBYTE if rule.metric == "KBYTES" else 1)
    for name in STORES[rule.metric]:
        yield f"acl {rule.id} {_key(rule.window)},table_{name}({_table(node, rule.window)}) ge {threshold:d}"


def _counted(node: ListenerNode, window: Window) -> Iterator[str]:
    """Conditions under which a request is counted; the first that holds will do."""
    rules = [rule for rule in _rules(node) if rule.window == window]
    if all(rule.urls for rule in rules):
        yield from (f" if {rule.id}:urls" for rule in rules)
    else:
        yield ""


def _rules(node: ListenerNode) -> Iterator[RateLimitRule]:
    for limit in node.rate_limits:
        yield from limit.rules_up


def _key(window: Window) -> str:
    return PLACE if window.per_url else "src"


def _table(node: ListenerNode, window: Window) -> str:
    return f"{quote.name(node.listener.id)}.{'url' if window.per_url else 'source'}.{window.interval_s:d}"
