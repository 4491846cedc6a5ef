"""The files that are made from the code, and never edited: make generated.

python -m tests.generated           writes the index in sql/README.md, service/openapi/todo.http, and from a database
                                    that it starts migrations/schema.txt and sql/plans/
python -m tests.generated --check   prints the difference for the first two, which need no database, and exits with 1
"""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from service.app import CONTRACTS
from service.cli import collection
from service.db.statements import SQL
from service.openapi.document import openapi
from service.review.listing import listing
from tests import plans, schema
from tests.support import ROOT

README = SQL / "README.md"
INDEX_STARTS = "compares this with the files -->\n"  # the index is the end of the file


def texts() -> dict[Path, str]:
    """What each file should hold, except the plans and the schema."""
    before, mark, _ = README.read_text().partition(INDEX_STARTS)
    index = "\n".join([*listing(), ""])
    return {README: f"{before}{mark}{index}", collection.FILE: collection.collection(openapi(CONTRACTS))}


def differences(wanted: dict[Path, str]) -> Iterator[str]:
    for file, text in wanted.items():
        name = str(file.relative_to(ROOT))
        lines = file.read_text().splitlines(keepends=True), text.splitlines(keepends=True)
        yield from difflib.unified_diff(*lines, name, f"{name}, as make generated writes it", n=0)


def main() -> None:
    if "--check" in sys.argv[1:]:
        found = "".join(differences(texts()))
        sys.stdout.write(found)
        sys.exit(1 if found else 0)
    for file, text in texts().items():
        file.write_text(text)
    schema.write()
    plans.write()


if __name__ == "__main__":
    main()
