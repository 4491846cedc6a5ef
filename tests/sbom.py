"""Writes the software bill of materials (SBOM) of the image: python -m tests.sbom requirements.txt sbom.cdx.json

It is CycloneDX, and has the base image and every package of a list that the image installs, with the hashes of all
files that pip may take. The same list gives the same bytes, so that a user can make it again: no date and no random
number is in it. Debian's packages in the base image are not in it: a scanner of the image lists them."""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from service import VERSION
from tests.image import instructions

SPEC_VERSION = "1.6"
SERVICE = "todo-service"
NOT_IN_THE_IMAGE = {"setuptools"}  # the Dockerfile uninstalls it
BASE = [each.rest for each in instructions() if each.name == "FROM"][-1]  # python:3.13.16-slim-bookworm
PYTHON = BASE.partition(":")[2].partition("-")[0]
MARKERS = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": PYTHON,
    "python_version": PYTHON.rpartition(".")[0],
    "sys_platform": "linux",
}


class Package(NamedTuple):
    name: str
    version: str
    hashes: list[str]  # SHA-256 of each file
    required_by: list[str]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(requirements: Path) -> Iterator[Package]:
    """The packages of a list made by `make lock` that are installed on the image's Python."""
    for entry in re.split(r"^(?=[a-z0-9])", requirements.read_text(), flags=re.MULTILINE)[1:]:
        requirement = Requirement(entry.partition(" \\\n")[0])
        if requirement.name in NOT_IN_THE_IMAGE or (requirement.marker and not requirement.marker.evaluate(MARKERS)):
            continue
        [pin] = requirement.specifier
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
        required_by = re.findall(r"^    #(?: via|  ) ([a-z0-9][a-z0-9-]*)", entry, re.MULTILINE)
        yield Package(requirement.name, pin.version, hashes, required_by)


def licences(package: Package) -> list[dict[str, Any]]:
    """As the package declares them. Empty where this environment has another version of it, or none."""
    try:
        found = distribution(package.name)
    except PackageNotFoundError:
        return []
    if found.version != package.version:
        return []
    declared = {name: found.metadata.get_all(name, []) for name in ("License-Expression", "Classifier", "License")}
    if declared["License-Expression"]:
        return [{"expression": declared["License-Expression"][0]}]
    classifiers = [each.rpartition(" :: ")[2] for each in declared["Classifier"] if each.startswith("License :: ")]
    return [{"license": {"name": name}} for name in classifiers or declared["License"]]


def component(package: Package) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": each} for each in package.hashes]
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "licenses": licences(package),
        "purl": package.purl,
        "externalReferences": [
            {"type": "distribution", "url": package.purl, "comment": "one of these files", "hashes": hashes}
        ],
    }


def document(requirements: Path) -> dict[str, Any]:
    found = list(packages(requirements))
    name, _, tag = BASE.partition(":")
    base = f"pkg:docker/{name}@{tag}"
    needs: dict[str, list[str]] = {SERVICE: [base]} | {each.name: [] for each in found}
    for each in found:
        for parent in each.required_by:
            if parent in needs:
                needs[parent].append(each.purl)
    refs = {each.name: each.purl for each in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": SERVICE,
                "name": SERVICE,
                "version": VERSION,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": [
            {
                "type": "container",
                "bom-ref": base,
                "name": name,
                "version": tag,
                "cpe": f"cpe:2.3:a:python:python:{PYTHON}:*:*:*:*:*:*:*",
                "purl": base,
            },
            *map(component, found),
        ],
        "dependencies": [{"ref": refs.get(name, name), "dependsOn": needed} for name, needed in needs.items()],
    }


if __name__ == "__main__":
    requirements, output = map(Path, sys.argv[1:])
    output.write_text(json.dumps(document(requirements), indent=2) + "\n")
