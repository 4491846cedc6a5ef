"""The exporter of spans, which says in one line that the collector is away, and in one that it is back."""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

MAX_REASON_CHARACTERS = 400

# OpenTelemetry's own loggers, which repeat themselves for each batch, each span that finds the queue full, and each
# header that a client makes too long.
EXPORTER_LOGGER, REPETITIVE_LOGGERS = "opentelemetry.exporter", ("opentelemetry.sdk", "opentelemetry.trace")

_log = logging.getLogger("service.traces.exporter")


class Reason(logging.Handler):
    """Keeps the first message of an export: the later ones only say that it was tried again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()


class ReportingExporter(SpanExporter):
    """Runs in the thread of the span processor alone."""

    def __init__(self, exporter: OTLPSpanExporter, endpoint: str) -> None:
        self._exporter, self._endpoint = exporter, endpoint
        self._reason = Reason()
        self._lost = 0
        self.is_away = False
        logger = logging.getLogger(EXPORTER_LOGGER)
        logger.handlers, logger.propagate = [self._reason], False
        for name in REPETITIVE_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._reason.text = ""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            if not self.is_away:
                why = ascii(self._reason.text)[1:-1][:MAX_REASON_CHARACTERS]  # may hold what the collector answered
                _log.warning("traces: %s takes no spans, they are dropped; %s", self._endpoint, why)
            self.is_away = True
        elif self.is_away:
            _log.info("traces: %s takes spans again; %d or more were dropped", self._endpoint, self._lost)
            self.is_away, self._lost = False, 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # not annotated
