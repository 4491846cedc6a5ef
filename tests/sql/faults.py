"""Statements with a fault in them, and what the review says of a tree that holds them."""

from collections.abc import Callable
from pathlib import Path

from service.review.check import check

Plant = Callable[..., Path]


def findings(url: str, root: Path) -> list[str]:
    return [str(finding) for finding in check(url, root)]


def new_statement(name: str, body: str, *header: str) -> str:
    """A file that says in its header what `body` is."""
    keyword, _, rest = body.partition(" ")
    lines = [f"-- name: {name.rpartition('/')[2]} :one", "-- For a test.", *header, "-- index: none"]
    return "\n".join([*lines, f"{keyword} /* {name} */ {rest}", ""])


COLUMNS = "id, user_id, title, description, is_completed, created_at, updated_at"
OWNER, TASK, TITLE, ID = "-- $1 user_id  uuid", "-- $2 task_id  uuid", "-- $3 title  text", "-- -> id  uuid"
