"""Compares a header with the server: prepares the statement and compares its parameters and columns."""

from collections.abc import Iterator

from psycopg import pq

from service.review.catalog import Catalog
from service.review.reviewed import Finding, Reviewed

Described = list[tuple[str, set[str]]]  # name, and the names of its type


class NotPreparedError(Exception):
    """The server refused to prepare a statement. Holds its message and the position in the text."""

    def __init__(self, result: pq.abc.PGresult) -> None:
        super().__init__((result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode())
        self._position = int(result.error_field(pq.DiagnosticField.STATEMENT_POSITION) or 0)

    def finding(self, reviewed: Reviewed) -> Finding:
        before = reviewed.statement.text[: self._position].encode()
        return reviewed.finding(f"cannot be prepared: {self}", len(before) or None)


def check(reviewed: Reviewed, catalog: Catalog) -> Iterator[Finding]:
    """Raises NotPreparedError when the server refuses the statement: there is nothing to compare then, and no plan."""
    statement = reviewed.statement
    parameters, columns = _describe(statement.text, catalog)
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


def _columns(reviewed: Reviewed, columns: Described) -> Iterator[Finding]:
    listed = reviewed.statement.columns
    if [name for name, _ in listed] != [name for name, _ in columns]:
        in_header = ", ".join(name for name, _ in listed) or "nothing"
        of_server = ", ".join(name for name, _ in columns) or "nothing"
        yield reviewed.finding_in_header(f"returns {in_header} in the header and {of_server} for the server", "-- ")
        return
    for (name, wanted), (_, type_names) in zip(listed, columns, strict=True):
        if wanted not in type_names:
            message = f"{name} is {wanted} in the header and {_or(type_names)} for the server"
            yield reviewed.finding_in_header(message, f"-- -> {name} ", "-- -> as ")


def _describe(text: str, catalog: Catalog) -> tuple[list[set[str]], Described]:
    """Uses the protocol's Prepare and Describe: they refuse two statements in one text, and run nothing."""
    server = catalog.connection.pgconn
    with catalog.connection.transaction():
        for result in (server.prepare(b"", text.encode()), described := server.describe_prepared(b"")):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise NotPreparedError(result)
    parameters = [catalog.names_of_type(described.param_type(place)) for place in range(described.nparams)]
    columns = [
        ((described.fname(place) or b"").decode(), catalog.names_of_type(described.ftype(place)))
        for place in range(described.nfields)
    ]
    return parameters, columns


def _or(type_names: set[str]) -> str:
    return " or ".join(sorted(type_names))
