# SPDX-License-Identifier: Apache-2.0
"""Gslbs on the screen: with all that they use, what each region says, and why they are answered as they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from caryatid.model import GSLB, GSLB_REGION

from .client import Client, item
from .output import dotted, plain
from .overview import badness
from .session import shown

Document = Mapping[str, Any]
Names = Mapping[str, str]
"""Id of a region → its name."""


def look(client: Client, gslb_id: str) -> dict[str, Any]:
    """The status tree."""
    return shown(client.get(f"{item(GSLB, gslb_id)}/status"), "status")


def regions(client: Client) -> Names:
    """What regions are called."""
    return {region["id"]: region["name"] for region in client.all(GSLB_REGION)}


def print_explained(found: Document, screen: Console) -> None:
    """The answers with their probabilities, then the reasons."""
    told = {answer["rrtype"]: [chance["content"] for chance in answer["chances"]] for answer in found["answers"]}
    screen.print(headline({**found, "answers": told}))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("type", "answer", "probability", "ttl", "because"):
        table.add_column(column, overflow="fold")
    for answer in found["answers"]:
        because = "; ".join(answer["why"])
        for chance in answer["chances"] or [{"content": "nothing (NODATA)", "probability": 1.0}]:
            part = f"{chance['probability']:.0%}"
            table.add_row(answer["rrtype"], chance["content"], part, str(answer["ttl"]), because)
            because = ""
    screen.print(table)
    said: dict[str, str] = {}
    for sentence in found["why"]:
        said.setdefault(sentence.partition(": ")[0], sentence)  # what is so now, before what was when it was told
    for sentence in said.values():
        screen.print(Text(f"- {sentence}"))
    if not found.get("published", True):
        screen.print(Text("- name servers have not all been seen to answer so", style="yellow"))


def as_tree(gslb: Document, names: Names) -> Tree:
    """A gslb, why it is answered so, its pools and members, the worst first, and what each region says of them."""
    top = Tree(headline(gslb), guide_style="bright_black")
    for sentence in gslb.get("why", ()):
        if not sentence.startswith("pool "):  # that is said of the member below
            top.add(Text(sentence, style="dim"))
    for pool in sorted(gslb["pools"], key=badness):
        branch = top.add(_label("pool", pool))
        for member in sorted(pool["members"], key=badness):
            leaf = branch.add(_label("member", member))
            said = list(votes(member["per_region"], names))
            if reason := member.get("status_reason"):  # in short: what each region says comes next
                leaf.add(Text(reason.partition(": ")[0] if said else reason, style="dim"))
            if said:
                leaf.add(Text("  ").join(said))
    return top


def answered(gslb: Document) -> Text:
    """What it is answered with."""
    said = [f"{rrtype} {' '.join(contents) or 'nothing'}" for rrtype, contents in (gslb.get("answers") or {}).items()]
    return Text("; ".join(said) or "not told to any name server yet")


def told(event: Document) -> dict[str, str]:
    """One line of the history, in words."""
    detail = event.get("detail") or {}
    changed = detail.get("changed") or {}
    return {
        "at": event["at"],
        "what": " ".join(filter(None, (event["type"], detail.get("name") or detail.get("address")))),
        "change": ", ".join(f"{name}: {plain(old) or 'none'} → {plain(new) or 'none'}" for name, (old, new) in
                            changed.items()),
        "why": plain(detail.get("cause") or detail.get("reason")),
    }  # fmt: skip


def headline(gslb: Document) -> Text:
    """How it is, what it is called, and what it is answered with."""
    name = (str(gslb.get("name") or gslb["fqdn"]), "bold")
    how = f" {gslb['fqdn']} {gslb.get('steering_policy', '')} → "
    parts: list[Any] = [dotted(gslb["operating_status"]), " ", name, how]
    if gslb.get("provisioning_status", "ACTIVE") != "ACTIVE":
        parts[1:1] = [" ", dotted(gslb["provisioning_status"])]
    return Text.assemble(*parts, answered(gslb))


def _label(what: str, document: Document) -> RenderableType:
    called = document.get("name") or document.get("loadbalancer_id") or document["id"]
    parts: list[Any] = [dotted(document["operating_status"]), f" {what} ", (str(called), "bold")]
    where = document.get("address") or document.get("hostname")
    return Text.assemble(*parts, f" {where}" if where and where != called else "")


def votes(seen: Sequence[Document], names: Names) -> Iterator[Text]:
    """What each region says, a word or two each."""
    for one in sorted(seen, key=lambda one: (one["monitor_id"] is not None, _region(one, names))):
        colour = {"UP": "green", "DOWN": "red"}.get(one["vote"], "yellow")
        took = f" {one['rtt_ms']:.1f} ms" if one.get("rtt_ms") is not None and one["vote"] == "UP" else ""
        why = f" ({one['reason']})" if one.get("reason") and one["vote"] != "UP" else ""
        who = "itself" if one["monitor_id"] is None else _region(one, names)
        yield Text.assemble((f"{who} {one['vote']}", colour), (f"{took}{why}", "dim"))


def _region(seen: Document, names: Names) -> str:
    key = seen["region_id"] or ""
    return names.get(key, key)
