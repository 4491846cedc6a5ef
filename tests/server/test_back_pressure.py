"""The memory that answers of all connections may take which their clients have not read."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.server.back_pressure import BackPressureProtocol


def test_beyond_the_memory_for_unread_answers_clients_that_read_nothing_are_cut_off_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each once: what one that is cut off leaves behind is not counted twice."""
    cut_off: list[int] = []

    def reset(connection: Any) -> None:
        cut_off.append(connection.number)
        connection.transport.is_closing = lambda: True

    class Client(BackPressureProtocol):
        __slots__ = ("number",)
        _reset = reset

        def __init__(self, number: int) -> None:
            self.number, self._can_write = number, asyncio.Event()
            self.transport: Any = SimpleNamespace(is_closing=lambda: False)
            self._unread_before = 10 * 2**20 if number in {0, 1, 11, 12} else 0  # these read nothing

        def _to_be_sent(self) -> int:
            return 10 * 2**20

        _unread = _to_be_sent

        def _begin_to_watch(self) -> None: ...

    monkeypatch.setattr(BackPressureProtocol, "paused", {Client(number): 0.0 for number in range(13)})

    Client(13).pause_writing()

    assert cut_off == [0, 1, 11, 12, 2, 3, 4, 5]  # of 14, each with 10 MiB: six have less than 64 MiB
