"""Attacks on a running service: measures from outside how one misbehaving client affects other clients.

Each module is one attack. It has `run()`, which starts new services and returns its measurements.
"""

from typing import NamedTuple


class Measurement(NamedTuple):
    name: str
    limit: str  # as a reader writes it: "< 50 ms"
    measured: str
    is_met: bool
