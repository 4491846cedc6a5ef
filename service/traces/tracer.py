"""Interface of the tracer and its spans. It imports no OpenTelemetry: a service without traces loads none."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias, TypeVar

from service.settings.all_settings import Settings

Attributes: TypeAlias = Mapping[str, str | int]
Kind: TypeAlias = Literal["server", "client", "internal"]

INSTALL = "python -m pip install --require-hashes -r requirements-otel.txt"

Result = TypeVar("Result")

_log = logging.getLogger("service.traces.tracer")


class Span(Protocol):
    """The part of OpenTelemetry's spans that is used here. One that is not recorded does nothing."""

    def set_attributes(self, attributes: Attributes) -> None: ...

    def update_name(self, name: str) -> None: ...

    def add_event(self, name: str, attributes: Attributes | None = None) -> None: ...

    def is_recording(self) -> bool: ...

    def end(self) -> None: ...


class Tracer(Protocol):
    """Makes the spans of one process. Where it is None, there are no traces."""

    def start(self) -> None:
        """Starts the thread that sends spans. Called in the worker: a thread does not outlive a fork."""

    async def stop(self) -> None:
        """Sends what is left, for a bounded time."""

    def begin_request(self, traceparent: str | None, began_ns: int) -> Span:
        """A server span: the child of the client's, if its header can be read, or the first of a new trace."""

    def begin(self, name: str, kind: Kind, attributes: Attributes | None = None) -> Span:
        """A child of the current span, or the first of a new trace. The caller ends it."""

    def begin_shared(self, name: str, attributes: Attributes, links: Sequence[Span]) -> Span:
        """The first span of a new trace for work that several recorded spans share, each linked with it."""

    def current(self) -> Span: ...

    def use(self, span: Span) -> AbstractContextManager[None]:
        """Makes a span the current one. Does not end it."""

    def use_from_now_on(self, span: Span) -> None:
        """As use(), for the rest of the task that calls it."""

    def fail(self, span: Span, error_type: str) -> None:
        """Marks a span as failed. Never with the message of an exception, which may quote a parameter."""

    def timed(self, name: str, kind: Kind, call: Callable[..., Awaitable[Result]]) -> Callable[..., Awaitable[Result]]:
        """A function that does the same within a span."""

    def ids(self) -> dict[str, str]:
        """`trace_id` and `span_id` of the current span, for a line of the log."""

    def headers(self) -> dict[str, str]:
        """`traceparent` of the current span, for a request to another server."""


def tracer_of(settings: Settings) -> Tracer | None:
    """None without an endpoint, and without the extra."""
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    try:
        from service.traces.opentelemetry_tracer import OpenTelemetryTracer  # noqa: PLC0415 - imports OpenTelemetry, an extra
    except ModuleNotFoundError:
        return None
    return OpenTelemetryTracer(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)


def warn_without_extra(settings: Settings) -> None:
    """Called once, before there are workers, which then share the memory of what it has loaded."""
    if settings.otel_exporter_otlp_endpoint is not None and tracer_of(settings) is None:
        _log.warning("OTEL_EXPORTER_OTLP_ENDPOINT: there are no traces without OpenTelemetry; %s", INSTALL)
