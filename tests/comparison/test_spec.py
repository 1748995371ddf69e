"""What is compared: methods, sizes, seeds, options. Mistakes are found before anything is done."""

import shlex
from collections import Counter
from dataclasses import replace

import pytest

from finewright import methods
from finewright.comparison import spec as comparison_spec
from finewright.comparison.spec import ComparisonSpec, RunSpec
from finewright.core.errors import UserError
from finewright.data import splits
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from support.comparisons import SPEC


def rows(**counts):
    return [Example(f"{label} {index}", label, f"t.csv:{index}") for label, count in counts.items() for index in range(count)]


def dataset(**counts):
    labels = tuple(sorted(counts))
    return Dataset(rows(**counts), [], [], labels, "text", [], "f")


def test_scratch_is_always_compared_and_last():
    assert comparison_spec.choose_methods(["lora"]) == ["lora", "scratch"]
    assert comparison_spec.choose_methods(["scratch", "full", "lora", "full"]) == ["full", "lora", "scratch"]
    every = comparison_spec.choose_methods(None)
    assert sorted(every) == methods.method_names()
    assert every[-1] == "scratch"
    with pytest.raises(UserError, match=r"unknown method 'lorra'\n.*did you mean 'lora'"):
        comparison_spec.choose_methods(["lorra"])


def test_subsets_are_nested_and_stratified():
    data = rows(a=600, b=300, c=100, d=3)
    order = splits.nested_order(data, seed=0)
    assert sorted(order) == list(range(len(data)))
    for size in (4, 10, 50, 100, 500):
        counts = Counter(data[index].label for index in order[:size])
        assert len(counts) == 4, "every label is there from the start"
        for label, total in (("a", 600), ("b", 300), ("c", 100)):
            assert abs(counts[label] - size * total / 1003) <= 4
    assert order == splits.nested_order(data, seed=0) != splits.nested_order(data, seed=1)


def test_sizes_are_ascending_named_and_checked():
    data = dataset(a=60, b=40)
    assert comparison_spec.choose_sizes(["all", "50", 10], dataset=data) == ("10", "50", "all")
    assert comparison_spec.choose_sizes(["100", "all"], dataset=data) == ("all",)
    for wrong in ("1", "101", "0"):
        with pytest.raises(UserError, match=rf"wanted {wrong} training rows?; there are 100, and 2 labels need a row each"):
            comparison_spec.choose_sizes([wrong], dataset=data)
    for wrong in ("many", "-5", "1.5", ""):
        with pytest.raises(UserError, match="wanted a number of rows or 'all'"):
            comparison_spec.choose_sizes([wrong], dataset=data)


def test_runs_are_every_method_size_and_seed():
    found = comparison_spec.list_runs(SPEC, ["lora", "scratch"])
    assert len(found) == len(set(found)) == 2 * 2 * 2
    assert found[0] == RunSpec("lora", "all", 0)
    assert RunSpec("scratch", "50", 1).name == "scratch-50-seed1"


def test_options_of_one_method_are_below_its_name():
    tree = {"training": {"max_steps": 5}, "lora": {"rank": 4, "training": {"learning_rate": 1e-3}}}
    shared, own = comparison_spec.split_options(tree, ["lora", "scratch"])
    assert shared == {"training": {"max_steps": 5}}
    assert own == {"lora": {"method": {"rank": 4}, "training": {"learning_rate": 1e-3}}}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"lora": {"rnak": 4}}, "did you mean 'rank'"),
        ({"training": {"learning_rat": 4}}, "did you mean 'learning_rate'"),
        ({"lora": {"training": {"learning_rate": -1}}}, r"training\.learning_rate = -1"),
        ({"lora": 5}, "wanted options of this method, found 5"),
        ({"full": {"training": {"learning_rate": 1}}}, "this method is not compared"),
        ({"method": {"rank": 4}}, "several methods are compared: an option must name its method"),
        ({"lora": {"data": {"max_length": 4}}}, "unknown option"),
    ],
)
def test_wrong_options_are_refused(tree, message):
    with pytest.raises(UserError, match=message):
        comparison_spec.split_options(tree, ["lora", "scratch"])


def test_the_command_repeats_the_comparison():
    options = {"training": {"max_steps": 5}, "data": {"text_column": "a b"}}
    spec = ComparisonSpec(
        "t 1.csv", "x.csv", "mini", ("lora", "scratch"), (3, 4), ("50", "all"), 8, options, {"lora": {"method": {"rank": 4}}}
    )
    words = shlex.split(spec.command(budget="8GB", out="runs/c", jobs=2))
    assert words[:5] == ["finewright", "compare", "t 1.csv", "--model", "mini"]
    pairs = dict(zip(words[5::2], words[6::2], strict=True))
    assert (pairs["--seeds"], pairs["--search"], pairs["--budget"], pairs["--test"]) == ("2", "8", "8GB", "x.csv")
    assert pairs["--jobs"] == "2"
    assert "--jobs" not in spec.command(budget="8GB", out="runs/c")
    settings = [word for word, before in zip(words[1:], words, strict=False) if before == "--set"]
    assert settings == ["training.max_steps=5", "data.text_column=a b", "lora.rank=4", "seed=3"]


def test_how_the_file_of_the_user_is_read_does_not_apply_to_ours():
    given = {"text_column": ("a", "b"), "label_column": "3", "format": "csv", "encoding": "utf-16", "no_header": True}
    spec = replace(SPEC, options={"data": {**given, "merge_similar_labels": True, "max_length": 9}})
    options = comparison_spec.run_data_options(spec, dataset(a=3, b=3))
    assert (options["max_length"], options["text_separator"]) == (9, "\n")
    assert not any(options[name] for name in (*given, "merge_similar_labels"))


def test_runs_hold_nothing_out():
    options = comparison_spec.run_data_options(SPEC, dataset(a=3, b=3))
    assert (options["test_fraction"], options["validation_fraction"], options["text_column"]) == (0, 0, None)
