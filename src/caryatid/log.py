# SPDX-License-Identifier: Apache-2.0
"""Logs: one line an event, with what it is about bound once. Standard error; JSON unless a person is reading."""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from caryatid.syslog import Sender

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Copied:
    """Writes each line to standard error, and a copy to syslog receivers."""

    def __init__(self, receivers: Sequence[Sender]) -> None:
        self._receivers = receivers

    def debug(self, line: str) -> None:
        self._write("debug", line)

    def info(self, line: str) -> None:
        self._write("info", line)

    def warning(self, line: str) -> None:
        self._write("warning", line)

    def error(self, line: str) -> None:
        self._write("error", line)

    def critical(self, line: str) -> None:
        self._write("critical", line)

    def _write(self, severity: str, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201  this is where lines go
        for receiver in self._receivers:
            receiver.put(severity, line)


def configure(level: str = "info", style: str = "auto", receivers: Sequence[Sender] = (), **context: Any) -> None:
    """From now on this process logs to standard error, and to `receivers`; `context` is on every line
    (`service="api"`)."""
    person = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if person
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            lambda _logger, _name, event: {**context, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if not person else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: Copied(receivers) if receivers else structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True
    )


def _unchanged(_logger: Any, _name: str, event: Any) -> Any:
    return event


def get(**context: Any) -> Any:
    """A logger whose lines carry `context`."""
    return structlog.get_logger(**context)
