"""The index of the statements, as sql/README.md has it."""

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
