"""For a process that has no reason to outlive the one that started it. Imported by one that should stay small."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable


def end_without_parent() -> None:
    """In a helper process: it ends with its parent, and not before, as at a signal for all processes it would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    without_parent(lambda: os._exit(0))


def without_parent(then: Callable[[], object]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_wait, args=[parent.pid, then], daemon=True).start()


def _wait(parent: int, then: Callable[[], object]) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    then()
