"""What a process and all below it use. Linux only."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    parent: int
    seconds: float  # with those of its children that have ended
    resident: int  # bytes


class Resident(NamedTuple):
    """In bytes: of all processes together, and of the largest of them."""

    family: int
    largest: int


def processor_seconds(pid: int) -> float:
    """Those that have ended included."""
    return sum(each.seconds for each in _family(pid))


def resident(pid: int) -> Resident:
    sizes = [each.resident for each in _family(pid)]
    return Resident(sum(sizes), max(sizes))


def _family(pid: int) -> list[Process]:
    running = dict(_running())
    below: dict[int, list[int]] = {}
    for each, process in running.items():
        below.setdefault(process.parent, []).append(each)
    family, left = [], [pid]
    while left:
        family.append(running[left[-1]])
        left += below.get(left.pop(), [])
    return family


def _running() -> Iterator[tuple[int, Process]]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        seconds = sum(map(int, fields[11:15])) / TICKS
        yield int(file.parent.name), Process(int(fields[1]), seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
