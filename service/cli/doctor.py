"""The command doctor: what is wrong with a setup, before or while it serves."""

import argparse
import json
import os
import sys

from pydantic import SecretStr
from pydantic_settings import DotEnvSettingsSource

from service.cli import embedded_postgres
from service.cli.startup import settings_and_log
from service.doctor.examination import examine
from service.doctor.examined import Surroundings
from service.doctor.finding import Diagnosis, Finding, error, note
from service.settings.all_settings import Settings, SettingsError

SEE = "see Settings in docs/operating.md"


def doctor(options: argparse.Namespace) -> None:
    report = _report()
    lines = [json.dumps(report.as_dict(), indent=2)] if options.json else report.lines()
    for line in lines:
        print(line)
    sys.exit(report.exit_code)


def _report() -> Diagnosis:
    try:
        settings = settings_and_log()
    except SettingsError as failure:
        lines = str(failure).splitlines()
        return Diagnosis([error("settings/bad", line, "the service does not start", SEE) for line in lines])
    from_file = {name: value or "" for name, value in DotEnvSettingsSource(Settings).env_vars.items()}
    around = Surroundings(from_file | dict(os.environ))
    if settings.database_url is not None:
        return examine(settings, around)
    if embedded_postgres.is_running(settings.data_dir):
        url = SecretStr(embedded_postgres.url(settings.data_dir))
        return examine(settings.model_copy(update={"database_url": url}), around._replace(is_embedded=True))
    return Diagnosis([*examine(settings, around).findings, _not_running(settings)])


def _not_running(settings: Settings) -> Finding:
    return note(
        "database/not-running",
        f"no embedded database runs in {settings.data_dir}, and DATABASE_URL is not set",
        "the database was not looked at",
        "start the service: make run",
    )
