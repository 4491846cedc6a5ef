"""What a rule finds. It needs no parser, so that commands of the image can read sql/tables.md too."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ReviewFinding:
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"
