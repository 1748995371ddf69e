"""Knobs."""

import pytest

from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError


def test_all_faults_are_told_at_once_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        config.build_options(RunConfig, {"modle": "x", "training": {"lrr": 1, "epochs": -1}, "seed": "many"})
    text = str(caught.value)
    assert "modle: unknown knob; did you mean 'model'?" in text
    assert "train.lrr: unknown knob; did you mean 'lr'?" in text
    assert "training.epochs = -1: Input should be greater than or equal to 0.01" in text
    assert "seed = 'many'" in text


def test_a_misspelt_group_offers_the_group():
    with pytest.raises(UserError, match="trian: unknown knob; did you mean 'train'"):
        config.build_options(RunConfig, {"trian": {"lr": 1}})


def test_assignments_are_toml_and_else_text():
    pairs = [
        "training.learning_rate=1e-5",
        "method.target_modules=query,value",
        "data.keep_end=true",
        "method.rank=8",
        "model=gpt2",
    ]
    assert config.parse_assignments(pairs) == {
        "training": {"learning_rate": 1e-5},
        "method": {"target": "query,value", "rank": 8},
        "data": {"keep_end": True},
        "model": "gpt2",
    }


@pytest.mark.parametrize("pair", ["training.learning_rate", "=3", " = "])
def test_an_assignment_without_key_or_equals(pair):
    with pytest.raises(UserError, match="--set wants key=value"):
        config.parse_assignments([pair])


def test_a_value_is_no_group():
    with pytest.raises(UserError, match=r"seed\.x: 'seed' is a value, not a group"):
        config.parse_assignments(["seed=1", "seed.x=2"])


def test_flags_lie_over_the_file():
    assert config.merge_options(
        {"training": {"learning_rate": 1, "epochs": 2}, "seed": 3}, {"training": {"learning_rate": 5}}
    ) == {
        "training": {"learning_rate": 5, "epochs": 2},
        "seed": 3,
    }


def test_toml_files(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[train]\nlr = 1e-5\n")
    assert config.read_toml(path) == {"training": {"learning_rate": 1e-5}}
    path.write_text("[train]\nlr = = 3\n")
    with pytest.raises(UserError, match=r"a\.toml: not a readable TOML file: .*line 2"):
        config.read_toml(path)
    with pytest.raises(UserError, match=r"none\.toml: no such config file"):
        config.read_toml(tmp_path / "none.toml")


def test_every_knob_has_a_help_line():
    rows = config.describe_options(RunConfig)
    assert len(rows) == len({name for name, _, _ in rows}) > 25
    assert all(text for _, _, text in rows)
    assert ("training.lr_scheduler", "linear", "how the learning rate falls after the warm-up: linear, cosine, constant") in rows
