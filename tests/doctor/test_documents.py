"""docs/operating.md lists the doctor's findings, and shows its output as it is."""

import re
from pathlib import Path

from service.db import migrations
from tests import support
from tests.databases import Urls
from tests.doctor.diagnosis import OF_OTHER_TESTS
from tests.documents import DOCS, section
from tests.support import ROOT, SECRET

SECTION = section(DOCS / "operating.md", "Check a setup")
CHECK = re.compile(r"(?:settings|host|issuers|database)/[a-z-]+")


def test_every_finding_is_listed() -> None:
    sources = [*(ROOT / "service" / "doctor").glob("*.py"), ROOT / "service" / "cli" / "doctor.py"]
    made = {each for path in sources for each in re.findall(rf'"({CHECK.pattern})"', path.read_text())}
    table = SECTION.partition("| finding |")[2]

    assert set(CHECK.findall(table)) == made


def test_the_output_that_is_shown(own_database: Urls, tmp_path: Path) -> None:
    [shown] = re.findall(r"```console\n\$ python -m service doctor\n(.*?)```", SECTION, re.DOTALL)
    [rolled_back] = migrations.roll_back(own_database.owner)

    said = support.command(
        tmp_path, "doctor", DATABASE_URL=own_database.owner, BETTER_AUTH_SECRET=SECRET, TASKS_PER_USER=0,
        **dict.fromkeys(support.NO_LIMITS, ""),
    )  # fmt: skip

    # The example keeps the name of a migration that was the newest once.
    output = said.stdout.replace(rolled_back, "0017_expire_cursors")
    seen = [line for line in output.splitlines() if not any(each in line for each in OF_OTHER_TESTS)]
    assert seen[:-1] == shown.splitlines()[:-1]
    assert re.fullmatch(r"errors: 1, warnings: \d, notes: \d", seen[-1])
