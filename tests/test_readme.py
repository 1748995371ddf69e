"""What README says is so, and it stays short."""

import re
from pathlib import Path

from finewright import methods
from finewright.models import architectures

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MOST_BYTES = 10_500
MOST_LINES = 170


def test_it_is_short():
    assert len(README.encode()) <= MOST_BYTES
    assert README.count("\n") <= MOST_LINES


def test_methods_architectures_and_make_targets_are_real():
    assert f"**Methods:** {', '.join(f'`{name}`' for name in methods.method_names())}." in README
    assert f"**Architectures:** {len(architectures.architecture_names())} are described and tested" in README
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"`make ([\w-]+)`", README + (ROOT / "CONTRIBUTING.md").read_text())
    assert {"demo", "setup", "test", "docs"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_extras_exist():
    extras = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert [
        name for name in re.findall(r"finewright\[(\w+)\]", README) if not re.search(rf"^{name} = ", extras, re.MULTILINE)
    ] == []


def test_numbers_of_the_tables_come_from_the_benchmark_pages():
    measured = set(re.findall(r"[\d.]+", "".join(path.read_text() for path in (ROOT / "docs/benchmarks").glob("*.md"))))
    numbers = [
        number for line in README.splitlines() if line.startswith("| ") for number in re.findall(r"\b\d[\d.]*\b(?!-bit)", line)
    ]
    assert len(numbers) >= 16
    assert [number for number in numbers if number not in measured] == []


def test_every_order_of_packages_that_is_stated_is_the_enforced_one():
    source = (ROOT / "tests/test_architecture.py").read_text()
    enforced = re.findall(r'"(\w+)"', source.partition("PACKAGES = (")[2].partition(")")[0])
    (stated,) = re.findall(r"\*\*([\w >,]+)\.\*\*", (ROOT / "CONTRIBUTING.md").read_text())
    assert re.split(r" > |, ", stated) == enforced[::-1]
