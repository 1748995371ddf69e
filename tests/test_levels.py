"""Arrows between rooms point down; imports inside functions count."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import finewright

SOURCE = Path(finewright.__file__).parent
LEVELS = [
    {"__init__", "assets", "errors", "kernels", "standin", "story"},
    {"config", "disk", "duplicates", "expect", "inline", "stop", "textfile", "tiles"},
    {
        "anatomy",
        "attention",
        "axes",
        "checkpoint",
        "course",
        "crew",
        "events",
        "formats",
        "hardware",
        "hub",
        "judge",
        "judge_child",
        "layers",
        "logs",
        "markup",
        "memory",
        "metrics",
        "outcomes",
        "outlines",
        "progress",
        "quantization",
        "steady",
        "store",
        "twin",
    },
    {"data", "encoding", "flash", "lowrank", "narrow", "plots", "provenance", "run", "statistics", "trace"},
    {"tuned"},
    {
        "batches",
        "checks",
        "compiling",
        "fast",
        "methods",
        "optim",
        "pages",
        "rates",
        "repeats",
        "shapes",
        "shared",
        "state",
        "tasks",
        "traced",
        "vocabulary",
    },
    {"models", "order", "roster", "search", "step", "trunk", "yours"},
    {"choices", "computed", "dossier", "evaluate", "facts", "update", "yours_pictures"},
    {
        "baselines",
        "engine",
        "keeper",
        "lessons",
        "own_pairs",
        "own_scores",
        "own_training",
        "planner",
        "proof",
        "provision",
        "results",
        "standings",
    },
    {"campaign", "exchange", "figures", "life", "own_questions", "savings", "tally", "verdict"},
    {"forecast"},
    {"advice", "prospect", "quiz", "tables"},
    {"job", "learn_pages", "report", "survey"},
    {"comparison", "doctor", "export", "learn_site", "pipeline"},
    {"api", "learn_web"},
    {"demo", "member"},
    {"forks", "terminal"},
    {"cli_export", "cli_plan", "cli_train", "scoreboard", "terminal_learn"},
    {"cli_compare", "cli_learn"},
    {"cli"},
    {"__main__"},
]
LONG = {"train", "_peft_config", "summary", "fit", "load", "compare"}
"""Functions that may be longer: tables of contents and plain lists."""
HEAVY = {"torch", "transformers", "peft", "sklearn", "scipy", "pyarrow", "datasets", "optuna"}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def level_of(room):
    return next((number for number, rooms in enumerate(LEVELS) if room in rooms), None)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "finewright" and len(parts) > 1 and level_of(parts[1]) is not None:
            yield parts[1]


def test_every_room_has_a_level():
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")} - set()
    assert rooms == set().union(*LEVELS)


def test_arrows_point_down():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        for target in arrows(path):
            if target != room and level_of(target) >= level_of(room):
                wrong.append(f"{room} → {target}")
    assert wrong == []


def test_no_heavy_import_before_it_is_needed():
    code = f"import finewright.cli, sys; print(sorted(set(sys.modules) & {HEAVY!r}))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_files_and_functions_stay_small():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 300, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in (
                "train",
                "_peft_config",
                "summary",
                "fit",
                "load",
                "compare",
            ):
                assert node.end_lineno - node.lineno <= 45, f"{path.name}: {node.name}"


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
