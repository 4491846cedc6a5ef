"""make fuzz: runs schemathesis against a new service for the given seconds, with and without a token."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests import support

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)


def main(seconds: int) -> int:
    with tempfile.TemporaryDirectory() as directory, support.running(Path(directory)) as service:
        user = support.sign_up(service.http)
        command = [str(Path(sys.executable).parent / "schemathesis"), "fuzz", f"{service.url}/docs/openapi.json"]
        command += [f"--url={service.url}", f"--max-time={max(1, seconds // 2)}"]
        command += [f"--checks={CHECKS}", "--suppress-health-check=all"]
        headers = [f"--header=Authorization: Bearer {user.token}"]
        statuses = [subprocess.run([*command, *each], cwd=directory, check=False).returncode for each in (headers, [])]
        assert service.http.get("/health").status_code == 200
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
