"""Options under every name that a user may know them by, and files with options."""

import json
import tomllib

import pytest

import finewright
from finewright import methods
from finewright.cli import option_files
from finewright.cli.arguments import merge_given, suggest_flag
from finewright.comparison import spec as comparison_spec
from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.planning import candidates
from finewright.runs import schema
from finewright.runs.schema import RequestRecord, RunConfigFile
from support.commands import call


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("learning_rate=1e-4", {"training": {"learning_rate": 1e-4}}),
        ("num_train_epochs=2", {"training": {"epochs": 2}}),
        ("training.num_train_epochs=2", {"training": {"epochs": 2}}),
        ("lr=1e-4", {"training": {"learning_rate": 1e-4}}),
        ("max_seq_length=64", {"data": {"max_length": 64}}),
        ("model_name_or_path=x", {"model": "x"}),
        ("max_length=64", {"data": {"max_length": 64}}),
        ("text_column_name=body", {"data": {"text_column": "body"}}),
        ("seed=3", {"seed": 3}),
    ],
)
def test_a_name_means_the_same_with_and_without_its_group(given, expected):
    assert config.resolve_names(RunConfig, config.parse_assignments([given])) == expected
    assert merge_given({}, assignments=[given]) == expected


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("learning_rat=1", "did you mean 'training.learning_rate'?"),
        ("per_device_train_batch_size=8", "did you mean 'training.tokens_per_micro_batch'?"),
        ("batch_size=8", "did you mean 'training.tokens_per_micro_batch'?"),
        ("bf16=true", "did you mean 'training.precision'?"),
        ("max_len=8", "did you mean 'data.max_length'?"),
        ("model_name=x", "did you mean 'model'?"),
        ("r=8", "did you mean 'method.rank'?"),
        ("lora_alpha=8", "did you mean 'method.alpha'?"),
        ("rank=8", "did you mean 'method.rank'?"),
        ("output_dir=x", "not an option; give --out FOLDER"),
        ("training.report_to=x", "not an option; metrics.jsonl"),
        ("resume_from_checkpoint=x", "not an option; give --resume RUN"),
    ],
)
def test_other_names_are_refused_in_one_line_that_says_what_to_use(given, hint):
    with pytest.raises(UserError) as caught:
        config.build_options(RunConfig, config.parse_assignments([given]), elsewhere=methods.option_places())
    assert hint in str(caught.value).splitlines()[0]


def test_python_gets_the_same_hint(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,a\ny,b\n")
    with pytest.raises(UserError, match=r"learning_rat: unknown option; did you mean 'training\.learning_rate'\?"):
        finewright.train(str(tmp_path / "a.csv"), model="mini", options={"learning_rat": 1e-4})


@pytest.mark.parametrize(
    "tree", [{"learning_rate": 1, "training": {"learning_rate": 2}}, {"num_train_epochs": 2, "epochs": 1}], ids=str
)
def test_an_option_under_two_names_is_refused(tree):
    with pytest.raises(UserError, match="are the same option"):
        config.build_options(RunConfig, tree)


def test_a_flag_and_an_assignment_may_repeat_each_other():
    given = merge_given({"training.learning_rate": 1e-3}, assignments=["learning_rate=1e-3", "num_train_epochs=2"])
    assert given == {"training": {"learning_rate": 1e-3, "epochs": 2}}


@pytest.mark.parametrize(
    ("flags", "assignments", "named"),
    [
        ({"training.learning_rate": 1e-4}, ["learning_rate=1e-3"], ("--lr 0.0001", "--set learning_rate=1e-3")),
        ({"seed": 1}, ["seed=2"], ("--seed 1", "--set seed=2")),
        ({}, ["training.epochs=1", "num_train_epochs=2"], ("--set training.epochs=1", "--set num_train_epochs=2")),
        ({}, ["lora.rank=1", "lora.rank=2"], ("--set lora.rank=1", "--set lora.rank=2")),
        (
            {"data.text_column": ["a b", "c"]},
            ["data.text_column=c"],
            ("--text-column 'a b' --text-column c", "--set data.text_column=c"),
        ),
        ({"data.no_header": True}, ["data.no_header=false"], ("--no-header", "--set data.no_header=false")),
    ],
)
def test_an_option_given_twice_with_different_values_is_refused_with_both_named(flags, assignments, named):
    with pytest.raises(UserError) as caught:
        merge_given(flags, assignments=assignments)
    assert f"{named[0]} and {named[1]} give one option two values" in str(caught.value)
    assert merge_given(flags, assignments=assignments[:1] if not flags else [])


@pytest.mark.parametrize(
    ("flags", "assignments"),
    [
        ({"data.text_column": "a"}, ["data.text_column=a"]),
        ({"data.text_column": "a"}, ['data.text_column=["a"]']),
        ({"data.text_column": ["a", "b"]}, ['data.text_column=["a", "b"]']),
        ({"training.learning_rate": 1e-4}, ['lr="1e-4"']),
        ({}, ['lr="1e-4"', "lr=1e-4"]),
        ({"seed": 1}, ["seed=1.0"]),
        ({}, ["method.rank=8", "method.rank=[8]"]),
    ],
)
def test_an_option_given_twice_with_one_value_is_taken_whatever_its_type(flags, assignments):
    assert merge_given(flags, assignments=assignments)


def test_a_flag_overrides_the_file(tmp_path):
    (tmp_path / "run.toml").write_text("seed = 1\nlearning_rate = 1e-4\n")
    assert merge_given({"seed": 2}, assignments=["lr=1e-3"], config=tmp_path / "run.toml") == {
        "seed": 2,
        "training": {"learning_rate": 1e-3},
    }


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--learning-rate", "--lr"),
        ("--learning_rate", "--lr"),
        ("--num_train_epochs", "--epochs"),
        ("--output_dir", "--out"),
        ("--resume_from_checkpoint", "--resume"),
        ("--weight-decay", "--set training.weight_decay=VALUE"),
        ("--lora_alpha", "--set method.alpha=VALUE"),
        ("--model_name_or_path", "--model"),
        ("--bf16", "--precision"),
        ("--report_to", ""),
        ("--methods", "--method"),
        ("--validation", ""),
        ("--qqqqqqq", ""),
    ],
)
def test_an_unknown_flag_names_the_one_that_is_meant(flag, meant):
    assert suggest_flag(flag, known_flags=["--method"]) == meant
    code, _, err = call("train", "x.csv", flag, "1")
    assert (code, f"No such option: {flag}" in err) == (2, True)
    assert (f"(Possible options: {meant})" in " ".join(err.split())) == bool(meant)


@pytest.mark.parametrize(
    ("given", "method", "expected"),
    [
        ("r=4", "auto", {"rank": 4}),
        ("rank=4", "lora", {"rank": 4}),
        ("lora_alpha=8", "qlora", {"alpha": 8}),
        ("num_layers=2", "freeze", {"num_layers": 2}),
    ],
)
def test_an_option_of_the_method_may_have_no_group(given, method, expected):
    tree = config.parse_assignments([given, "seed=3"])
    assert candidates.collect_method_options(tree, method=method) == expected
    assert tree == {"seed": 3}
    report = finewright.plan(model="mini", method="lora", options={"r": 64, "data.max_length": 16, "memory_budget": "1GB"})
    assert report.entries[0].method.rank == 64


@pytest.mark.parametrize(
    "tree", [{"r": 1, "rank": 2}, {"rank": 1, "method": {"r": 2}}, {"rank": 1, "lora": {"rank": 2}}], ids=str
)
def test_an_option_of_the_method_under_two_names_is_refused(tree):
    with pytest.raises(UserError, match="are the same option"):
        candidates.collect_method_options(tree, method="lora")


def test_what_another_command_takes_is_named_in_its_place():
    assert "(Possible options: --methods)" in call("compare", "x.csv", "--method", "lora")[2]
    assert "give as DATA a folder with train.* and validation.*" in call("train", "x.csv", "--validation", "v.csv")[2]
    for command in ("plan", "train"):
        code, _, err = call(command, "x.csv", "--method", "lora,freeze")
        assert code == 2
        assert "wanted one method, found 'lora,freeze'" in err
        assert "`finewright compare --methods lora,freeze`" in err
    code, _, err = call("compare", "x.csv", "--methods", "")
    assert (code, "wanted a list of methods, found none" in err) == (2, True)


@pytest.mark.parametrize("value", ["-1", "nan", "1e9"])
def test_a_number_out_of_range_is_one_sentence_with_the_range(value, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,a\ny,b\n")
    for words in (["--lr", value], ["--set", f"lr={value}"]):
        code, _, err = call("train", tmp_path / "a.csv", *words)
        assert code == 2
        assert "wanted a number from 1e-12 to 100" in err
        assert "Input should" not in err


def test_options_of_a_method_may_name_it_where_one_is_trained():
    for method in ("lora", "auto"):
        tree = {"lora": {"rank": 16, "training": {"num_train_epochs": 3}}, "training": {"learning_rate": 1}}
        assert candidates.collect_method_options(tree, method=method) == {"rank": 16}
        assert tree == {"training": {"learning_rate": 1, "epochs": 3}}


@pytest.mark.parametrize(
    ("tree", "method", "message"),
    [
        ({"lora": {"rank": 16}}, "full", "options of lora are given, but the method is full"),
        ({"freeze": {"num_layers": 1}}, "auto", "options of freeze are given, but the method is auto"),
        ({"lora": {"rank": 16}, "method": {"rank": 8}}, "lora", "method.rank and lora.rank are the same option"),
        (
            {"lora": {"training": {"epochs": 1}}, "training": {"epochs": 2}},
            "lora",
            "training.epochs and lora.training.epochs are",
        ),
        ({"lora": 3}, "lora", "wanted options of this method, found 3"),
        ({"method": 3}, "lora", "wanted a group of options, found 3"),
    ],
)
def test_options_of_another_method_and_contradictions_are_refused(tree, method, message):
    with pytest.raises(UserError) as caught:
        candidates.collect_method_options(tree, method=method)
    assert message in str(caught.value)


def test_an_option_of_another_method_says_whose_it_is():
    with pytest.raises(UserError, match="full has no option rank; it belongs to lora and qlora"):
        methods.build_method("full", {"rank": 8})


def test_plan_takes_options_by_method():
    report = finewright.plan(model="mini", options={"lora.rank": 64, "data.max_length": 16, "memory_budget": "1GB"})
    trained = {entry.method.name(): entry.training_plan.plan.trainable_parameters for entry in report.entries}
    assert trained["lora"] > 4 * trained["prompt"]
    with pytest.raises(UserError, match="options of a method need one method"):
        finewright.plan(model="gpt2", options={"method.rank": 64})


GIVEN = [{"method": {"rank": 4}}, {"lora": {"rank": 4}}, {"r": 4}, {"method": {"name": "lora", "rank": 4}}]


@pytest.mark.parametrize("given", GIVEN)
def test_compare_takes_the_same_names_where_one_method_is_meant(given):
    wanted = {"test": None, "model": "mini", "num_seeds": 1, "search_trials": 0}
    found = comparison_spec.build_spec("a.csv", wanted=["lora"], options={**given, "learning_rate": 1e-4}, **wanted)
    assert found.method_options == {"lora": {"method": {"rank": 4}}}
    assert found.options == {"training": {"learning_rate": 1e-4}}


def run_config(**changes):
    settings = RunConfig(model="mini").model_dump()
    request = RequestRecord(source="a.csv", test=None, settings=settings, method="lora, qlora", method_options={})
    choices = [
        {"option": "training.learning_rate", "value": 2e-3, "reason": "because"},
        {"option": "training.num_threads", "value": 64, "reason": "cores"},
    ]
    found = {"settings": settings, "method": "lora", "method_options": {"rank": 4, "target_modules": None}, "choices": choices}
    return RunConfigFile.model_validate({"request": request, **found, **changes})


def test_the_config_of_a_run_can_be_given_back(tmp_path):
    schema.write(tmp_path / "config.json", run_config())
    for path in (tmp_path, tmp_path / "config.json"):
        tree = option_files.read_option_file(path)
        assert tree["method"] == {"name": "lora", "rank": 4}
        assert tree["training"]["learning_rate"] == 2e-3
        assert tree["training"]["num_threads"] == 0, "another machine has other cores"
        assert tree["model"] == "mini"
        tree.pop("method")
        assert config.build_options(RunConfig, tree).training.learning_rate == 2e-3


def test_a_run_that_had_not_begun_gives_what_was_asked_for(tmp_path):
    schema.write(tmp_path / "config.json", run_config(settings={}, method="", choices=[]))
    assert "method" not in option_files.read_option_file(tmp_path / "config.json")


def test_yaml_reads_switches_and_numbers_as_the_options_want_them(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "model: mini\ndata: {skip_invalid_rows: true, text_column: 'yes'}\n"
        "training:\n  learning_rate: 1e-4\n  frozen_layer_cache: off\n  epochs: 3\n"
        "method: {name: lora, target_modules: [query]}\n"
    )
    tree = option_files.read_option_file(path)
    assert tree["training"] == {"learning_rate": 1e-4, "frozen_layer_cache": "off", "epochs": 3}
    assert tree["data"] == {"skip_invalid_rows": True, "text_column": "yes"}
    assert tree["method"] == {"name": "lora", "target_modules": ["query"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "a: [1\n", "not a readable YAML file: "),
        ("a.yml", "- 1\n", "wanted options by name, found '[1]'"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']\n", "not a readable YAML file: "),
        ("a.json", "{", "not a readable JSON file: "),
        ("a.json", "[1]", "wanted options by name, found '[1]'"),
        ("a.toml", "a = = 1", "not a readable TOML file: "),
    ],
)
def test_a_broken_file_is_one_message_with_its_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        option_files.read_option_file(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UserError, match="no such config file"):
        option_files.read_option_file(tmp_path / f"none-{name}")


@pytest.mark.parametrize("method", [None, *methods.method_names()])
def test_the_template_is_read_back_with_every_line_uncommented(method, tmp_path):
    text = option_files.write_template(method)
    assert call("config", "init", *(["--method", method] if method else []))[1] == text
    named = {"name": method} if method else {}
    assert tomllib.loads(text).get("method", {}) == named
    path = tmp_path / "run.toml"
    lines = [
        line[2:] if line.startswith("# ") and " = " in line and "." not in line.split(" = ")[0] else line
        for line in text.split("\n")
    ]
    path.write_text("\n".join(lines))
    tree = option_files.read_option_file(path)
    own = tree.pop("method", {})
    assert own.pop("name", "auto") == (method or "auto")
    assert config.build_options(RunConfig, tree) == RunConfig()
    if method:
        assert methods.build_method(method, own) == methods.get_method(method)()
    for name, _, _ in config.describe_options(RunConfig):
        assert f"# {name.rpartition('.')[2]} =" in text


def test_where_each_option_of_a_run_comes_from(tmp_path):
    settings = RunConfig(model="mini", seed=3).model_dump()
    schema.write(tmp_path / "config.json", run_config(settings=settings))
    found = {line["option"]: line for line in json.loads(call("config", "show", tmp_path, "--json")[1])["options"]}
    assert (found["seed"]["value"], found["seed"]["source"]) == (3, "given")
    assert (found["training.weight_decay"]["value"], found["training.weight_decay"]["source"]) == (0.01, "default")
    assert found["training.learning_rate"] == {
        "option": "training.learning_rate",
        "value": 2e-3,
        "source": "chosen",
        "reason": "because",
    }
    assert (found["method.rank"]["value"], found["method.rank"]["source"]) == (4, "given")
    assert "chosen: because" in call("config", "show", tmp_path)[1]


def test_where_each_option_of_a_file_comes_from(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('lora.rank = 4\nlearning_rate = 1e-4\nmethod = "lora"\n')
    found = {line["option"]: line for line in json.loads(call("config", "show", path, "--json")[1])["options"]}
    assert (found["training.learning_rate"]["value"], found["training.learning_rate"]["source"]) == (1e-4, str(path))
    assert (found["method.rank"]["value"], found["method.rank"]["source"]) == (4, str(path))
    assert (found["method"]["value"], found["seed"]["source"]) == ("lora", "default")
    path.write_text("sed = 4\n")
    code, _, err = call("config", "show", path)
    assert (code, "did you mean 'seed'?" in err) == (2, True)
