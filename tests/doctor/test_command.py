"""python -m service doctor as an operator runs it: its output, its exit code, and that it changes nothing."""

import json
from pathlib import Path

import pytest

from service.cli import embedded_postgres
from service.db import migrations
from tests import support

DEFAULT_LIMITS = dict.fromkeys(support.NO_LIMITS, "")  # an empty value counts as not set
NOT_RUNNING = (
    "note: database/not-running: no embedded database runs in .data, and DATABASE_URL is not set; "
    "the database was not looked at; start the service: make run"
)


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({}, 0, [NOT_RUNNING, "errors: 0, warnings: 0, notes: 1"]),
        (
            {"TASKS_PER_USER": 0},
            1,
            [
                (
                    "warning: settings/limit-off: TASKS_PER_USER is 0; one user can fill the disk; set "
                    "TASKS_PER_USER=10000"
                ),
                NOT_RUNNING,
                "errors: 0, warnings: 1, notes: 1",
            ],
        ),
        (
            {"POOL_MAX": "many", "BETTER_AUTH_SECRET": "too short"},
            2,
            [
                (
                    "error: settings/bad: BETTER_AUTH_SECRET: should be at least 32 bytes long; "
                    "the service does not start; see Settings in docs/operating.md"
                ),
                (
                    "error: settings/bad: POOL_MAX: should be a valid integer, unable to parse string as an integer; "
                    "the service does not start; see Settings in docs/operating.md"
                ),
                "errors: 2, warnings: 0, notes: 0",
            ],
        ),
    ],
)
def test_a_line_for_each_finding_and_the_exit_code_of_the_worst(
    tmp_path: Path, settings: dict[str, object], code: int, said: list[str]
) -> None:
    shown = support.command(tmp_path, "doctor", **DEFAULT_LIMITS, **settings)

    assert (shown.returncode, shown.stdout.splitlines(), shown.stderr) == (code, said, "")
    assert list(tmp_path.iterdir()) == []


def test_json_for_a_program(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TASKS_PER_USER=0\nPOOLMAX=5\n")

    shown = support.command(tmp_path, "doctor", "--json", **DEFAULT_LIMITS)

    assert shown.returncode == 1
    assert json.loads(shown.stdout) == {
        "errors": 0,
        "warnings": 1,
        "notes": 2,
        "findings": [
            {
                "severity": "warning",
                "check": "settings/limit-off",
                "wrong": "TASKS_PER_USER is 0",
                "effect": "one user can fill the disk",
                "cure": "set TASKS_PER_USER=10000",
            },
            {
                "severity": "note",
                "check": "settings/unknown",
                "wrong": "POOLMAX is no setting",
                "effect": "it is ignored",
                "cure": "if it was meant so, set POOL_MAX",
            },
            {
                "severity": "note",
                "check": "database/not-running",
                "wrong": "no embedded database runs in .data, and DATABASE_URL is not set",
                "effect": "the database was not looked at",
                "cure": "start the service: make run",
            },
        ],
    }


def test_the_embedded_database_of_a_running_service_is_no_finding(tmp_path: Path) -> None:
    with embedded_postgres.running(tmp_path / "data") as url:
        migrations.apply(url)
        shown = support.command(tmp_path, "doctor", DATA_DIR=tmp_path / "data", **DEFAULT_LIMITS)

    assert (shown.returncode, shown.stdout) == (0, "errors: 0, warnings: 0, notes: 0\n")
