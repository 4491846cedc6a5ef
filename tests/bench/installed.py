"""Dependencies of the peers and of the load generator: checked, or installed under .bench/ until a lock changes."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import ROOT

APPS = Path(__file__).resolve().parent / "apps"
BENCH = ROOT / ".bench"
VENV = BENCH / "python"
PYTHON = VENV / "bin" / "python"
NODE_MODULES = BENCH / "fastify" / "node_modules"

_HOW_TO_GET = {
    "wrk": "apt install wrk, or brew install wrk",
    "node": "Node.js 20 or newer, from https://nodejs.org or a package of the system",
    "npm": "comes with Node.js; of Debian's packages: apt install npm",
}
_OLDEST_NODE = 20


def require() -> None:
    missing = [f"{tool} ({how})" for tool, how in _HOW_TO_GET.items() if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"make bench needs what is not installed: {'; '.join(missing)}")
    if int(node_version().split(".")[0]) < _OLDEST_NODE:
        raise SystemExit(f"make bench needs {_HOW_TO_GET['node']}; here is {node_version()}")
    _install_python_peers()
    _install_fastify()


def node_version() -> str:
    done = subprocess.run([_tool("node"), "--version"], check=True, capture_output=True, text=True)
    return done.stdout.strip().removeprefix("v")


def _tool(name: str) -> str:
    return str(shutil.which(name))


def _install_python_peers() -> None:
    lock = APPS / "requirements.txt"
    stamp = _stamp([lock], sys.version)
    if _is_installed(VENV, stamp):
        return
    _run(sys.executable, "-m", "venv", "--clear", str(VENV))
    _run(str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r",
         str(lock))  # fmt: skip
    (VENV / "installed").write_text(stamp)


def _install_fastify() -> None:
    project = NODE_MODULES.parent
    files = [APPS / "fastify" / name for name in ("package.json", "package-lock.json", ".npmrc")]
    stamp = _stamp(files, node_version())
    if _is_installed(project, stamp):
        return
    project.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, project)
    _run(_tool("npm"), "ci", "--no-audit", "--no-fund", "--prefix", str(project))
    (project / "installed").write_text(stamp)


def _stamp(files: Sequence[Path], version: str) -> str:
    return hashlib.sha256(b"".join([*(file.read_bytes() for file in files), version.encode()])).hexdigest()


def _is_installed(directory: Path, stamp: str) -> bool:
    """The stamp is written last, so an interrupted installation is repeated."""
    file = directory / "installed"
    return file.is_file() and file.read_text() == stamp


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
