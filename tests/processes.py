"""Processor time, memory and connections of a process and its descendants. Linux only."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    parent: int
    seconds: float  # processor time, including children that have ended
    resident: int  # bytes


class Resident(NamedTuple):
    """Memory in bytes: of all processes together, and of the largest one."""

    family: int
    largest: int


def processor_seconds(pid: int) -> float:
    """Processor time of the process and its descendants, including those that have ended."""
    return sum(each.seconds for each in _family(pid).values())


def resident(pid: int) -> Resident:
    sizes = [each.resident for each in _family(pid).values()]
    return Resident(sum(sizes), max(sizes))


def connections(pid: int, port: int) -> list[int]:
    """The number of client connections on the port for each process that has any."""
    sockets = set(_connected_to(port))
    counted = [len(sockets & set(_open_files(each))) for each in _family(pid)]
    return [number for number in counted if number]


def _connected_to(port: int) -> Iterator[str]:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *more = line.split()
        if state == "01" and int(local.rpartition(":")[2], 16) == port:
            yield f"socket:[{more[5]}]"


def _open_files(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            yield str(file.readlink())


def _family(pid: int) -> dict[int, Process]:
    running = dict(_running())
    below: dict[int, list[int]] = {}
    for each, process in running.items():
        below.setdefault(process.parent, []).append(each)
    family, left = {}, [pid]
    while left:
        family[left[-1]] = running[left[-1]]
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
