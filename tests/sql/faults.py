"""Planted statements, and the findings of the review about them.

They are checked against a schema of their own, tests/sql/small_tree/schema.sql, and change copies of the files below
small_tree/sql/. So a new column of the service's tables does not touch these tests.
"""

from collections.abc import Callable
from pathlib import Path

from service.review.check import check_texts, check_tree
from service.review.reviewed import ReviewFinding
from service.review.static_rules import NO_COST

SMALL_TREE = Path(__file__).parent / "small_tree"

Plant = Callable[..., Path]


def findings(url: str, root: Path) -> list[str]:
    """Without those about the `index:` line: each planted statement says `none`, which is rarely true."""
    return [each for each in all_findings(url, root) if ", and its header says " not in each]


def all_findings(url: str, root: Path) -> list[str]:
    return _shown(check_tree(url, root))


def findings_in_texts(root: Path) -> list[str]:
    return _shown(check_texts(root))


def _shown(found: list[ReviewFinding]) -> list[str]:
    """Planted statements say no cost, because nothing measures it; test_costs.py has that rule."""
    return [str(finding) for finding in found if finding.message != NO_COST]


def declare(root: Path, *lines: str) -> None:
    """Adds lines to the declared tables of a planted tree."""
    with (root / "tables.md").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def new_statement(name: str, body: str, *header: str) -> str:
    """A file that says in its header what `body` is."""
    keyword, _, rest = body.partition(" ")
    lines = [f"-- name: {name.rpartition('/')[2]} :one", "-- For a test.", *header, "-- index: none"]
    return "\n".join([*lines, f"{keyword} /* {name} */ {rest}", ""])


COLUMNS = "id, user_id, title, description, is_completed, created_at, updated_at"
OWNER, TASK, TITLE, ID = "-- $1 user_id  uuid", "-- $2 task_id  uuid", "-- $3 title  text", "-- -> id  uuid"
