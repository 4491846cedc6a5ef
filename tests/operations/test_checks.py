"""The CI workflow and the pre-commit hooks run the same checks as make."""

import os
import re
from typing import Any

import yaml

from tests.support import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_workflow_runs_the_script_on_every_supported_python() -> None:
    [job] = loaded(".github/workflows/ci.yml")["jobs"].values()
    required = re.findall(r'^requires-python = ">=(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    versions = job["strategy"]["matrix"]["python"]
    assert versions[:1] == required
    assert versions == [f"3.{11 + number}" for number in range(len(versions))]


def test_every_pre_commit_hook_is_local_and_part_of_make_lint() -> None:
    [repository] = loaded(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    linted = MAKEFILE.partition("\nlint: ")[2].partition("\n\n")[0].replace("$(BIN)/", ".venv/bin/")

    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert [entry for entry in entries if entry not in linted] == []
    assert len(entries) >= 4
