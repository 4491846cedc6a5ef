"""Load by wrk, from one thread over keep-alive connections, and its statistics."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import processes

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_SECONDS = 120  # until wrk counts an answer as missing; long, to measure how late an answer is


def write(requests: Sequence[bytes], file: Path) -> Path:
    file.write_bytes(b"\0".join(requests))
    return file


def load(pid: int, port: int, requests: Path, connections: int, seconds: int) -> dict[str, Any]:
    """Returns requests, seconds, errors, p50_ms, p95_ms, p99_ms, largest_share. A status of 400 or more is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s", f"--script={SCRIPT}"]
    command += [f"http://127.0.0.1:{port}", "--", str(requests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            time.sleep(seconds / 2)
            shares = processes.connections(pid, port)
            said, _ = running.communicate(timeout=seconds + 2 * TIMEOUT_SECONDS)
        finally:
            running.kill()  # has no effect unless one of these failed
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    found: dict[str, Any] = json.loads(said.rpartition("\nresult ")[2])
    found["largest_share"] = round(max(shares) / sum(shares), 3) if shares else None
    if found["requests"] == 0:  # wrk then reports latencies of 0
        found |= dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))
    return found
