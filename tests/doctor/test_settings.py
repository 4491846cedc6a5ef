"""python -m service doctor: settings that the service accepts and an operator would not want."""

import json
from typing import Any

import pytest

from tests.doctor.diagnosis import lines, surroundings
from tests.support import SECRET

NOWHERE = "postgresql://todo:a-password-of-32-characters-and-more@127.0.0.1:1/todo"
ENTRY = {"issuer": "https://one.example", "secret": SECRET}
NEW = "set BETTER_AUTH_SECRET=$(openssl rand -hex 32)"
PROXIES = (
    "all clients count as one address: together they are limited, and one who guesses passwords locks all out; "
    "set TRUSTED_PROXIES=1, or as many as append to X-Forwarded-For"
)


def test_the_defaults_are_no_finding() -> None:
    assert lines(None) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"better_auth_secret": "abababababababababababababababab"},
            (
                "warning: settings/weak-secret: BETTER_AUTH_SECRET repeats a few characters; "
                f"who guesses it can sign a token of any user; {NEW}, as in a rotation"
            ),
        ),
        (
            {"better_auth_secret_old": SECRET},
            (
                "warning: settings/old-secret: BETTER_AUTH_SECRET_OLD is BETTER_AUTH_SECRET; "
                f"the rotation has changed nothing: who knows the old secret can sign tokens; {NEW}"
            ),
        ),
        (
            {
                "auth_issuers": json.dumps(
                    [ENTRY | {"secret": f"{SECRET}-of-one"}, ENTRY | {"issuer": "https://two.example"}]
                )
            },
            (
                "error: settings/shared-secret: the secret of entry 2 of AUTH_ISSUERS is BETTER_AUTH_SECRET; "
                f"that issuer can sign a token of any user here; {NEW}, as in a rotation"
            ),
        ),
        (
            {"login_failures": 0},
            (
                "warning: settings/limit-off: LOGIN_FAILURES is 0; "
                "a password can be guessed without end from one address; set LOGIN_FAILURES=10"
            ),
        ),
        (
            {"login_failures_per_address": 0},
            (
                "warning: settings/limit-off: LOGIN_FAILURES_PER_ADDRESS is 0; "
                "one address can try passwords of any number of emails; set LOGIN_FAILURES_PER_ADDRESS=100"
            ),
        ),
        (
            {"login_failures_per_email": 0},
            (
                "warning: settings/limit-off: LOGIN_FAILURES_PER_EMAIL is 0; many addresses together can guess the "
                "password of one email without end; set LOGIN_FAILURES_PER_EMAIL=100"
            ),
        ),
        (
            {"signups_per_address": 0},
            (
                "warning: settings/limit-off: SIGNUPS_PER_ADDRESS is 0; one address can fill the table of users; "
                "set SIGNUPS_PER_ADDRESS=100"
            ),
        ),
        (
            {"tasks_per_user": 0},
            "warning: settings/limit-off: TASKS_PER_USER is 0; one user can fill the disk; set TASKS_PER_USER=10000",
        ),
        (
            {"connections_per_address": 0},
            (
                "warning: settings/limit-off: CONNECTIONS_PER_ADDRESS is 0, and no proxy is in front; "
                "one address can take all MAX_CONNECTIONS; leave CONNECTIONS_PER_ADDRESS out"
            ),
        ),
        (
            {"frontend_url": "http://localhost:3000,https://app.example"},
            (
                "warning: settings/trusted-proxies: TRUSTED_PROXIES is 0; FRONTEND_URL has https://app.example, "
                "and pages "
                f"of https reach this service through a proxy; {PROXIES}"
            ),
        ),
    ],
)
def test_a_bad_setting(settings: dict[str, Any], said: str) -> None:
    assert lines(None, **settings) == [said]


@pytest.mark.parametrize(
    "settings",
    [
        {"connections_per_address": 0, "trusted_proxies": 1},
        {"frontend_url": "https://app.example", "trusted_proxies": 1},
        {"frontend_url": "http://app.example"},
        {"better_auth_secret_old": f"{SECRET}-of-before"},
    ],
)
def test_settings_that_are_right_where_they_are_used(settings: dict[str, Any]) -> None:
    assert lines(None, **settings) == []


def test_a_platform_has_a_load_balancer_in_front() -> None:
    around = surroundings({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})

    assert lines(None, around) == [
        (
            "warning: settings/trusted-proxies: TRUSTED_PROXIES is 0; this is Kubernetes, whose load balancer is "
            "in front; "
            f"{PROXIES}"
        )
    ]
    assert lines(None, around, trusted_proxies=1) == []


def test_a_name_that_is_nearly_a_setting() -> None:
    around = surroundings({"POOLMAX": "5", "WORKER": "2", "WORKERS": "2", "HOSTNAME": "here", "port": "1", "HOME": "/"})

    assert lines(None, around) == [
        "note: settings/unknown: POOLMAX is no setting; it is ignored; if it was meant so, set POOL_MAX"
    ]


def test_secrets_of_a_database() -> None:
    without = lines(NOWHERE, better_auth_secret=None)
    shared = lines(NOWHERE, database_direct_url=NOWHERE, better_auth_secret="a-password-of-32-characters-and-more")

    assert without[0] == (
        f"error: settings/no-secret: BETTER_AUTH_SECRET is not set; the service does not start; {NEW}"
    )
    assert shared[:2] == [
        f"warning: settings/shared-secret: BETTER_AUTH_SECRET is the password in {name}; "
        f"who may read the database can sign a token of any user; {NEW}, as in a rotation"
        for name in ("DATABASE_URL", "DATABASE_DIRECT_URL")
    ]
