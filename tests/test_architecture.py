"""The order of packages, what may be loaded when, and what no file may contain."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import finewright

SOURCE = Path(finewright.__file__).parent
PACKAGES = (
    "core",
    "data",
    "models",
    "methods",
    "tasks",
    "inference",
    "training",
    "planning",
    "runs",
    "exporters",
    "api",
    "comparison",
    "web",
    "learn",
    "cli",
)
"""A package imports only from those before it; inside a package no files import each other in a circle."""
FACADES = {"", "__main__", "sklearn"}
"""Nothing imports them; they may import everything."""
MOST_LINES = 500
HEAVY = {"torch", "transformers", "peft", "sklearn", "scipy", "pyarrow", "datasets", "optuna", "starlette", "uvicorn"}


def module_name(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] != "assets"}


def names_in(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path):
    return names_in(ast.walk(ast.parse(path.read_text())))


def targets(name, *, for_types=True):
    """Modules of the package that a file imports, inside functions too; `for_types`: also under `if TYPE_CHECKING`."""
    tree = ast.parse(FILES[name].read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"]
    left_out = set() if for_types else {id(inner) for block in blocks for inner in ast.walk(block)}
    found = names_in(node for node in ast.walk(tree) if id(node) not in left_out)
    return {module for module in (one.removeprefix("finewright.") for one in found) if module in FILES} - {name}


def test_every_package_has_its_place_and_says_what_it_is():
    assert {name.partition(".")[0] for name in FILES} - FACADES == set(PACKAGES)
    for name, path in FILES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), name


def test_imports_go_down_the_order_of_packages():
    wrong = []
    for name in FILES.keys() - FACADES:
        place = PACKAGES.index(name.partition(".")[0])
        wrong += [f"{name} → {one}" for one in targets(name) if PACKAGES.index(one.partition(".")[0]) > place]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    arrows = {name: targets(name, for_types=False) for name in FILES}
    for name, found in arrows.items():  # `from finewright.methods import base` names the package too
        arrows[name] = {one for one in found if not any(other.startswith(f"{one}.") for other in found)}
    assert len(list(graphlib.TopologicalSorter(arrows).static_order())) == len(FILES)


def test_no_heavy_import_before_it_is_needed():
    code = f"import finewright.cli.main, sys; print(sorted(set(sys.modules) & {HEAVY!r}))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_files_stay_readable():
    assert {name: path for name, path in FILES.items() if len(path.read_text().splitlines()) > MOST_LINES} == {}


FORBIDDEN = {
    "pickle",
    "cPickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
}
IN_PYTHON = (
    "torch.load(",
    "np.load(",
    "allow_pickle",
    "read_pickle",
    "yaml.load",
    "eval(",
    "exec(",
    "os.system",
    "shell=True",
    "extractall",
    "mktemp(",
    "verify=False",
    "trust_remote_code=True",
    "0.0.0.0",
)
IN_PAGES = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "dangerouslySet", "eval(", "new Function")
"""What a browser would read as markup or code. Pages are also written by Python."""


def dangerous(text, words):
    return [f"{word}: {line.strip()}" for line in text.splitlines() for word in words if word in line.replace(".eval(", "")]


def test_nothing_unpickles_and_nothing_runs_code():
    for path in SOURCE.rglob("*.py"):
        assert not FORBIDDEN & {name.split(".")[0] for name in imports(path)}, path.name
        assert dangerous(path.read_text(), (*IN_PYTHON, *IN_PAGES)) == [], path.name


def test_no_page_makes_markup_or_code_of_text():
    pages = [path for kind in ("*.js", "*.html") for path in SOURCE.rglob(kind)]
    assert pages
    for path in pages:
        assert dangerous(path.read_text(), IN_PAGES) == [], path.name


@pytest.mark.parametrize("word", [*IN_PYTHON, *IN_PAGES])
def test_each_of_these_would_be_found(word):
    assert dangerous(f"x = 1\n    y = {word}z)\n", (*IN_PYTHON, *IN_PAGES))
    assert dangerous("    model.eval()\n", (*IN_PYTHON, *IN_PAGES)) == []
