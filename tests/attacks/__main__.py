"""make attacks: runs every attack, or those in ARGS, and prints each measurement beside its limit."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable

from tests import attacks
from tests.attacks import Measurement


def names() -> list[str]:
    return sorted(each.name for each in pkgutil.iter_modules(attacks.__path__) if not each.name.startswith("_"))


def run(name: str) -> Iterable[Measurement]:
    measured: Iterable[Measurement] = importlib.import_module(f"tests.attacks.{name}").run()
    return measured


def main(wanted: list[str]) -> int:
    missed = 0
    for name in wanted or names():
        for each in run(name):
            missed += not each.is_met
            verdict = "met" if each.is_met else "MISSED"
            print(f"{name:12} {each.name:72} {each.limit:>14} {each.measured:>14}  {verdict}", flush=True)  # noqa: T201 - the command's output
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
