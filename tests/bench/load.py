"""Requests by wrk, from one thread over connections that stay, and what it says of the answers."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("load.lua")
PATIENCE = 120  # seconds until wrk counts an answer as missing: it is to be seen how late it was


def write(requests: Sequence[bytes], file: Path) -> Path:
    file.write_bytes(b"\0".join(requests))
    return file


def load(port: int, requests: Path, connections: int, seconds: int) -> dict[str, Any]:
    """requests, seconds, errors, p50_ms, p95_ms, p99_ms. An answer of 400 or more is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE}s", f"--script={SCRIPT}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}", "--", str(requests)],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 2 * PATIENCE,
    )
    found: dict[str, Any] = json.loads(done.stdout.rpartition("\nresult ")[2])
    if found["requests"] == 0:  # what wrk says then is that all of them took no time
        found |= dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))
    return found
