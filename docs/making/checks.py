# SPDX-License-Identifier: Apache-2.0
"""The page of checks: what a monitor of each type may be told."""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from caryatid.cli.explain import described
from caryatid.model.gslb.parameters import PARAMETERS, Parameters
from caryatid.model.gslb.targets import NEVER
from caryatid.model.kind import Attribute

from .markdown import code, table, words

HEAD = ("Parameter", "Type", "Default", "Validation", "Description")


def checks() -> Iterator[str]:
    """Every type that is built in, with its parameters."""
    yield "# Checks"
    yield (
        "The `type` of a [monitor](../gslb.md), and what its `parameters` may say; anything else in them is refused "
        "with 400. More types come with plugins (entry points `caryatid.checks`), which judge their parameters "
        "themselves. Parameters are shown to whoever may read the monitor."
    )
    yield (
        "A check has `timeout` seconds for everything: look-up, connecting, TLS, the last byte that it waits for. It "
        "reads 64 KiB at most. A name is looked up first (the machine's name servers; IPv4, else IPv6), the address "
        "that was found is looked at, and that very address is connected to. Never spoken to, unless the operator "
        f"allows it: {words(NEVER)}."
    )
    yield "Every one of them may be told:"
    yield _parameters(Parameters, [*Parameters.model_fields])
    for name, document in PARAMETERS.items():
        yield f"## {code(name)}"
        yield " ".join((document.__doc__ or "").split())
        own = [name for name in document.model_fields if name not in Parameters.model_fields]
        if own:
            yield _parameters(document, sorted(own, key=lambda name: not document.model_fields[name].is_required()))


def _parameters(document: type[BaseModel], names: Iterable[str]) -> str:
    rows = []
    for name in names:
        info = document.model_fields[name]
        line = described(Attribute(name, info))
        default = "required" if info.is_required() else line.default
        rows.append([code(name), line.type, default, line.limits or "any", line.description])
    return table(HEAD, rows)
