"""Options: declared once, checked, refused or renamed."""

import re

import pytest

from finewright import baselines, methods
from finewright.core import config, option_names
from finewright.core.config import RunConfig
from finewright.core.errors import UserError


def test_all_faults_are_reported_at_once_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        config.build_options(RunConfig, {"modle": "x", "training": {"learning_rte": 1, "epochs": -1}, "seed": "many"})
    text = str(caught.value)
    assert "modle: unknown option; did you mean 'model'?" in text
    assert "training.learning_rte: unknown option; did you mean 'learning_rate'?" in text
    assert "training.epochs = -1: wanted a number from 0.01 to 1,000" in text
    assert "seed = 'many'" in text


@pytest.mark.parametrize("value", [3, ["a", 3]])
def test_an_option_that_takes_text_or_several_texts_has_one_line_for_another_type(value):
    with pytest.raises(UserError) as caught:
        config.DataConfig(text_column=value)
    assert caught.value.what == f"text_column = {value!r}: wanted text, or a list of texts"
    with pytest.raises(UserError) as caught:
        config.build_options(RunConfig, {"data": {"text_column": value, "test_fraction": 2}})
    first, second = caught.value.what.split("\n  ")
    assert first == f"data.text_column = {value!r}: wanted text, or a list of texts"
    assert second == "data.test_fraction = 2: wanted a number from 0 to 0.5"


KINDS = [methods.get_method(name) for name in methods.method_names()]
KINDS += [type(baselines.build_baseline(name, {})) for name in baselines.baseline_names()]
KINDS += [config.DataConfig, config.TrainingConfig, RunConfig]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_option_given_to_a_class_is_explained_with_value_and_range(kind):
    with pytest.raises(UserError, match=f"^{kind.__name__}: nope: unknown option"):
        kind(nope=1)
    limited = {name: field for name, field in kind.model_fields.items() if any(hasattr(one, "ge") for one in field.metadata)}
    for name, field in limited.items():
        low = next(one.ge for one in field.metadata if hasattr(one, "ge"))
        with pytest.raises(UserError) as caught:
            kind(**{name: low - 1})
        high = next((one.le for one in field.metadata if hasattr(one, "le")), None)
        told = rf"{kind.__name__}: {name} = {low - 1}: wanted a number (?:from|of at least) (\S+)(?: to (\S+))?"
        what, _, fix = str(caught.value).partition("\n")
        ends = [end and float(end.replace(",", "")) for end in re.fullmatch(told, what).groups()]
        assert ends == [low, high]
        assert fix == "  → `finewright methods` and `finewright options` list every option"


def test_several_faults_of_a_class_are_one_error_with_the_names_that_are_meant():
    with pytest.raises(UserError) as caught:
        config.TrainingConfig(epochs=0, lr=1, lr_scheduler="step")
    first, *others = str(caught.value).split("\n")
    assert first.startswith("TrainingConfig: epochs = 0: wanted a number from 0.01 to 1,000")
    assert "  lr: unknown option; did you mean 'learning_rate'?" in others
    assert "  lr_scheduler = 'step': Input should be 'linear', 'cosine' or 'constant'" in others
    with pytest.raises(UserError, match="r: unknown option; did you mean 'rank'"):
        methods.get_method("lora")(r=4)


def test_a_misspelt_group_offers_the_group():
    with pytest.raises(UserError, match="trainig: unknown option; did you mean 'training'"):
        config.build_options(RunConfig, {"trainig": {"learning_rate": 1}})


@pytest.mark.parametrize(("old", "new"), option_names.OLD_NAMES.items())
def test_an_old_name_is_refused_with_the_new_one(old, new):
    group, _, name = old.rpartition(".")
    kinds = {"": RunConfig, "data": config.DataConfig, "training": config.TrainingConfig}
    if group == "method":
        kind = next(kind for kind in methods.methods_by_preference() if new.removeprefix("method.") in kind.model_fields)
    else:
        kind = kinds[group]
    with pytest.raises(UserError, match=rf"^{re.escape(old)}: unknown option; did you mean '{re.escape(new)}'\?"):
        config.build_options(kind, {name: 1}, prefix=group)


def test_the_old_group_is_refused_with_the_new_name_of_each_option():
    with pytest.raises(UserError) as caught:
        config.build_options(RunConfig, {"train": {"lr": 1, "epochs": 2, "lerning_rate": 1, "qqq": 0}})
    assert [line.strip() for line in str(caught.value).splitlines()[:4]] == [
        "train.lr: unknown option; did you mean 'training.learning_rate'?",
        "train.epochs: unknown option; did you mean 'training.epochs'?",
        "train.lerning_rate: unknown option; did you mean 'training.learning_rate'?",
        "train.qqq: unknown option; did you mean 'training'?",
    ]


def test_a_renamed_option_of_another_method_is_not_offered():
    with pytest.raises(UserError) as caught:
        methods.build_method("full", {"tokens": 4})
    assert "num_virtual_tokens" not in str(caught.value)


def test_names_of_peft_and_hugging_face_are_accepted_where_they_mean_the_same():
    lora = methods.build_method("lora", {"r": 4, "lora_alpha": 2.0, "lora_dropout": 0.25})
    assert lora == methods.build_method("lora", {"rank": 4, "alpha": 2.0, "dropout": 0.25})
    given = {"num_train_epochs": 2, "lr_scheduler_type": "cosine", "weight_decay": 0.5}
    own = {"epochs": 2, "lr_scheduler": "cosine", "weight_decay": 0.5}
    assert config.build_options(RunConfig, {"training": given}) == config.build_options(RunConfig, {"training": own})


def test_an_alias_is_checked_as_the_option_itself():
    with pytest.raises(UserError, match=r"method\.rank = 0: "):
        methods.build_method("lora", {"r": 0})
    with pytest.raises(UserError, match=r"method\.r: full has no option r; it belongs to lora and qlora"):
        methods.build_method("full", {"r": 4})


def test_an_alias_and_its_option_at_once_are_refused():
    with pytest.raises(UserError, match=r"training\.num_train_epochs and training\.epochs are the same option"):
        config.build_options(RunConfig, {"training": {"num_train_epochs": 2, "epochs": 3}})


def test_assignments_are_toml_and_else_text():
    pairs = [
        "training.learning_rate=1e-5",
        "method.target_modules=query,value",
        "data.skip_invalid_rows=true",
        "method.rank=8",
        "model=gpt2",
    ]
    assert config.parse_assignments(pairs) == {
        "training": {"learning_rate": 1e-5},
        "method": {"target_modules": "query,value", "rank": 8},
        "data": {"skip_invalid_rows": True},
        "model": "gpt2",
    }


@pytest.mark.parametrize("pair", ["training.learning_rate", "=3", " = "])
def test_an_assignment_without_key_or_equals(pair):
    with pytest.raises(UserError, match="wanted key=value after --set"):
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
    path.write_text("[training]\nlearning_rate = 1e-5\n")
    assert config.read_toml(path) == {"training": {"learning_rate": 1e-5}}
    path.write_text("[training]\nlearning_rate = = 3\n")
    with pytest.raises(UserError, match=r"a\.toml: not a readable TOML file: .*line 2"):
        config.read_toml(path)
    with pytest.raises(UserError, match=r"none\.toml: no such config file"):
        config.read_toml(tmp_path / "none.toml")


def test_every_option_has_a_help_line():
    rows = config.describe_options(RunConfig)
    assert len(rows) == len({name for name, _, _ in rows}) > 25
    assert all(text for _, _, text in rows)
    assert ("training.lr_scheduler", "linear", "how the learning rate falls after the warm-up: linear, cosine, constant") in rows
