"""Connections that make a span of each statement of sql/. Its attributes name the statement, never a parameter."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from service.db.connect import DatabaseConnection
from service.db.statements import Statement, loaded
from service.traces.tracer import Attributes, Span, Tracer

CANCELLED = "cancelled"
QUERY = "db.query.summary"

Result = TypeVar("Result")


class StatementSpans:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._known: dict[str, tuple[str, Attributes]] = {}  # names and attributes, by text

    async def around(self, text: str, answer: Awaitable[Result], executions: int = 1) -> Result:
        span = self._begin(text, executions)
        if span is None:
            return await answer
        try:
            return await answer
        except asyncio.CancelledError:
            span.set_attributes({"error.type": CANCELLED})
            raise
        except Exception as error:
            sqlstate = getattr(error, "sqlstate", None)
            if sqlstate:
                span.set_attributes({"db.response.status_code": sqlstate})
            self._tracer.fail(span, sqlstate or type(error).__name__)
            raise
        finally:
            span.end()

    def _begin(self, text: str, executions: int) -> Span | None:
        """None for what is no file of sql/, such as BEGIN."""
        found = self._known.get(text)
        if found is None:
            statement = loaded(text)
            if statement is None:
                return None
            found = self._known[text] = (statement.name, attributes_of(statement))
        name, attributes = found
        if executions > 1:
            attributes = {**attributes, "db.operation.batch.size": executions}
        return self._tracer.begin(name, "client", attributes)


def tracing(tracer: Tracer, connection_class: type[DatabaseConnection]) -> type[DatabaseConnection]:
    """A class of connections. Below pool, batches and transactions, as that of statement_metrics.py."""
    spans = StatementSpans(tracer)

    class TracedConnection(connection_class):  # type: ignore[valid-type,misc]  # a class that is an argument
        async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
            return await spans.around(query, super().fetch(query, *arguments, **options))

        async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
            return await spans.around(query, super().fetchrow(query, *arguments, **options))

        async def fetchmany(self, query: str, args: Any, **options: Any) -> Any:
            return await spans.around(query, super().fetchmany(query, args, **options), len(args))

        async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
            return await spans.around(query, super().execute(query, *arguments, **options))

    return TracedConnection


def attributes_of(statement: Statement) -> dict[str, str | int]:
    before_name = statement.text.partition(f" /* {statement.name} */")[0]
    first_keyword = before_name.rpartition("\n")[2]
    return {
        "db.system.name": "postgresql",
        QUERY: statement.name,
        "db.operation.name": first_keyword,
    }
