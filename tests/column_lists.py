"""The lists of a table's columns in the statements.

The header of tasks/get_task has the list that counts, and others say `-- -> as tasks/get_task`. A column that is new at
the end of it is written into each of their lists, one column at a time. Shorter lists, such as that of an INSERT, are
left alone.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from service.db.statements import SQL, names, read

MAX_LINE = 120  # characters, as sqlfluff allows

_REFERENCE = re.compile(r"^-- -> as (\S+)$", re.MULTILINE)


def texts(root: Path = SQL) -> dict[Path, str]:
    """The text of each statement that refers to the columns of another, and of that one."""
    found: dict[Path, str] = {}
    for name in names(root):
        for source in _REFERENCE.findall((root / f"{name}.sql").read_text()):
            columns = [column for column, _ in read(source, root).columns]
            files = (root / f"{each}.sql" for each in (source, name))
            found |= {file: completed(file.read_text(), columns) for file in files}
    return found


def completed(text: str, columns: Sequence[str]) -> str:
    """With the last column behind the three before it, wherever these follow each other. If they are written with a
    table, such as `tasks.version`, it is too. It begins a new line where its own would be too long."""
    first, second, third, last = columns[-4:]
    listed = rf"\b{first},\s+(?:\w+\.)?{second},\s+(\w+\.)?{third}\b(?!,\s+(?:\w+\.)?{last}\b)"

    def with_last(found: re.Match[str]) -> str:
        added = f"{found[1] or ''}{last}"
        line = text[text.rfind("\n", 0, found.end()) + 1 :].partition("\n")[0]
        indent = line[: len(line) - len(line.lstrip())]
        separator = f",\n{indent}" if len(line) + len(", ") + len(added) > MAX_LINE else ", "
        return f"{found[0]}{separator}{added}"

    return re.sub(listed, with_last, text)
