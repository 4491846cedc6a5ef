"""Runs the coroutine of a test in an event loop of this process, with a time limit."""

import asyncio
from collections.abc import Coroutine
from typing import Any

LONG_TIMEOUT_SECONDS = 60.0


def run_async(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 2 * LONG_TIMEOUT_SECONDS))
