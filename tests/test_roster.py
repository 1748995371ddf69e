"""Who takes part: ways, sizes, seeds, knobs; everything wrong is said before anything is done."""

import shlex
from collections import Counter

import pytest

from finewright import methods, roster
from finewright.data import Dataset, Row
from finewright.errors import UserError
from finewright.roster import Member, Spec

SPEC = Spec("t.csv", None, "mini", ("lora", "scratch"), (0, 1), ("50", "all"), 0, {}, {})


def rows(**counts):
    return [Row(f"{label} {index}", label, f"t.csv:{index}") for label, count in counts.items() for index in range(count)]


def dataset(**counts):
    labels = tuple(sorted(counts))
    return Dataset(rows(**counts), [], [], labels, "text", [], "f")


def test_scratch_is_always_there_and_at_the_end():
    assert roster.choose_ways(["lora"]) == ["lora", "scratch"]
    assert roster.choose_ways(["scratch", "full", "lora", "full"]) == ["full", "lora", "scratch"]
    every = roster.choose_ways(None)
    assert sorted(every) == methods.names()
    assert every[-1] == "scratch"
    with pytest.raises(UserError, match=r"unknown method 'lorra'\n.*did you mean 'lora'"):
        roster.choose_ways(["lorra"])


def test_subsets_are_nested_and_stratified():
    data = rows(a=600, b=300, c=100, d=3)
    order = roster.nested_order(data, seed=0)
    assert sorted(order) == list(range(len(data)))
    for size in (4, 10, 50, 100, 500):
        counts = Counter(data[index].label for index in order[:size])
        assert len(counts) == 4, "every label is there from the start"
        for label, total in (("a", 600), ("b", 300), ("c", 100)):
            assert abs(counts[label] - size * total / 1003) <= 4
    assert order == roster.nested_order(data, seed=0) != roster.nested_order(data, seed=1)


def test_sizes_are_ascending_named_and_checked():
    data = dataset(a=60, b=40)
    assert roster.choose_sizes(["all", "50", 10], dataset=data) == ("10", "50", "all")
    assert roster.choose_sizes(["100", "all"], dataset=data) == ("all",)
    for wrong in ("1", "101", "0"):
        with pytest.raises(UserError, match=rf"wanted {wrong} training rows; there are 100, and 2 labels want a row each"):
            roster.choose_sizes([wrong], dataset=data)
    for wrong in ("many", "-5", "1.5", ""):
        with pytest.raises(UserError, match="wanted a number of rows or 'all'"):
            roster.choose_sizes([wrong], dataset=data)


def test_members_are_every_way_size_and_seed():
    found = roster.members(SPEC, ["lora", "scratch"])
    assert len(found) == len(set(found)) == 2 * 2 * 2
    assert found[0] == Member("lora", "all", 0)
    assert Member("scratch", "50", 1).name == "scratch-50-seed1"


def test_knobs_of_one_way_stand_under_its_name():
    tree = {"train": {"max_steps": 5}, "lora": {"rank": 4, "train": {"lr": 1e-3}}}
    shared, own = roster.split_knobs(tree, ["lora", "scratch"])
    assert shared == {"train": {"max_steps": 5}}
    assert own == {"lora": {"method": {"rank": 4}, "train": {"lr": 1e-3}}}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"lora": {"rnak": 4}}, "did you mean 'rank'"),
        ({"train": {"lrr": 4}}, "did you mean 'lr'"),
        ({"lora": {"train": {"lr": -1}}}, r"train\.lr = -1"),
        ({"lora": 5}, "wanted knobs of this way, found 5"),
        ({"full": {"train": {"lr": 1}}}, "this way is not compared"),
        ({"method": {"rank": 4}}, "knobs of a method belong to one way of several"),
        ({"lora": {"data": {"max_length": 4}}}, "unknown knob"),
    ],
)
def test_wrong_knobs_are_refused(tree, message):
    with pytest.raises(UserError, match=message):
        roster.split_knobs(tree, ["lora", "scratch"])


def test_the_command_makes_the_same_again():
    knobs = {"train": {"max_steps": 5}, "data": {"text_column": "a b"}}
    spec = Spec(
        "t 1.csv", "x.csv", "mini", ("lora", "scratch"), (3, 4), ("50", "all"), 8, knobs, {"lora": {"method": {"rank": 4}}}
    )
    words = shlex.split(spec.command(budget="8GB", out="runs/c", jobs=2))
    assert words[:5] == ["finewright", "compare", "t 1.csv", "--model", "mini"]
    pairs = dict(zip(words[5::2], words[6::2], strict=True))
    assert (pairs["--seeds"], pairs["--search"], pairs["--budget"], pairs["--test"]) == ("2", "8", "8GB", "x.csv")
    assert pairs["--jobs"] == "2"
    assert "--jobs" not in spec.command(budget="8GB", out="runs/c")
    settings = [word for word, before in zip(words[1:], words, strict=False) if before == "--set"]
    assert settings == ["train.max_steps=5", "data.text_column=a b", "lora.rank=4", "seed=3"]


def test_members_hold_nothing_out():
    knobs = roster.member_data_knobs(SPEC, dataset(a=3, b=3))
    assert (knobs["test_fraction"], knobs["validation_fraction"], knobs["text_column"]) == (0, 0, None)
