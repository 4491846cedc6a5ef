"""What keeps statements cheap: room for updates on the pages of tasks."""

import pytest

from service.db import migrations
from service.db.admin_session import connected, rows
from service.domain.accounts import CREATE_USER

ROOM_FOR_UPDATES = "0012_leave_room_for_updates"


@pytest.mark.parametrize(("last", "stays"), [(ROOM_FOR_UPDATES, True), ("0010_know_networks", False)])
def test_an_updated_task_of_a_filled_page_stays_on_its_page_since_0012(
    empty_database: str, last: str, stays: bool
) -> None:
    migrations.apply(empty_database, last)
    with connected(empty_database) as connection:
        [user] = rows(connection, CREATE_USER, email="a@example.com", password_hash="x", network=b"x")
        connection.execute(
            "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 999)", [user["id"]]
        )
        connection.execute("UPDATE tasks SET is_completed = true WHERE ctid = '(3,1)'")
        found = connection.execute("SELECT ctid::text LIKE '(3,%)' FROM tasks WHERE is_completed").fetchall()

    assert found == [(stays,)]
