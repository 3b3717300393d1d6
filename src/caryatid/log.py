# SPDX-License-Identifier: Apache-2.0
"""Logs: one line an event, with what it is about bound once. Standard error; JSON unless a person is reading."""

import logging
import sys
from typing import Any

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", style: str = "auto", **context: Any) -> None:
    """From now on this process logs to standard error; `context` is on every line (`service="api"`)."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
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
