"""make generated: the files that are made from the code are up to date, and the check says what is not."""

import sys

import pytest

from service.cli.collection import FILE
from tests import generated
from tests.generated import README, differences, texts


def test_the_generated_files_are_up_to_date() -> None:
    assert list(differences(texts())) == []


def test_a_file_that_is_out_of_date_is_shown_as_a_difference_of_its_lines() -> None:
    wanted = texts()
    row = next(line for line in wanted[README].splitlines() if line.startswith("| `tasks/get_task`"))

    found = list(differences(wanted | {README: wanted[README].replace(row, "| another row |")}))

    assert [line for line in found if not line.startswith("@@")] == [
        "--- sql/README.md\n",
        "+++ sql/README.md, as make generated writes it\n",
        f"-{row}\n",
        "+| another row |\n",
    ]


@pytest.mark.parametrize(("added", "code"), [("", 0), ("# One line more.\n", 1)])
def test_the_check_prints_the_difference_and_exits_with_1_when_there_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, added: str, code: int
) -> None:
    wanted = {FILE: FILE.read_text() + added}
    monkeypatch.setattr(generated, "texts", lambda: wanted)
    monkeypatch.setattr(sys, "argv", ["generated", "--check"])

    with pytest.raises(SystemExit) as ended:
        generated.main()

    assert (ended.value.code, capsys.readouterr().out.count("+# One line more.\n")) == (code, code)
