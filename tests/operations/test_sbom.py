"""The bill of materials is valid, and says what the image holds."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from service import VERSION
from tests import sbom
from tests.support import ROOT

LISTS = ["requirements.txt", "requirements-otel.txt"]


@pytest.mark.parametrize("name", LISTS)
def test_the_bill_of_materials_is_valid_cyclonedx(name: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.from_version(sbom.SPEC_VERSION))

    assert validator.validate_str(json.dumps(sbom.document(ROOT / name))) is None


@pytest.mark.parametrize("name", LISTS)
def test_its_components_are_the_base_image_and_the_locked_packages_with_their_hashes(name: str) -> None:
    base, *components = sbom.document(ROOT / name)["components"]
    locked: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if pinned := re.match(r"([a-z0-9-]+)==(\S+)", line):
            hashes = locked.setdefault(f"pkg:pypi/{pinned[1]}@{pinned[2]}", [])
        elif found := re.search(r"--hash=sha256:(\w+)", line):
            hashes.append(found[1])
    [removed] = [purl for purl in locked if purl.startswith("pkg:pypi/setuptools@")]
    del locked[removed]

    assert {
        each["purl"]: [one["content"] for one in each["externalReferences"][0]["hashes"]] for each in components
    } == locked
    assert [each["purl"] for each in components if not each["licenses"]] == []
    assert f"\nFROM {base['name']}:{base['version']}\n" in (ROOT / "Dockerfile").read_text()


def test_packages_of_other_systems_are_not_in_it(tmp_path: Path) -> None:
    markers = {"a": "sys_platform == 'win32'", "b": "sys_platform == 'linux'", "c": "python_version < '3.12'"}
    entry = "name-{0}==1 ; {1} \\\n    --hash=sha256:{2}\n    # via todo-service (pyproject.toml)\n"
    (tmp_path / "list").write_text("".join(entry.format(name, marker, name * 64) for name, marker in markers.items()))

    found = list(sbom.packages(tmp_path / "list"))

    assert found == [sbom.Package("name-b", "1", ["b" * 64], ["todo-service"])]
    assert sbom.document(tmp_path / "list")["components"][1]["licenses"] == []


def test_each_component_is_a_dependency_of_another_one_or_of_the_service() -> None:
    document = sbom.document(ROOT / "requirements.txt")
    needs = {each["ref"].partition("@")[0]: each["dependsOn"] for each in document["dependencies"]}

    assert document["metadata"]["component"]["version"] == VERSION
    assert [ref.partition("@")[0] for ref in needs["pkg:pypi/cryptography"]] == ["pkg:pypi/cffi"]
    assert {ref for each in needs.values() for ref in each} == {each["bom-ref"] for each in document["components"]}


def test_with_opentelemetry_pip_finds_each_package_as_a_wheel_for_the_python_of_the_image(tmp_path: Path) -> None:
    """requirements.txt is installed by test_container.py."""
    requirements, report = ROOT / "requirements-otel.txt", tmp_path / "report"
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--report", str(report)]
    pip += ["--target", str(tmp_path), "--python-version", sbom.MARKERS["python_version"], "--only-binary", ":all:"]
    pip += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    pip += ["--require-hashes", "--no-deps", "--requirement", str(requirements)]

    done = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)

    if done.returncode and (retried := re.search(r"Retrying \(.*", done.stderr)):
        pytest.skip(f"no package index answers: {retried[0]}")
    assert done.returncode == 0, done.stderr
    found = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    assert {
        f"{canonicalize_name(each['name'])} {each['version']}" for each in found if each["name"] != "setuptools"
    } == {f"{each.name} {each.version}" for each in sbom.packages(requirements)}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_sbom_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    outputs = [tmp_path / "first", tmp_path / "second"]
    for output in outputs:
        make = ["make", "--old-file=.venv/ready", "sbom", f"BIN={Path(sys.executable).parent}", f"SBOM={output}"]
        subprocess.run(make, cwd=ROOT, timeout=120, check=True)

    first, second = (output.read_bytes() for output in outputs)
    assert first == second
    assert json.loads(first) == sbom.document(ROOT / "requirements.txt")
