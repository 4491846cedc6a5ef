"""The `Locks:` line of a migration, compared with the locks that PostgreSQL has seen."""

import re
from collections.abc import Iterator

from service.db import migrations
from tests.locks.taken import MODES, Lock, Taken
from tests.support import ROOT

README = ROOT / "migrations/README.md"
LINE = re.compile(r"^-- Locks: +(.*\n(?:--  .*\n)*)", re.MULTILINE)
CORRECTION = re.compile(r"^- `(\d{4}_\w+)`: (.*\n(?:  .*\n)*)", re.MULTILINE)
NAMED = re.compile(rf"\b({'|'.join(sorted(MODES, key=len, reverse=True))})\b(?: on (\w+))?")
READ = re.compile(r"\bread (once|twice|\w+ times)")
TIMES = ("", "once", "twice", *(f"{number} times" for number in ("three", "four", "five", "six", "seven", "eight")))


def line_of(migration_id: str) -> str:
    """The text about the migration's locks. A landed file is never edited: the README corrects it."""
    return corrections().get(migration_id) or own_line_of(migration_id)


def own_line_of(migration_id: str) -> str:
    found = LINE.search((migrations.MIGRATIONS / f"{migration_id}.sql").read_text())
    assert found is not None, migration_id
    return _in_one_line(found[1].replace("\n--", "\n"))


def corrections() -> dict[str, str]:
    return {migration_id: _in_one_line(text) for migration_id, text in CORRECTION.findall(README.read_text())}


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def disagreements(line: str, taken: Taken) -> Iterator[str]:
    """The differences between the line and the locks, a text each."""
    blocking = [lock for lock in taken.locks if lock.blocks_writes or lock.changes_rows]
    named = set(_named(line))
    if line.startswith("none"):
        if blocking:
            yield f"says none, and takes {_listed({(each.table, each.mode) for each in blocking})}"
    else:
        locks = {(lock.table, lock.mode) for lock in taken.locks}
        if named - locks:
            yield f"does not take {_listed(named - locks)}"
        if locks - named:
            yield f"takes {_listed(locks - named)}"
    yield from _of_time(line, taken, blocking)
    if ("is new" in line) != bool(taken.new_tables):
        yield f"makes {', '.join(taken.new_tables) or 'no table'}"


def _of_time(line: str, taken: Taken, blocking: list[Lock]) -> Iterator[str]:
    scans = sum(lock.scans for lock in taken.locks)
    is_long = any(lock.is_long for lock in blocking or taken.locks)
    if "moment" in line and is_long:
        yield "is not for a moment: rows are read or written under the lock"
    if blocking and "moment" not in line and not is_long:
        yield "is for a moment: no row is read or written under the lock"
    says_how_often = READ.search(line)
    if says_how_often and says_how_often[1] != TIMES[scans]:
        yield f"reads a whole table {TIMES[scans] or 'never'}"
    rewrites = any(lock.rewrites for lock in taken.locks)  # which reads the table too
    if scans and not rewrites and ("no row is read" in line or "read" not in line):
        yield f"reads a whole table {TIMES[scans]}"
    if rewrites and ("Nothing is rewritten" in line or "rewritten" not in line):
        yield "rewrites a table"


def _named(line: str) -> Iterator[tuple[str, str]]:
    """Tables and modes. A mode without a table is one on the table before it."""
    table = ""
    for mode, named_table in NAMED.findall(line):
        table = named_table or table
        yield table, mode


def _listed(locks: set[tuple[str, str]]) -> str:
    return " and ".join(f"{mode} on {table}" for table, mode in sorted(locks))
