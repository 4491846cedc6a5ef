"""The lists of a table's columns in the statements.

The header of tasks/get_task has the list that counts, and others say `-- -> as tasks/get_task`. A column that is new at
the end of it is written into each of their lists, one column at a time.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from service.db.statements import SQL, names, read

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
    """With the last column behind each pair of the two before it, qualified as the second of them is."""
    first, second, last = columns[-3:]
    pair = rf"\b({first},\s+)((?:\w+\.)?)({second})\b(?!,\s+(?:\w+\.)?{last}\b)"
    return re.sub(pair, rf"\1\2\3, \2{last}", text)
