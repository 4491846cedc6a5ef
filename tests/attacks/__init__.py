"""Attacks on a running service, measured from outside: what a bystander notices while one client misbehaves.

Each module is one attack. It has `run()`, which starts services of its own and returns what it measured.
"""

from typing import NamedTuple


class Measurement(NamedTuple):
    name: str
    limit: str  # as a reader writes it: "< 50 ms"
    measured: str
    is_met: bool
