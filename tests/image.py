"""Builds the Dockerfile without a Docker engine: runs its instructions in one directory for each stage."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from string import Template

from tests.support import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()
PATH_OF_THE_BASE = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Instruction:
    name: str
    flags: dict[str, str]
    rest: str

    @property
    def arguments(self) -> list[str]:
        """The words of the instruction, in exec form or shell form."""
        words: list[str] = json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)
        return words


def instructions(dockerfile: str = DOCKERFILE) -> Iterator[Instruction]:
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        flags = {}
        while flag := re.match(r"\s*--([a-z-]+)=(\S+)\s*", rest):
            flags[flag[1]] = flag[2]
            rest = rest[flag.end() :]
        yield Instruction(name.upper(), flags, rest.strip())


def is_ignored(path: str, dockerignore: str = IGNORED) -> bool:
    """Whether .dockerignore excludes the path: the last pattern that matches it or a parent directory decides."""
    ignored = False
    for line in dockerignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        matches = _as_regex(pattern.removeprefix("!").strip("/"))
        if any(matches.fullmatch(str(each)) for each in [PurePosixPath(path), *PurePosixPath(path).parents][:-1]):
            ignored = not pattern.startswith("!")
    return ignored


def _as_regex(pattern: str) -> re.Pattern[str]:
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))


class IndexAwayError(Exception):
    """Packages cannot be installed because no package index answers."""


@dataclass
class Stage:
    """A stage, or the final image: its files and its start command. The base is this machine and a bare Python."""

    tree: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH_OF_THE_BASE})
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    stop_signal: str = ""

    def inside(self, path: str) -> Path:
        return self.tree / path.lstrip("/")

    def shell(self, command: str) -> None:
        command = re.sub(r"(?<![\w./*])(?=/\w)", lambda _: shlex.quote(str(self.tree)), command)
        # pip uses this machine's index and certificates, but not its installed packages.
        of_this_machine = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = of_this_machine | self.environment_outside()
        # Makes sure that a stage removes packages only from its own tree.
        assert str(shutil.which("python", path=environment["PATH"])).startswith(str(self.tree))
        done = subprocess.run(
            ["/bin/sh", "-euc", command], cwd=self.inside(self.workdir), env=environment,
            umask=0o022, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode and (retried := re.search(r"Retrying \(.*", done.stderr)):
            raise IndexAwayError(retried[0])
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def environment_outside(self) -> dict[str, str]:
        """The environment for a process outside the tree, with PATH pointing into it."""
        searched = [str(self.inside(each)) for each in self.environment["PATH"].split(":")]
        return self.environment | {"PATH": ":".join([*searched, "/usr/sbin", "/usr/bin", "/sbin", "/bin"])}


def walk(directory: Path) -> Stage:
    """Runs every instruction of the Dockerfile and returns the last stage, which is the image."""
    base = directory / "base"
    venv.create(base, with_pip=True)
    stages: dict[str, Stage] = {}
    stage = Stage(directory)
    for each in instructions():
        if each.name == "FROM":
            name = each.rest.partition(" AS ")[2] or "image"
            stage = stages[name] = Stage(directory / name)
            shutil.copytree(base, stage.inside("/usr/local"), symlinks=True)
        elif each.name == "COPY":
            source, target = each.arguments
            if "from" in each.flags:  # as hard links, because the files are many and never change
                found = stages[each.flags["from"]].inside(source)
                shutil.copytree(found, stage.inside(target), symlinks=True, copy_function=os.link)
            else:
                _copy(ROOT / source, stage.inside(target) / (Path(source).name if target.endswith("/") else ""))
        elif each.name == "RUN":
            stage.shell(each.rest)
        else:
            _note(stage, each)
    return stage


def _note(stage: Stage, each: Instruction) -> None:
    """Records an instruction that sets metadata of the image, or an argument of its build."""
    match each.name:
        case "ARG":
            name, default = each.rest.split("=", 1)
            stage.environment[name] = default
        case "ENV":
            pairs = dict(word.split("=", 1) for word in each.arguments)
            stage.environment |= {name: Template(text).substitute(stage.environment) for name, text in pairs.items()}
        case "WORKDIR":
            stage.workdir = each.rest
            stage.inside(each.rest).mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = each.rest
        case "ENTRYPOINT":
            stage.entrypoint = each.arguments
        case "HEALTHCHECK":
            stage.healthcheck = Instruction("CMD", {}, each.rest.removeprefix("CMD ")).arguments
        case "STOPSIGNAL":
            stage.stop_signal = each.rest
        case "LABEL" | "EXPOSE":
            pass
        case _:
            raise AssertionError(f"{each.name} is not walked")


def _copy(source: Path, target: Path) -> None:
    """Copies with modes readable by the owner alone, because a build must not depend on the checkout's modes."""

    def left_out(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if is_ignored(str((Path(directory) / name).relative_to(ROOT)))]

    def copy(file: str, to: str) -> None:
        shutil.copyfile(file, to)
        Path(to).chmod(0o600)

    path = str(source.relative_to(ROOT))
    assert source.exists(), f"{path} does not exist"
    assert not is_ignored(path), f"{path} is kept out by .dockerignore"
    if source.is_dir():
        shutil.copytree(source, target, ignore=left_out, copy_function=copy)
        for directory in (target, *(each for each in target.rglob("*/"))):
            directory.chmod(0o700)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(str(source), str(target))


def base_prefix() -> str:
    """The directory of the Python installation behind the virtual environments."""
    return str(Path(sys.base_prefix).resolve())
