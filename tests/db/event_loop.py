"""Tests of what runs in this process's event loop are told as a coroutine."""

import asyncio
from collections.abc import Coroutine
from typing import Any

GENEROUS = 60.0


def tell(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 2 * GENEROUS))
