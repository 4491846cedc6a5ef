"""Turns for connections that always have more work, one in each iteration of the event loop."""

import asyncio
from collections import deque


class RoundRobin:
    """Gives one of the waiting connections a turn in each iteration of the event loop. Work that never waits, like
    answering pipelined requests from the buffer, would otherwise keep the loop for thousands of requests; every other
    connection is served between two turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_running = False

    def wait_for_turn(self) -> "asyncio.Future[None]":
        turn = self._loop.create_future()
        self._waiting.append(turn)
        if not self._is_running:
            self._is_running = True
            self._loop.call_soon(self._give)
        return turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its connection is gone
                turn.set_result(None)
                break
        self._is_running = bool(self._waiting)
        if self._is_running:
            self._loop.call_soon(self._give)
