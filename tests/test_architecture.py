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
    "baselines",
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
    for name in (name for name in FILES if name.partition(".")[0] not in FACADES):
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


TASK_WORDS = ("SequenceClassification", "SEQ_CLS", "accuracy")
MAY_NAME_A_TASK = {
    "tasks",
    "baselines",  # they are classifiers
    "comparison",  # it compares classifiers by their accuracy
    "learn",  # the course teaches classification
    "cli",  # it shows results of classifiers
    "runs.schema",  # the names in result.json
    "runs.split_metrics",  # those of its metrics
    "models.network_class",  # an architecture's standard head is that of its classification class
}
"""Packages and files whose code may have words of one task; all others ask the task."""


def task_words(source):
    """Words of one task in the code: in text that is not a docstring, in names, in attributes and in imports."""
    tree = ast.parse(source)
    parents = [node for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)]
    alone = {id(node.value) for parent in parents for node in parent.body if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            found = [node.value]
        elif isinstance(node, ast.Name | ast.Attribute | ast.alias):
            found = [getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))]
        else:
            continue
        yield from (word for word in TASK_WORDS for text in found if word in text)


def test_only_tasks_know_what_a_task_is():
    wrong = {name: {*task_words(path.read_text())} for name, path in FILES.items()}
    wrong = {name: words for name, words in wrong.items() if not {name, name.partition(".")[0]} & (FACADES | MAY_NAME_A_TASK)}
    assert {name: words for name, words in wrong.items() if words and name not in MAY_NAME_A_TASK} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import transformers\nnetwork = transformers.AutoModelForSequenceClassification",
        "from transformers import GPT2ForSequenceClassification",
        'name = "AutoModelForSequenceClassification"',
        'config = LoraConfig(task_type="SEQ_CLS")',
        'def best(metrics):\n    """Return the best."""\n    return metrics["accuracy"]',
        'best = f"{test.accuracy:.1%}"',
    ],
)
def test_a_word_of_one_task_would_be_found(source):
    assert list(task_words(source))


def test_a_docstring_may_explain_by_the_example_of_a_task():
    assert not list(task_words('X = 1\n"""As in accuracy."""\n\n\ndef f():\n    """Near full accuracy, SEQ_CLS."""\n'))
