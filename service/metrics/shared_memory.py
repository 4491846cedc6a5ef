"""The values of all metrics, in memory that the workers share: any of them can answer for all.

It is anonymous memory that the first process makes before it forks: there is no file to clean up, and it is gone with
the last process, however that ends. Each worker has a slab and is the only one that writes to it. A worker that is
started again goes on with the slab of the one before it, so counters stay and nothing piles up.

A slab is an array of cells of 8 bytes, and only ever grows:

    0    the number of cells in use
    1    1 while the worker lives: the gauges of a dead one do not count
    2..  series, one after the other: a cell with two lengths (of the key in bytes, of the values in cells), the key
         in whole cells, then the values as doubles

A reader may come at any moment: a series is complete before cell 0 says that it is there, and the processor writes a
double whole.
"""

import logging
import mmap
from collections.abc import Iterator
from struct import Struct
from typing import TypeAlias

CELL_BYTES = 8
SLAB_BYTES = 1024 * 1024  # about 4 000 histograms; the system gives memory only to pages that are used
USED, ALIVE, FIRST = range(3)
MAX_VALUES = 64  # of a series

Cells: TypeAlias = "memoryview[float]"

_lengths = Struct("II")
_log = logging.getLogger("service.metrics.shared_memory")


class SharedMemory:
    """One slab for each worker."""

    def __init__(self, workers: int) -> None:
        whole = memoryview(mmap.mmap(-1, workers * SLAB_BYTES))
        self._parts = [whole[number * SLAB_BYTES : (number + 1) * SLAB_BYTES] for number in range(workers)]

    def slab(self, number: int) -> "Slab":
        """The slab of a worker; they are numbered from 0. Each thread that uses it needs its own object."""
        return Slab(self._parts[number])

    def slabs(self) -> list["Slab"]:
        return [Slab(part) for part in self._parts]


class Slab:
    """The series of one worker."""

    def __init__(self, part: memoryview) -> None:
        self.cells: Cells = part.cast("d")
        self._bytes = part
        self._end = len(self.cells) - MAX_VALUES  # behind it are the cells for series that found no room
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read_to = FIRST

    @property
    def is_alive(self) -> bool:
        return self.cells[ALIVE] == 1

    @is_alive.setter
    def is_alive(self, alive: bool) -> None:
        self.cells[ALIVE] = alive

    def place(self, key: bytes, values: int) -> int:
        """The first cell of a series. One that is not there yet is added, with zeros."""
        self._read_on()
        if key not in self._places and not self._add(key, values):
            return self._end
        return self._places[key][0]

    def series(self) -> Iterator[tuple[bytes, Cells]]:
        """Each key with its cells."""
        self._read_on()
        for key, (first, values) in self._places.items():
            yield key, self.cells[first : first + values]

    def _add(self, key: bytes, values: int) -> bool:
        start = self._read_to
        first = start + 1 + -(-len(key) // CELL_BYTES)
        if first + values > self._end:
            _log.error("no room for another series of metrics: %s", key.decode())
            return False
        at = start * CELL_BYTES
        _lengths.pack_into(self._bytes, at, len(key), values)
        self._bytes[at + CELL_BYTES : at + CELL_BYTES + len(key)] = key
        for cell in range(first, first + values):  # a worker that was killed here may have left something
            self.cells[cell] = 0.0
        self.cells[USED] = first + values
        self._read_on()
        return True

    def _read_on(self) -> None:
        """Takes in what was added since the last call, by this process or by the worker that the slab belongs to."""
        used = int(self.cells[USED])
        while self._read_to < used:
            at = self._read_to * CELL_BYTES
            length, values = _lengths.unpack_from(self._bytes, at)
            key = bytes(self._bytes[at + CELL_BYTES : at + CELL_BYTES + length])
            first = self._read_to + 1 + -(-length // CELL_BYTES)
            self._places[key] = (first, values)
            self._read_to = first + values
