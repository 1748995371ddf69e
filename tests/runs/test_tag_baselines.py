"""The baseline for tags of words as a run: its files, and what predicts with it."""

import csv
import json

import numpy as np
import pytest

import finewright
from finewright import baselines
from finewright.baselines import tagging, word_window
from finewright.comparison import tag_baselines
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.core.events import Notice
from finewright.data.dataset import read_dataset
from finewright.sklearn import TokenClassifier
from support.clean_process import print_from_new_process

NAMES = ["Anna Berg", "Tom", "Ines Diaz", "Li"]
PLACES = ["Oslo", "New York", "Bonn"]


def row(number):
    """A row with a person and a place, or with neither."""
    if number % 4 == 3:
        return {"tokens": ["nothing", "here", str(number)], "tags": ["O"] * 3}
    person, place = NAMES[number % len(NAMES)].split(), PLACES[number % len(PLACES)].split()
    tags = ["O", *("B-person" if not n else "I-person" for n in range(len(person))), "O"]
    return {
        "tokens": ["send", *person, "to", *place, str(number)],
        "tags": [*tags, *("B-place" if not n else "I-place" for n in range(len(place))), "O"],
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tags")
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row(number)) for number in range(80)))
    return root


@pytest.fixture(scope="module")
def words(place):
    heard = []
    run = finewright.train(place / "rows.jsonl", method="bag-of-words", output_dir=place / "run", callbacks=[heard.append])
    return run, heard


def test_it_ends_in_a_complete_and_verified_run(words):
    run, heard = words
    result = run.result
    files = {path.name for path in run.path.iterdir()} - {".lock"}
    assert files == {"config.json", "plan.json", "checks.json", "predictions.jsonl", "result.json", "model"}
    assert {path.name for path in run.folder.model.iterdir()} == {"README.md", "baseline.json", "baseline.safetensors"}
    assert (result.task, result.method, result.verification_difference) == ("token-classification", "bag-of-words", 0)
    assert set(result.tag_baselines) == {"word-tags"}, "it is not compared with itself"
    assert run.config.labels == ["O", "B-person", "I-person", "B-place", "I-place"]
    lines = run.folder.read_lines(run.folder.predictions)
    assert len(lines) == result.num_test
    right = [one == other for line in lines for one, other in zip(line["tags"], line["predicted_tags"], strict=True)]
    assert np.mean(right) == pytest.approx(result.metrics.test.token_accuracy)
    assert result.metrics.test.entity_f1 > 0.9
    assert result.metrics.validation.num_rows == result.num_validation
    said = [event.message for event in heard if isinstance(event, Notice)]
    assert any(line.startswith("bag-of-words: logistic regression on each word, its shape") for line in said)
    card = (run.folder.model / "README.md").read_text()
    assert f"test entity_f1 | {result.metrics.test.entity_f1:.1%}" in card


def test_it_predicts_evaluates_and_loads_like_any_run(place, words, tmp_path):
    run, _ = words
    lines = run.folder.read_lines(run.folder.predictions)
    for line in lines:
        (found,) = run.predict([line["text"]])
        assert [one["text"] for one in found["entities"]] == [one["text"] for one in line["predicted_entities"]]
    (found,) = finewright.load(run.path).predict(["send Tom to Oslo"])
    assert [(one["text"], one["label"]) for one in found["entities"]] == [("Tom", "person"), ("Oslo", "place")]
    assert all(0 < one["probability"] <= 1 for one in found["entities"])
    assert run.predict(["  "])[0]["entities"] == []
    (tmp_path / "new.csv").write_text("text\nsend Tom to Oslo\nnothing\n")
    run.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = [json.loads(one["entities"]) for one in csv.DictReader(file)]
    assert [[one["label"] for one in row] for row in rows] == [["person", "place"], []]
    assert run.evaluate(place / "rows.jsonl")["num_rows"] == 80
    assert run.evaluate()["entity_f1"] == pytest.approx(run.result.metrics.test.entity_f1)
    with pytest.raises(UserError, match="tags that the model does not know"):
        run.evaluate([{"tokens": ["a", "b"], "tags": ["O", "B-animal"]}])


def test_texts_are_tagged_alike_in_pieces(place, words, monkeypatch):
    run, _ = words
    whole = run.evaluate(place / "rows.jsonl")
    monkeypatch.setattr(word_window.WordWindowModel, "texts_at_once", 7)
    assert run.evaluate(place / "rows.jsonl") == whole


def test_the_comparison_measures_the_same(place, words):
    run, _ = words
    dataset = read_dataset(place / "rows.jsonl", options=RunConfig().data, row_kind="tagged-tokens")
    how = {"source": None, "settings": RunConfig(), "known": {}}
    found = tag_baselines.measure(tagging.WINDOW, {"all": dataset}, **how).sizes["all"]
    assert found.metrics.model_dump()["entity_f1"] == run.result.metrics.test.entity_f1
    assert found.trainable_parameters == run.result.trainable_parameters


def test_tags_that_are_no_parts_of_entities_are_learnt(tmp_path):
    rows = [{"tokens": ["the", f"dog{n}", "runs"], "tags": ["DET", "NOUN", "VERB"]} for n in range(40)]
    run = finewright.train(rows, method="bag-of-words", output_dir=tmp_path / "run", options={"task": "token-classification"})
    assert run.result.metrics.test.token_accuracy == 1
    assert run.predict(["the cat7 runs"])[0]["tags"][:1] == ["DET"]
    assert "test token_accuracy | 100.0%" in (run.folder.model / "README.md").read_text()


def test_an_option_of_whole_texts_is_refused_before_there_is_a_folder(place, tmp_path):
    with pytest.raises(UserError, match="max_ngram is about whole texts, and token-classification wants a tag") as raised:
        finewright.train(place / "rows.jsonl", method=finewright.BagOfWords(max_ngram=1), output_dir=tmp_path / "run")
    assert raised.value.where == "method.max_ngram"
    assert not (tmp_path / "run").exists()


def test_training_loads_no_pytorch(place, tmp_path):
    code = (
        "import sys, finewright; "
        f"run = finewright.train({str(place / 'rows.jsonl')!r}, method='bag-of-words', output_dir={str(tmp_path / 'run')!r}); "
        "run.evaluate(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert print_from_new_process(code) == "False False"


def test_a_model_that_is_not_scikit_learns_is_not_finished(place, tmp_path, monkeypatch):
    honest = word_window.WordWindowModel.score
    monkeypatch.setattr(word_window.WordWindowModel, "score", lambda self, texts: honest(self, texts) * 0.5)
    with pytest.raises(UserError, match="from scikit-learn's"):
        finewright.train(place / "rows.jsonl", method="bag-of-words", output_dir=tmp_path / "run")


def test_the_estimator_of_tags_takes_it():
    rows = [row(number) for number in range(60)]
    words, tags = ([one[name] for one in rows] for name in ("tokens", "tags"))
    tagger = TokenClassifier(method="bag-of-words").fit(words, tags)
    assert tagger.score(words, tags) > 0.9
    assert tagger.predict([["send", "Tom", "to", "Bonn"]]) == [["O", "B-person", "O", "B-place"]]


def test_no_baseline_that_reads_whole_texts_says_that_it_tags_words():
    taggers = [name for name in baselines.baseline_names() if baselines.get_baseline(name).reads_of_words]
    assert taggers == ["bag-of-words"]
