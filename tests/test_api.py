"""The same from Python."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import finewright
from finewright import baselines, methods
from finewright.core.errors import ExitCode, UserError
from support import tiny

FAST = {"training.max_steps": 5, "training.tokens_per_micro_batch": 120, "training.num_threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    method = finewright.LoRA(rank=4, alpha=8, target_modules=("query", "value"))
    model = str(tiny.folder(root / "gpt2"))
    return finewright.train(tiny.tickets(root / "t.csv"), model=model, method=method, output_dir=root / "run", options=FAST)


def test_a_run_has_result_and_predict(run):
    assert 0 <= run.result.metrics.test.accuracy <= 1
    assert run.result.trainable_parameters == 3 * 2 * (4 * 32 + 32 * 4) + 32 * 2
    (line,) = run.predict(["where is my parcel?"])
    assert line["label"] in ("billing", "shipping")
    assert finewright.predict(run.path, ["where is my parcel?"]) == [line]
    assert run.predict([]) == []


def test_a_run_is_opened_again(run):
    assert finewright.open_run(run.path).result.seed == run.result.seed == 0


def test_methods_are_classes_with_checked_options():
    assert finewright.Freeze(num_layers=2).num_layers == 2
    with pytest.raises(UserError, match="LoRA: rnak: unknown option; did you mean 'rank'"):
        finewright.LoRA(rnak=8)
    with pytest.raises(UserError, match=r"LoRA: rank = -1: wanted a number from 1 to 4,096"):
        finewright.LoRA(rank=-1)
    with pytest.raises(AttributeError, match="no attribute 'LoRRA'"):
        _ = finewright.LoRRA


def test_options_are_dotted_or_nested_and_checked(run, tmp_path):
    with pytest.raises(UserError, match=r"training\.learning: unknown option; did you mean .learning_rate."):
        finewright.train("t.csv", model="x", options={"training.learning": 1})


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_model_folder_that_is_not_what_was_proven_does_not_predict(run, tmp_path, damage):
    shutil.copytree(run.path, tmp_path / "run")
    path = next((tmp_path / "run" / "model").glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name}: missing, or not what was saved and verified") as caught:
        finewright.predict(tmp_path / "run", ["where is my parcel?"])
    assert caught.value.code == ExitCode.MISMATCH


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_that_is_loaded_does_not_change_with_its_folder(run, tmp_path, method):
    """Overwritten or cut off in place, as by a careless copy, an adapter's base too: what predicts is in memory of its own."""
    shutil.copytree(run.path.parent / "gpt2", tmp_path / "gpt2")
    data, model = run.path.parent / "t.csv", str(tmp_path / "gpt2")
    made = finewright.train(data, model=model, method=method, output_dir=tmp_path / "run", options=FAST)
    before = made.predict(["where is my parcel?"])
    files = list(tmp_path.rglob("*.safetensors"))
    for path in files:
        with open(path, "r+b") as handle:
            handle.write(bytes(path.stat().st_size))
    assert made.predict(["where is my parcel?"]) == before
    for path in files:
        os.truncate(path, 0)
    assert made.predict(["where is my parcel?"]) == before


ROWS = [(f"{('where is my parcel', 'charged twice')[n % 2]} {n}", ("shipping", "billing")[n % 2]) for n in range(60)]
TEXTS, LABELS = [text for text, _ in ROWS], [label for _, label in ROWS]


def trained(run, out, *data, **extra):
    model, fast = str(run.path.parent / "gpt2"), finewright.TrainingConfig(max_steps=3, num_threads=1, tokens_per_micro_batch=120)
    return finewright.train(*data, model=model, method=finewright.LoRA(rank=2), training=fast, output_dir=out, **extra)


def test_rows_in_memory_train_like_a_file(run, tmp_path):
    table = [{"text": text, "label": label} for text, label in ROWS]
    in_memory = trained(run, tmp_path / "memory", table)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    from_file = trained(run, tmp_path / "file", tmp_path / "t.jsonl")
    one, other = in_memory.result.metrics.test, from_file.result.metrics.test
    assert (one.accuracy, one.loss) == (other.accuracy, other.loss)
    assert in_memory.result.num_train == from_file.result.num_train
    again = trained(run, tmp_path / "memory", TEXTS, LABELS)  # the same rows: the finished run is handed back
    assert again.path == in_memory.path
    with pytest.raises(UserError, match=r"asked for something else:\n  source: these are other rows: 'in memory \("):
        trained(run, tmp_path / "memory", TEXTS[:-1], LABELS[:-1])


@pytest.mark.parametrize("held", ["data", "test"])
def test_an_unfinished_run_over_rows_in_memory_wants_the_rows_again(run, tmp_path, held):
    """Whether all rows or only the test rows were given in memory."""
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    rows = {"text": TEXTS[:20], "label": LABELS[:20]}
    data, extra = ((TEXTS, LABELS), {}) if held == "data" else ((tmp_path / "t.jsonl",), {"test": rows})
    stop = finewright.StopRequest()

    def stop_soon(event):
        if isinstance(event, finewright.events.StepCompleted):
            stop.request(15)

    with pytest.raises(finewright.Interrupted):
        trained(run, tmp_path / "run", *data, callbacks=[stop_soon], stop=stop, **extra)
    with pytest.raises(UserError, match="the run's rows were given in memory") as caught:
        finewright.resume(tmp_path / "run")
    assert "train(" in caught.value.fix
    if held == "test":
        with pytest.raises(UserError, match=r"asked for something else:\n  test: these are other rows: 'in memory \("):
            trained(run, tmp_path / "run", *data, test={"text": TEXTS[:21], "label": LABELS[:21]})
        extra = {"test": [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]}  # the same rows
    assert trained(run, tmp_path / "run", *data, **extra).result.sessions == 2


def test_a_loaded_model_gives_probabilities_and_the_plain_model(run, monkeypatch):
    import pandas
    import torch

    model = finewright.load(run.path, device="cpu")
    texts = ["where is my parcel?", "charged twice"]
    shares = model.predict_proba(texts)
    assert shares.shape == (2, 2)
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert [one["label"] for one in model.predict(texts)] == [model.labels[pick] for pick in shares.argmax(axis=1)]
    assert model.predict_proba([]).shape == (0, 2)
    plain, tokenizer = model.to_transformers()
    with torch.no_grad():
        scores = plain(**tokenizer(texts[0], return_tensors="pt")).logits[0].softmax(0)
    rounding = 1e-5 if run.config.precision == "float32" else 1e-3  # the plain model computes in float32
    assert scores.tolist() == pytest.approx(shares[0].tolist(), abs=rounding)
    with pytest.raises(UserError, match="unknown device 'tpu'"):
        finewright.load(run, device="tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="PyTorch finds no cuda device here"):
        finewright.load(run, device="cuda")
    frame = pandas.DataFrame({"text": texts, "id": [1, 2]})
    assert model.predict(frame[["text"]]) == model.predict(texts)
    for wrong in ("one", {*texts}, None):
        with pytest.raises(UserError, match="wanted (several )?texts"):
            model.predict(wrong)


def test_a_run_is_evaluated_on_rows_in_memory(run):
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    assert run.evaluate(rows)["num_rows"] == len(TEXTS)


def test_callbacks_hear_typed_events_in_order(run, tmp_path):
    heard = []
    trained(run, tmp_path / "run", TEXTS, LABELS, callbacks=[heard.append, lambda event: None])
    steps = [event.step for event in heard if isinstance(event, finewright.events.StepCompleted)]
    assert steps == [1, 2, 3]
    stages = [event.name for event in heard if isinstance(event, finewright.events.StageStarted)]
    assert stages == ["read", "plan", "load", "train", "save", "evaluate", "verify"]


def test_a_run_leaves_threads_and_random_numbers_of_the_process_alone(run, tmp_path):
    import torch

    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trained(run, tmp_path / "run", TEXTS, LABELS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_leaves_threads_and_random_numbers_of_the_process_alone(run):
    import torch

    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        finewright.plan(model=str(run.path.parent / "gpt2"), method="full", options={"training": {"num_threads": 1}})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_public_name_is_there_and_completes():
    assert dir(finewright) == sorted(finewright.__all__)
    for name in finewright.__all__:
        found = getattr(finewright, name)
        assert name == "__version__" or found.__doc__, name
    for name in methods.method_names():
        assert methods.get_method(name).__name__ in finewright.__all__
    for name in baselines.baseline_names():
        assert baselines.get_baseline(name).__name__ in finewright.__all__


@pytest.mark.parametrize("wrong", [3, None, ["lora"], int])
def test_what_is_no_method_is_refused_in_one_line(wrong, tmp_path):
    (tmp_path / "f.csv").write_text("text,label\nx,a\ny,b\n")
    for call in (finewright.train, finewright.plan):
        with pytest.raises(UserError) as caught:
            call(tmp_path / "f.csv", method=wrong)
        assert str(caught.value).startswith(f"method: wanted a method, found {wrong!r}\n  → its name")


@pytest.mark.parametrize("wrong", [None, 3, "a\0b"])
@pytest.mark.parametrize("verb", ["open_run", "load", "resume", "export"])
def test_what_is_no_path_of_a_run_is_refused_in_one_line(verb, wrong):
    with pytest.raises(UserError, match="^run: wanted the folder of a run, found "):
        getattr(finewright, verb)(wrong)


def test_import_has_no_side_effects():
    code = (
        "import os, sys, logging; before = dict(os.environ); import finewright; "
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'sklearn'} & set(sys.modules); "
        "print(before == dict(os.environ), sorted(heavy), logging.getLogger('bitsandbytes').level)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True [] 0"
