"""Loads the statements of sql/. A file's header names its parameters and columns; the text is sent as it stands."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from service.errors import LoggableError

SQL = Path(__file__).resolve().parents[2] / "sql"

SCRIPTS = {"roles", "begin_history"}  # for psql
OF_REQUESTS = ("accounts/", "attempts/", "health/", "tasks/")  # the folders of what the running service sends
KINDS = ("one", "many", "exec")
SHOWN_BYTES = 1023  # of a running statement, in pg_stat_activity, unless track_activity_query_size is changed
_NAME = re.compile(r"-- name: (\w+) :(\w+)")
_PARAMETER = re.compile(r"-- \$(\d+) (\w+)  *(\S+)")
_COLUMN = re.compile(r"-- -> (\w+)  *(\S+)")
_INDEX = re.compile(r"-- index: (\w+(?:, \w+)*)")
_BUFFERS = re.compile(r"-- buffers: (\d+)(, grows with the owner's tasks)?")
_REASON = re.compile(r"-- across owners: (.+)")
_PATTERNS = {
    "-- $": _PARAMETER, "-- ->": _COLUMN, "-- index:": _INDEX, "-- buffers:": _BUFFERS, "-- across owners:": _REASON,
}  # fmt: skip
_END = re.compile(r"\s*;\s*\Z")
_AS = "as"  # `-- -> as tasks/get_task`: the columns of that statement. SQL reserves the word: no column is named so.

Fields: TypeAlias = tuple[tuple[str, str], ...]  # names with their types

_loaded: dict[str, "Statement"] = {}  # by text


class StatementError(LoggableError):
    """A file under sql/ is missing, or its header is incomplete or wrong. The message starts with file and line."""

    def __init__(self, path: str, line: int, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}")
        self.path, self.line, self.why = path, line, why


class StatementCallError(LoggableError):
    """A call passes other parameters than the header lists, or an INSERT returned no row. Names the file."""


class BatchKey(NamedTuple):
    """Tells the rows of several executions in one batch apart: computed from the arguments and from each row."""

    of_arguments: Callable[[Sequence[object]], Any]
    of_row: Callable[[Any], Any]


class Cost(NamedTuple):
    """The shared buffers that one execution touches, on the database of the golden plans."""

    buffers: int
    grows: bool  # with the number of the owner's tasks

    def __str__(self) -> str:
        return f"{self.buffers}, grows with the owner's tasks" if self.grows else str(self.buffers)


OF_OWNER = BatchKey(itemgetter(0), itemgetter("user_id"))
OF_TASK = BatchKey(itemgetter(0, 1), itemgetter("user_id", "id"))


@dataclass(frozen=True, slots=True)
class Statement:
    name: str
    kind: str
    purpose: str  # the first line of prose in the header
    parameters: Fields
    columns: Fields
    index: str
    cost: Cost | None  # None: no request runs it
    across_owners: str | None  # why it reads rows of all users; only allowed in sql/maintenance/
    only_reads: bool  # may be retried when the connection was lost
    key: BatchKey | None  # None: cannot be batched with executions for other users
    text: str

    def arguments(self, values: dict[str, object]) -> list[object]:
        """The values in the order of the header's $1, $2, ..."""
        try:
            found = [values[name] for name, _ in self.parameters]
        except KeyError:
            found = None
        if found is None or len(values) != len(found):
            wanted = ", ".join(name for name, _ in self.parameters) or "no parameter"
            raise StatementCallError(f"sql/{self.name}.sql takes {wanted}, not {', '.join(values) or 'nothing'}")
        return found

    def columns_reader(self, *names: str) -> Callable[[Any], tuple[Any, ...]]:
        """A function that reads two or more columns of a row. It reads by position, which is faster than by name, and
        the positions are looked up here, once. Columns that follow each other in the row are read in half the time."""
        positions = {name: position for position, (name, _) in enumerate(self.columns)}
        missing = [name for name in names if name not in positions]
        if missing:
            raise StatementError(f"sql/{self.name}.sql", 1, f"does not return {', '.join(missing)}")
        wanted = [positions[name] for name in names]
        first, end = wanted[0], wanted[0] + len(wanted)
        if wanted == [*range(first, end)]:
            return itemgetter(slice(first, end))
        return itemgetter(*wanted)

    def owner(self, arguments: Sequence[object]) -> Hashable:
        """The owner in the pool's fair queue: the user. A statement without one has a key of what it is about: the
        bucket of a rate limit, an email, an issuer with a subject."""
        if not arguments or self.parameters[0][1].endswith("[]"):
            return self.name
        return arguments[0] if self.parameters[0][0] == "user_id" else tuple(arguments[:2])

    def lock(self, arguments: Sequence[object]) -> Hashable:
        """Executions with the same key wait for the same lock. A read can only wait for a table, never for a row."""
        if self.only_reads or not arguments:
            return self.name
        if self.key is OF_TASK:
            task: Hashable = self.key.of_arguments(arguments)
            return task
        return self.name, self.owner(arguments)


@cache
def statement(name: str, kind: str) -> Statement:
    """The statement of sql/<name>.sql. Modules call this at import, so a missing file stops the start."""
    found = read(name)
    if found.kind != kind:
        raise StatementError(f"sql/{name}.sql", 1, f"is :{found.kind}, and is used as :{kind}")
    _loaded[found.text] = found
    return found


def loaded(text: str) -> Statement | None:
    """The statement with this text, if a module has asked for it."""
    return _loaded.get(text)


def read(name: str, root: Path = SQL) -> Statement:
    return parse(name, _text(name, root), lambda other: _File(other, _text(other, root)).columns())


def _text(name: str, root: Path) -> str:
    path = root / f"{name}.sql"
    if not path.is_file():
        raise StatementError(f"sql/{name}.sql", 1, "is missing")
    if "/" not in name:
        raise StatementError(f"sql/{name}.sql", 1, "must lie in one of the folders, where it is reviewed")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise StatementError(f"sql/{name}.sql", 1, "is no UTF-8") from None


def names(root: Path = SQL) -> list[str]:
    """All statements; a script for psql is none."""
    found = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.sql"))
    return sorted(name for name in found if name not in SCRIPTS)


def names_of_requests() -> list[str]:
    """The statements that requests send: only their cost is measured, and their plans are compared in production."""
    return [name for name in names() if name.startswith(OF_REQUESTS)]


def parse(name: str, text: str, columns_of: Callable[[str], Fields] | None = None) -> Statement:
    """`columns_of` returns the columns of another statement, for `-- -> as`. One semicolon at the end is for psql and
    sqlc: what is sent has none, so that the text can be put after PREPARE or EXPLAIN."""
    text = _END.sub("\n", text)
    file = _File(name, text)
    kind = file.kind()
    file.check_body()
    parameters = file.parameters()
    columns = file.columns(columns_of)
    purpose, index = file.purpose_and_index()
    cost = file.cost()
    across_owners = next((match[1] for match in file.all(_REASON)), None)
    only_reads = file.only_reads()
    key = _key(kind, [name for name, _ in parameters], {name for name, _ in columns}, only_reads=only_reads)
    return Statement(name, kind, purpose, parameters, columns, index, cost, across_owners, only_reads, key, text)


def _key(kind: str, parameters: list[str], columns: set[str], *, only_reads: bool) -> BatchKey | None:
    """A batch of writes holds one write per owner, sorted by owner. So it never holds one task's lock while it waits
    for another task of the same owner, and cannot deadlock with the deletion of that owner's account. A write of many
    rows is alone in its message: it takes long, and others would wait for it."""
    if parameters[:1] != ["user_id"] or "user_id" not in columns or (kind == "many" and not only_reads):
        return None
    return OF_TASK if kind == "one" and only_reads and parameters[1:2] == ["task_id"] and "id" in columns else OF_OWNER


class _File:
    """The header, which is the comment lines at the top of the file, and the statement below it."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        lines = text.splitlines(keepends=True)
        self._header = [line.rstrip("\n") for line in takewhile(lambda line: line.startswith("--"), lines)]
        self._body = "".join(lines[len(self._header) :])

    def kind(self) -> str:
        match = _NAME.fullmatch(self._header[0]) if self._header else None
        if match is None or match[1] != self._name.rpartition("/")[2] or match[2] not in KINDS:
            raise self._refusal(1, "must start with '-- name: <the file's name> :one', ':many' or ':exec'")
        return match[2]

    def check_body(self) -> None:
        first = len(self._header) + 1
        named = re.match(rf"[A-Z]+ /\* {re.escape(self._name)} \*/(?=\s)", self._body)
        if named is None:
            raise self._refusal(first, f"must repeat its name after the first keyword: /* {self._name} */")
        if len("\n".join([*self._header, named[0]]).encode()) > SHOWN_BYTES:
            why = f"must say its name within {SHOWN_BYTES} bytes, as the server shows no more: shorten the header"
            raise self._refusal(first, why)
        before, semicolon, _ = self._body.partition(";")
        if semicolon:
            line = first + before.count("\n")
            raise self._refusal(line, "must hold exactly one statement, with no semicolon but one at its end")

    def only_reads(self) -> bool:
        """A statement that starts with SELECT cannot write, except through functions, which the review checks: in
        PostgreSQL a write inside a query needs a WITH in front."""
        return self._body.partition(" ")[0] == "SELECT"

    def parameters(self) -> Fields:
        listed = self.all(_PARAMETER)
        if [int(match[1]) for match in listed] != list(range(1, len(listed) + 1)):
            raise self._refusal(2, "must list its parameters as $1, $2, ... in order")
        if {int(number) for number in re.findall(r"\$(\d+)", self._body)} != set(range(1, len(listed) + 1)):
            raise self._refusal(len(self._header) + 1, "uses other parameters than its header lists")
        if len({match[2] for match in listed}) != len(listed):
            raise self._refusal(2, "must give each parameter a name of its own")
        return tuple((match[2], match[3]) for match in listed)

    def columns(self, columns_of: Callable[[str], Fields] | None = None) -> Fields:
        """Without `columns_of`, `-- -> as` is refused: a file that others refer to lists its columns itself."""
        found: list[tuple[str, str]] = []
        for match in self.all(_COLUMN):
            if match[1] != _AS:
                found.append((match[1], match[2]))
                continue
            line = self._header.index(match.string) + 1
            if columns_of is None:
                raise self._refusal(line, "must list its columns itself, because another file refers to it")
            try:
                found += columns_of(match[2])
            except StatementError as error:
                raise self._refusal(line, f"cannot take the columns of {match[2]}: {error}") from None
        return tuple(found)

    def purpose_and_index(self) -> tuple[str, str]:
        purpose = [line.removeprefix("-- ") for line in self._header[1:] if _pattern_of(line) is None]
        index = self.all(_INDEX)
        if len(index) != 1 or not purpose:
            raise self._refusal(2, "must say its purpose and, in one line, its index")
        return purpose[0], index[0][1]

    def cost(self) -> Cost | None:
        found = self.all(_BUFFERS)
        if len(found) > 1:
            raise self._refusal(2, "must say its buffers in one line")
        return Cost(int(found[0][1]), grows=bool(found[0][2])) if found else None

    def all(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        found = []
        for number, line in enumerate(self._header, 1):
            if _pattern_of(line) is pattern:
                match = pattern.fullmatch(line)
                if match is None:
                    raise self._refusal(number, f"cannot be read: {line}")
                found.append(match)
        return found

    def _refusal(self, line: int, why: str) -> StatementError:
        return StatementError(f"sql/{self._name}.sql", line, why)


def _pattern_of(line: str) -> re.Pattern[str] | None:
    """The pattern that this header line must match. None for the name and for prose."""
    return next((pattern for start, pattern in _PATTERNS.items() if line.startswith(start)), None)
