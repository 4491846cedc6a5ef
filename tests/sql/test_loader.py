"""What the loader refuses: a file that does not say what a reviewer and the code need."""

import pytest

from service.db.statements import StatementError, parse, statement

GOOD = """\
-- name: get_task :one
-- One task of the owner.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> id  uuid
-- index: tasks_pkey
SELECT /* tasks/get_task */ id
FROM tasks
WHERE user_id = $1
  AND id = $2
"""


def test_a_header_gives_the_parameters_their_names() -> None:
    parsed = parse("tasks/get_task", GOOD)

    assert (parsed.kind, parsed.purpose, parsed.index) == ("one", "One task of the owner.", "tasks_pkey")
    assert parsed.parameters == (("user_id", "uuid"), ("task_id", "uuid"))
    assert parsed.text == GOOD
    assert parsed.arguments({"task_id": 2, "user_id": 1}) == [1, 2]


NAME = "must start with '-- name: <the file's name> :one', ':many' or ':exec'"
TAG = "must repeat its name behind the first keyword: /* tasks/get_task */"


@pytest.mark.parametrize(
    ("good", "bad", "line", "why"),
    [
        ("-- name: get_task :one\n", "", 1, NAME),
        ("-- name: get_task", "-- name: read_task", 1, NAME),
        (":one", ":some", 1, NAME),
        ("-- One task of the owner.\n", "", 2, "must say its purpose and, in one line, its index"),
        ("-- index: tasks_pkey\n", "", 2, "must say its purpose and, in one line, its index"),
        ("-- $2 task_id  uuid\n", "", 6, "uses other parameters than its header lists"),
        ("AND id = $2", "AND id = $3", 7, "uses other parameters than its header lists"),
        ("-- $2 task_id", "-- $3 task_id", 2, "must list its parameters as $1, $2, ... in order"),
        ("-- $2 task_id", "-- $2 user_id", 2, "must give each parameter a name of its own"),
        ("-- $2 task_id  uuid", "-- $2 task_id", 4, "cannot be read: -- $2 task_id"),
        ("-- -> id  uuid", "-- -> id", 5, "cannot be read: -- -> id"),
        ("-- index: tasks_pkey", "-- index: the primary key", 6, "cannot be read: -- index: the primary key"),
        ("/* tasks/get_task */ ", "", 7, TAG),
        ("/* tasks/get_task */", "/* tasks/read_task */", 7, TAG),
        (
            "AND id = $2\n",
            "AND id = $2; DELETE FROM tasks\n",
            10,
            "must hold exactly one statement, without a semicolon",
        ),
        (GOOD, "SELECT 1\n", 1, NAME),
        (GOOD, "", 1, NAME),
    ],
)
def test_a_file_that_does_not_say_it_is_refused(good: str, bad: str, line: int, why: str) -> None:
    assert good in GOOD

    with pytest.raises(StatementError) as refused:
        parse("tasks/get_task", GOOD.replace(good, bad))

    assert str(refused.value) == f"sql/tasks/get_task.sql:{line}: {why}"


def test_a_missing_file_and_another_kind_are_refused() -> None:
    with pytest.raises(StatementError, match=r"^sql/tasks/steal_task\.sql:1: is missing$"):
        statement("tasks/steal_task", "one")
    with pytest.raises(StatementError, match=r"^sql/tasks/get_task\.sql:1: is :one, and is used as :many$"):
        statement("tasks/get_task", "many")


@pytest.mark.parametrize("values", [{}, {"user_id": 1}, {"user_id": 1, "task_id": 2, "title": 3}])
def test_a_call_with_other_parameters_is_a_fault(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"tasks/get_task takes \['user_id', 'task_id'\]"):
        parse("tasks/get_task", GOOD).arguments(values)
