"""How many processors this process may use: those it may run on, and no more than the quota of its cgroup."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    root: str  # the part of the hierarchy that is mounted: of a container often its own cgroup alone
    point: str
    kind: str
    options: list[str]


def usable(root: Path = Path("/")) -> int:
    """At least 1. Rounded down: threads that compute without a pause leave what is over to the event loop."""
    return max(1, int(min([runnable(), *quotas(root)])))


def runnable() -> int:
    """The affinity (taskset, a cpuset) where the system has one; `os.cpu_count()` is the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quotas(root: Path) -> Iterator[float]:
    """In processors, of this process's cgroup and of each above it that can be seen, in both versions of cgroups."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for mount in mounts:
            if mount.kind == "cgroup2" and not controllers:
                read = _quota_of_v2
            elif mount.kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in mount.options:
                read = _quota_of_v1
            else:
                continue
            found = (read(group) for group in _groups(root, mount, PurePosixPath(path)))
            yield from (quota for quota in found if quota is not None and quota > 0)


def _groups(root: Path, mount: Mount, path: PurePosixPath) -> Iterator[Path]:
    """From the process's own up to the one that is mounted, whose parents are out of sight."""
    top = root / mount.point.lstrip("/")
    own = top / path.relative_to(mount.root) if path.is_relative_to(mount.root) else top
    if ".." in path.parts or not own.is_dir():  # the path is of another namespace
        own = top
    yield from (own, *(each for each in own.parents if each.is_relative_to(top)))


def _quota_of_v2(group: Path) -> float | None:
    [limit] = _lines(group / "cpu.max") or ["max 100000"]
    quota, period = limit.split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_of_v1(group: Path) -> float | None:
    """Negative where there is none."""
    [quota] = _lines(group / "cpu.cfs_quota_us") or ["-1"]
    [period] = _lines(group / "cpu.cfs_period_us") or ["100000"]
    return int(quota) / int(period)


def _mounts(root: Path) -> Iterator[Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        _, _, _, of_hierarchy, point, *_ = before.split(" ")
        kind, *_, options = after.split(" ")
        yield Mount(_unescaped(of_hierarchy), _unescaped(point), kind, options.split(","))


def _unescaped(text: str) -> str:
    r"""A blank is `\040` there, and the `\x2d` of systemd's names `\134x2d`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="surrogateescape").splitlines()
    except OSError:  # the root of the hierarchy has no quota; and another system no such file
        return []
