"""JSON of strangers: UTF-8, and no name twice. Of a name that is there twice two readers could each believe another."""

import json
from typing import Any


def read(raw: bytes) -> Any:
    """ValueError or RecursionError where it is something else."""
    return json.loads(raw.decode(), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
