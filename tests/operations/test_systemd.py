"""deploy/systemd/: systemd accepts the units, and their numbers agree with the settings."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from service.server.places import spare_of
from service.server.sanic_app import longest_stop
from service.server.sockets import OTHER_FILES
from service.settings.all_settings import SETTINGS_WITH_FILE, Settings, load_settings
from tests.support import ROOT, SECRET, command

UNITS = ROOT / "deploy/systemd"
PYTHON = "/opt/todo/venv/bin/python"
SANDBOX = "\nDynamicUser=yes\n"  # its first line
URL = "postgresql://todo:0123abc@127.0.0.1/todo"

SYSTEMD_ANALYZE = shutil.which("systemd-analyze") or "systemd-analyze"
HAS_SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def options(name: str) -> dict[str, list[str]]:
    """The options of all sections; an option may be given several times."""
    found = defaultdict(list)
    for option, value in re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(), re.MULTILINE):
        found[option].append(value)
    return found


def from_credentials(name: str, directory: Path) -> Settings:
    """The settings that the unit reads from its credentials, with other values than the environment of the tests."""
    unit = options(name)
    for credential, _ in (each.split(":") for each in unit["LoadCredential"]):
        (directory / credential).write_text(SECRET if "SECRET" in credential else URL)
    given = dict(each.split("=", 1) for each in unit["Environment"][0].split())
    assert {each.removesuffix("_FILE") for each in given} <= set(SETTINGS_WITH_FILE)
    lines = [f"{each}={path.replace('%d', str(directory))}\n" for each, path in given.items()]
    (directory / "env").write_text("".join(lines))
    return load_settings(_env_file=directory / "env")


@HAS_SYSTEMD
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    """With this Python in place of the installed one, because systemd looks for the program."""
    files = []
    for unit in UNITS.glob("*.service"):
        files.append(tmp_path / unit.name)
        files[-1].write_text(unit.read_text().replace(PYTHON, sys.executable))

    verify = [SYSTEMD_ANALYZE, "verify", *map(str, files)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@HAS_SYSTEMD
@pytest.mark.parametrize("name", ["todo.service", "todo-migrate.service"])
def test_systemd_rates_the_sandbox_as_ok(name: str) -> None:
    rate = [SYSTEMD_ANALYZE, "security", "--offline=true", "--threshold=15", str(UNITS / name)]  # 15: 1.5 of 10

    done = subprocess.run(rate, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


def test_both_units_have_the_same_sandbox() -> None:
    service, migrate = ((UNITS / f"{name}.service").read_text() for name in ("todo", "todo-migrate"))

    sandbox = service.partition(SANDBOX)[2].partition("\n\n")[0]
    assert "\nProtectSystem=strict\n" in sandbox
    assert migrate.partition(SANDBOX)[2].strip() == sandbox
    # In this order. Without the last one no password can be hashed: each hashing thread lowers its own priority.
    assert options("todo.service")["SystemCallFilter"] == ["@system-service", "~@privileged @resources", "setpriority"]


def test_the_service_has_time_to_stop_and_a_file_for_each_connection() -> None:
    unit = options("todo.service")
    settings = load_settings(_env_file=None)
    places = settings.max_connections + 2 * spare_of(settings.max_connections)

    assert int(unit["TimeoutStopSec"][0]) >= 2 * longest_stop(settings)
    assert unit["KillMode"] == ["mixed"]
    assert int(unit["LimitNOFILE"][0]) >= places + settings.pool_max + OTHER_FILES
    assert unit["OOMPolicy"] == ["continue"]


def test_a_bad_setting_stops_the_restarts(tmp_path: Path) -> None:
    done = command(tmp_path, DATABASE_URL="mysql://db/todo")

    unit = options("todo.service")
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == [str(done.returncode)]


def test_each_unit_has_its_own_secrets_as_credentials(tmp_path: Path) -> None:
    service = from_credentials("todo.service", tmp_path)
    migrate = from_credentials("todo-migrate.service", tmp_path)

    assert (service.dsn, service.secret) == (URL, SECRET)
    assert (migrate.require_direct_url(), migrate.secret) == (URL, None)
    credentials = {name: options(name)["LoadCredential"] for name in ("todo.service", "todo-migrate.service")}
    assert credentials == {
        "todo.service": ["DATABASE_URL:/etc/todo/DATABASE_URL", "BETTER_AUTH_SECRET:/etc/todo/BETTER_AUTH_SECRET"],
        "todo-migrate.service": ["DATABASE_DIRECT_URL:/etc/todo/DATABASE_DIRECT_URL"],
    }


def test_the_units_run_the_commands_of_the_service_from_the_documented_folder() -> None:
    units = [options(name) for name in ("todo.service", "todo-migrate.service")]

    assert [each["ExecStart"] for each in units] == [[f"{PYTHON} -m service"], [f"{PYTHON} -m service migrate"]]
    assert [each["WorkingDirectory"] for each in units] == [["/opt/todo"]] * 2
    readme = (ROOT / "deploy/README.md").read_text()
    assert f"{Path(PYTHON).parent}/pip install --require-hashes -r /opt/todo/requirements.txt" in readme
