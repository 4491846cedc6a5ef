"""What the loader refuses: a file that does not say what a reviewer and the code need."""

import pytest

from service.statements import StatementError, parse, statement

GOOD = """\
-- name: get_task :one
-- One task of the owner.
-- $1 user_id  uuid
-- $2 task_id  uuid
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


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ("-- name: get_task :one\n", "", "must start with"),
        ("-- name: get_task", "-- name: read_task", "must start with"),
        (":one", ":some", "must start with"),
        ("-- One task of the owner.\n", "", "must say its purpose"),
        ("-- index: tasks_pkey\n", "", "must say its purpose and, in one line, its index"),
        ("-- $2 task_id  uuid\n", "", "uses other parameters than its header lists"),
        ("AND id = $2", "AND id = $3", "uses other parameters than its header lists"),
        ("-- $2 task_id", "-- $3 task_id", "must list its parameters as $1, $2, ... in order"),
        ("/* tasks/get_task */ ", "", "must repeat its name"),
        ("/* tasks/get_task */", "/* tasks/read_task */", "must repeat its name"),
        ("AND id = $2\n", "AND id = $2; DELETE FROM tasks\n", "exactly one statement"),
        (GOOD, "SELECT 1\n", "does not start with its header"),
        (GOOD, "", "does not start with its header"),
    ],
)
def test_a_file_that_does_not_say_it_is_refused(good: str, bad: str, why: str) -> None:
    assert good in GOOD

    with pytest.raises(StatementError, match=why.replace("$", r"\$")):
        parse("tasks/get_task", GOOD.replace(good, bad))


def test_a_missing_file_and_another_kind_are_refused() -> None:
    with pytest.raises(StatementError, match=r"sql/tasks/steal_task\.sql is missing"):
        statement("tasks/steal_task", "one")
    with pytest.raises(StatementError, match=r"sql/tasks/get_task\.sql is :one, and is used as :many"):
        statement("tasks/get_task", "many")


@pytest.mark.parametrize("values", [{}, {"user_id": 1}, {"user_id": 1, "task_id": 2, "title": 3}])
def test_a_call_with_other_parameters_is_a_fault(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"tasks/get_task takes \['user_id', 'task_id'\]"):
        parse("tasks/get_task", GOOD).arguments(values)
