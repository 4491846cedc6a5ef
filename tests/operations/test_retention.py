"""The table of what is kept how long, in docs/operating.md, has every table of the database and the real times."""

import re
from datetime import timedelta

import pytest

from service.db.statements import SQL
from service.domain.rate_limits import SIGN_UP_WINDOW
from service.domain.tasks import SPARE_DAYS
from service.review import tables
from service.settings.all_settings import Settings
from tests.documents import DOCS, rows, section

TEXT = section(DOCS / "operating.md", "Retention and erasure")
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows(TEXT)]


def row_of(table: str) -> list[str]:
    [found] = [row for row in ROWS if f"`{table}`" in row[0]]
    return found


@pytest.mark.parametrize("table", tables.read(SQL)[0].tables)
def test_every_table_has_its_row(table: str) -> None:
    assert row_of(table)[1:] != ["", ""]


def test_no_row_is_of_a_table_that_is_not_there() -> None:
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0].partition(":")[0])}

    assert named - set(tables.read(SQL)[0].tables) == {"pg_dump"}


def test_the_times_are_those_of_the_settings_and_the_statements() -> None:
    default = {name: field.default for name, field in Settings.model_fields.items()}
    text = " ".join(TEXT.split())
    forget, find = (
        (SQL / f"{name}.sql").read_text() for name in ("maintenance/forget_deleted_users", "accounts/find_deleted_user")
    )
    [days] = {*re.findall(r"interval '(.+?)'", forget + find)}
    limits = [re.findall(r"LIMIT (\d+)", each.read_text()) for each in sorted((SQL / "maintenance").glob("*.sql"))]
    networks = int((SQL / "accounts/remember_network.sql").read_text().partition("[:")[2].partition("]")[0]) + 1

    assert timedelta(hours=1) == SIGN_UP_WINDOW
    assert row_of("attempts")[1] == (
        f"`LOGIN_WINDOW` ({default['login_window']:g} seconds) after a failed login, an hour after a sign-up"
    )
    assert row_of("deleted_outside_users")[1] == days
    assert f"digests of the newest {networks} networks" in row_of("users")[0]
    assert f"`JWT_EXPIRATION_HOURS` ({default['jwt_expiration_hours']})" in text
    assert f"`TOKEN_RECHECK` ({default['token_recheck']:g} seconds)" in text
    assert limits == [["10000"]] * 4
    assert row_of("idempotency_keys")[1] == f"`IDEMPOTENCY_HOURS` ({default['idempotency_hours']})"
    assert (row_of("deleted_tasks")[1], SPARE_DAYS) == (f"`CHANGES_DAYS` ({default['changes_days']}) and a day", 1)
    assert "deletes expired rows, 10 000 at a time" in text
