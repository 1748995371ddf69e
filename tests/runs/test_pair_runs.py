"""Runs on pairs of texts: what a finished run says of both texts, and that stock transformers reads them alike."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import finewright
from finewright.core.errors import UserError
from finewright.runs.run import open_run
from support import pairs, sessions
from support.commands import call

OPTIONS = {"training.max_steps": 6, "training.num_threads": 1, "training.precision": "float32", "training.learning_rate": 0.01}
PAIR = ("where is my parcel", "the parcel please")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for kind in ("bert", "roberta", "distilbert", "gpt2", "qwen2"):
        pairs.folder(root / kind, kind=kind)
    pairs.write(root / "nli.jsonl")
    with pytest.MonkeyPatch.context() as patch, sessions.quickly():
        patch.setenv("FINEWRIGHT_CACHE", str(root / "store"))
        yield root


def train(place, out, *, kind="bert", method="full", data="nli.jsonl", **changes):
    options = {**OPTIONS, "training.pooling": "standard", **changes}
    return finewright.train(place / data, model=str(place / kind), method=method, output_dir=out, options=options)


@pytest.fixture(scope="module")
def run(place):
    return train(place, place / "run")


def swapped(one):
    return (one[1], one[0])


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "qwen2"])
def test_a_pipeline_of_transformers_gives_the_same(place, kind):
    from transformers import pipeline

    run = train(place, place / f"stock-{kind}", kind=kind)
    given = [PAIR, swapped(PAIR), ("refund", "refund " * 90)]
    ours = run.load(device="cpu").predict_proba(given)
    classify = pipeline("text-classification", model=str(run.folder.model), top_k=None, truncation=True)
    for (first, second), expected in zip(given, ours, strict=True):
        found = {one["label"]: one["score"] for one in classify({"text": first, "text_pair": second})}
        assert [found[label] for label in run.load(device="cpu").labels] == pytest.approx(expected.tolist(), abs=5e-7)
    assert np.abs(ours[0] - ours[1]).max() > 1e-6, "the order of the two texts counts"


@pytest.mark.parametrize("method", ["lora", "freeze", "prompt", "contrastive", "scratch"])
def test_every_method_reads_pairs(place, method):
    changes = {"training.pooling": "auto"} if method == "prompt" else {}
    run = train(place, place / f"method-{method}", method=method, **changes)
    assert run.result.verification_difference == 0
    lines = [json.loads(line) for line in run.folder.predictions.read_text().splitlines()]
    assert all(line["text"] == "\n".join(line["pair"]) for line in lines)
    assert len(run.predict([PAIR])) == 1


def test_frozen_layers_that_ran_before_see_the_types(place):
    found = {}
    for cache in ("on", "off"):
        run = train(place, place / f"cache-{cache}", method="freeze", **{"training.frozen_layer_cache": cache})
        found[cache] = run.load(device="cpu").predict_proba([PAIR, swapped(PAIR)])
    assert np.abs(found["on"] - found["off"]).max() < 1e-4


@pytest.mark.parametrize("method", ["bag-of-words", "frozen-features"])
def test_baselines_read_pairs(place, method):
    run = finewright.train(place / "nli.jsonl", model=str(place / "bert"), method=method, output_dir=place / method)
    assert run.result.verification_difference == 0
    assert run.result.metrics.test.accuracy > 0.5
    probabilities = run.load(device="cpu").predict_proba([PAIR, (PAIR[0], "the invoice please")])
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-4


def test_a_run_says_that_it_reads_pairs(run):
    config = json.loads(run.folder.config.read_text())
    columns = {"texts": ["premise", "hypothesis"], "label": "label", "form": "pair", "label_separator": ""}
    columns |= {"decimal": "", "percent": None}
    assert config["columns"] == columns
    card = (run.folder.model / "README.md").read_text()
    assert "| reads | pairs of texts: premise, then hypothesis" in card
    assert 'classify({"text": "a premise", "text_pair": "a hypothesis"})' in card
    assert 'tokenizer(["a premise"], ["a hypothesis"], padding' in card


def test_pairs_come_in_many_forms(run):
    first, second = PAIR
    expected = run.predict([PAIR])[0]
    assert (expected["text"], expected["text_pair"]) == PAIR
    for given in (
        [[first, second]],
        {"text": first, "text_pair": second},
        [{"premise": first, "hypothesis": second}],
        {"premise": [first], "hypothesis": [second]},
        np.array([PAIR]),
    ):
        assert run.predict(given)[0]["probability"] == pytest.approx(expected["probability"], abs=1e-6)
    assert run.predict([("where", "")])[0]["label"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["one text"], "pair 1: the model reads pairs of texts, found one text"),
        (PAIR, "pair 1: the model reads pairs of texts, found one text"),
        ([("a", "b", "c")], "found 3 of them"),
        ([("a", 1)], "wanted text, found int"),
        ([{"premise": "a"}], "no column 'hypothesis'"),
    ],
)
def test_what_is_no_pair_is_refused(run, given, said):
    with pytest.raises(UserError, match=said):
        run.predict(given)


def test_a_model_of_single_texts_refuses_pairs(place):
    rows = [{"text": row["hypothesis"], "label": row["label"]} for row in pairs.rows()]
    single = finewright.train(rows, model=str(place / "bert"), method="full", output_dir=place / "single", options=OPTIONS)
    with pytest.raises(UserError, match="text 1: the model reads single texts, found a pair of texts"):
        single.predict([PAIR])


def test_files_are_predicted_and_evaluated(run, place, tmp_path):
    (tmp_path / "new.csv").write_text("id,Text,text,text_pair\n1,x,where is my tent,the tent please\n2,x,only one,\n")
    labelled = run.predict_file(tmp_path / "new.csv")
    assert (labelled.num_rows, labelled.num_empty) == (2, 1)
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="found one text a line"):
        run.predict_file(tmp_path / "lines.txt")
    (tmp_path / "single.csv").write_text("text,label\nwhere is my tent,neutral\n")
    with pytest.raises(UserError, match="a pair of texts is two columns, found 1"):
        run.evaluate(tmp_path / "single.csv")
    measured = run.evaluate(place / "nli.jsonl")
    assert measured["num_rows"] == 60


def test_texts_in_memory_may_be_pairs(place):
    data = [(row["premise"], row["hypothesis"]) for row in pairs.rows()]
    labels = [row["label"] for row in pairs.rows()]
    run = finewright.train(data, labels, model=str(place / "bert"), method="full", output_dir=place / "memory", options=OPTIONS)
    assert run.config.columns.form == "pair"
    assert open_run(run.path).evaluate(data, labels)["num_rows"] == 60


def test_an_adapter_of_pairs_is_merged(place):
    from finewright.exporters import merge

    run = train(place, place / "merged", method="lora")
    found = merge.export_merged(run.folder)
    assert found.metric_before == pytest.approx(found.change.metric_after, abs=1e-4)


def test_the_command_takes_the_second_text(run):
    code, out, _ = call("predict", run.path, *PAIR[:1], "--text-pair", PAIR[1], "--json")
    assert code == 0
    (found,) = json.loads(out)["predictions"]
    assert found == run.predict([PAIR])[0]
    assert "text_pair" in call("predict", run.path, *PAIR[:1], "--text-pair", PAIR[1])[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["where is my parcel"], "the model reads pairs of texts"),
        (["--text-pair", "the parcel please"], "0 first and 1 second texts"),
        (["a", "b", "--text-pair", "c"], "2 first and 1 second texts"),
        (["--file", "x.csv", "--text-pair", "c"], "--file and --text-pair are both given"),
        (["a", "--text-pair", " "], "an empty text has no label"),
    ],
)
def test_the_command_refuses_half_a_pair(run, words, said):
    code, _, err = call("predict", run.path, *words)
    assert code != 0
    assert said in " ".join(err.split())


def test_the_command_says_what_it_took(place, tmp_path):
    words = ["train", place / "nli.jsonl", "--model", place / "bert", "--method", "freeze", "--max-steps", "2"]
    code, out, err = call(*words, "--out", tmp_path / "run")
    assert code == 0, err
    said = " ".join((out + err).split())
    assert "pairs of texts: 'premise' and 'hypothesis', one label each (guessed; --text-column changes it)" in said
    assert "'a premise' --text-pair 'a hypothesis'" in said


def test_long_pairs_are_counted(place):
    run = train(place, place / "cut", **{"data.max_length": 20})
    (cut, *_) = [one for one in json.loads((run.path / "checks.json").read_text())["findings"] if one["code"] == "truncated"]
    assert "pairs" in cut["message"]
    assert cut["fix"].startswith("the end of the longer text is cut off")


def test_labels_of_a_checkpoint_are_matched_by_name(place):
    """The order of the labels of NLI checkpoints differs, so a row of the head is found by its name, never by its number."""
    own = train(place, place / "own")
    config = json.loads((own.folder.model / "config.json").read_text())
    moved = {"0": "neutral", "1": "contradiction", "2": "entailment"}
    other = place / "moved"
    shutil.copytree(own.folder.model, other)
    order = [config["label2id"][moved[str(row)]] for row in range(3)]
    tensors = load_file(other / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][order].contiguous()
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    names = {"id2label": moved, "label2id": {name: int(row) for row, name in moved.items()}}
    (other / "config.json").write_text(json.dumps(config | names))
    again = train(place, place / "again", kind="moved", **{"training.learning_rate": 1e-12, "training.weight_decay": 0.0})
    assert again.load(device="cpu").predict_proba([PAIR]) == pytest.approx(own.load(device="cpu").predict_proba([PAIR]), abs=1e-5)
