"""Strict JSON for untrusted input: UTF-8, without duplicate names, which two parsers may read differently."""

import json
from typing import Any


def read(raw: bytes) -> Any:
    """Raises ValueError or RecursionError for anything else."""
    return json.loads(raw.decode(), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
