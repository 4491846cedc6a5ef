"""The alert rules: valid, each with its unit tests and its page, and in step with the routes of the service."""

import builtins
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from deploy.grafana.panels import PANELS
from service.app import CONTRACTS
from service.openapi.document import openapi
from tests.documents import DOCS, Link, leads_somewhere, rows
from tests.prometheus import FILES, RULES, needs_promtool
from tests.support import PASSWORD, Service, new_email

PAGE = DOCS / "alerts.md"
ALERTS: list[Any] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
NAMES = [each["alert"] for each in ALERTS]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool") or "promtool"
    return subprocess.run([program, *arguments], cwd=FILES, capture_output=True, text=True, timeout=60, check=False)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "todo.rules.test.yml")],
    ids=["the configuration", "the unit tests of the rules"],
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_each_alert_has_a_unit_test_in_which_it_does_not_fire_then_fires_and_clears() -> None:
    tests: list[Any] = yaml.safe_load((FILES / "todo.rules.test.yml").read_text())["tests"]
    fires = {
        (each["alert_rule_test"][0]["alertname"], tuple(bool(at["exp_alerts"]) for at in each["alert_rule_test"]))
        for each in tests
    }

    assert {name for name, fired in fires if fired == (False, True, False)} == set(NAMES)


def test_each_alert_has_an_urgency_a_summary_a_description_and_a_page() -> None:
    assert list(dict.fromkeys(NAMES)) == NAMES
    for alert in ALERTS:
        assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
        assert alert["alert"].startswith("Todo")
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert list(alert["annotations"]) == ["summary", "description", "runbook_url"]
        assert alert["annotations"]["runbook_url"] == f"docs/alerts.md#{alert['alert'].lower()}"
        assert leads_somewhere(Link("README.md", alert["annotations"]["runbook_url"]))


def test_the_page_of_alerts_has_a_row_and_a_section_for_each_and_no_other() -> None:
    text = PAGE.read_text()

    found = [row.strip("| ").split(" | ")[1:3] for row in rows(text)]
    assert found == [
        [f"[{alert['alert']}](#{alert['alert'].lower()})", alert["labels"]["severity"]] for alert in ALERTS
    ]
    assert re.findall(r"^## (Todo\w+)$", text, re.MULTILINE) == NAMES


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def test_the_page_of_alerts_names_panels_of_the_dashboard() -> None:
    named = set(re.findall(r'"([^"]+)"', without_code(PAGE.read_text())))

    assert len(named) > 3
    assert named <= {panel.title for panel in PANELS}


def test_the_page_of_alerts_names_errors_that_exist() -> None:
    errors = set(re.findall(r"`([A-Z]\w+Error)\b", PAGE.read_text()))

    assert len(errors) > 10
    assert [name for name in errors if not hasattr(asyncpg, name) and not hasattr(builtins, name)] == []


def test_the_queries_of_the_page_run(database: psycopg.Connection) -> None:
    queries = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)

    columns = [[column.name for column in database.execute(query.encode()).description or []] for query in queries]

    assert columns == [["usename", "application_name", "state", "count"], ["pid", "blocked_by", "since", "query"]]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_commands_of_the_page_read_a_real_log(start_service: Callable[..., Service], tmp_path: Path) -> None:
    service = start_service()
    service.http.get("/health")
    service.http.post("/api/auth/login", json={"email": new_email(), "password": PASSWORD})
    (tmp_path / "todo.log").write_text(service.log.read_text().replace('"status":401', '"status":500'))
    commands = re.findall(r"^ *(jq .*)$", PAGE.read_text(), re.MULTILINE)

    printed = [subprocess.check_output(["/bin/sh", "-ec", each], cwd=tmp_path, text=True) for each in commands]

    assert [" ".join(text.split()) for text in printed] == [
        "1 500 INVALID_CREDENTIALS /api/auth/login", "1 127.0.0.1"
    ]  # fmt: skip


def test_the_slow_requests_leave_out_the_routes_that_are_streamed_or_hash_a_password() -> None:
    [slow] = [each["expr"] for each in ALERTS if each["alert"] == "TodoRequestsSlow"]
    [left_out] = re.findall(r'http_route!~"([^"]+)"', slow)

    assert {path for path in openapi(CONTRACTS)["paths"] if re.fullmatch(left_out, path)} == {
        "/v1/api/tasks", "/api/auth/me/export", "/api/auth/signup", "/api/auth/login", "/api/auth/password",
        "/v1/api/auth/signup", "/v1/api/auth/login",
    }  # fmt: skip


def test_prometheus_scrapes_the_service_of_compose_as_the_job_that_the_rules_name() -> None:
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())

    assert config["rule_files"] == [RULES.name]
    assert config["scrape_configs"] == [{"job_name": "todo", "static_configs": [{"targets": ["service:9100"]}]}]
    assert all("job=" not in each["expr"] or 'job="todo"' in each["expr"] for each in ALERTS)
