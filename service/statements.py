"""The files under sql/, read once: their headers name the parameters, their text goes to the server as it stands."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SQL = Path(__file__).resolve().parent.parent / "sql"

KINDS = ("one", "many", "exec")
_NAME = re.compile(r"-- name: (\w+) :(\w+)")
_PARAMETER = re.compile(r"-- \$(\d+) (\w+)  *(\S+)")
_INDEX = re.compile(r"-- index: (\w+)")


class StatementError(Exception):
    """A file under sql/ is missing, or its header does not say what the loader needs."""


@dataclass(frozen=True, slots=True)
class Statement:
    name: str
    kind: str
    purpose: str
    parameters: tuple[tuple[str, str], ...]
    index: str
    text: str

    def arguments(self, values: dict[str, object]) -> list[object]:
        """The values in the order of the header's $1, $2, ...; a name too many or too few is a fault of the caller."""
        if len(values) != len(self.parameters):
            raise TypeError(f"{self.name} takes {[name for name, _ in self.parameters]}, not {list(values)}")
        return [values[name] for name, _ in self.parameters]


@cache
def statement(name: str, kind: str) -> Statement:
    """The statement of sql/<name>.sql. Modules ask when they are imported, so a missing file stops the start."""
    path = SQL / f"{name}.sql"
    if not path.is_file():
        raise StatementError(f"sql/{name}.sql is missing")
    found = parse(name, path.read_text(encoding="utf-8"))
    if found.kind != kind:
        raise StatementError(f"sql/{name}.sql is :{found.kind}, and is used as :{kind}")
    return found


def parse(name: str, text: str) -> Statement:
    lines = text.splitlines()
    header = [line for line in lines if line.startswith("--")]
    body = text[sum(len(line) + 1 for line in header) :]

    def refuse(why: str) -> StatementError:
        return StatementError(f"sql/{name}.sql {why}")

    if lines[: len(header)] != header or len(header) < 2:
        raise refuse("does not start with its header")
    first = _NAME.fullmatch(header[0])
    if first is None or first[1] != name.rpartition("/")[2] or first[2] not in KINDS:
        raise refuse("must start with '-- name: <the file's name> :one', ':many' or ':exec'")
    if not re.match(rf"[A-Z]+ /\* {re.escape(name)} \*/ ", body):
        raise refuse(f"must repeat its name behind the first keyword: /* {name} */")
    if ";" in body:
        raise refuse("must hold exactly one statement, without a semicolon")

    purpose = [line.removeprefix("-- ") for line in header[1:] if not line.startswith(("-- $", "-- index:"))]
    parameters = [match for line in header if (match := _PARAMETER.fullmatch(line))]
    if [int(match[1]) for match in parameters] != list(range(1, len(parameters) + 1)):
        raise refuse("must list its parameters as $1, $2, ... in order")
    if {int(number) for number in re.findall(r"\$(\d+)", body)} != set(range(1, len(parameters) + 1)):
        raise refuse("uses other parameters than its header lists")
    index = [match[1] for line in header if (match := _INDEX.fullmatch(line))]
    if len(index) != 1 or not purpose:
        raise refuse("must say its purpose and, in one line, its index")

    return Statement(
        name=name,
        kind=first[2],
        purpose=" ".join(purpose),
        parameters=tuple((match[2], match[3]) for match in parameters),
        index=index[0],
        text=text,
    )
