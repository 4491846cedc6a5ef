"""A statement with its syntax tree, made by PostgreSQL's own parser, and the findings about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgast

from service.db.statements import SQL, Statement, StatementError, names, read
from service.review.finding import ReviewFinding

__all__ = ["ReviewFinding", "Reviewed", "read_all"]  # the rules take both from here


@dataclass(frozen=True)
class Reviewed:
    statement: Statement
    tree: postgast.ParseResult

    @property
    def path(self) -> str:
        return f"sql/{self.statement.name}.sql"

    def nodes(self, kind: type) -> Iterator[Any]:
        yield from postgast.find_nodes(self.tree, kind)

    def finding(self, message: str, at: int | None = None) -> ReviewFinding:
        """At a byte offset from the parser, or at the first line of the statement."""
        if at is None:
            return ReviewFinding(self.path, self._line_of(lambda line: not line.startswith("--")), message)
        return ReviewFinding(self.path, self.statement.text.encode()[:at].count(b"\n") + 1, message)

    def finding_in_header(self, message: str, *start: str) -> ReviewFinding:
        """At the first line that starts with one of these."""
        return ReviewFinding(self.path, self._line_of(lambda line: line.startswith(start)), message)

    def _line_of(self, is_wanted: Callable[[str], bool]) -> int:
        lines = self.statement.text.splitlines()
        return next(number for number, line in enumerate(lines, 1) if is_wanted(line))


def read_all(root: Path = SQL) -> tuple[list[Reviewed], list[ReviewFinding]]:
    """Every statement that can be parsed, and a finding for each of the others."""
    reviewed, findings = [], []
    for name in names(root):
        try:
            statement = read(name, root)
            reviewed.append(Reviewed(statement, postgast.parse(statement.text)))
        except StatementError as error:
            findings.append(ReviewFinding(error.path, error.line, error.why))
        except postgast.PgQueryError as error:
            line = statement.text[: error.cursorpos].count("\n") + 1
            findings.append(ReviewFinding(f"sql/{name}.sql", line, error.message))
    return reviewed, findings
