"""compose.yaml, read without a Docker engine: the order of the services, secrets, passed settings, limits."""

import re
from typing import Any

import pytest
import yaml

from service.settings.all_settings import Settings, load_settings
from tests.support import ROOT, SECRET

TEXT = (ROOT / "compose.yaml").read_text()
# https://hub.docker.com/_/postgres and https://github.com/edoburu/docker-pgbouncer
OF_POSTGRES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
OF_PGBOUNCER = {"DB_HOST", "DB_NAME", "DB_USER", "DB_PASSWORD", "AUTH_TYPE", "POOL_MODE", "DEFAULT_POOL_SIZE",
                "MAX_CLIENT_CONN"}  # fmt: skip
OUTSIDE = {"POSTGRES_PASSWORD": "0123abc", "BETTER_AUTH_SECRET": SECRET}


def services(**outside: str) -> dict[str, Any]:
    """The services of the file, with its variables replaced as Compose does it."""

    def value(found: re.Match[str]) -> str:
        name, when_empty, text = found.groups()
        if outside.get(name):
            return outside[name]
        assert when_empty == ":-", f"{name}: {text}"
        return str(text)

    def filled_in(part: Any) -> Any:
        match part:
            case str():
                return re.sub(r"\$\{([A-Z_]+)(:[-?])([^}]*)\}", value, part)
            case list():
                return [filled_in(each) for each in part]
            case dict():
                return {name: filled_in(each) for name, each in part.items()}
        return part

    found: dict[str, Any] = filled_in(yaml.safe_load(TEXT))["services"]
    return found


def dependencies(service: dict[str, Any]) -> dict[str, str]:
    return {name: each["condition"] for name, each in service.get("depends_on", {}).items()}


def test_migrate_waits_for_a_healthy_database_and_the_service_for_migrate() -> None:
    found = services(**OUTSIDE)

    assert {name: dependencies(each) for name, each in found.items()} == {
        "database": {},
        "migrate": {"database": "service_healthy"},
        "service": {"migrate": "service_completed_successfully", "pgbouncer": "service_healthy"},
        "pgbouncer": {"database": "service_healthy"},
        "prometheus": {},
    }
    assert found["service"]["depends_on"]["pgbouncer"]["required"] is False
    assert {name for name, each in found.items() if "healthcheck" in each} == {"database", "pgbouncer"}
    assert {name: each["profiles"] for name, each in found.items() if "profiles" in each} == {
        "pgbouncer": ["pgbouncer"],
        "prometheus": ["metrics"],
    }


def test_images_are_pinned_and_the_volume_is_at_the_data_directory_of_postgresql_18() -> None:
    found = services(**OUTSIDE)

    assert {name: each["image"] for name, each in found.items() if "build" not in each} == {
        "database": "postgres:18", "pgbouncer": "edoburu/pgbouncer:v1.25.2-p0", "prometheus": "prom/prometheus:v3.5.0",
    }  # fmt: skip
    assert found["database"]["volumes"] == ["data:/var/lib/postgresql"]


@pytest.mark.parametrize("name", ["migrate", "service"])
def test_the_image_runs_read_only_and_without_privileges(name: str) -> None:
    found = services(**OUTSIDE)[name]

    assert found["build"] == "."
    assert (found["read_only"], found["tmpfs"], found["cap_drop"]) == (True, ["/tmp"], ["ALL"])  # noqa: S108 - the container's tmpfs
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_every_container_has_limits_and_a_log_that_ends() -> None:
    found = services(**OUTSIDE, CPUS="2")

    assert {name: each["mem_limit"] for name, each in found.items()} == {
        "database": "1g", "migrate": "640m", "service": "640m", "pgbouncer": "640m", "prometheus": "640m",
    }  # fmt: skip
    for each in found.values():
        assert (each["cpus"], each["pids_limit"]) == ("2", 200)
        assert each["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert services(**OUTSIDE)["service"]["cpus"] == "1"  # Docker refuses more than the machine has


def test_prometheus_runs_read_only_without_privileges_and_keeps_its_data_in_a_volume() -> None:
    found = services(**OUTSIDE)["prometheus"]
    options = dict(option.removeprefix("--").split("=") for option in found["command"])

    assert (found["read_only"], found["cap_drop"]) == (True, ["ALL"])
    assert found["security_opt"] == ["no-new-privileges:true"]
    mounts = [mount.split(":") for mount in found["volumes"]]
    assert mounts == [["./deploy/prometheus", "/etc/prometheus", "ro"], ["metrics", "/prometheus"]]
    assert options["config.file"] == "/etc/prometheus/prometheus.yml"
    assert options["storage.tsdb.path"] == "/prometheus"
    assert {"storage.tsdb.retention.time", "storage.tsdb.retention.size"} < options.keys()
    assert set(yaml.safe_load(TEXT)["volumes"]) == {"data", "metrics"}


def test_prometheus_asks_the_service_on_the_port_that_it_listens_on_for_metrics() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

    targets = [
        target for job in config["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    ]

    assert targets == [f"service:{services(**OUTSIDE)['service']['environment']['METRICS_PORT']}"]
    assert [(ROOT / "deploy/prometheus" / name).is_file() for name in config["rule_files"]] == [True]


def test_migrate_runs_once_and_the_service_restarts_and_has_time_to_stop() -> None:
    found = services(**OUTSIDE)

    assert (found["migrate"]["command"], found["migrate"]["restart"]) == (["migrate"], "no")
    assert (found["service"].get("command"), found["service"]["restart"]) == (None, "unless-stopped")
    assert found["service"]["stop_grace_period"] == "20s"


def test_only_the_api_and_prometheus_are_published_and_only_on_loopback() -> None:
    published = {name: each["ports"] for name, each in services(**OUTSIDE).items() if "ports" in each}

    assert published == {"service": ["127.0.0.1:8000:8000"], "prometheus": ["127.0.0.1:9090:9090"]}


@pytest.mark.parametrize("missing", OUTSIDE)
def test_a_missing_secret_is_asked_for(missing: str) -> None:
    with pytest.raises(AssertionError, match=f"^{missing}: set it to .*; openssl rand -hex 32 makes one"):
        services(**OUTSIDE | {missing: ""})


def test_every_variable_passed_on_is_known_to_its_image() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    known = {"database": OF_POSTGRES, "migrate": settings, "service": settings, "pgbouncer": OF_PGBOUNCER}

    for name, each in services(**OUTSIDE).items():
        assert set(each.get("environment", {})) <= known.get(name, set())


@pytest.mark.parametrize("host", ["database", "pgbouncer"])
def test_the_settings_passed_on_are_valid_and_reach_the_database(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    found = services(**OUTSIDE, DATABASE_HOST=host)
    for name, value in found["service"]["environment"].items():
        monkeypatch.setenv(name, value)

    settings = load_settings(_env_file=None)

    user, database = (found["database"]["environment"][name] for name in ("POSTGRES_USER", "POSTGRES_DB"))
    assert settings.dsn == f"postgresql://{user}:0123abc@{host}:5432/{database}"
    assert settings.require_direct_url() == f"postgresql://{user}:0123abc@database:5432/{database}"
    assert found["migrate"]["environment"]["DATABASE_URL"] == settings.direct_dsn
    assert settings.secret == SECRET
    assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", 9100)  # noqa: S104 - the container's own
    assert found[host]["image"] != found["service"]["image"]
    pooled = found["pgbouncer"]["environment"]
    assert (pooled["DB_HOST"], pooled["DB_USER"], pooled["DB_NAME"]) == ("database", user, database)
    assert (pooled["DB_PASSWORD"], pooled["POOL_MODE"]) == ("0123abc", "transaction")
