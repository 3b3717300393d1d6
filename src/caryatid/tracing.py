# SPDX-License-Identifier: Apache-2.0
"""Spans: where time goes, from a request through a worker's attempt to the agent that obeys (OpenTelemetry, W3C Trace
Context). Nothing of OpenTelemetry is imported, and a span costs next to nothing, unless the operator says where to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from caryatid.errors import CaryatidError

HEADER: Final = "traceparent"
NAME: Final = "caryatid"
EXPORT_S: Final = 5


@dataclass
class _Tracing:
    """What this process has, as it has one log."""

    tracer: Any = None
    stop: Callable[[], None] = lambda: None


_OWN = _Tracing()


def configure(endpoint: str, service: str) -> None:
    """From now on this process sends its spans to the OTLP receiver at `endpoint` (`http://host:4318`); empty: nowhere.

    Raises CaryatidError where the extra is not installed.
    """
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise CaryatidError("otel_endpoint needs OpenTelemetry: pip install 'caryatid[otel]'.") from None
    about = {"service.name": f"{NAME}-{service}", "service.version": version(NAME)}
    provider = TracerProvider(resource=Resource.create(about))
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    use(provider)


def use(provider: Any) -> None:
    """Spans go to this provider (opentelemetry.sdk.trace.TracerProvider)."""
    _OWN.tracer, _OWN.stop = provider.get_tracer(NAME), provider.shutdown


def close() -> None:
    """What has not been sent is sent, and nothing from now on."""
    _OWN.stop()
    _OWN.tracer, _OWN.stop = None, lambda: None


def on() -> bool:
    """Whether anybody wants spans."""
    return _OWN.tracer is not None


@contextmanager
def span(name: str, *, parent: str = "", links: Sequence[str] = (), **attributes: Any) -> Iterator[None]:
    """What is done within is a span: below the one under way, or the one that `parent` names (a traceparent). An
    exception that leaves it is noted. `links`: others that it belongs to."""
    if _OWN.tracer is None:
        yield
        return
    from opentelemetry.trace import Link, get_current_span

    linked = [Link(get_current_span(_context(link)).get_span_context()) for link in links]
    said = {f"{NAME}.{key}": value for key, value in attributes.items()}
    context = _context(parent) if parent else None
    with _OWN.tracer.start_as_current_span(name, context=context, links=linked, attributes=said):
        yield


def current() -> str:
    """The span under way, as a traceparent; empty: there is none."""
    if _OWN.tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def _context(traceparent: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: traceparent}, Context())
