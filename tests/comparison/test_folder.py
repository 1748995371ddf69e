"""The folder of a comparison, and what may not change in it."""

import json
from dataclasses import replace

import pytest

from finewright.comparison import folder as folder_module
from finewright.comparison.folder import ComparisonFolder
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset as dataset_module
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from support.comparisons import SPEC


def made(texts=("one", "two", "three"), label="a"):
    train = [Example(text, label if index % 2 else "b", f"t.csv:{index}") for index, text in enumerate([*texts] * 20)]
    held = [Example(f"held {index}", "ab"[index % 2], "") for index in range(4)]
    labels = tuple(sorted({row.label for row in train}))
    fingerprint = str(hash((tuple(texts), label)))
    return Dataset(train, held, held[:2], labels, "text", [], fingerprint)


def spec_file(dataset, *, weights="abc", **changes):
    model = {"name": "mini", "model.safetensors": weights}
    return folder_module.build_spec_file(replace(SPEC, **changes), dataset, model=model)


def begun(path, dataset):
    folder = ComparisonFolder(path)
    folder.open()
    try:
        folder.write_splits(SPEC, dataset)
        folder.write(folder.spec, spec_file(dataset))
    finally:
        folder.release()
    return folder


def test_runs_read_the_same_rows(tmp_path):
    folder = begun(tmp_path / "c", made())
    for size, number in (("50", 50), ("all", 60)):
        read = dataset_module.read_dataset(folder.data(size), options=DataConfig())
        assert [len(read.train), len(read.validation), len(read.test)] == [number, 4, 2]
    small, whole = (dataset_module.read_dataset(folder.data(size), options=DataConfig()).train for size in ("50", "all"))
    assert {row.text for row in small} <= {row.text for row in whole}
    assert [row.text for row in whole] == [row.text for row in made().train]


def test_the_same_data_may_lie_elsewhere(tmp_path):
    folder = begun(tmp_path / "c", made())
    folder_module.check_same_comparison(folder, spec_file(made()), made())
    folder_module.check_same_comparison(folder, spec_file(made(), data="elsewhere/t.csv"), made())


def test_changed_rows_are_shown(tmp_path):
    folder, other = begun(tmp_path / "c", made()), made(texts=("one", "two", "thre <b>e"))
    with pytest.raises(UserError, match=r"- 20 of train: 'three' \(\w\)[\s\S]*\+ 20 of train: 'thre <b>e'") as caught:
        folder_module.check_same_comparison(folder, spec_file(other), other)
    assert caught.value.code == ExitCode.MISMATCH
    assert "data.fingerprint: " in str(caught.value)


def test_changed_settings_and_weights_are_shown(tmp_path):
    folder = begun(tmp_path / "c", made())
    wanted = spec_file(made(), weights="xyz", seeds=(0, 1, 2), options={"training": {"max_steps": 7}})
    with pytest.raises(UserError) as caught:
        folder_module.check_same_comparison(folder, wanted, made())
    lines = str(caught.value).splitlines()
    assert "  seeds: [0, 1] → [0, 1, 2]" in lines
    assert "  options.training.max_steps: not given → 7" in lines
    assert "  model.model.safetensors: abc → xyz" in lines


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="the folder is not empty, and no comparison"):
        ComparisonFolder(tmp_path).open()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"choose another --out"):
        ComparisonFolder(tmp_path / "file").open()


def test_one_process_at_a_time(tmp_path):
    first = ComparisonFolder(tmp_path / "c")
    first.open()
    with pytest.raises(UserError, match="locked by pid"):
        ComparisonFolder(tmp_path / "c").open()
    first.release()
    assert not (tmp_path / "c").exists(), "a comparison that never began leaves nothing"


def test_a_comparison_stopped_before_its_settings_were_written_starts_again(tmp_path):
    folder = ComparisonFolder(tmp_path / "c")
    folder.open()
    folder.write_splits(SPEC, made())
    (tmp_path / "c" / ".draft-compare.json").write_text("{")
    folder.release()
    again = ComparisonFolder(tmp_path / "c")
    again.open()
    again.release()


def test_broken_settings_are_refused(tmp_path):
    folder = begun(tmp_path / "c", made())
    folder.spec.write_text(json.dumps({"asked": 5}))
    with pytest.raises(UserError, match=r"compare\.json: not readable: asked: .*; it was written by an older version"):
        folder_module.check_same_comparison(folder, spec_file(made()), made())
