"""sql/README.md lists every statement as its own header has it."""

from service.statements import SQL, parse


def test_the_index_is_the_headers() -> None:
    rows = [line for line in (SQL / "README.md").read_text().splitlines() if line.startswith("| `")]

    assert rows == expected_rows()


def expected_rows() -> list[str]:
    rows = []
    for path in sorted(SQL.rglob("*.sql")):
        statement = parse(str(path.relative_to(SQL).with_suffix("")), path.read_text())
        parameters = ", ".join(f"{name} {sql_type}" for name, sql_type in statement.parameters)
        rows.append(
            f"| `{statement.name}` | {statement.kind} | {parameters} | {statement.index} | {statement.purpose} |"
        )
    return rows
