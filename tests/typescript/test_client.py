"""The programs of docs/frontends.md: types generated from the document, compiled in strict mode, run."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import Service

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None, reason="node and npm are not installed"
)

FILES = ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", "client.ts", "todo.ts")


def run(project: Path, *command: str, **environment: str) -> str:
    path = {"PATH": f"{project / 'node_modules' / '.bin'}:{Path(str(shutil.which('node'))).parent}:/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=project, env=path | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("typescript")
    for name in FILES:
        shutil.copy(Path(__file__).parent / name, project)
    done = subprocess.run(
        [str(shutil.which("npm")), "ci", "--no-audit", "--no-fund"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_documented_program_compiles_in_strict_mode_and_runs(project: Path, service: Service) -> None:
    (project / "openapi.json").write_text(json.dumps(service.http.get("/docs/openapi.json").json()))
    run(project, "openapi-typescript", "openapi.json", "-o", "api.d.ts")

    run(project, "tsc", "--strict", "--project", ".")

    assert run(project, "node", "client.js", API=service.url) == "[ 'Buy milk: false' ] true\n"


def test_wrong_field_or_path_in_the_program_does_not_compile(project: Path, service: Service) -> None:
    """Proves that the generated types are not `any`."""
    (project / "openapi.json").write_text(json.dumps(service.http.get("/docs/openapi.json").json()))
    run(project, "openapi-typescript", "openapi.json", "-o", "api.d.ts")
    right = (project / "client.ts").read_text()

    for good, bad in (('title: "Buy milk"', "title: 7"), ("is_completed", "completed"), ("/api/tasks", "/api/task")):
        (project / "client.ts").write_text(right.replace(good, bad))
        with pytest.raises(AssertionError, match=r"error TS\d+"):
            run(project, "tsc", "--strict", "--project", ".")
    (project / "client.ts").write_text(right)


def test_documented_fetch_wrapper_compiles_and_runs(project: Path, service: Service) -> None:
    (project / "openapi.json").write_text(json.dumps(service.http.get("/docs/openapi.json").json()))
    run(project, "openapi-typescript", "openapi.json", "-o", "api.d.ts")
    run(project, "tsc", "--strict", "--project", ".")
    (project / "use.js").write_text(
        'import { todo } from "./todo.js";\n'
        'const account = { email: `${crypto.randomUUID()}@example.com`, password: "correct horse" };\n'
        'const { token } = await todo("POST", "/api/auth/signup", undefined, account);\n'
        'const task = await todo("POST", "/api/tasks", token, { title: "Buy milk" });\n'
        'console.log((await todo("DELETE", `/api/tasks/${task.id}`, token)).message);\n'
        'await todo("GET", `/api/tasks/${task.id}`, token).catch((error) => console.log(error.code, error.message));\n'
    )

    said = run(project, "node", "use.js", NEXT_PUBLIC_API_URL=service.url)

    assert said == "Task deleted successfully\nNOT_FOUND Task not found\n"
