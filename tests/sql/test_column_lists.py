"""A column that is new in the header of one statement is written into the lists of those that refer to it."""

from pathlib import Path

import pytest

from tests import column_lists

GET_TASK = """\
-- name: get_task :one
-- One task.
-- $1 user_id  uuid
-- -> id       uuid
-- -> user_id  uuid
-- -> title    text
-- -> version  bigint
{header}-- index: none
SELECT /* tasks/get_task */ id, user_id, title, version{column}
FROM tasks
WHERE user_id = $1;
"""
CHANGE_TASK = """\
-- name: change_task :one
-- -> as tasks/get_task
-- index: none
WITH /* tasks/change_task */ changed AS (
    UPDATE tasks SET version = 1, id = $2
    RETURNING
        tasks.id, tasks.user_id, tasks.title,
        tasks.version{of_tasks}
)

SELECT
    id, CASE WHEN $2 THEN title END AS title,
    user_id, title, version{column}, now() AS changed_at
FROM changed
WHERE (title, version) = (SELECT title, version FROM changed);
"""
COUNT_TASKS = "-- name: count_tasks :one\n-- -> count  bigint\nSELECT user_id, title, version FROM tasks;\n"


def test_a_column_at_the_end_of_a_header_is_written_into_each_list_once(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    get_task, change_task, count_tasks = (tmp_path / f"tasks/{name}_task.sql" for name in ("get", "change", "count"))
    header = "-- -> starts_on  date\n"
    get_task.write_text(GET_TASK.format(header=header, column=""))
    change_task.write_text(CHANGE_TASK.format(of_tasks="", column=""))
    count_tasks.write_text(COUNT_TASKS)
    wanted = {
        get_task: GET_TASK.format(header=header, column=", starts_on"),
        change_task: CHANGE_TASK.format(of_tasks=", tasks.starts_on", column=", starts_on"),
    }

    for _ in range(2):
        assert column_lists.texts(tmp_path) == wanted
        for file, text in wanted.items():
            file.write_text(text)


@pytest.mark.parametrize(("length", "separator"), [(107, ", "), (108, ",\n    ")])
def test_a_column_that_has_no_room_in_its_line_begins_the_next_one(length: int, separator: str) -> None:
    behind = ", t.user_id, t.title, t.version"
    line = "    ".ljust(length - len(behind), "a") + behind

    completed = column_lists.completed(f"{line}\nFROM t;", ["id", "user_id", "title", "version", "starts_on"])

    assert completed == f"{line}{separator}t.starts_on\nFROM t;"
    assert max(len(each) for each in completed.splitlines()) <= column_lists.MAX_LINE
