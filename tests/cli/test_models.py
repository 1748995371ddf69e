"""`finewright models`."""

import json

from typer.testing import CliRunner

from finewright.cli import main
from finewright.models import architectures


def run(*arguments):
    return CliRunner().invoke(main.app, ["models", *arguments])


def test_it_lists_every_described_architecture():
    outcome = run()
    assert outcome.exit_code == 0
    listed = {line.split()[0] for line in outcome.stdout.splitlines() if line.strip()}
    assert {*architectures.architecture_names()} <= listed
    assert "Any other text model of transformers" in outcome.stdout


def test_json_is_the_same_list():
    found = json.loads(run("--json").stdout)
    assert found["models"] == architectures.describe_architectures()
    assert len(found["models"]) >= 40
    assert {row["batches"] for row in found["models"]} == {"packed", "padded"}
    assert "the same alone, in any batch" in found["tested"]
