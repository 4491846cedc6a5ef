"""The files under sql/, read once: their headers name what goes in and out, the server gets them as they stand."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

SQL = Path(__file__).resolve().parents[2] / "sql"

ROLES = "roles"
KINDS = ("one", "many", "exec")
_NAME = re.compile(r"-- name: (\w+) :(\w+)")
_PARAMETER = re.compile(r"-- \$(\d+) (\w+)  *(\S+)")
_COLUMN = re.compile(r"-- -> (\w+)  *(\S+)")
_INDEX = re.compile(r"-- index: (\w+(?:, \w+)*)")
_REASON = re.compile(r"-- across owners: (.+)")
_PATTERNS = {"-- $": _PARAMETER, "-- ->": _COLUMN, "-- index:": _INDEX, "-- across owners:": _REASON}


class StatementError(Exception):
    """A file under sql/ is missing, or its header does not say what the loader needs. Starts with the place."""

    def __init__(self, path: str, line: int, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}")
        self.path, self.line, self.why = path, line, why


class BatchKey(NamedTuple):
    """What an execution of a statement and the rows of its answer have in common, and no other execution has."""

    of_arguments: Callable[[Sequence[object]], Any]
    of_row: Callable[[Any], Any]


OF_OWNER = BatchKey(itemgetter(0), itemgetter("user_id"))
OF_TASK = BatchKey(itemgetter(0, 1), itemgetter("user_id", "id"))


@dataclass(frozen=True, slots=True)
class Statement:
    name: str
    kind: str
    purpose: str  # the first line of prose; what more a reviewer needs may follow it
    parameters: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    index: str
    across_owners: str | None  # why it may look at rows of all users; only sql/maintenance/ may
    only_reads: bool  # and may be sent again when nobody knows what became of it
    key: BatchKey | None  # where the rows of several owners can be told apart
    text: str

    def arguments(self, values: dict[str, object]) -> list[object]:
        """The values in the order of the header's $1, $2, ...; a name too many or too few is a fault of the caller."""
        if len(values) != len(self.parameters):
            raise TypeError(f"{self.name} takes {[name for name, _ in self.parameters]}, not {list(values)}")
        return [values[name] for name, _ in self.parameters]

    def owner(self, arguments: Sequence[object]) -> Hashable:
        """Whose share of the pool an execution takes: the user's, or without one that of what it is about, like the
        bucket of a limit, an email, or issuer and subject."""
        if not arguments or self.parameters[0][1].endswith("[]"):
            return self.name
        return arguments[0] if self.parameters[0][0] == "user_id" else tuple(arguments[:2])

    def lock(self, arguments: Sequence[object]) -> Hashable:
        """A key that executions share if they wait for the same lock. A read waits for a table, never for a row."""
        if self.only_reads or not arguments:
            return self.name
        if self.key is OF_TASK:
            task: Hashable = self.key.of_arguments(arguments)
            return task
        return self.name, self.owner(arguments)


@cache
def statement(name: str, kind: str) -> Statement:
    """The statement of sql/<name>.sql. Modules ask when they are imported, so a missing file stops the start."""
    found = read(name)
    if found.kind != kind:
        raise StatementError(f"sql/{name}.sql", 1, f"is :{found.kind}, and is used as :{kind}")
    return found


def read(name: str, root: Path = SQL) -> Statement:
    path = root / f"{name}.sql"
    if not path.is_file():
        raise StatementError(f"sql/{name}.sql", 1, "is missing")
    if "/" not in name:
        raise StatementError(f"sql/{name}.sql", 1, "must lie in one of the folders, where it is reviewed")
    try:
        return parse(name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise StatementError(f"sql/{name}.sql", 1, "is no UTF-8") from None


def names(root: Path = SQL) -> list[str]:
    """Every statement there is. roles.sql is none: it is for psql."""
    found = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.sql"))
    return sorted(name for name in found if name != ROLES)


def parse(name: str, text: str) -> Statement:
    file = _File(name, text)
    kind = file.kind()
    file.check_body()
    parameters = file.parameters()
    columns = tuple((match[1], match[2]) for match in file.all(_COLUMN))
    purpose, index = file.purpose_and_index()
    across_owners = next((match[1] for match in file.all(_REASON)), None)
    only_reads = file.only_reads()
    key = _key([name for name, _ in parameters], {name for name, _ in columns}, reads_one=kind == "one" and only_reads)
    return Statement(name, kind, purpose, parameters, columns, index, across_owners, only_reads, key, text)


def _key(parameters: list[str], columns: set[str], *, reads_one: bool) -> BatchKey | None:
    """A transaction of several writes has one of each owner, in the order of the owners. So it never holds one task
    while it waits for another of the same owner, and cannot deadlock with the deletion of that owner's account."""
    if parameters[:1] != ["user_id"] or "user_id" not in columns:
        return None
    return OF_TASK if reads_one and parameters[1:2] == ["task_id"] and "id" in columns else OF_OWNER


class _File:
    """A header, which is every line of comment that the file starts with, and the statement below it."""

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
        if not re.match(rf"[A-Z]+ /\* {re.escape(self._name)} \*/\s", self._body):
            raise self._refusal(first, f"must repeat its name behind the first keyword: /* {self._name} */")
        before, semicolon, _ = self._body.partition(";")
        if semicolon:
            line = first + before.count("\n")
            raise self._refusal(line, "must hold exactly one statement, without a semicolon")

    def only_reads(self) -> bool:
        """PostgreSQL lets nothing below a SELECT write: a WITH that does comes first. Functions are for the review."""
        return self._body.partition(" ")[0] == "SELECT"

    def parameters(self) -> tuple[tuple[str, str], ...]:
        listed = self.all(_PARAMETER)
        if [int(match[1]) for match in listed] != list(range(1, len(listed) + 1)):
            raise self._refusal(2, "must list its parameters as $1, $2, ... in order")
        if {int(number) for number in re.findall(r"\$(\d+)", self._body)} != set(range(1, len(listed) + 1)):
            raise self._refusal(len(self._header) + 1, "uses other parameters than its header lists")
        if len({match[2] for match in listed}) != len(listed):
            raise self._refusal(2, "must give each parameter a name of its own")
        return tuple((match[2], match[3]) for match in listed)

    def purpose_and_index(self) -> tuple[str, str]:
        purpose = [line.removeprefix("-- ") for line in self._header[1:] if _pattern_of(line) is None]
        index = self.all(_INDEX)
        if len(index) != 1 or not purpose:
            raise self._refusal(2, "must say its purpose and, in one line, its index")
        return purpose[0], index[0][1]

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
    """What a line of the header has to look like; None for the name and for a line of the purpose."""
    return next((pattern for start, pattern in _PATTERNS.items() if line.startswith(start)), None)
