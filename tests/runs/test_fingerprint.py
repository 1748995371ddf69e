"""What must be as it was, and how a difference is told."""

import copy
import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from finewright import methods
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset as dataset_module
from finewright.data import packing, tokenization
from finewright.data import splits as data_splits
from finewright.models import hub
from finewright.runs import fingerprint
from finewright.runs.schema import Change
from support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("fingerprint")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


def read(path):
    return dataset_module.read_dataset(path, options=DataConfig())


def collected(place, dataset=None, *, settings=None, method=None, ids=None, model="gpt2"):
    dataset = dataset or read(place / "tickets.csv")
    splits = {"train": packing.EncodedSplit(ids or [[1, 2]], [2], [0])}
    return fingerprint.make_fingerprint(
        source=hub.resolve_model(str(place / model)),
        dataset=dataset,
        splits=splits,
        settings=settings or RunConfig(),
        method=method or methods.build_method("lora", {}),
        device="cpu",
    )


def told(place, now, dataset=None):
    dataset = dataset or read(place / "tickets.csv")
    with pytest.raises(UserError) as caught:
        fingerprint.check_same_run(collected(place), now, dataset=dataset, where="runs/x")
    assert caught.value.code == ExitCode.MISMATCH
    return caught.value.what.splitlines()[1:]


def test_the_same_is_the_same(place):
    fingerprint.check_same_run(collected(place), copy.deepcopy(collected(place)), dataset=read(place / "tickets.csv"), where="")


def test_one_character_of_one_row_is_named(place):
    dataset = read(place / "tickets.csv")
    row = dataset.train[7]
    dataset.train[7] = replace(row, text=row.text + "!")
    assert told(place, collected(place, dataset), dataset) == [
        f"  data: train has {len(dataset.train)} rows as before, the first other one is {row.where}"
    ]


def test_rows_more_and_less_and_in_another_order(place):
    dataset = read(place / "tickets.csv")
    dataset.test.append(dataset.test[0])
    del dataset.validation[0]
    dataset.train.reverse()
    lines = told(place, collected(place, dataset), dataset)
    assert any("test has 8 → 9 rows (+1)" in line for line in lines)
    assert any("rows (-1), the first other one is tickets.csv:" in line for line in lines)
    assert any(f"train has {len(dataset.train)} rows as before, the first other one is" in line for line in lines)


def test_a_row_among_many_is_named_to_its_block():
    rows = [data_splits.Example(f"text {number}", "a", f"a.csv:{number + 2}") for number in range(5000)]
    many = dataset_module.Dataset(rows, [], [], ("a",), "text", [], "")
    before = {"data": {"train": fingerprint._rows(rows), "validation": fingerprint._rows([]), "test": fingerprint._rows([])}}
    rows[2501] = data_splits.Example("other", "a", "a.csv:2503")
    after = {"data": {**before["data"], "train": fingerprint._rows(rows)}}
    with pytest.raises(UserError, match=r"5,000 rows as before, the first other one is a\.csv:2502 to a\.csv:2506"):
        fingerprint.check_same_run(before, after, dataset=many, where="")


def test_labels(place):
    now = collected(place) | {"labels": ["billing", "refund"]}
    assert told(place, now) == ["  labels: −'shipping', +'refund'"]


def test_options_rank_seed_and_precision(place):
    settings = RunConfig.model_validate({"seed": 3, "training": {"precision": "float32", "learning_rate": 0.5}})
    now = collected(place, settings=settings, method=methods.build_method("lora", {"rank": 4}))
    assert sorted(told(place, now)) == ["  method.rank: 8 → 4", "  seed: 0 → 3", "  training.precision: 'auto' → 'float32'"]


def test_another_tokenizer_is_told_only_when_nothing_else_explains_it(place):
    assert told(place, collected(place, ids=[[1, 3]])) == ["  tokenizer: the same texts become other tokens"]
    both = told(place, collected(place, ids=[[1, 3]], method=methods.build_method("lora", {"rank": 4})))
    assert both == ["  method.rank: 8 → 4"]


def test_other_weights_under_the_same_name(place):
    import torch
    from safetensors.torch import load_file, save_file

    tiny.folder(place / "other")
    weights = load_file(place / "other" / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + torch.tensor(1e-3)
    save_file(weights, place / "other" / "model.safetensors", metadata={"format": "pt"})
    lines = told(place, collected(place, model="other"))
    assert len(lines) == 1
    assert "model: model.safetensors is another one (" in lines[0]


def test_other_versions_are_a_notice():
    then = {"versions": {"torch": "2.14.0", "python": "3.11"}, "threads": 2}
    now = {"versions": {"torch": "2.15.0", "python": "3.11"}, "threads": 2}
    assert fingerprint.environment_warnings(then, then) == []
    assert fingerprint.environment_warnings(then, now) == [
        "the result will not be bit for bit that of an uninterrupted run: torch 2.14.0 → 2.15.0"
    ]


def test_another_schedule_wants_an_explanation():
    then, now = {"training.learning_rate": 0.1, "training.epochs": 3.0}, {"training.learning_rate": 0.2, "training.epochs": 3.0}

    def change(value):
        return Change.model_validate({"option": "training.learning_rate", "from": 0.1, "to": value})

    fingerprint.check_schedule(then, now, [change(0.2)], where="")
    with pytest.raises(UserError, match=r"another schedule: training\.learning_rate: 0\.1 → 0\.2") as caught:
        fingerprint.check_schedule(then, now, [change(0.3)], where="")
    assert caught.value.fix == "--change learning_rate=0.2"


def test_an_option_that_there_was_not_then_had_its_default(place):
    """The next release brings an option: an older run continues, unless the option is set to something else."""
    now = collected(place)
    then = copy.deepcopy(now)
    del (
        then["options"]["training.tokens_per_micro_batch"],
        then["options"]["data.truncation_side"],
        then["method_options"]["rank"],
    )
    assert fingerprint.differences(then, now) == []
    now["options"]["training.tokens_per_micro_batch"] = 7
    assert fingerprint.differences(then, now) == [], "left open it is chosen: nobody can say that it was another"
    now["options"]["data.truncation_side"], now["method_options"]["rank"] = "left", 3
    assert sorted(fingerprint.differences(then, now)) == ["data.truncation_side: 'right' → 'left'", "method.rank: 8 → 3"]


def test_a_schedule_option_that_there_was_not_then_had_its_default():
    fingerprint.check_schedule(
        {}, {"training.lr_scheduler": RunConfig().training.lr_scheduler, "training.learning_rate": 0.1}, [], where=""
    )
    with pytest.raises(UserError, match=r"training\.lr_scheduler: '\w+' → 'other'"):
        fingerprint.check_schedule({}, {"training.lr_scheduler": "other"}, [], where="")


def test_tokens_and_rows_are_hashed_a_part_at_a_time_with_the_same_outcome(place, monkeypatch):
    ids = [[1, 2, 3], [4], [5, 6, 7, 8]]
    split = packing.EncodedSplit(
        tokenization.TokenRows(np.arange(1, 9, dtype=np.int32), np.array([3, 1, 4], dtype=np.int32)), [], []
    )
    whole = (np.array([3, 1, 4], dtype=np.int64), np.arange(1, 9, dtype=np.int64))
    wanted = b"".join(hashlib.sha256(array.tobytes()).digest() for array in whole)
    for at_once in (1, 3, 8, 100):
        monkeypatch.setattr(fingerprint, "_AT_ONCE", at_once)
        assert fingerprint._tokens(split) == fingerprint._tokens(packing.EncodedSplit(ids, [], [])) == wanted
    rows = [data_splits.Example(f"{'x' * 1000} {index}", "a", "") for index in range(2000)]
    tracemalloc.start()
    fingerprint._rows(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000, "a block of them is written down once more, not all"


def test_another_task_is_named(place):
    assert told(place, collected(place, settings=RunConfig(task="text-regression"))) == ["  task: 'auto' → 'text-regression'"]
