"""sql/README.md: the index is the output of sql list, and the psql sessions run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import embedded_postgres
from service.db.statements import SQL
from service.review.listing import listing
from tests import support
from tests.databases import Urls
from tests.support import ROOT, command

README = (SQL / "README.md").read_text()
BIND, PREPARE = re.findall(r"runs this -->\n```\n(.*?)```", README, re.DOTALL)


def pasted(psql: str, url: str, session: str) -> list[str]:
    done = subprocess.run(
        [psql, "--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", url],
        input=session, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_index_is_what_sql_list_prints(tmp_path: Path) -> None:
    printed = command(tmp_path, "sql", "list")

    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.splitlines() == list(listing())
    assert README.endswith(f"compares this with the files -->\n{printed.stdout}")


def test_the_session_with_bind_shows_the_user_that_it_made(urls: Urls) -> None:
    begun, *made, shown, undone = pasted(embedded_postgres.binary("psql"), urls.admin, BIND)

    assert (begun, made[1:], undone) == ("BEGIN", ["INSERT 0 1"], "ROLLBACK")
    assert made[0].split("|")[1] == "nobody@example.com"
    assert shown.split("|")[1] == "nobody@example.com"


@pytest.mark.parametrize("psql", ["the embedded one", "an older one"])
def test_the_session_with_prepare_shows_the_user_and_the_plan(
    urls: Urls, psql: str, request: pytest.FixtureRequest
) -> None:
    if psql == "an older one":
        url, program = request.getfixturevalue("installed_url"), "psql"
    else:
        url, program = urls.admin, embedded_postgres.binary("psql")

    said = pasted(program, url, PREPARE)

    assert said[:4] == ["BEGIN", "PREPARE", "INSERT 0 1", "PREPARE"]
    assert said[4].split("|")[1] == "nobody@example.com"
    assert said[-3].startswith("Execution Time: ")
    assert said[-2:] == ["ROLLBACK", "DEALLOCATE ALL"]


def test_a_reader_that_leaves_before_the_end_gets_no_traceback(tmp_path: Path) -> None:
    """As in `python -m service sql list | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        done = subprocess.run(
            [sys.executable, "-m", "service", "sql", "list"],
            cwd=tmp_path, env=support.environment(), stdout=output, stderr=subprocess.PIPE, timeout=120, check=False,
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (1, b"")
