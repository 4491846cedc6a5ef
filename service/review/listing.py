"""sql list: the index of the statements, which make generated writes into sql/README.md."""

from collections.abc import Iterator

from service.db.statements import names, read


def listing() -> Iterator[str]:
    yield "| statement | kind | parameters | returns | index | |"
    yield "|---|---|---|---|---|---|"
    for name in names():
        each = read(name)
        parameters = ", ".join(f"{parameter} {type_name}" for parameter, type_name in each.parameters)
        columns = ", ".join(column for column, _ in each.columns)
        yield f"| `{name}` | {each.kind} | {parameters} | {columns} | {each.index} | {each.purpose} |"
