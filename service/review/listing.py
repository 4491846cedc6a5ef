"""sql list: the index of the statements, which make generated writes into sql/README.md."""

import re
from collections.abc import Iterator

from service.db.statements import names, read

_AS_ANOTHER = re.compile(r"^-- -> (as \S+)$", re.MULTILINE)


def listing() -> Iterator[str]:
    yield "| statement | kind | parameters | returns | index | buffers | |"
    yield "|---|---|---|---|---|---|---|"
    for name in names():
        each = read(name)
        parameters = ", ".join(f"{parameter} {type_name}" for parameter, type_name in each.parameters)
        as_another = _AS_ANOTHER.search(each.text)
        columns = as_another[1] if as_another else ", ".join(column for column, _ in each.columns)
        cost = "" if each.cost is None else f"{each.cost.buffers}{', grows' if each.cost.grows else ''}"
        yield f"| `{name}` | {each.kind} | {parameters} | {columns} | {each.index} | {cost} | {each.purpose} |"
