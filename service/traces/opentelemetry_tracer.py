"""Traces by OpenTelemetry's SDK. Imported only when they are on."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import VERSION
from service.traces.exporter import ReportingExporter
from service.traces.tracer import Attributes, Kind, Result, Span

TRACES_PATH = "/v1/traces"  # below the endpoint, as the specification of OTLP over HTTP says
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
TRACEPARENT = "traceparent"
LAST_EXPORT_SECONDS = 1.0  # at a stop; a collector that is away must not delay it

KINDS = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}
FAILED = trace.Status(trace.StatusCode.ERROR)


class OpenTelemetryTracer:
    """Makes spans with a provider of its own. The global one would also send what instrumented libraries make.

    `tracestate` is not taken: a client may write anything into it, and it would be in every span."""

    def __init__(self, endpoint: str, service_name: str) -> None:
        self._endpoint = endpoint.rstrip("/") + TRACES_PATH
        # Sends nothing until start().
        self._processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]  # not annotated
        self._exporter: ReportingExporter | None = None
        ours = {"service.name": service_name, "service.version": VERSION, "service.instance.id": str(uuid4())}
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())  # OTEL_RESOURCE_ATTRIBUTES wins
        self._tracer = self._tracer_of(resource, None)  # the sampler of OTEL_TRACES_SAMPLER
        self._shared = self._tracer_of(resource, sampling.ALWAYS_ON)
        self._propagator = TraceContextTextMapPropagator()

    def _tracer_of(self, resource: Resource, sampler: sampling.Sampler | None) -> trace.Tracer:
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False, active_span_processor=self._processor)
        return provider.get_tracer("todo", VERSION)

    def start(self) -> None:
        exporter = OTLPSpanExporter(None if os.environ.get(TRACES_ENDPOINT) else self._endpoint)
        self._exporter = ReportingExporter(exporter, os.environ.get(TRACES_ENDPOINT) or self._endpoint)
        self._processor.add_span_processor(BatchSpanProcessor(self._exporter))

    async def stop(self) -> None:
        if self._exporter is None or self._exporter.is_away:
            return
        last_export = threading.Thread(target=self._processor.shutdown, daemon=True)
        last_export.start()
        await asyncio.to_thread(last_export.join, LAST_EXPORT_SECONDS)

    def begin_request(self, traceparent: str | None, began_ns: int) -> Span:
        parent = context.Context()
        if traceparent is not None:
            parent = self._propagator.extract({TRACEPARENT: traceparent}, parent)
        return self._tracer.start_span("HTTP", parent, trace.SpanKind.SERVER, start_time=began_ns)

    def begin(self, name: str, kind: Kind, attributes: Attributes | None = None) -> Span:
        parent = trace.get_current_span()
        of_parent = parent.get_span_context()
        if of_parent.is_valid and not of_parent.trace_flags.sampled:
            return parent  # a span that is not recorded stands for its children too
        return self._tracer.start_span(name, None, KINDS[kind], attributes)

    def begin_shared(self, name: str, attributes: Attributes, links: Sequence[Any]) -> Span:
        found = [trace.Link(span.get_span_context()) for span in links]
        shared = self._shared.start_span(name, context.Context(), trace.SpanKind.INTERNAL, attributes, found)
        for span in links:
            span.add_link(shared.get_span_context())
        return shared

    def current(self) -> Span:
        return trace.get_current_span()

    def use(self, span: Any) -> AbstractContextManager[None]:
        return _CurrentSpan(span)

    def use_from_now_on(self, span: Any) -> None:
        context.attach(trace.set_span_in_context(span))

    def fail(self, span: Any, error_type: str) -> None:
        span.set_attribute("error.type", error_type)
        span.set_status(FAILED)

    def timed(self, name: str, kind: Kind, call: Callable[..., Awaitable[Result]]) -> Callable[..., Awaitable[Result]]:
        async def timed(*arguments: Any, **options: Any) -> Result:
            span = self.begin(name, kind)
            try:
                with self.use(span):
                    return await call(*arguments, **options)
            except BaseException as error:
                self.fail(span, type(error).__name__)
                raise
            finally:
                span.end()

        return timed

    def ids(self) -> dict[str, str]:
        of_span = trace.get_current_span().get_span_context()
        if not of_span.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(of_span.trace_id), "span_id": trace.format_span_id(of_span.span_id)}

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier


class _CurrentSpan:
    """A context manager without a generator, which would take twice as long."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)
