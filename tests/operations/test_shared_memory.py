"""The values of metrics in memory that several workers share."""

import os
from functools import partial

import pytest

from service.metrics import shared_memory
from service.metrics.definitions import (
    ACTIVE_REQUESTS,
    CONNECTIONS_REFUSED,
    KEYS_AGE,
    LIMIT_HITS,
    POOL_WAIT,
    STATEMENT_ROWS,
    WORKER_STARTS,
)
from service.metrics.exposition import Exposition
from service.metrics.meters import Meters, Readings
from service.metrics.shared_memory import SharedMemory
from tests.metrics import Scrape


def scrape(memory: SharedMemory) -> Scrape:
    return Scrape(Exposition(memory).text("")[0].decode())


def test_counters_and_histograms_of_all_workers_are_added_up() -> None:
    memory = SharedMemory(2)
    for number in (0, 1):
        meters = Meters(memory.slab(number))
        meters.counter(STATEMENT_ROWS, "tasks/get_task").add(3)
        for seconds in (0.0005, 0.001, 0.002, 60):
            meters.histogram(POOL_WAIT).observe(seconds)

    found = scrape(memory)

    assert found.by(STATEMENT_ROWS.name) == {("tasks/get_task",): 6}
    buckets = found.by(f"{POOL_WAIT.name}_bucket")
    assert (buckets[("0.001",)], buckets[("0.005",)], buckets[("5.0",)], buckets[("+Inf",)]) == (4, 6, 6, 8)
    assert found.value(f"{POOL_WAIT.name}_sum") == 2 * (0.0005 + 0.001 + 0.002 + 60)


def test_gauges_of_living_workers_are_added_up_or_the_highest_counts() -> None:
    memory = SharedMemory(3)
    for number, value in enumerate((1, 3, 2)):
        meters = Meters(memory.slab(number))
        meters.gauge(ACTIVE_REQUESTS).set(value)
        meters.gauge(KEYS_AGE, "1").set(value)
    memory.slab(2).is_alive = False

    found = scrape(memory)

    assert (found.value(ACTIVE_REQUESTS.name), found.value(KEYS_AGE.name)) == (4, 3)
    memory.slab(1).is_alive = False
    assert (scrape(memory).value(ACTIVE_REQUESTS.name), scrape(memory).value(KEYS_AGE.name)) == (1, 1)


def test_a_restarted_worker_goes_on_with_the_counts_and_not_with_the_gauges() -> None:
    memory = SharedMemory(1)
    first = Meters(memory.slab(0))
    first.gauge(ACTIVE_REQUESTS).set(7)
    first.counter(STATEMENT_ROWS, "tasks/get_task").add(2)

    second = Meters(memory.slab(0))
    second.counter(STATEMENT_ROWS, "tasks/get_task").add(3)

    found = scrape(memory)
    assert found.value(ACTIVE_REQUESTS.name) == 0
    assert found.value(STATEMENT_ROWS.name) == 5
    assert found.value(WORKER_STARTS.name) == 2


def test_restarts_take_no_more_memory() -> None:
    memory = SharedMemory(1)

    def used_after_a_start() -> float:
        Meters(memory.slab(0)).histogram(POOL_WAIT).observe(1)
        return memory.slab(0).cells[shared_memory.USED]

    assert used_after_a_start() == used_after_a_start()
    key = b'["todo_connections"]'
    assert memory.slab(0).place(key, 1) == memory.slab(0).place(key, 1)
    assert scrape(memory).value(f"{POOL_WAIT.name}_count") == 2


def test_values_of_another_process_are_seen_by_a_reader_that_was_there_before() -> None:
    memory = SharedMemory(1)
    exposition = Exposition(memory)

    def rows() -> float:
        return Scrape(exposition.text("")[0].decode()).value(STATEMENT_ROWS.name)

    assert rows() == 0
    for expected in (1, 2):
        child = os.fork()
        if not child:
            Meters(memory.slab(0)).counter(STATEMENT_ROWS, "tasks/get_task").add()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert rows() == expected


def test_a_series_that_a_killed_worker_has_not_finished_is_made_again() -> None:
    memory = SharedMemory(1)
    slab = memory.slab(0)
    used = slab.cells[shared_memory.USED]
    Meters(slab).counter(STATEMENT_ROWS, "tasks/get_task").add(5)
    slab.cells[shared_memory.USED] = used  # as if all of it was written but for this

    Meters(memory.slab(0)).counter(STATEMENT_ROWS, "tasks/list_tasks").add(1)

    assert scrape(memory).by(STATEMENT_ROWS.name) == {("tasks/list_tasks",): 1}


def test_a_full_memory_drops_new_series_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_memory, "SLAB_BYTES", 4096)
    memory = SharedMemory(2)
    slab = memory.slab(0)
    meters, neighbour = Meters(slab), Meters(memory.slab(1))
    for number in range(100):
        meters.histogram(POOL_WAIT).observe(1)
        meters.counter(LIMIT_HITS, str(number)).add()
    meters.histogram(POOL_WAIT).observe(1)

    found = scrape(memory)

    assert found.value(f"{POOL_WAIT.name}_count") == 101
    assert 0 < len(found.by(LIMIT_HITS.name)) < 100
    assert found.value(LIMIT_HITS.name) == len(found.by(LIMIT_HITS.name))
    assert len(caplog.messages) == 100 - len(found.by(LIMIT_HITS.name))
    assert slab.cells[shared_memory.USED] <= len(slab.cells) - shared_memory.MAX_VALUES  # the rest is for dropped ones
    neighbour.counter(LIMIT_HITS, "x").add()
    assert scrape(memory).value(LIMIT_HITS.name, limit="x") == 1


def test_a_series_without_all_labels_of_its_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Meters(SharedMemory(1).slab(0)).counter(STATEMENT_ROWS)


def test_readings_are_added_to_the_counts_of_the_worker_before() -> None:
    memory = SharedMemory(1)
    for refused in (2, 3):
        readings = Readings(Meters(memory.slab(0)))
        readings.counter(CONNECTIONS_REFUSED, partial(float, refused))
        counts = {"tasks of a user": refused}
        readings.counts(LIMIT_HITS, counts)
        readings.take()
        counts["another"] = 1
        readings.take()

    found = scrape(memory)
    assert found.value(CONNECTIONS_REFUSED.name) == 5
    assert found.by(LIMIT_HITS.name) == {("another",): 2, ("tasks of a user",): 5}
