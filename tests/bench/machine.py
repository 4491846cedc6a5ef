"""Describes the machine and the versions of the measurement. Linux only."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT


def cores() -> int:
    return len(os.sched_getaffinity(0))


def described() -> dict[str, str]:
    processor = _found(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) or platform.machine()
    memory = int(_found(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()) or 0) / 1024 / 1024
    return {
        "cores": str(cores()),
        "processor": processor,
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def versions(postgresql: str) -> dict[str, str]:
    found = {
        "CPython": platform.python_version(),
        "Node.js": _said("node", "--version").removeprefix("v"),
        "PostgreSQL": postgresql,
        "wrk": _found(r"wrk (?:\w+/)?([\d.]+)", _said("wrk", "--version")),
    }
    return {name: version for name, version in found.items() if version}


def commit() -> str:
    found = _said("git", "rev-parse", "--short", "HEAD")
    return f"{found} with changes" if _said("git", "status", "--porcelain", "--untracked-files=no") else found


def _said(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip()


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else ""
