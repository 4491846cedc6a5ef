"""Measurements of a statement that fails, or whose request is cancelled."""

import asyncio

import pytest

from service.db.statement_metrics import StatementMeter
from service.domain.tasks import GET_TASK
from service.metrics.definitions import STATEMENT_DURATION, STATEMENT_ERRORS
from service.metrics.exposition import Exposition
from service.metrics.meters import Meters
from service.metrics.shared_memory import SharedMemory
from tests.db.event_loop import run_async
from tests.metrics import Scrape


async def fails(error: BaseException) -> list[object]:
    raise error


@pytest.mark.parametrize(
    ("error", "errors", "durations"),
    [
        (TimeoutError(), {("none", "tasks/get_task"): 1}, 1),
        (ConnectionResetError(), {("none", "tasks/get_task"): 1}, 1),
        (asyncio.CancelledError(), {}, 0),
    ],
    ids=["timeout", "lost connection", "cancelled request"],
)
def test_an_error_without_sqlstate_is_counted_as_none_and_a_cancelled_request_is_not(
    error: BaseException, errors: dict[tuple[str, ...], float], durations: int
) -> None:
    memory = SharedMemory(1)
    meter = StatementMeter(Meters(memory.slab(0)), GET_TASK)

    async def scenario() -> None:
        with pytest.raises(type(error)):
            await meter.measure(fails(error), len, 1)

    run_async(scenario())

    scrape = Scrape(Exposition(memory).text("")[0].decode())
    assert scrape.by(STATEMENT_ERRORS.name) == errors
    assert scrape.value(f"{STATEMENT_DURATION.name}_count") == durations
