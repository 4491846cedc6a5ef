"""The loader: what it reads from a header, and the files and calls that it refuses."""

from pathlib import Path

import pytest

from service.db.statements import Cost, StatementCallError, StatementError, parse, read, statement

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


def test_a_header_names_the_parameters() -> None:
    parsed = parse("tasks/get_task", GOOD)

    assert (parsed.kind, parsed.purpose, parsed.index) == ("one", "One task of the owner.", "tasks_pkey")
    assert parsed.parameters == (("user_id", "uuid"), ("task_id", "uuid"))
    assert parsed.text == GOOD
    assert parsed.arguments({"task_id": 2, "user_id": 1}) == [1, 2]


@pytest.mark.parametrize("end", [";", ";\n", " ;\n", "\n;\n\n"])
def test_one_semicolon_at_the_end_of_a_file_is_not_sent(end: str) -> None:
    assert parse("tasks/get_task", GOOD.rstrip("\n") + end) == parse("tasks/get_task", GOOD)


def test_a_header_says_the_buffers_and_whether_they_grow() -> None:
    costs = [None, "-- buffers: 4\n", "-- buffers: 23, grows with the owner's tasks\n"]

    assert [parse("tasks/get_task", GOOD.replace("SELECT", f"{line or ''}SELECT")).cost for line in costs] == [
        None,
        Cost(4, grows=False),
        Cost(23, grows=True),
    ]


NAME = "must start with '-- name: <the file's name> :one', ':many' or ':exec'"
TOO_LATE = "must say its name within 1023 bytes, as the server shows no more: shorten the header"
TAG = "must repeat its name after the first keyword: /* tasks/get_task */"
MORE_THAN_ONE = "must hold exactly one statement, with no semicolon but one at its end"


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
        ("SELECT", "-- buffers: few\nSELECT", 7, "cannot be read: -- buffers: few"),
        ("SELECT", "-- buffers: 4, grows\nSELECT", 7, "cannot be read: -- buffers: 4, grows"),
        ("SELECT", "-- buffers: 4\n-- buffers: 5\nSELECT", 2, "must say its buffers in one line"),
        ("/* tasks/get_task */ ", "", 7, TAG),
        ("/* tasks/get_task */", "/* tasks/read_task */", 7, TAG),
        (
            "AND id = $2\n",
            "AND id = $2; DELETE FROM tasks\n",
            10,
            MORE_THAN_ONE,
        ),
        ("AND id = $2\n", "AND id = $2;;\n", 10, MORE_THAN_ONE),
        ("AND id = $2\n", "AND id = $2; -- the end\n", 10, MORE_THAN_ONE),
        (GOOD, "SELECT 1\n", 1, NAME),
        (GOOD, "", 1, NAME),
    ],
)
def test_a_header_that_is_wrong_or_incomplete_is_refused_at_its_line(good: str, bad: str, line: int, why: str) -> None:
    assert good in GOOD

    with pytest.raises(StatementError) as refused:
        parse("tasks/get_task", GOOD.replace(good, bad))

    assert str(refused.value) == f"sql/tasks/get_task.sql:{line}: {why}"


def test_a_header_leaves_room_for_the_name_in_what_the_server_shows() -> None:
    """Counted in bytes: ü has two."""

    def with_line(bytes_too_many: int) -> str:
        header, name = GOOD.partition("SELECT")[0], "SELECT /* tasks/get_task */"
        room = 1023 - len(f"{header}-- ü\n{name}") - 1
        return GOOD.replace("SELECT", f"-- ü{'x' * (room + bytes_too_many)}\nSELECT")

    assert parse("tasks/get_task", with_line(0)).name == "tasks/get_task"
    with pytest.raises(StatementError) as refused:
        parse("tasks/get_task", with_line(1))

    assert str(refused.value) == f"sql/tasks/get_task.sql:8: {TOO_LATE}"


def test_a_missing_file_and_a_wrong_kind_are_refused() -> None:
    with pytest.raises(StatementError, match=r"^sql/tasks/steal_task\.sql:1: is missing$"):
        statement("tasks/steal_task", "one")
    with pytest.raises(StatementError, match=r"^sql/tasks/get_task\.sql:1: is :one, and is used as :many$"):
        statement("tasks/get_task", "many")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, "nothing"),
        ({"user_id": 1}, "user_id"),
        ({"user_id": 1, "id": 2}, "user_id, id"),
        ({"user_id": 1, "task_id": 2, "title": 3}, "user_id, task_id, title"),
    ],
)
def test_a_call_with_other_parameters_is_refused_and_names_the_file_and_no_value(
    values: dict[str, object], names: str
) -> None:
    with pytest.raises(StatementCallError) as refused:
        parse("tasks/get_task", GOOD).arguments(values)

    assert str(refused.value) == f"sql/tasks/get_task.sql takes user_id, task_id, not {names}"


LIST = """\
-- name: list_tasks :many
-- The owner's tasks.
-- $1 user_id  uuid
-- -> id       uuid
-- -> user_id  uuid
-- index: tasks_pkey
SELECT /* tasks/list_tasks */ id, user_id
FROM tasks
WHERE user_id = $1
LIMIT 9
"""
AS_LIST = GOOD.replace("-- -> id  uuid", "-- -> as tasks/list_tasks")


def tree(root: Path, **texts: str) -> Path:
    (root / "tasks").mkdir()
    for name, text in texts.items():
        (root / "tasks" / f"{name}.sql").write_text(text)
    return root


def test_columns_as_those_of_another_file_are_its_columns(tmp_path: Path) -> None:
    root = tree(tmp_path, list_tasks=LIST, get_task=AS_LIST)

    assert read("tasks/get_task", root).columns == (("id", "uuid"), ("user_id", "uuid"))


def test_columns_of_another_file_may_be_followed_by_more(tmp_path: Path) -> None:
    longer = AS_LIST.replace("-- index", "-- -> place  bigint\n-- index")
    root = tree(tmp_path, list_tasks=LIST, get_task=longer)

    assert read("tasks/get_task", root).columns == (("id", "uuid"), ("user_id", "uuid"), ("place", "bigint"))


@pytest.mark.parametrize(
    ("list_tasks", "why"),
    [
        (None, "sql/tasks/list_tasks.sql:1: is missing"),
        (LIST.replace("-- -> id       uuid", "-- -> id"), "sql/tasks/list_tasks.sql:4: cannot be read: -- -> id"),
        (
            LIST.replace("-- -> id       uuid", "-- -> as tasks/get_task"),
            "sql/tasks/list_tasks.sql:4: must list its columns itself, because another file refers to it",
        ),
    ],
)
def test_a_reference_to_a_file_that_lists_no_columns_is_refused_at_its_line(
    tmp_path: Path, list_tasks: str | None, why: str
) -> None:
    root = tree(tmp_path, get_task=AS_LIST, **({"list_tasks": list_tasks} if list_tasks else {}))

    with pytest.raises(StatementError) as refused:
        read("tasks/get_task", root)

    assert str(refused.value) == f"sql/tasks/get_task.sql:5: cannot take the columns of tasks/list_tasks: {why}"


def test_a_reader_of_columns_reads_them_by_name_whatever_their_positions() -> None:
    parsed = parse("tasks/list_tasks", LIST)

    row = ("the id", "the owner", "more")
    assert parsed.columns_reader("user_id", "id")(row) == ("the owner", "the id")
    assert parsed.columns_reader("id", "user_id")(row) == ("the id", "the owner")
    with pytest.raises(StatementError, match=r"^sql/tasks/list_tasks\.sql:1: does not return title$"):
        parsed.columns_reader("id", "title")
