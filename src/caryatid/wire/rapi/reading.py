# SPDX-License-Identifier: Apache-2.0
"""From a RAPI's JSON to values. Pure. What has another shape than it should raises one of MISREAD."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from .answers import Info, Instance, Job, Live, LogLine, Node, Problem, Trouble, Waited

OK = 200
"""The only status of success; whether a job succeeds is not in it."""
NORMAL = 0
"""Of a field in the answer to a query: it is known."""
TEXT_MAX = 400
MICROSECONDS = 1_000_000
STATUSES: Mapping[int, Trouble] = {
    400: "refused",
    401: "denied",
    403: "denied",
    404: "missing",
    415: "refused",
    501: "refused",
    502: "refused",
    503: "full",
    504: "ambiguous",
}
WORDS: Sequence[tuple[int, str, Trouble]] = (
    (500, "drained", "drained"),
    (503, "drained", "drained"),
    (500, "queue is full", "full"),
    (500, "queue full", "full"),
    (502, "connect to master daemon", "unreachable"),
    (502, "seems to be unreachable", "unreachable"),
)
"""Where a status has more than one meaning, what else is said decides (in lower case)."""
NO_JOB = "can't load job file"
MISREAD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def problem(status: int, content: bytes, where: str) -> Problem:
    """What another status than OK means."""
    said = _explained(content)
    lower = said.lower()
    known = (trouble for code, words, trouble in WORDS if code == status and words in lower)
    name = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "no known status"
    text = f"{where}: {status} {name}{f': {said}' if said not in {'', name} else ''}."
    return Problem(next(known, STATUSES.get(status, "broken")), text, status)


def missing_job(found: Problem) -> Problem:
    """Of a job that is not in the queue (any more), `/wait` answers 500."""
    return replace(found, trouble="missing") if NO_JOB in found.text.lower() else found


def _explained(content: bytes) -> str:
    try:
        document = json.loads(content)
        said = document.get("message") or ""
    except (ValueError, AttributeError, RecursionError):
        return ""
    words = " ".join(html.unescape(str(said)).split())
    return words[:TEXT_MAX].rstrip(".")


def strings(answer: Any) -> tuple[str, ...]:
    return tuple(map(str, _list(answer)))


def number(answer: Any) -> int:
    return int(answer)


def cancelled(answer: Any) -> bool:
    return bool(_list(answer)[0])


def info(answer: Any, features: Sequence[str]) -> Info:
    return Info(
        name=str(answer["name"]),
        master=str(answer["master"]),
        software_version=str(answer["software_version"]),
        default_hypervisor=str(answer["default_hypervisor"]),
        enabled_hypervisors=strings(answer["enabled_hypervisors"]),
        disk_templates=strings(answer.get("enabled_disk_templates", ())),
        tags=strings(answer.get("tags", ())),
        features=tuple(features),
    )


def rows(answer: Any, fields: Sequence[str]) -> list[dict[str, Any]]:
    """What a query has found, by field; None: not known now."""
    found = []
    for row in _list(answer["data"]):
        values = [value if state == NORMAL else None for state, value in row]
        found.append(dict(zip(fields, values, strict=True)))
    return found


def nodes(found: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    return tuple(
        Node(
            name=str(row["name"]),
            group=row["group"] or "",
            offline=bool(row["offline"]),
            drained=bool(row["drained"]),
            vm_capable=row["vm_capable"] is not False,
            free_memory_mib=_maybe(row["mfree"]),
            free_disk_mib=_maybe(row["dfree"]),
            tags=strings(row["tags"] or ()),
        )
        for row in found
    )


def instances(found: Iterable[Mapping[str, Any]]) -> tuple[Instance, ...]:
    return tuple(
        Instance(
            name=str(row["name"]),
            uuid=row["uuid"] or "",
            node=row["pnode"] or "",
            secondaries=strings(row["snodes"] or ()),
            admin_state=row["admin_state"] or "",
            tags=strings(row["tags"] or ()),
            addresses=tuple(address or "" for address in row["nic.ips"] or ()),
            created_at=float(row["ctime"] or 0),
            changed_at=float(row["mtime"] or 0),
        )
        for row in found
    )


def lives(found: Iterable[Mapping[str, Any]]) -> tuple[Live, ...]:
    return tuple(Live(str(row["name"]), row["status"] or "", row["pnode"] or "") for row in found)


def jobs(found: Iterable[Mapping[str, Any]]) -> tuple[Job, ...]:
    return tuple(job(row, int(row["id"])) for row in found)


def job(answer: Mapping[str, Any], job_id: int) -> Job:
    """Of a job that is not known, all members are null."""
    kind, text, code = _error(answer)
    results: list[Any] = answer.get("opresult") or []
    return Job(
        id=job_id,
        status=answer["status"] or "",
        summary=", ".join(strings(answer.get("summary") or ())),
        received_at=_moment(answer.get("received_ts")),
        started_at=_moment(answer.get("start_ts")),
        ended_at=_moment(answer.get("end_ts")),
        log=_lines(line for lines in answer.get("oplog") or () for line in lines),
        error=text,
        error_kind=kind,
        error_code=code,
        result=results[0] if len(results) == 1 else list(results) or None,
        instances=_instances(answer.get("ops") or ()),
    )


def waited(answer: Any, status: str) -> Waited:
    """`status`: as it was; null says that it is so still."""
    if answer is None:
        return Waited(status)
    return Waited(str(answer["job_info"][0] or ""), _lines(answer["log_entries"] or ()))


def _error(answer: Mapping[str, Any]) -> tuple[str, str, str]:
    """Kind, text and code of the first operation that failed; empty: none has."""
    if answer["status"] not in {"error", "canceled"}:
        return "", "", ""
    for result in answer.get("opresult") or ():
        match result:
            case [str(kind), [str(text), str(code), *_]]:
                return kind, text, code
            case [str(kind), [text, *_]]:
                return kind, str(text), ""
            case str(text) if text:
                return "", text, ""
    return "", f"The job is {answer['status']}, and does not say why.", ""


def _instances(operations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    names = (operation.get("instance_name") for operation in operations)
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _lines(entries: Iterable[Sequence[Any]]) -> tuple[LogLine, ...]:
    lines = (LogLine(int(serial), _moment(at) or 0.0, _words(payload)) for serial, at, _kind, payload in entries)
    return tuple(sorted(lines, key=lambda line: line.serial))


def _words(payload: Any) -> str:
    if isinstance(payload, list):
        return " ".join(map(str, payload))
    return payload if isinstance(payload, str) else json.dumps(payload)


def _moment(stamp: Any) -> float | None:
    return None if stamp is None else stamp[0] + stamp[1] / MICROSECONDS


def _maybe(value: Any) -> int | None:
    return None if value is None else int(value)


def _list(answer: Any) -> Sequence[Any]:
    if not isinstance(answer, list | tuple):
        raise TypeError("It is no list.")
    return answer
