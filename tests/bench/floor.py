"""The lower bound of the cost: the same statements sent by pgbench, without HTTP, tokens or JSON."""

import re
import subprocess
from pathlib import Path
from typing import Any

from service.cli import embedded_postgres
from service.db import statements
from service.domain.tasks import LIST_LIMIT, NO_CHANGES, NO_FIELDS, NO_QUOTA
from tests.bench.database import DESCRIPTION, TASKS_EACH, Database
from tests.bench.routes import (
    CREATE,
    FILTERED,
    LIST_20,
    LIST_200,
    PAGE,
    PAGES,
    READ,
    SEARCH,
    SEARCHES,
    TITLE,
    UPDATE,
    Route,
)

# Ids are computed from numbers (see database.py), so one prepared statement can ask for another user each time.
USER = "md5('user ' || :n)::uuid"
TASK = "md5('task ' || :n || ' ' || :k)::uuid"
ONE = {"user_id": USER, "task_id": TASK}
LISTED = {"user_id": USER, "max_rows": f"{LIST_LIMIT}"}
CREATED = {name: "NULL" if value is None else f"'{value}'" for name, value in NO_FIELDS.items()} | {
    "user_id": USER,
    "title": f"'{TITLE}'",
    "description": f"'{DESCRIPTION}'",
    "max_tasks": f"{NO_QUOTA}",
}
UPDATED = {name: "NULL" if value is None else "false" for name, value in NO_CHANGES.items()} | {
    **ONE,
    "set_title": "true",
    "title": f"'{TITLE}, again'",
    "set_is_completed": "true",
    "is_completed": "true",
    "versions": "NULL",
}
PAGED = {
    "user_id": USER,
    **dict.fromkeys(("is_completed", "priority", "due_from", "due_to", "tags", "search"), "NULL"),
    "with_texts": "true",
    "max_rows": f"{LIST_LIMIT + 1}",
    "after_created_at": "'infinity'",
    "after_id": "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
}
# A parameter of the service's statement, whose value the planner does not know: for a number it would sort all tasks.
DEEP_PAGE = {
    "max_rows": f"(SELECT {PAGE + 1})",
    "after_created_at": "(timestamptz '2025-01-01' + :k * interval '400 minutes')",
}
STATEMENTS = {
    LIST_20.name: ("tasks/list_tasks", LISTED),
    LIST_200.name: ("tasks/list_tasks", LISTED),
    FILTERED.name: ("tasks/page_newest", PAGED | {"is_completed": "false"}),
    PAGES.name: ("tasks/page_newest", PAGED | DEEP_PAGE),
    SEARCHES.name: ("tasks/page_newest", PAGED | {"search": f"'{SEARCH}'"}),
    READ.name: ("tasks/get_task", ONE),
    CREATE.name: ("tasks/create_task", CREATED),
    UPDATE.name: ("tasks/update_task", UPDATED),
}


def script(route: Route, database: Database) -> str:
    name, values = STATEMENTS[route.name]
    statement = statements.read(name)
    arguments = statement.arguments(dict(values))
    text = re.sub(r"\$(\d+)", lambda found: str(arguments[int(found[1]) - 1]), statement.text)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    users = route.users(database)
    numbers = [f"\\set n random({users[0]}, {users[-1]})", f"\\set k random(1, {TASKS_EACH})"]
    return "\n".join([*numbers, *lines]) + ";\n"


def pgbench(database: Database, route: Route, directory: Path, connections: int, seconds: int) -> dict[str, Any]:
    """Returns requests, seconds and errors. pgbench reports no percentiles."""
    file = directory / f"{route.name}.sql"
    file.write_text(script(route, database))
    options = [f"--client={connections}", f"--time={seconds}", f"--file={file}", "--protocol=prepared", "--no-vacuum"]
    done = subprocess.run(
        [embedded_postgres.binary("pgbench"), *options, database.url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 120,
    )
    per_second = float(_found(r"tps = ([\d.]+)", done.stdout))
    return {
        "requests": int(_found(r"actually processed: (\d+)", done.stdout)),
        "seconds": int(_found(r"actually processed: (\d+)", done.stdout)) / per_second,
        "errors": int(_found(r"failed transactions: (\d+)", done.stdout)),
    }


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"pgbench said nothing of {pattern}: {text}")
    return found[1]
