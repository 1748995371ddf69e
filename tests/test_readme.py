"""What the README says is so."""

import re
import shlex
from pathlib import Path

from typer.main import get_command

from finewright.cli import main
from finewright.models import architectures

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_command_parses():
    commands = get_command(main.app).commands
    lines = re.findall(r"`(finewright [^`]+)`", README)
    assert len(lines) > 12
    for line in lines:
        name, *words = shlex.split(line)[1:]
        commands[name].make_context(name, words, resilient_parsing=False)


def test_architectures_and_make_targets_are_real():
    assert f"Architectures: {', '.join(architectures.architecture_names())}." in README.replace("\n", " ")
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "setup", "test-slow", "test-gpu", "test-network"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_tracked_text_names_no_machine():
    for path in [ROOT / "README.md", ROOT / "requirements.lock", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]:
        text = path.read_text()
        assert not re.search(r"https?://(?!huggingface\.co|arxiv\.org)", text), path.name
        assert not re.search(r"(?<!\S)/(home|root|opt|usr|tmp)/", text), path.name
