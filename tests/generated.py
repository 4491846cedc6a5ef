"""make generated: writes the files, and the parts of files, that are made from the code.

python -m tests.generated           writes a new column into the lists of its table's columns; migrations/schema.txt,
                                    sql/plans/ and `-- buffers:` of the statements, from databases that it makes; then
                                    the index in sql/README.md, todo.http and the dashboard; the plans that differ in an
                                    older version where one is installed
python -m tests.generated --check   prints the difference where no database is needed, and exits with 1
"""

import difflib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from deploy.grafana import dashboard
from service.app import CONTRACTS
from service.cli import collection, embedded_postgres
from service.db.statements import SQL
from service.openapi.document import openapi
from service.review.listing import listing
from tests import buffers, column_lists, databases, plans, schema
from tests.support import ROOT

README = SQL / "README.md"
INDEX_STARTS = "compares this with the files -->\n"  # the index is the end of the file


def texts() -> dict[Path, str]:
    """The text of each file that is made, or has a part that is made, without a database."""
    before, mark, _ = README.read_text().partition(INDEX_STARTS)
    index = "\n".join([*listing(), ""])
    return column_lists.texts() | {
        README: f"{before}{mark}{index}",
        collection.FILE: collection.collection(openapi(CONTRACTS)),
        dashboard.FILE: dashboard.dashboard(),
    }


def write(wanted: dict[Path, str]) -> None:
    for file, text in wanted.items():
        file.write_text(text)


def differences(wanted: dict[Path, str]) -> Iterator[str]:
    for file, text in wanted.items():
        name = str(file.relative_to(ROOT))
        lines = file.read_text().splitlines(keepends=True), text.splitlines(keepends=True)
        yield from difflib.unified_diff(*lines, name, f"{name}, as make generated writes it", n=0)


def write_measured() -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        with ExitStack() as stack:
            server_url = stack.enter_context(embedded_postgres.running(directory / "data"))
            url, growth_url = (stack.enter_context(plans.seeded_database(server_url)) for _ in range(2))
            plans.write(url)
            buffers.write(buffers.costs_of(url, growth_url))
            if (binaries := databases.installed_binaries()) is not None:
                older_url = stack.enter_context(databases.installed_server(directory / "older", binaries, []))
                plans.write_of_older_version(stack.enter_context(plans.seeded_database(older_url)))
    finally:
        shutil.rmtree(directory)


def main() -> None:
    if "--check" in sys.argv[1:]:
        found = "".join(differences(texts()))
        sys.stdout.write(found)
        sys.exit(1 if found else 0)
    write(column_lists.texts())  # before they are measured
    write_measured()
    write(texts())
    schema.write()


if __name__ == "__main__":
    main()
