"""The number of hashing threads follows the processors of this process, not those of the machine."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.settings import resources
from tests import cgroups
from tests.outages import wait_for
from tests.support import PASSWORD, ROOT, Service, new_email

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_OF_A_CONTAINER = "33 25 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
V2_OF_A_SLICE = r"30 23 0:26 /a\134x2d\040b.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw"

V1_QUOTA, V1_PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "usable"),
    [
        (["0::/"], [V2], {"cpu.max": "300000 100000"}, 3),
        (["0::/"], [V2], {"cpu.max": "150000 50000"}, 3),
        (["0::/"], [V2], {"cpu.max": "290000 100000"}, 2),
        (["0::/"], [V2], {"cpu.max": "50000 100000"}, 1),
        (["0::/"], [V2], {"cpu.max": "max 100000"}, 64),
        (["0::/"], [V2], {"cpu.max": "9900000 100000"}, 64),
        (["0::/"], [V2], {}, 64),
        (["0::/pod/one"], [V2], {"pod/one/cpu.max": "max 100000", "pod/cpu.max": "200000 100000"}, 2),
        (["0::/pod/one"], [V2], {"pod/one/cpu.max": "200000 100000", "pod/cpu.max": "400000 100000"}, 2),
        (["0::/pod/one"], [V2], {"pod/one/cpu.max": "max 100000", "cpu.max": "400000 100000"}, 4),
        (["0::/../../elsewhere"], [V2], {"cpu.max": "300000 100000"}, 3),
        (["0::/not/to/be/seen"], [V2], {"cpu.max": "300000 100000"}, 3),
        ([r"0::/a\x2d b.slice/one"], [V2_OF_A_SLICE], {"one/cpu.max": "300000 100000"}, 3),
        (["4:cpu,cpuacct:/"], [V1], {f"cpu,cpuacct/{V1_QUOTA}": "300000", f"cpu,cpuacct/{V1_PERIOD}": "100000"}, 3),
        (["4:cpu,cpuacct:/"], [V1], {f"cpu,cpuacct/{V1_QUOTA}": "-1", f"cpu,cpuacct/{V1_PERIOD}": "100000"}, 64),
        (
            ["4:cpu,cpuacct:/a/b"],
            [V1],
            {
                f"cpu,cpuacct/a/b/{V1_QUOTA}": "-1",
                f"cpu,cpuacct/a/b/{V1_PERIOD}": "100000",
                f"cpu,cpuacct/a/{V1_QUOTA}": "100000",
                f"cpu,cpuacct/a/{V1_PERIOD}": "50000",
            },
            2,
        ),
        (["4:cpu:/docker/abc"], [V1_OF_A_CONTAINER], {f"cpu/{V1_QUOTA}": "300000", f"cpu/{V1_PERIOD}": "100000"}, 3),
        (["4:cpu:/docker/abcd"], [V1_OF_A_CONTAINER], {f"cpu/{V1_QUOTA}": "300000", f"cpu/{V1_PERIOD}": "100000"}, 3),
        (
            ["5:memory:/m", "4:cpu,cpuacct:/c", "0::/u"],
            [V1_MEMORY, V1, V2],
            {f"cpu,cpuacct/c/{V1_QUOTA}": "300000", f"cpu,cpuacct/c/{V1_PERIOD}": "100000", "memory/m/cpu.max": "1 1"},
            3,
        ),
        ([], [], {}, 64),
    ],
    ids=[
        "v2", "v2, another period", "v2, rounded down", "v2, half of one", "v2, none", "v2, more than there are",
        "v2, the root", "v2, of a parent", "v2, less than a parent's", "v2, of the topmost", "v2, another namespace",
        "v2, a path that is not there", "v2, a part of the hierarchy", "v1", "v1, none", "v1, of a parent",
        "v1, a container's part", "v1, a part of another name", "both versions", "another system",
    ],
)  # fmt: skip
def test_processors_follow_the_smallest_quota_of_the_cgroup_and_its_parents(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cgroup: list[str],
    mounts: list[str],
    files: dict[str, str],
    usable: int,
) -> None:
    monkeypatch.setattr(resources, "runnable", lambda: 64)
    if cgroup:
        wanted = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        wanted |= {"proc/self/cgroup": "\n".join(cgroup), "proc/self/mountinfo": "\n".join(mounts)}
        for name, text in wanted.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")

    assert resources.usable(tmp_path) == usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_processors_follow_the_cpu_affinity_of_the_process(tmp_path: Path) -> None:
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    count = "from service.settings import resources; print(resources.usable())"
    done = subprocess.run(
        [sys.executable, "-c", f"{bound}; {count}"], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, text=True,
        capture_output=True, check=True,
    )  # fmt: skip

    assert done.stdout == "1\n"


@pytest.fixture(params=[1.5, 2.0])
def quota(request: pytest.FixtureRequest) -> float:
    processors: float = request.param
    return processors


@pytest.fixture
def cgroup(quota: float) -> Iterator[Path]:
    with cgroups.with_quota(quota) as made:
        if made is None:
            pytest.skip("no cgroup with a quota of processors can be made here")
        yield made


def test_the_quota_of_a_real_cgroup_is_read(cgroup: Path, quota: float, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(cgroups.JOIN)
    (tmp_path / "cgroup").write_text(str(cgroup))
    count = "from service.settings import resources; print(list(resources.quotas(resources.Path('/'))))"
    done = subprocess.run(
        [sys.executable, "-c", count], env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, cwd=tmp_path, text=True,
        capture_output=True, check=True,
    )  # fmt: skip

    assert done.stdout == f"[{quota}]\n"


# Code for a service in which each hash waits for the test.
HELD_HASHES = """
import threading, time
import bcrypt
hashpw = bcrypt.hashpw
def wait_and_hash(password, salt):
    if password != b"nobody":  # hashed once at the start
        (here / f"hashes-{os.getpid()}-{threading.get_ident()}").touch()
        while not (here / "go on").exists():
            time.sleep(0.05)
    return hashpw(password, salt)
bcrypt.hashpw = wait_and_hash
"""


def sign_up_at_once(service: Service, number: int, directory: Path, threads: int) -> list[int]:
    """The statuses of concurrent sign-ups, whose hashes continue when `threads` threads have begun one."""

    def sign_up(_: int) -> int:
        given = {"email": new_email(), "password": PASSWORD}
        return httpx.post(f"{service.url}/api/auth/signup", json=given, timeout=60).status_code

    with ThreadPoolExecutor(number) as clients:
        answers = clients.map(sign_up, range(number))
        try:
            wait_for(lambda: len(list(directory.glob("hashes-*"))) >= threads)
            for _ in range(50):  # time for the others to arrive
                service.http.get("/health")
        finally:
            (directory / "go on").touch()
        return list(answers)


def hashing_threads(directory: Path) -> list[int]:
    """The number of hashing threads in each process."""
    return list(Counter(file.name.split("-")[1] for file in directory.glob("hashes-*")).values())


@pytest.mark.parametrize(("quota", "workers"), [(1.5, 1), (2.0, 2)], ids=["one process", "two workers"])
def test_hash_threads_default_to_the_quota_divided_by_the_workers(
    start_service: Callable[..., Service], tmp_path: Path, cgroup: Path, workers: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(cgroups.JOIN + HELD_HASHES)
    (tmp_path / "cgroup").write_text(str(cgroup))
    service = start_service(PYTHONPATH=f"{tmp_path}:{ROOT}", WORKERS=workers)

    assert sign_up_at_once(service, 4 * workers, tmp_path, threads=1) == [201] * 4 * workers
    assert set(hashing_threads(tmp_path)) == {1}
    service.stop()  # so that its cgroup can be removed


def test_hash_threads_sets_the_number_of_hashing_threads(start_service: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(cgroups.JOIN + HELD_HASHES)
    service = start_service(PYTHONPATH=f"{tmp_path}:{ROOT}", HASH_THREADS=5)

    assert sign_up_at_once(service, 8, tmp_path, threads=5) == [201] * 8
    assert hashing_threads(tmp_path) == [5]
