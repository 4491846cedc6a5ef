"""The processors and the memory that this process may use: limited by its CPU affinity and its cgroups."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

LimitReader: TypeAlias = Callable[[Path], float | None]  # of one cgroup; None: it has none


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
    yield from _limits(root, "cpu", _quota_of_v2, _quota_of_v1)


def memory(root: Path = Path("/")) -> int:
    """The bytes that the processes of this cgroup may take together, or those of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min([machine, *_limits(root, "memory", _memory_of_v2, _memory_of_v1)]))


def _limits(root: Path, controller: str, of_v2: LimitReader, of_v1: LimitReader) -> Iterator[float]:
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for mount in mounts:
            if mount.kind == "cgroup2" and not controllers:
                read = of_v2
            elif mount.kind == "cgroup" and controller in controllers.split(",") and controller in mount.options:
                read = of_v1
            else:
                continue
            found = (read(group) for group in _groups(root, mount, PurePosixPath(path)))
            yield from (limit for limit in found if limit is not None and limit > 0)


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


def _memory_of_v2(group: Path) -> float | None:
    [limit] = _lines(group / "memory.max") or ["max"]
    return None if limit == "max" else int(limit)


def _memory_of_v1(group: Path) -> float | None:
    """Without a limit a number beyond any memory."""
    [limit] = _lines(group / "memory.limit_in_bytes") or ["-1"]
    return int(limit)


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
