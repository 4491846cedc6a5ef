"""python -m service doctor: processors, memory and open files, in a cgroup and without one."""

import resource
from pathlib import Path

import pytest

from service.settings import resources
from tests.doctor.diagnosis import lines, surroundings

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw"
V1 = "34 25 0:30 / /sys/fs/cgroup rw - cgroup cgroup rw,memory"
MIB = 1024 * 1024


def root_with(directory: Path, hierarchy: str, mount: str, **files: str) -> Path:
    """The files of the system that tell a process its limits, with `__` for a dot in their names."""
    for path, text in {"proc/self/cgroup": hierarchy, "proc/self/mountinfo": mount}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"{text}\n")
    (directory / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in files.items():
        (directory / "sys/fs/cgroup" / name.replace("__", ".")).write_text(f"{text}\n")
    return directory


def test_more_workers_than_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "runnable", lambda: 8)
    around = surroundings(root=root_with(tmp_path, "0::/", V2, cpu__max="200000 100000"))

    assert lines(None, around, workers=3) == [
        (
            "warning: host/processors: WORKERS is 3, and this process may use 2 processors; "
            "the workers wait for each other, and each keeps a pool and memory of its own; set WORKERS=2"
        )
    ]
    assert lines(None, around, workers=2) == []


def test_more_hashing_threads_than_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "runnable", lambda: 4)
    around = surroundings(root=root_with(tmp_path, "0::/", V2))

    assert lines(None, around, workers=2, hash_threads=3) == [
        (
            "warning: host/hash-threads: HASH_THREADS of all WORKERS are 6, and there are 4 processors; "
            "logins slow down all other requests; leave HASH_THREADS out"
        )
    ]
    assert lines(None, around, workers=2, hash_threads=2) == []


@pytest.mark.parametrize(
    ("hierarchy", "mount", "file"), [("0::/", V2, "memory__max"), ("5:memory:/", V1, "memory__limit_in_bytes")]
)
def test_too_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hierarchy: str, mount: str, file: str
) -> None:
    monkeypatch.setattr(resources, "runnable", lambda: 8)
    around = surroundings(root=root_with(tmp_path, hierarchy, mount, **{file: str(250 * MIB)}))

    assert lines(None, around, workers=3) == [
        (
            "warning: host/memory: WORKERS is 3, and there are 250 MiB of memory; "
            "a worker takes up to 100 MiB, and the system kills what goes beyond; set WORKERS=2, or give it 300 MiB"
        )
    ]
    assert lines(None, around, workers=2) == []


@pytest.mark.parametrize(
    ("hierarchy", "mount", "files"),
    [
        ("0::/", V2, {"memory__max": "max"}),
        ("0::/", V2, {}),
        ("5:memory:/", V1, {"memory__limit_in_bytes": "9223372036854771712"}),
    ],
)
def test_without_a_limit_the_memory_is_that_of_the_machine(
    tmp_path: Path, hierarchy: str, mount: str, files: dict[str, str]
) -> None:
    [total] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")]

    found = resources.memory(root_with(tmp_path, hierarchy, mount, **files))

    assert abs(found - int(total.split()[1]) * 1024) < MIB


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))

    assert lines(None) == [
        (
            "warning: host/open-files: the system allows 1024 open files, and MAX_CONNECTIONS=1000 needs 1110; "
            "fewer clients can connect at a time; run the service with ulimit -n 1110 or more"
        )
    ]
    assert lines(None, max_connections=900) == []
