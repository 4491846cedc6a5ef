"""Runs the image of tests/image.py as a container does: as an unprivileged user in a read-only tree."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.image import Stage, base_prefix
from tests.support import Service, free_port

# Makes a separate root, read-only except /tmp, from this machine's libraries and Python and the image's files.
# The process has the id 1 in it, as in a container.
ISOLATED = """
set -eu
root=$1 tree=$2 python=$3 workdir=$4; shift 4
mount -t tmpfs -o mode=755 tmpfs "$root"
for directory in /usr /bin /lib /lib64 /etc "$python"; do
    test -d "$directory" || continue
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
    mount -o remount,bind,ro "$root$directory"
done
for directory in /venv /app; do
    mkdir -p "$root$directory"
    mount --bind "$tree$directory" "$root$directory"
    mount -o remount,bind,ro "$root$directory"
done
mkdir "$root/proc" "$root/dev" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec unshare --root="$root" --wd="$workdir" "$@"
"""


@dataclass(frozen=True)
class Container:
    """An image and the way to run it. Without isolation, only the file modes protect the tree from writes."""

    image: Stage
    directory: Path
    isolated: bool

    def why_not(self) -> str | None:
        """Why this machine cannot run it, as the system's message; None if it can."""
        if shutil.which("unshare") is None:
            return "unshare is not installed"
        tried = self.runs(["python", "-I", "-S", "-c", ""])
        return None if tried.returncode == 0 else f"no root of its own can be made here: {tried.stderr.strip()}"

    @contextmanager
    def running(self, *arguments: str, **settings: object) -> Iterator[Service]:
        port = free_port()
        log = self.directory / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command([*self.image.entrypoint, *arguments]),
                cwd=self.image.inside(self.image.workdir),
                env=self._environment(PORT=port, **settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = (IsolatedService if self.isolated else Service)(port, process, log)
        try:
            service.wait_until_ready()
            yield service
        finally:
            process.kill()  # ends everything in the separate root too
            service.wait()

    def runs(self, command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        """Runs a command that ends by itself."""
        return subprocess.run(
            self._command(command),
            cwd=self.image.inside(self.image.workdir),
            env=self._environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _environment(self, **settings: object) -> dict[str, str]:
        """Only the image's variables and the given settings."""
        of_image = self.image.environment if self.isolated else self.image.environment_outside()
        return of_image | {name: str(value) for name, value in settings.items()}

    def _command(self, command: list[str]) -> list[str]:
        uid, gid = self.image.user.split(":")
        as_user = ["--user", f"--map-user={uid}", f"--map-group={gid}"]
        is_root = os.geteuid() == 0
        if not self.isolated:
            return ["unshare", *as_user, *command] if is_root else command
        outer = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if is_root else ["--map-root-user"])]
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        given = [str(root), str(self.image.tree), base_prefix(), self.image.workdir]
        inner = [f"--setgid={gid}", f"--setuid={uid}"] if is_root else as_user
        return [*outer, "/bin/sh", "-c", ISOLATED, "sh", *given, *inner, *command]


class IsolatedService(Service):
    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal to the service's process, which is the child of the outer `unshare`."""
        outside = self.process.pid
        [inside] = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        os.kill(int(inside), with_signal)
        return self.wait()
