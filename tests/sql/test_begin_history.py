"""sql/begin_history.sql, which is run after a restore. tests/operations/test_backup.py restores for real."""

import threading
from uuid import UUID

import psycopg

from service.db.statements import SQL
from tests.databases import Urls
from tests.sql.test_lock_order import wait_until_blocked

SCRIPT = (SQL / "begin_history.sql").read_text().encode()
LOW, HIGH = UUID(int=1), UUID(int=2**128 - 1)


def add_users(connection: psycopg.Connection, *ids: UUID) -> None:
    """In this order, which is then that of the rows in the table."""
    for user_id in ids:
        connection.execute(
            "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'x')", [user_id, f"{user_id}@x"]
        )


def set_number(connection: psycopg.Connection, user_id: UUID, number: int) -> None:
    insert = "INSERT INTO task_counters (user_id, task_count, version) VALUES (%s, 0, %s)"
    connection.execute(
        f"{insert} ON CONFLICT (user_id) DO UPDATE SET version = excluded.version".encode(), [user_id, number]
    )


def begin(connection: psycopg.Connection) -> dict[UUID, int]:
    """Returns the highest number of each user."""
    connection.execute(SCRIPT)
    return dict(connection.execute("SELECT user_id, version FROM task_counters").fetchall())


def test_two_restores_of_one_backup_go_on_with_different_numbers(own_database: Urls) -> None:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        add_users(connection, LOW, HIGH)
        found = []
        for _ in range(2):
            set_number(connection, LOW, 5)  # the backup
            connection.execute("DELETE FROM task_counters WHERE user_id = %s", [HIGH])
            found.append(begin(connection))
            set_number(connection, LOW, found[-1][LOW] + 1)  # a write after the restore

    first, second = found
    assert 5 < first[LOW] == first[HIGH] < second[LOW] == second[HIGH] < 2**53  # JavaScript reads them exactly
    assert second[LOW] > first[LOW] + 1


def test_a_clock_that_was_set_back_takes_no_number_back(own_database: Urls) -> None:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        add_users(connection, LOW)
        set_number(connection, LOW, 2**52)  # of the year 2112

        assert begin(connection)[LOW] > 2**52


def test_each_new_history_has_another_id_and_stands_alone(own_database: Urls) -> None:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        ids = []
        for _ in range(2):
            begin(connection)
            ids += connection.execute("SELECT id FROM histories").fetchall()

    assert len(set(ids)) == len(ids) == 2


def test_counters_are_locked_in_the_order_of_the_service_whatever_the_order_of_the_rows(own_database: Urls) -> None:
    with (
        psycopg.connect(own_database.admin, autocommit=True) as connection,
        psycopg.connect(own_database.admin, autocommit=True) as script,
        psycopg.connect(own_database.admin) as other,
    ):
        add_users(connection, HIGH, LOW)
        for user_id in (HIGH, LOW):
            set_number(connection, user_id, 5)
        other.execute("SELECT FROM task_counters WHERE user_id = %s FOR UPDATE", [LOW])
        running = threading.Thread(target=script.execute, args=[SCRIPT])
        running.start()
        try:
            wait_until_blocked(own_database.admin, script.info.backend_pid)
            # It waits for the lowest, and holds none of the others meanwhile.
            other.execute("SELECT FROM task_counters WHERE user_id = %s FOR UPDATE NOWAIT", [HIGH])
        finally:
            other.rollback()
            running.join()

        assert connection.execute("SELECT min(version) > 5 FROM task_counters").fetchone() == (True,)
