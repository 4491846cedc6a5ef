"""The number of processors that this process may use: limited by its CPU affinity and the quotas of its cgroups."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    root: str  # the mounted part of the hierarchy: in a container often only its own cgroup
    point: str
    kind: str
    options: list[str]


def usable(root: Path = Path("/")) -> int:
    """At least 1. A fraction is rounded down, so that hashing threads leave the rest to the event loop."""
    return max(1, int(min([runnable(), *quotas(root)])))


def runnable() -> int:
    """The CPU affinity (taskset, cpuset) if the system has one. `os.cpu_count()` counts the whole machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quotas(root: Path) -> Iterator[float]:
    """The quotas, in processors, of this process's cgroup and its visible parents, for cgroups v1 and v2."""
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
    """The cgroup of this process and its parents, up to the mounted one: its parents are not visible."""
    top = root / mount.point.lstrip("/")
    own = top / path.relative_to(mount.root) if path.is_relative_to(mount.root) else top
    if ".." in path.parts or not own.is_dir():  # the path is from another namespace
        own = top
    yield from (own, *(each for each in own.parents if each.is_relative_to(top)))


def _quota_of_v2(group: Path) -> float | None:
    [limit] = _lines(group / "cpu.max") or ["max 100000"]
    quota, period = limit.split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_of_v1(group: Path) -> float | None:
    """Negative without a quota."""
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
    r"""Decodes octal escapes of mountinfo: `\040` is a blank, and `\134x2d` the `\x2d` in names of systemd."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="surrogateescape").splitlines()
    except OSError:  # the root of the hierarchy has no quota file, and other systems have no such files
        return []
