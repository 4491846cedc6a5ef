"""Shared by the tests of failures: waits, and the answers of a service whose database is away."""

import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.support import PASSWORD, Service, User, new_email

DATABASE_ERROR = {"error": "A database error occurred", "code": "DATABASE_ERROR"}
UNHEALTHY = {"status": "unhealthy"}


def is_waiting_for_a_lock(database: psycopg.Connection) -> bool:
    found = database.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found.rowcount > 0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_every_answer_is_an_error(service: Service, user: User, task: dict[str, Any]) -> None:
    for prefix in ("/api", "/v1/api"):
        path = f"{prefix}/tasks/{task['id']}"
        for answer in (
            user.get(f"{prefix}/tasks"),
            user.post(f"{prefix}/tasks", {"title": "x"}),
            user.get(path),
            user.put(path, {"title": "x"}),
            user.delete(path),
            user.get(f"{prefix}/tasks/no-id"),
            service.http.post(f"{prefix}/auth/login", json={"email": user.email, "password": PASSWORD}),
            service.http.post(f"{prefix}/auth/signup", json={"email": new_email(), "password": PASSWORD}),
        ):
            assert (answer.status_code, answer.json()) == (500, DATABASE_ERROR)
    health, live = service.http.get("/health"), service.http.get("/health/live")
    assert (health.status_code, health.json()) == (503, UNHEALTHY)
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
