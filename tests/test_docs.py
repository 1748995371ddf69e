"""README and docs: links, commands, option names and paths are real, the words are the glossary's, the site builds."""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import finewright
from finewright import baselines, methods
from finewright.cli import main
from finewright.core import config

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    "reference/cli.md",
    "reference/options.md",
    "reference/methods.md",
    "reference/models.md",
    "reference/exit-codes.md",
    "project/architecture.md",
}
"""Pages of `scripts/build_reference.py`, which are not committed."""
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.relative_to(ROOT / "docs").as_posix() not in GENERATED),
]
PRIVATE = (
    r"\bknobs?\b",
    r"\brooms?\b",
    r"\btrunks?\b",
    r"\bways?\b",
    r"\bdossiers?\b",
    r"\brosters?\b",
    r"life of a run",
    r"\blives\b",
    r"told apart",
    r"\bproofs?\b",
    r"\bprove[dns]?\b",
    r"by heart",
    r"\bgoes on\b",
    r"\bgo on\b",
    r"\bstandings\b",
    r"trained numbers",
    r"texts that ask",
)
"""Words that the project once had for itself; docs/reference/glossary.md has the usual ones."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def prose(text):
    """Text without code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def fences(text):
    """(language, code) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def code_spans(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands_in(text):
    """Every `finewright …` command of a page, in a block of its own or within a sentence."""
    lines = [line.removeprefix("$ ") for language, code in fences(text) if language == "" for line in code.splitlines()]
    found = [line for line in [*lines, *code_spans(text)] if line.startswith("finewright ")]
    return [shlex.split(line, comments=True)[1:] for line in found]


def anchors_in(text):
    """Anchors of the headings, as Python-Markdown and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def faulty_links(path, root):
    """Links of a page that lead nowhere: to no file, out of `root`, or to no heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        goal = (path.parent / place).resolve() if place else path
        if not goal.exists() or not goal.is_relative_to(root):
            yield f"{path.name}: {target}"
        elif anchor and anchor not in anchors_in(goal.read_text()):
            yield f"{path.name}: no heading for {target}"


def load_generator():
    spec = importlib.util.spec_from_file_location("build_reference", ROOT / "scripts" / "build_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A copy of the docs with the generated pages."""
    root = tmp_path_factory.mktemp("site").resolve()
    shutil.copytree(ROOT / "docs", root / "docs")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "mkdocs.yml", root)
    generator = load_generator()
    assert set(generator.PAGES) == GENERATED
    generator.build(root / "docs")
    return root


def test_links_and_anchors_resolve(site):
    pages = sorted((site / "docs").rglob("*.md"))
    assert len(pages) > 60
    assert [fault for page in pages for fault in faulty_links(page, site / "docs")] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_repository_lead_to_committed_files(name):
    text = (ROOT / name).read_text()
    assert list(faulty_links(ROOT / name, ROOT)) == []
    assert not [page for page in GENERATED if f"docs/{page}" in text]


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    (tmp_path / "b.md").write_text("# One & two\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md#one-two) [y](c.md) [z](b.md#three) `[code](d.md)`\n")
    assert list(faulty_links(page, tmp_path)) == ["a.md: c.md", "a.md: no heading for b.md#three"]


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_every_command_parses(path):
    for words in commands_in(path.read_text()):
        group = get_command(main.app)
        command, rest = group.commands[words[0]], words[1:]
        if rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        if rest:  # the bare name of a command is a mention
            command.make_context("finewright", list(rest), resilient_parsing="--help" in rest)


def test_commands_are_found_where_they_are_expected():
    counts = {name_of(path): len(commands_in(path.read_text())) for path in WRITTEN}
    assert counts["README.md"] >= 8
    assert counts["docs/guides/train.md"] >= 8
    assert sum(counts.values()) > 60


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_option_names_are_real(path):
    known = {name for name, _, _ in config.describe_options(config.RunConfig)}
    for method in methods.method_names():
        options = {name for name, _, _ in config.describe_options(methods.get_method(method), prefix="method.")}
        known |= options | {f"{method}.{name.removeprefix('method.')}" for name in options}
    for baseline in baselines.baseline_names():
        known |= {name for name, _, _ in config.describe_options(baselines.get_baseline(baseline), prefix="method.")}
    text = path.read_text()
    named = set(re.findall(r"--set ([\w.]+)=", text)) | {f"training.{name}" for name in re.findall(r"--change (\w+)=", text)}
    named |= {span for span in code_spans(text) if re.fullmatch(r"(training|method)\.\w+", span)}
    assert named - known == set()


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_files_and_tests_that_are_named_exist(path):
    text = path.read_text()
    for name in set(re.findall(r"\b(?:src|tests|benchmarks|scripts)/[\w/]+\.py\b", text)):
        assert (ROOT / name).is_file(), name
    for command in re.findall(r"`pytest ([^`]+)`", text):
        source = "".join((ROOT / name).read_text() for name in re.findall(r"tests/\S+\.py", command))
        chosen = re.search(r'-k (?:"([^"]+)"|(\S+))', command)
        for word in re.split(" or ", chosen[1] or chosen[2]) if chosen else []:
            assert re.search(rf"def test_\w*{word}", source), f"{command}: no test named {word}"


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_python_examples_compile(path):
    for language, code in fences(path.read_text()):
        if language == "python":
            ast.parse(code)


def test_names_of_the_python_examples_are_public():
    if not hasattr(finewright, "load"):
        pytest.skip("the Python API that the docs show is not there yet")
    text = "".join(path.read_text() for path in WRITTEN)
    assert [name for name in sorted(set(re.findall(r"\bfw\.(\w+)", text))) if not hasattr(finewright, name)] == []


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_words_are_the_usual_ones(path):
    text = prose(path.read_text())
    assert [found[0] for word in PRIVATE for found in re.finditer(word, text, re.IGNORECASE)] == []


@pytest.mark.parametrize("path", [*WRITTEN, ROOT / "requirements.lock", ROOT / "Makefile", ROOT / "mkdocs.yml"], ids=name_of)
def test_tracked_text_names_no_machine(path):
    text = path.read_text()
    assert not re.search(r"https?://(?!huggingface\.co|arxiv\.org)", text)
    assert not re.search(r"(?<!\S)/(home|root|opt|usr|tmp)/", text)


def test_every_exit_code_has_a_meaning(site):
    page = (site / "docs/reference/exit-codes.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} >= {0, 2, 3, 4, 5, 6, 7, 129, 130, 143}


def test_site_builds_strictly(site):
    mkdocs = [sys.executable, "-m", "mkdocs"] if importlib.util.find_spec("mkdocs") else [shutil.which("mkdocs")]
    if mkdocs == [None]:
        pytest.skip("mkdocs is not installed")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([*mkdocs, "build", "--strict"], cwd=site, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (site / "site/reference/options.html").is_file()
