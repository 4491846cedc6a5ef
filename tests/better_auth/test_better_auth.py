"""A real Better Auth server: its tokens are accepted here, also after a key rotation."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jwt
import pytest

from tests.support import FEBRUARY, JANUARY, Service, User, free_port, new_email

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None, reason="node and npm are not installed"
)

FILES = ("package.json", "package-lock.json", ".npmrc", "server.js")


@pytest.fixture(scope="module")
def better_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that publishes no key yet: it creates one with its first token."""
    project = tmp_path_factory.mktemp("better-auth")
    for name in FILES:
        shutil.copy(Path(__file__).parent / name, project)
    installed = subprocess.run(
        [str(shutil.which("npm")), "ci", "--no-audit", "--no-fund"],
        cwd=project, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stdout + installed.stderr
    port = free_port()
    server = subprocess.Popen(
        [str(shutil.which("node")), "server.js"],
        cwd=project, env={"PORT": str(port), "BETTER_AUTH_TELEMETRY": "0"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def signed_up_there(better_auth: str, email: str) -> Iterator[httpx.Client]:
    """A client that has signed up and holds the session cookie."""
    with httpx.Client(base_url=better_auth, headers={"Origin": better_auth}) as there:
        account = {"email": email, "password": "correct horse", "name": "Ann"}
        assert there.post("/api/auth/sign-up/email", json=account).status_code == 200
        yield there


def token_of(there: httpx.Client) -> str:
    token: str = there.get("/api/auth/token").json()["token"]
    return token


def test_better_auth_token_is_accepted_before_and_after_a_key_rotation(
    better_auth: str, start_service: Callable[..., Service]
) -> None:
    service = start_service(AUTH_ISSUERS=better_auth)
    email = new_email()

    with signed_up_there(better_auth, email) as there:
        before = token_of(there)
        answer = service.http.get("/api/auth/me", headers={"Authorization": f"Bearer {before}"})
        assert answer.status_code == 200, answer.text
        ann = User(service.http, answer.json()["user"]["id"], email, before)
        assert answer.json()["user"]["email"] == email
        task = ann.creates(FEBRUARY)

        there.get("/rotate")
        after = token_of(there)
        assert jwt.get_unverified_header(after)["kid"] != jwt.get_unverified_header(before)["kid"]
        again = User(service.http, ann.id, email, after)
        assert again.get("/api/tasks").json() == FEBRUARY.list_of(task)
        assert again.creates(JANUARY)["user_id"] == ann.id


def test_two_users_of_better_auth_see_only_their_own_tasks(
    better_auth: str, start_service: Callable[..., Service]
) -> None:
    service = start_service(AUTH_ISSUERS=better_auth)
    users = []
    for _ in range(2):
        email = new_email()
        with signed_up_there(better_auth, email) as there:
            users.append(User(service.http, "", email, token_of(there)))
    ann, bob = users

    task = ann.creates(FEBRUARY)

    assert bob.get("/api/tasks").json() == FEBRUARY.list_of()
    assert bob.get(f"/api/tasks/{task['id']}").status_code == 404
    assert ann.get(f"/api/tasks/{task['id']}").json() == task
