"""The programs of docs/frontends.md: types generated from the document, compiled in strict mode, run."""

import json
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.support import FEBRUARY, Service, User

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None, reason="node and npm are not installed"
)

PROGRAMS = ("client.ts", "pages.ts", "todo.ts", "endless.ts", "due.ts", "create_once.ts", "two_devices.ts")
FILES = ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", *PROGRAMS)

FILL = """
INSERT INTO tasks (user_id, title, created_at)
SELECT %(user_id)s, 'Task ' || n, now() - n * interval '1 second' FROM generate_series(1, %(count)s) AS n
"""


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


@pytest.fixture(scope="module")
def compiled(project: Path, service: Service) -> Path:
    """The project with its programs compiled in strict mode."""
    (project / "openapi.json").write_text(json.dumps(service.http.get("/docs/openapi.json").json()))
    run(project, "openapi-typescript", "openapi.json", "-o", "api.d.ts")
    run(project, "tsc", "--strict", "--project", ".")
    return project


def test_documented_program_compiles_in_strict_mode_and_runs(compiled: Path, service: Service) -> None:
    assert run(compiled, "node", "client.js", API=service.url) == "[ 'Buy milk: false' ] true\n"


def test_documented_program_reads_all_of_2500_tasks_in_pages(
    compiled: Path, service: Service, ann: User, database: psycopg.Connection
) -> None:
    database.execute(FILL, {"user_id": ann.id, "count": 2500})

    assert run(compiled, "node", "pages.js", API=service.url, TOKEN=ann.token) == "2500\n"


def test_wrong_field_or_path_in_the_program_does_not_compile(compiled: Path) -> None:
    """Proves that the generated types are not `any`."""
    wrong = {
        "client.ts": [('title: "Buy milk"', "title: 7"), ("is_completed", "completed"), ("/api/tasks", "/api/task")],
        "pages.ts": [("limit: 500", 'limit: "500"'), ('"due_on"', '"due"'), ("next_cursor", "cursor")],
    }

    for name, changes in wrong.items():
        right = (compiled / name).read_text()
        for good, bad in changes:
            (compiled / name).write_text(right.replace(good, bad))
            with pytest.raises(AssertionError, match=r"error TS\d+"):
                run(compiled, "tsc", "--strict", "--noEmit", "--project", ".")
        (compiled / name).write_text(right)


def test_documented_fetch_wrapper_compiles_and_runs(compiled: Path, service: Service) -> None:
    (compiled / "use.js").write_text(
        'import { todo } from "./todo.js";\n'
        'const account = { email: `${crypto.randomUUID()}@example.com`, password: "correct horse" };\n'
        'const { token } = await todo("POST", "/api/auth/signup", undefined, account);\n'
        'const task = await todo("POST", "/api/tasks", token, { title: "Buy milk" });\n'
        'console.log((await todo("DELETE", `/api/tasks/${task.id}`, token)).message);\n'
        'await todo("GET", `/api/tasks/${task.id}`, token).catch((error) => console.log(error.code, error.message));\n'
        'console.log(await todo("POST", "/api/auth/logout-all", token));\n'
    )

    said = run(compiled, "node", "use.js", NEXT_PUBLIC_API_URL=service.url)

    assert said == "Task deleted successfully\nNOT_FOUND Task not found\nundefined\n"


def test_documented_replica_has_what_another_device_has_written(compiled: Path, service: Service, ann: User) -> None:
    (compiled / "devices.js").write_text(
        'import { replica } from "./two_devices.js";\n'
        'import { todo } from "./todo.js";\n'
        "const token = process.env.TOKEN;\n"
        "const copy = replica(token);\n"
        "const all = () => [...copy.tasks.values()].map((each) => each.title).join();\n"
        "const titles = async () => (await copy.refresh(), all());\n"
        'const make = (title) => todo("POST", "/api/tasks", token, { title });\n'
        'const [milk, bread] = [await make("milk"), await make("bread")];\n'
        "console.log(await titles());\n"
        "await todo('PUT', `/api/tasks/${milk.id}`, token, { title: 'oat milk' });\n"
        "await todo('DELETE', `/api/tasks/${bread.id}`, token);\n"
        "console.log(await titles(), await titles());\n"
    )

    said = run(compiled, "node", "devices.js", NEXT_PUBLIC_API_URL=service.url, TOKEN=ann.token)

    assert said == "milk,bread\noat milk oat milk\n"


def test_documented_create_makes_one_task_though_answers_are_lost(compiled: Path, service: Service, ann: User) -> None:
    (compiled / "once.js").write_text(
        'import { createOnce } from "./create_once.js";\n'
        "const send = globalThis.fetch;\n"
        "let lost = 2;\n"
        "globalThis.fetch = async (...request) => {\n"
        "  const answer = await send(...request);\n"
        '  if (lost-- > 0) throw new TypeError("fetch failed");\n'
        '  console.log(answer.status, answer.headers.get("Idempotency-Replayed"));\n'
        "  return answer;\n"
        "};\n"
        "const token = process.env.TOKEN;\n"
        'console.log((await createOnce(token, { title: "milk" })).title);\n'
        'await createOnce(token, { title: "" }).catch((error) => console.log(error.code));\n'
        "lost = 9;\n"
        'await createOnce(token, { title: "bread" }, 2).catch((error) => console.log(error.message, 7 - lost));\n'
    )

    said = run(compiled, "node", "once.js", NEXT_PUBLIC_API_URL=service.url, TOKEN=ann.token)

    assert said.splitlines() == ["201 true", "milk", "400 null", "VALIDATION_ERROR", "fetch failed 0"]
    assert [task["title"] for task in ann.get("/api/tasks").json()["tasks"]] == ["bread", "milk"]


def test_documented_endless_list_shows_each_task_once_while_others_are_created(
    compiled: Path, service: Service, ann: User, database: psycopg.Connection
) -> None:
    database.execute(FILL, {"user_id": ann.id, "count": 120})
    (compiled / "scroll.js").write_text(
        'import { endlessList } from "./endless.js";\n'
        'import { todo } from "./todo.js";\n'
        "const token = process.env.TOKEN;\n"
        'const list = endlessList(token, { is_completed: "false" });\n'
        "const answers = await Promise.all([list.more(), list.more()]); // a page scrolls twice: one request\n"
        "console.log(answers, list.shown.size);\n"
        'await todo("POST", "/api/tasks", token, { title: "New at the top" });\n'
        "while (await list.more());\n"
        "console.log(await list.more(), list.shown.size, [...list.shown.values()].at(-1).title);\n"
        'const broken = endlessList("none");\n'
        "const codes = [];\n"
        "for (let tries = 0; tries < 2; tries += 1) await broken.more().catch((error) => codes.push(error.code));\n"
        "console.log(codes);\n"
    )

    said = run(compiled, "node", "scroll.js", NEXT_PUBLIC_API_URL=service.url, TOKEN=ann.token)

    assert said.splitlines() == [
        "[ true, true ] 50",
        "false 120 Task 120",
        "[ 'INVALID_TOKEN', 'INVALID_TOKEN' ]",
    ]


DUE = {
    "no date": {},
    "all day yesterday": {"due_on": "2026-12-23"},
    "all day": {"due_on": "2026-12-24"},
    "all day tomorrow": {"due_on": "2026-12-25"},
    "at 09:29": {"due_on": "2026-12-24", "due_time": "09:29"},
    "at 09:30": {"due_on": "2026-12-24", "due_time": "09:30"},
    "09:29 in Berlin": {"due_on": "2026-12-24", "due_time": "09:29", "time_zone": "Europe/Berlin"},
    "23:59 in Berlin": {"due_on": "2026-12-24", "due_time": "23:59", "time_zone": "Europe/Berlin"},
    "17:29 in Tokyo": {"due_on": "2026-12-24", "due_time": "17:29", "time_zone": "Asia/Tokyo"},
    "07:00 in Tokyo": {"due_on": "2026-12-25", "due_time": "07:00", "time_zone": "Asia/Tokyo"},
    "12:00 in Honolulu": {"due_on": "2026-12-24", "due_time": "12:00", "time_zone": "Pacific/Honolulu"},
}
# 09:30 in Berlin, 17:30 in Tokyo, 22:30 of the day before in Honolulu
NOW = "2026-12-24T08:30:00Z"
OVERDUE = ("all day yesterday", "09:29 in Berlin", "17:29 in Tokyo")
GROUPS = {
    "Europe/Berlin": {
        "overdue": {*OVERDUE, "at 09:29"},
        "today": {"all day", "at 09:30", "23:59 in Berlin", "07:00 in Tokyo", "12:00 in Honolulu"},
        "later": {"all day tomorrow"},
    },
    "Asia/Tokyo": {
        "overdue": {*OVERDUE, "at 09:29", "at 09:30"},
        "today": {"all day"},
        "later": {"all day tomorrow", "23:59 in Berlin", "07:00 in Tokyo", "12:00 in Honolulu"},
    },
    "Pacific/Honolulu": {
        "overdue": {"09:29 in Berlin", "17:29 in Tokyo"},
        "today": {"all day yesterday"},
        "later": {
            "all day", "all day tomorrow", "at 09:29", "at 09:30", "23:59 in Berlin", "07:00 in Tokyo",
            "12:00 in Honolulu",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("zone", GROUPS)
def test_documented_groups_are_those_of_the_users_own_time_zone(
    compiled: Path, service: Service, ann: User, zone: str
) -> None:
    for title, fields in DUE.items():
        ann.creates(FEBRUARY, title, **fields)
    (compiled / "groups.js").write_text(
        'import { groupOf } from "./due.js";\n'
        'import { todo } from "./todo.js";\n'
        'const { tasks } = await todo("GET", "/api/tasks?is_completed=false&sort=due_on", process.env.TOKEN);\n'
        "const { NOW, ZONE } = process.env;\n"
        "console.log(JSON.stringify(tasks.map((task) => [groupOf(task, Date.parse(NOW), ZONE), task.title])));\n"
    )

    said = run(compiled, "node", "groups.js", NEXT_PUBLIC_API_URL=service.url, TOKEN=ann.token, NOW=NOW, ZONE=zone)

    found: dict[str, set[str]] = {}
    for group, title in json.loads(said):
        found.setdefault(group, set()).add(title)
    assert found == GROUPS[zone] | {"no date": {"no date"}}


@pytest.mark.parametrize(
    ("shown", "zone", "utc"),
    [
        ("2026-03-29T01:59", "Europe/Berlin", "2026-03-29T00:59"),
        ("2026-03-29T03:00", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-10-25T03:00", "Europe/Berlin", "2026-10-25T02:00"),
        ("2026-11-01T23:30", "America/New_York", "2026-11-02T04:30"),
        ("2027-01-01T00:15", "Asia/Kathmandu", "2026-12-31T18:30"),
        ("2026-12-31T12:00", "Pacific/Kiritimati", "2026-12-30T22:00"),
    ],
)
def test_documented_due_time_is_right_beside_a_change_of_the_clocks(
    compiled: Path, shown: str, zone: str, utc: str
) -> None:
    """A task is overdue from the minute after its due time."""
    task = {"due_on": shown[:10], "due_time": shown[11:], "time_zone": zone}
    (compiled / "clocks.js").write_text(
        'import { groupOf } from "./due.js";\n'
        f"const at = Date.parse('{utc}Z');\n"
        f"console.log([0, 60_000].map((after) => groupOf({json.dumps(task)}, at + after, 'UTC')).join());\n"
    )

    assert run(compiled, "node", "clocks.js") == "today,overdue\n"
