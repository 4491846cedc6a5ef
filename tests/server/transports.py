"""A transport that records its writes."""

import asyncio
from typing import Any


class RecordingTransport(asyncio.Transport):
    """Records what it is given in a list that several connections share."""

    def __init__(self, together: list[bytes]) -> None:
        super().__init__()
        self.together = together
        self.has_gone = False

    def write(self, data: Any) -> None:
        self.together.append(data)

    def is_closing(self) -> bool:
        return self.has_gone
