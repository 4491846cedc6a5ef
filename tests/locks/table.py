"""The table of migrations/README.md: a row for each migration, written by `make locks`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.locks.lines import TIMES
from tests.locks.taken import Lock, Taken

BEGIN = "<!-- make locks writes what is between this line and the next of its kind -->"
END = "<!-- here ends what make locks writes -->"
HEADER = ("migration", "takes", "blocks", "duration", "a reader waited", "a writer waited")
NO_MIGRATION = "no migration"


class Measured(NamedTuple):
    migration_id: str
    taken: Taken
    reader: float | None  # the longest wait of one, in seconds
    writer: float | None


def cells(migration_id: str, taken: Taken) -> tuple[str, str, str]:
    """The part of a row that is the same in each run."""
    return f"`{migration_id}`", _takes(taken), "; ".join(_blocks(taken)) or "nothing"


def cells_of_document(document: str) -> list[tuple[str, ...]]:
    """The same part of the rows that the document shows."""
    shown = document.partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| `")]
    return [tuple(row[:3]) for row in rows]


def in_document(document: str, text: str) -> str:
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"


def table(measured: Sequence[Measured], calm: tuple[float | None, float | None]) -> str:
    """`calm` is the longest wait of a reader and of a writer while no migration ran."""
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [
        (*cells(each.migration_id, each.taken), *map(_milliseconds, (each.taken.seconds, each.reader, each.writer)))
        for each in measured
    ]
    rows.append((NO_MIGRATION, "", "", "", *map(_milliseconds, calm)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _takes(taken: Taken) -> str:
    locks = "; then ".join(f"{lock.mode} on `{lock.table}`{_with_it(lock)}" for lock in taken.locks)
    new = " and ".join(f"`{table}`" for table in taken.new_tables)
    return (locks or "none") + (f"; {new} is new" if new else "")


def _with_it(lock: Lock) -> str:
    done = ["rewrites it"] if lock.rewrites else [f"reads it {TIMES[lock.scans]}"] if lock.scans else []
    done += ["changes rows"] if lock.changes_rows else []
    return "".join(f", {each}" for each in done)


def _blocks(taken: Taken) -> Iterator[str]:
    for lock in taken.locks:
        if lock.blocks_writes:
            what = "reads and writes" if lock.blocks_reads else "writes"
            how_long = "while it does that" if lock.is_long else "for a moment"
            yield f"{what} of `{lock.table}`, {how_long}"
        elif lock.changes_rows:
            yield f"writes of the changed rows of `{lock.table}`"


def _milliseconds(seconds: float | None) -> str:
    return "no table yet" if seconds is None else f"{seconds * 1000:.1f} ms"
