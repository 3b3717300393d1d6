# SPDX-License-Identifier: Apache-2.0
"""Verbs that one or two kinds have and attributes do not say: acts, statistics, the status tree."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import click

from caryatid.model import AMPHORA, BY_NAME, HOST, LOADBALANCER, MEMBER, POOL, QUOTA
from caryatid.model.kind import Kind

from . import access, clusters, events, gslb, jobs, secrets, telling, vantage, webhooks
from .client import Answer, Request, collection, item
from .failures import Failure
from .groups import Group
from .names import find
from .session import Session, Values, command, shown

PROVIDERS = "/v2/lbaas/providers"
STATISTICS = ("active_connections", "total_connections", "bytes_in", "bytes_out", "request_errors")


def build(group: Group, verb: str) -> click.Command:
    """`caryatid <group> <verb>`."""
    known = EXTRAS | clusters.COMMANDS | events.COMMANDS | gslb.COMMANDS | jobs.COMMANDS | secrets.COMMANDS
    known = known | telling.COMMANDS | vantage.COMMANDS | webhooks.COMMANDS
    return known[group.name, verb]()


def act(kind: Kind, verb: str, path: str, help: str) -> click.Command:  # noqa: A002  click's word
    """An act on one resource: PUT without a body."""

    def run(session: Session, values: Values) -> None:
        key = find(session.client, kind, values["which"])
        session.finish(session.send(Request("PUT", f"{item(kind, key)}/{path}")))

    return command(verb, help, [_key(kind)], run, changes=True)


def act_on_host(verb: str, help: str) -> click.Command:  # noqa: A002  click's word
    """An act on a host; with --wait, until every amphora that it concerns has been replaced."""

    def run(session: Session, values: Values) -> None:
        key = find(session.client, HOST, values["which"])
        answer = session.send(Request("PUT", f"{item(HOST, key)}/{verb}"))
        if answer is not None:
            session.finish(*(Answer({}, job_id) for job_id in answer.document.get("jobs", [])))
            document = session.client.get(item(HOST, key)) if session.wait else answer.document
            session.output.one(shown(document, HOST.wrapper))

    return command(verb, help, [_key(HOST)], run, changes=True)


def unfreeze() -> click.Command:
    """The operator's word against the guard."""

    def run(session: Session, _values: Values) -> None:
        session.finish(session.send(Request("PUT", "/v1/failovers/unfreeze")))

    words = "Half of the hosts are silent, and they are dead: replace what they carry, though failovers are frozen."
    return command("unfreeze", words, [], run, changes=True)


def statistics(kind: Kind) -> click.Command:
    """What went through one resource."""

    def run(session: Session, values: Values) -> None:
        key = find(session.client, kind, values["which"])
        document = session.client.get(f"{item(kind, key)}/stats")
        if kind is AMPHORA:
            session.output.many(document.get("amphora_stats", []), ("listener_id", *STATISTICS))
        else:
            session.output.one(shown(document, "stats"))

    return command("stats", "Bytes, connections and errors.", [_key(kind)], run)


def diagnostics() -> click.Command:
    """What an amphora says of itself now."""

    def run(session: Session, values: Values) -> None:
        key = find(session.client, AMPHORA, values["which"])
        found = shown(session.client.get(f"{item(AMPHORA, key)}/diagnostics"), "diagnostics")
        if session.output.format in ("json", "yaml"):
            session.output.one(found)
        else:
            session.output.one(dict(_flat({name: value for name, value in found.items() if name != "found"})))
            session.output.one(dict(_flat(found["found"])))

    words = "Ask it how it is, now: versions, processes, network, certificates. All of it: -o json."
    return command("diagnostics", words, [_key(AMPHORA)], run)


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is nested, one line each; of lists how long they are, and of what HAProxy counts nothing."""
    for name, value in document.items():
        if isinstance(value, Mapping) and name != "info":
            yield from _flat(value, f"{prefix}{name}.")
        elif name != "info":
            long = isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
            yield f"{prefix}{name}", len(value) if long else value


def status_tree() -> click.Command:
    """A load balancer and all below it, with statuses."""

    def run(session: Session, values: Values) -> None:
        from .overview import print_tree

        key = find(session.client, LOADBALANCER, values["which"])
        tree = shown(shown(session.client.get(f"{item(LOADBALANCER, key)}/status"), "statuses"), "loadbalancer")
        if session.output.format in ("json", "yaml"):
            session.output.one(tree)
        else:
            print_tree(tree)

    return command("status", "The load balancer and all below it, with statuses.", [_key(LOADBALANCER)], run)


def replace_members() -> click.Command:
    """All members of a pool at once, from a file."""
    params: list[click.Parameter] = [
        click.Argument(["file"], type=click.File(encoding="utf-8"), metavar="FILE"),
        click.Option(["pool_id", "--pool", "--pool-id"], required=True, help="The pool."),
        click.Option(["additive", "--additive"], is_flag=True, help="Members that the file does not name stay."),
    ]

    def run(session: Session, values: Values) -> None:
        members = _members(values["file"].read())
        pool_id = find(session.client, POOL, values["pool_id"])
        query = [("additive_only", "true")] if values["additive"] else []
        request = Request("PUT", collection(MEMBER, pool_id), {MEMBER.plural: members}, query)
        session.finish(session.send(request))

    words = "The pool has the members of FILE (JSON or YAML, a list; - is standard input), and no others."
    return command("replace", words, params, run, changes=True)


def default_quota() -> click.Command:
    """Limits of a project that has none of its own."""

    def run(session: Session, _values: Values) -> None:
        session.output.one(shown(session.client.get(f"{collection(QUOTA)}/defaults"), QUOTA.wrapper))

    return command("defaults", "Limits of projects whose quota says nothing.", [], run)


def list_providers() -> click.Command:
    """Who carries load balancers out."""

    def run(session: Session, _values: Values) -> None:
        session.output.many(session.client.get(PROVIDERS).get("providers", []), ("name", "description"))

    return command("list", "List. Who carries load balancers out.", [], run)


def capabilities() -> click.Command:
    """What profiles may say to a provider."""

    def run(session: Session, values: Values) -> None:
        found = []
        for word in ("flavor", "availability_zone"):
            path = f"{PROVIDERS}/{values['which']}/{word}_capabilities"
            keys = session.client.get(path).get(f"{word}_capabilities", [])
            found += [{"profile": word, **key} for key in keys]
        session.output.many(found, ("profile", "name", "description"))

    words = "What flavor and availability zone profiles may say to it."
    return command("capabilities", words, [click.Argument(["which"], metavar="NAME")], run)


def _key(kind: Kind) -> click.Argument:
    return click.Argument(["which"], metavar="NAME_OR_ID" if "name" in kind.attributes else "ID")


def _members(text: str) -> list[Any]:
    """The members that a file names: a list, or a document with the list as `members`."""
    import yaml

    try:
        document = json.loads(text) if text.lstrip()[:1] in ("[", "{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise Failure(f"The file is neither JSON nor YAML: {error}") from None
    if isinstance(document, Mapping):
        document = document.get(MEMBER.plural)
    if not isinstance(document, list):
        raise Failure("The file should have a list of members.")
    return document


LB = LOADBALANCER
EXTRAS: dict[tuple[str, str], Callable[[], click.Command]] = {
    ("lb", "failover"): partial(act, LB, "failover", "failover", "Replace the amphorae behind it."),
    ("lb", "stats"): partial(statistics, LB),
    ("lb", "status"): status_tree,
    ("listener", "stats"): partial(statistics, BY_NAME["listener"]),
    ("member", "replace"): replace_members,
    ("quota", "defaults"): default_quota,
    ("amphora", "failover"): partial(act, AMPHORA, "failover", "failover", "Replace it by a new one."),
    ("amphora", "configure"): partial(act, AMPHORA, "configure", "config", "Give its agent the configuration anew."),
    ("amphora", "stats"): partial(statistics, AMPHORA),
    ("amphora", "diagnostics"): diagnostics,
    ("provider", "list"): list_providers,
    ("provider", "capabilities"): capabilities,
    ("host", "drain"): partial(act_on_host, "drain", "Place nothing new on it; what it has stays."),
    ("host", "evacuate"): partial(act_on_host, "evacuate", "Drain it, and replace its amphorae on other hosts."),
    ("host", "enable"): partial(act_on_host, "enable", "Place new amphorae on it again."),
    ("host", "revoke"): partial(
        act_on_host, "revoke", "Believe it no longer, for good, and replace its amphorae on other hosts."
    ),
    ("host", "unfreeze"): unfreeze,
    ("user", "password"): access.set_password,
}
