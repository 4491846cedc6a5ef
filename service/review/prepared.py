"""Compares a header with the server: prepares the statement and compares its parameters and columns."""

from collections.abc import Iterator
from typing import NamedTuple

from psycopg import pq

from service.review.catalog import Catalog, Column
from service.review.reviewed import Reviewed, ReviewFinding


class Output(NamedTuple):
    """A column of a statement's answer, as the server describes it."""

    name: str
    type_names: set[str]
    origin: Column | None  # the table's column that it is, also through sub-selects, CTEs and RETURNING


class NotPreparedError(Exception):
    """The server refused to prepare a statement. Holds its message and the position in the text."""

    def __init__(self, result: pq.abc.PGresult) -> None:
        super().__init__((result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode())
        self._position = int(result.error_field(pq.DiagnosticField.STATEMENT_POSITION) or 0)

    def finding(self, reviewed: Reviewed) -> ReviewFinding:
        before = reviewed.statement.text[: self._position].encode()
        return reviewed.finding(f"cannot be prepared: {self}", len(before) or None)


class ServerDescription(NamedTuple):
    parameters: list[set[str]]  # the names of each one's type
    columns: list[Output]


def check(reviewed: Reviewed, described: ServerDescription) -> Iterator[ReviewFinding]:
    statement = reviewed.statement
    parameters, columns = described
    if len(parameters) != len(statement.parameters):
        message = f"takes {len(statement.parameters)} parameters in the header and {len(parameters)} for the server"
        yield reviewed.finding(message)
        return
    if statement.kind == "exec" and columns:
        yield reviewed.finding_in_header("is :exec, and returns rows", "-- name:")
    for number, ((name, wanted), type_names) in enumerate(zip(statement.parameters, parameters, strict=True), 1):
        if wanted not in type_names:
            message = f"${number} {name} is {wanted} in the header and {_or(type_names)} for the server"
            yield reviewed.finding_in_header(message, f"-- ${number} ")
    yield from _columns(reviewed, columns)


def _columns(reviewed: Reviewed, columns: list[Output]) -> Iterator[ReviewFinding]:
    listed = reviewed.statement.columns
    if [name for name, _ in listed] != [column.name for column in columns]:
        in_header = ", ".join(name for name, _ in listed) or "nothing"
        of_server = ", ".join(column.name for column in columns) or "nothing"
        yield reviewed.finding_in_header(f"returns {in_header} in the header and {of_server} for the server", "-- ")
        return
    for (name, wanted), (_, type_names, _) in zip(listed, columns, strict=True):
        if wanted not in type_names:
            message = f"{name} is {wanted} in the header and {_or(type_names)} for the server"
            yield reviewed.finding_in_header(message, f"-- -> {name} ", "-- -> as ")


def describe(reviewed: Reviewed, catalog: Catalog) -> ServerDescription:
    """Uses the protocol's Prepare and Describe: they refuse two statements in one text, and run nothing.

    Raises NotPreparedError when the server refuses the statement: there is nothing to compare then, and no plan."""
    server = catalog.connection.pgconn
    with catalog.connection.transaction():
        for result in (server.prepare(b"", reviewed.statement.text.encode()), found := server.describe_prepared(b"")):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise NotPreparedError(result)
    columns = [
        Output(
            (found.fname(place) or b"").decode(),
            catalog.names_of_type(found.ftype(place)),
            catalog.columns.get((found.ftable(place), found.ftablecol(place))),
        )
        for place in range(found.nfields)
    ]
    return ServerDescription(
        [catalog.names_of_type(found.param_type(place)) for place in range(found.nparams)], columns
    )


def _or(type_names: set[str]) -> str:
    return " or ".join(sorted(type_names))
