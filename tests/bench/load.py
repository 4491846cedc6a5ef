"""Requests by wrk, from one thread over connections that stay, and what it says of the answers."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import processes

SCRIPT = Path(__file__).with_name("load.lua")
PATIENCE = 120  # seconds until wrk counts an answer as missing: it is to be seen how late it was


def write(requests: Sequence[bytes], file: Path) -> Path:
    file.write_bytes(b"\0".join(requests))
    return file


def load(pid: int, port: int, requests: Path, connections: int, seconds: int) -> dict[str, Any]:
    """requests, seconds, errors, p50_ms, p95_ms, p99_ms, largest_share. An answer of 400 or more is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE}s", f"--script={SCRIPT}"]
    command += [f"http://127.0.0.1:{port}", "--", str(requests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            time.sleep(seconds / 2)
            shares = processes.connections(pid, port)
            said, _ = running.communicate(timeout=seconds + 2 * PATIENCE)
        finally:
            running.kill()  # where one of these failed; else it has ended
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    found: dict[str, Any] = json.loads(said.rpartition("\nresult ")[2])
    found["largest_share"] = round(max(shares) / sum(shares), 3) if shares else None
    if found["requests"] == 0:  # what wrk says then is that all of them took no time
        found |= dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))
    return found
