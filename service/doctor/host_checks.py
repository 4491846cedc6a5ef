"""The machine or container: processors, memory and open files against the settings."""

import resource
from collections.abc import Iterator
from pathlib import Path

from service.doctor.finding import Finding, warning
from service.server.sockets import OTHER_FILES
from service.settings import resources
from service.settings.all_settings import Settings

MIB = 1024 * 1024
MEMORY_OF_A_WORKER = 100 * MIB  # resident, under load; `make capacity` measures it


def check(settings: Settings, root: Path) -> Iterator[Finding]:
    usable, workers = resources.usable(root), settings.workers
    if workers > usable:
        yield warning(
            "host/processors", f"WORKERS is {workers}, and this process may use {usable} processors",
            "the workers wait for each other, and each keeps a pool and memory of its own", f"set WORKERS={usable}",
        )  # fmt: skip
    elif (threads := (settings.hash_threads or 0) * workers) > usable:
        yield warning(
            "host/hash-threads", f"HASH_THREADS of all WORKERS are {threads}, and there are {usable} processors",
            "logins slow down all other requests", "leave HASH_THREADS out",
        )  # fmt: skip
    memory = resources.memory(root)
    if workers * MEMORY_OF_A_WORKER > memory:
        yield warning(
            "host/memory", f"WORKERS is {workers}, and there are {memory // MIB} MiB of memory",
            f"a worker takes up to {MEMORY_OF_A_WORKER // MIB} MiB, and the system kills what goes beyond",
            f"set WORKERS={max(1, memory // MEMORY_OF_A_WORKER)}, or give it {workers * MEMORY_OF_A_WORKER // MIB} MiB",
        )  # fmt: skip
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + settings.pool_max + OTHER_FILES
    if files != resource.RLIM_INFINITY and files < wanted:
        yield warning(
            "host/open-files", f"the system allows {files} open files, and MAX_CONNECTIONS={settings.max_connections} "
            f"needs {wanted}",
            "fewer clients can connect at a time", f"run the service with ulimit -n {wanted} or more",
        )  # fmt: skip
