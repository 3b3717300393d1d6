# SPDX-License-Identifier: Apache-2.0
"""The pages of words: statuses, policy, settings, errors."""

import json
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from caryatid import errors
from caryatid.api.conditions import PHRASES
from caryatid.cli.explain import described
from caryatid.cli.failures import EXIT_CODES
from caryatid.config import Settings
from caryatid.metrics import TABLE
from caryatid.model.eventtypes import TYPES
from caryatid.model.job import STATES
from caryatid.model.kind import Attribute
from caryatid.model.policy import BASE, RULES, TEXTS
from caryatid.model.status import OPERATING, PROVISIONING

from .markdown import code, table, words

FIRST = "0.1.0"
"""The version that a setting has been there since, where it does not say (`json_schema_extra={"since": …}`)."""
RESTARTED = {
    "agent_": "agents",
    "checker_embedded": "controllers",
    "checker_": "checkers, core",
    "admin_log_": "all",
    "log_tls_": "all",
    "log_": "all",
    "state_dir": "all",
}
"""Who reads a setting, by how its name begins; where nothing is said: controllers (api and core)."""


def statuses() -> Iterator[str]:
    """The words of provisioning_status and operating_status, and of a job's state."""
    yield "# Statuses"
    yield (
        "Two questions, two words: is what is shown in effect (`provisioning_status`), and does it work "
        "(`operating_status`)?"
    )
    yield "## provisioning_status"
    yield table(["Status", "Meaning"], [[code(word), text] for word, text in PROVISIONING.items()])
    yield "## operating_status"
    yield table(["Status", "Meaning"], [[code(word), text] for word, text in OPERATING.items()])
    yield "## state of a job"
    yield table(["State", "Meaning"], [[code(word), text] for word, text in STATES.items()])


def events() -> Iterator[str]:
    """Every type of event."""
    yield "# Events"
    yield "What has happened, by the `type` of the event: [events](../events.md)."
    yield table(["Type", "Means"], [[code(name), text] for name, text in sorted(TYPES.items())])


def policy() -> Iterator[str]:
    """Which roles may do what."""
    yield "# Policy"
    yield (
        "Every request is checked against one rule, by Octavia's names, in oslo.policy's language. A file that the "
        "setting `policy_file` names says otherwise: see [access](../access.md#policy)."
    )
    yield "## What rules are made of"
    yield table(["Rule", "Says"], [[code(rule), code(text)] for rule, text in BASE.items()])
    yield "## Rules of actions"
    yield table(["Rule", "Says"], [[code(rule), code(TEXTS[rule])] for rule in RULES])


def settings() -> Iterator[str]:
    """What an operator may decide."""
    yield "# Settings"
    yield (
        "Each from the first place that names it: an option of the command, the environment (`CARYATID_` and the name "
        "in capitals: `CARYATID_LISTEN`), a TOML file (`--config` or `CARYATID_CONFIG`), the default. Names that are "
        "not here are refused."
    )
    yield (
        "Settings are read when a process starts. *Restart* says which processes must be started again for a change to "
        "take effect: of none is any setting read anew. A restart by SIGTERM leaves traffic flowing."
    )
    rows = [_setting(name, info) for name, info in Settings.model_fields.items()]
    yield table(["Option", "Type", "Default", "Restart", "Since", "Meaning"], rows)


def _setting(name: str, info: FieldInfo) -> list[str]:
    line = described(Attribute(name, info))
    kind = "; ".join(part for part in (line.type, line.limits) if part)
    default = "" if info.default_factory else code(json.dumps(info.default, default=str))
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    restart = next((who for start, who in RESTARTED.items() if name.startswith(start)), "controllers")
    return [code(name), kind, default, restart, str(extra.get("since", FIRST)), line.description]


def metrics() -> Iterator[str]:
    """What is counted, and which processes show it."""
    yield "# Metrics"
    yield (
        "What each process shows to Prometheus: the API at `/metrics`, the others where "
        "[monitoring](../monitoring.md) says. A process that runs several services shows what any of them has."
    )
    rows = [
        [code(name), metric.type, words(metric.labels), ", ".join(metric.services), metric.help]
        for name, metric in sorted(TABLE.items())
    ]
    yield table(["Metric", "Type", "Labels", "Services", "Meaning"], rows)


def failures() -> Iterator[str]:
    """What goes wrong, by HTTP status and by exit code."""
    yield "# Errors"
    yield "## Of the API"
    yield (
        'Answers of a resource are `{"faultcode", "faultstring", "debuginfo"}`; those from before any resource is '
        'asked (paths, negotiation, paging) are `{"code", "title", "description"}`. Both shapes are Octavia\'s. Every '
        "answer has `X-Openstack-Request-Id`."
    )
    yield table(["Status", "Meaning"], [[str(code), text] for code, text in PHRASES.items()])
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.CaryatidError)]
    missing = {one.status for one in classes} - {*PHRASES}
    if missing:
        raise SystemExit(f"PHRASES says nothing of {sorted(missing)}.")
    yield "## Of commands"
    yield table(["Exit code", "Meaning"], [[str(code), text] for code, text in EXIT_CODES.items()])
