# SPDX-License-Identifier: Apache-2.0
"""The verbs of a kind as commands: create, list, show, set, unset, delete."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from caryatid.model import BY_NAME, LOADBALANCER
from caryatid.model.kind import Kind

from . import extras
from .client import Answer, Params, Request, collection, item
from .failures import Failure
from .groups import Group
from .names import LISTED, find
from .options import Setting, body, missing, settings
from .output import ordered
from .session import Session, Values, command, shown

DEFAULT_SUBNET = "default"
VIP_SOURCES = ("vip_subnet_id", "vip_network_id", "vip_port_id")


def build(group: Group, verb: str) -> click.Command:
    """`caryatid <group> <verb>`."""
    if verb in group.extra:
        return extras.build(group, verb)
    return VERBS[verb](LISTED[group.kind])


def create(kind: Kind) -> click.Command:
    """One of the kind, from options; the name may also be given first."""
    known = sorted(settings(kind.creatable).values(), key=lambda setting: not setting.required)
    params: list[click.Parameter] = [*parent_options(kind), *(setting.option(creates=True) for setting in known)]
    named = "name" in kind.creatable
    if named:
        params.insert(0, click.Argument(["called"], required=False, metavar="[NAME]"))

    def run(session: Session, values: Values) -> None:
        if named and (called := values.pop("called")) is not None:
            if values["name"] is not None:
                raise click.UsageError("The name is given twice: once by itself, once by --name.")
            values["name"] = called
        missing(kind, values)
        parent_id = parent_of(session, kind, values)
        wanted = body(kind, values, session.client)
        if kind.name == "loadbalancer" and not any(wanted.get(name) for name in VIP_SOURCES):
            wanted["vip_subnet_id"] = find(session.client, BY_NAME["subnet"], DEFAULT_SUBNET)
        request = Request("POST", collection(kind, parent_id), {kind.wrapper: _covered(kind, session, wanted)})
        _settle(session, kind, session.send(request), parent_id)

    return command("create", f"Create a {kind.title}. {kind.model.__doc__ or ''}", params, run, changes=True)


def list_(kind: Kind) -> click.Command:
    """All of the kind that filters let through."""
    params: list[click.Parameter] = [
        *parent_options(kind),
        click.Option(["filters", "--filter"], multiple=True, metavar="NAME=VALUE",
                     help="Only those whose attribute has this value; tags, tags-any, not-tags, not-tags-any too."),
        click.Option(["sort", "--sort"], metavar="NAME[:desc],…", help="Attributes to sort by."),
        click.Option(["limit", "--limit"], type=click.IntRange(min=1), help="How many at most."),
    ]  # fmt: skip
    listed = [attribute.name for attribute in kind if attribute.listed and attribute.name != "id"]
    columns = ordered(dict.fromkeys([kind.key, *listed]))

    def run(session: Session, values: Values) -> None:
        parent_id = parent_of(session, kind, values)
        query = list(_query(kind, session, values["filters"]))
        if values["sort"]:
            query.append(("sort", values["sort"]))
        session.output.many(session.client.all(kind, query, parent_id, values["limit"]), columns)

    return command("list", f"List every {kind.title} that the filters let through.", params, run)


def show(kind: Kind) -> click.Command:
    """All attributes of one."""

    def run(session: Session, values: Values) -> None:
        parent_id = parent_of(session, kind, values)
        key = find(session.client, kind, values["which"], parent_id)
        session.output.one(shown(session.client.get(item(kind, key, parent_id)), kind.wrapper))

    return command("show", f"Show all attributes of a {kind.title}.", [key_argument(kind), *parent_options(kind)], run)


def set_(kind: Kind) -> click.Command:
    """Some attributes of one are changed; those not named stay."""
    known = settings(kind.changeable)
    params = [key_argument(kind), *parent_options(kind), *(setting.option() for setting in known.values())]

    def run(session: Session, values: Values) -> None:
        wanted = body(kind, {name: values[name] for name in known}, session.client)
        _change(session, kind, values, wanted)

    words = f"Change attributes of a {kind.title}; those not named stay. A list replaces the list."
    return command("set", words, params, run, changes=True)


def unset(kind: Kind) -> click.Command:
    """Some attributes of one are put back to their defaults."""
    known = {name: setting for name, setting in settings(kind.changeable).items() if _can_be_unset(setting)}
    params = [key_argument(kind), *parent_options(kind), *(setting.switch() for setting in known.values())]

    def run(session: Session, values: Values) -> None:
        wanted = {name: setting.unset_value for name, setting in known.items() if values[name]}
        _change(session, kind, values, wanted)

    return command("unset", f"Put attributes of a {kind.title} back to their defaults.", params, run, changes=True)


def _can_be_unset(setting: Setting) -> bool:
    """A password is replaced, or taken away by a command that says so."""
    return not (setting.attribute.required or (setting.attribute.secret and setting.shape == "text"))


def delete(kind: Kind) -> click.Command:
    """Some of the kind are deleted, all names looked up first."""
    params: list[click.Parameter] = [key_argument(kind, many=True), *parent_options(kind)]
    if kind is LOADBALANCER:
        params.append(click.Option(["cascade", "--cascade"], is_flag=True, help="And all below it."))

    def run(session: Session, values: Values) -> None:
        parent_id = parent_of(session, kind, values)
        params = [("cascade", "true")] if values.get("cascade") else []
        keys = each(values["which"], lambda given: find(session.client, kind, given, parent_id))
        requests = [Request("DELETE", item(kind, key, parent_id), params=params) for key in keys]
        session.finish(*each(requests, session.send))

    return command("delete", "Delete; every name is looked up before anything is sent.", params, run, changes=True)


def each(things: Any, act: Callable[[Any], Any]) -> list[Any]:
    """`act` on each of `things`, all tried; raises Failure with the reasons of all that failed."""
    done: list[Any] = []
    reasons: list[str] = []
    for thing in things:
        try:
            done.append(act(thing))
        except Failure as failure:
            if failure.exit_code != Failure.exit_code:
                raise
            reasons += failure.reasons
    if reasons:
        raise Failure(*reasons)
    return done


def key_argument(kind: Kind, *, many: bool = False) -> click.Argument:
    """What the user calls the one that is meant."""
    metavar = "PROJECT" if kind.key == "project_id" else ("NAME_OR_ID" if "name" in kind.attributes else "ID")
    return click.Argument(["which"], metavar=metavar + ("…" if many else ""), nargs=-1 if many else 1, required=True)


def parent_options(kind: Kind) -> list[click.Option]:
    """The option that names what a path says it belongs to (`--pool`)."""
    if kind.parent is None:
        return []
    setting = Setting(kind.attributes[kind.parent])
    return [click.Option([kind.parent, *setting.flags], required=True, help=setting.attribute.description)]


def parent_of(session: Session, kind: Kind, values: Values) -> str | None:
    """The id of what the path says it belongs to; taken out of `values`."""
    if kind.parent is None:
        return None
    above = BY_NAME[kind.parent_kind or ""]
    return find(session.client, above, values.pop(kind.parent))


def _change(session: Session, kind: Kind, values: Values, wanted: Mapping[str, Any]) -> None:
    if not wanted:
        raise click.UsageError("Nothing to change: give at least one attribute as an option.")
    parent_id = parent_of(session, kind, values)
    key = find(session.client, kind, values["which"], parent_id)
    request = Request("PUT", item(kind, key, parent_id), {kind.wrapper: _covered(kind, session, wanted)})
    _settle(session, kind, session.send(request), parent_id)


def _covered(kind: Kind, session: Session, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same, what is secret not shown where it is only printed."""
    return {name: "…" if session.dry_run and kind.attributes[name].secret else value for name, value in wanted.items()}


def _settle(session: Session, kind: Kind, answer: Answer | None, parent_id: str | None) -> None:
    """Prints what was accepted; with --wait, as it is once it is in effect."""
    if answer is None:
        return
    document = shown(answer.document, kind.wrapper)
    session.finish(answer)
    if session.wait and answer.job_id and kind.key in document:
        document = shown(session.client.get(item(kind, str(document[kind.key]), parent_id)), kind.wrapper)
    session.output.one(document)


def _query(kind: Kind, session: Session, filters: tuple[str, ...]) -> Params:
    """Filters as the API has them; the name of what an attribute refers to becomes its id."""
    pairs = [text.partition("=") for text in filters]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.UsageError(f"--filter takes NAME=VALUE, not {', '.join(wrong)}.")
    query = []
    for name, _, value in pairs:
        attribute = kind.attributes.get(name)
        named = attribute is not None and attribute.names and value
        query.append((name, str(Setting(attribute).value(value, session.client)) if attribute and named else value))
    return query


VERBS: dict[str, Callable[[Kind], click.Command]] = {
    "create": create,
    "list": list_,
    "show": show,
    "set": set_,
    "unset": unset,
    "delete": delete,
}
