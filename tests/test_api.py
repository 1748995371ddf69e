"""The same from Python."""

import os
import shutil

import pytest

import finewright
from finewright.core.errors import ExitCode, UserError
from support import tiny

FAST = {"training.max_steps": 5, "training.tokens_per_micro_batch": 120, "training.num_threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    method = finewright.LoRA(rank=4, alpha=8, target_modules=("query", "value"))
    model = str(tiny.folder(root / "gpt2"))
    return finewright.train(tiny.tickets(root / "t.csv"), model=model, method=method, out=root / "run", options=FAST)


def test_a_run_has_result_and_predict(run):
    assert 0 <= run.result.metrics["test"]["accuracy"] <= 1
    assert run.result.trainable_parameters == 3 * 2 * (4 * 32 + 32 * 4) + 32 * 2
    (line,) = run.predict(["where is my parcel?"])
    assert line["label"] in ("billing", "shipping")
    assert finewright.predict(run.path, ["where is my parcel?"]) == [line]
    assert run.predict([]) == []


def test_a_run_is_opened_again(run):
    assert finewright.open_run(run.path).result.seed == run.result.seed == 0


def test_ways_are_classes_with_checked_knobs():
    assert finewright.Freeze(blocks=2).blocks == 2
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        finewright.LoRA(rnak=8)
    with pytest.raises(AttributeError, match="no attribute 'LoRRA'"):
        _ = finewright.LoRRA


def test_knobs_are_dotted_or_nested_and_checked(run, tmp_path):
    with pytest.raises(UserError, match=r"train\.lrr: unknown option; did you mean 'lr'"):
        finewright.train("t.csv", model="x", options={"train.lrr": 1})


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_model_folder_that_is_not_what_was_proven_does_not_predict(run, tmp_path, damage):
    shutil.copytree(run.path, tmp_path / "run")
    path = next((tmp_path / "run" / "model").glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name}: missing, or not what was saved and proven") as caught:
        finewright.predict(tmp_path / "run", ["where is my parcel?"])
    assert caught.value.code == ExitCode.MISMATCH


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_that_is_loaded_does_not_change_with_its_folder(run, tmp_path, method):
    """Overwritten or cut off in place, as by a careless copy, an adapter's base too: what predicts is in memory of its own."""
    shutil.copytree(run.path.parent / "gpt2", tmp_path / "gpt2")
    data, model = run.path.parent / "t.csv", str(tmp_path / "gpt2")
    made = finewright.train(data, model=model, method=method, out=tmp_path / "run", options=FAST)
    before = made.predict(["where is my parcel?"])
    files = list(tmp_path.rglob("*.safetensors"))
    for path in files:
        with open(path, "r+b") as handle:
            handle.write(bytes(path.stat().st_size))
    assert made.predict(["where is my parcel?"]) == before
    for path in files:
        os.truncate(path, 0)
    assert made.predict(["where is my parcel?"]) == before
