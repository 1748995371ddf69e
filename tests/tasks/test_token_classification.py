"""Token classification: the loss against transformers' own, runs from the file to the loaded model, windows, metrics."""

import json
import math
import random

import numpy as np
import pytest
import torch

import finewright
from finewright import methods
from finewright.core.config import DataConfig, RunConfig, build_options
from finewright.core.errors import UserError
from finewright.core.events import StepCompleted
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.data import packing
from finewright.data.dataset import read_dataset
from finewright.data.tag_schemes import complete_tags
from finewright.data.tagged_tokens import make_tagged_text, split_words
from finewright.exporters import merge
from finewright.models import loading
from finewright.models.hub import resolve_model
from finewright.runs import pipeline
from finewright.tasks import entity_metrics
from finewright.tasks.token_classification import TokenClassification
from finewright.training import objectives
from support import sessions, tiny

LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")
OPTIONS = {
    "training.max_steps": 150,
    "training.num_threads": 1,
    "training.learning_rate": 0.003,
    "training.head_start": "random",
    "training.precision": "float32",
    "data.validation_fraction": 0.2,
}


def write_rows(path, *, count=120, seed=0):
    """Words that are entities by themselves, one of them of two words, so that a tiny model learns them."""
    draw, words = random.Random(seed), ["where", "is", "my", "when", "does", "it", "arrive", "please", "send", "new"]
    lines = []
    for _ in range(count):
        rows = [(draw.choice(words), "O") for _ in range(draw.randint(2, 6))]
        place = draw.randrange(len(rows) + 1)
        rows[place:place] = draw.choice([[("parcel", "B-X")], [("refund", "B-Y"), ("jacket", "I-Y")], [("tent", "B-X")]])
        lines.append("".join(f"{word}\t{tag}\n" for word, tag in rows))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tags")
    for kind in ("bert", "gpt2"):
        tiny.folder(root / kind, kind=kind)
    write_rows(root / "rows.conll")
    return root


@pytest.fixture(scope="module")
def run(place):
    return finewright.train(place / "rows.conll", model=place / "bert", method="full", output_dir=place / "full", options=OPTIONS)


@pytest.fixture(scope="module")
def adapter(place):
    return finewright.train(place / "rows.conll", model=place / "gpt2", method="lora", output_dir=place / "lora", options=OPTIONS)


def tagged(text, tags, where=""):
    return make_tagged_text(text, split_words(text), tags, where=where)


ROWS = [
    tagged("where is my parcel", ["O", "O", "O", "B-X"]),
    tagged("refund jacket please", ["B-Y", "I-Y", "O"]),
    tagged("tent", ["B-X"]),
]


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_packed_loss_is_that_of_the_class_of_transformers(place, kind):
    task = TokenClassification(LABELS)
    base = loading.load_model(resolve_model(str(place / kind)), head_spec=task.head_spec)
    model = base.as_prepared()
    model.network.eval()
    split = task.encode_rows(base.origin.tokenizer, ROWS, name="train", limit=40, settings=RunConfig()).split
    batch = packing.collate(split, range(len(ROWS)))
    found = objectives.compute_loss(model, batch, task=task) / objectives.compute_weight(model, batch, task=task)
    found.backward()
    ours = {name: one.grad.clone() for name, one in model.network.named_parameters() if one.grad is not None}
    model.network.zero_grad()
    model.network.set_attn_implementation("eager")
    longest = max(split.lengths)
    ids, mask, labels = (torch.zeros(len(ROWS), longest, dtype=torch.long) for _ in range(3))
    labels -= 100
    for row, length in enumerate(split.lengths):
        ids[row, :length], mask[row, :length] = torch.as_tensor(np.array(split.ids[row])), 1
        labels[row, :length] = torch.as_tensor(np.array(split.tags[row]))
    stock = model.network(input_ids=ids, attention_mask=mask, labels=labels).loss
    stock.backward()
    assert float(found.detach()) == pytest.approx(float(stock.detach()), abs=1e-5)
    assert len(ours) > 10
    for name, parameter in model.network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_it_is_trained_verified_and_measured_by_entities(run):
    result = json.loads((run.path / "result.json").read_text())
    assert (result["task"], result["verification_difference"]) == ("token-classification", 0.0)
    measured = result["metrics"]["test"]
    assert measured["entity_f1"] > 0.7
    assert measured["entity_f1_ci95"][0] <= measured["entity_f1"] <= measured["entity_f1_ci95"][1]
    assert set(measured["per_type"]) == {"X", "Y"}
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert next(line["loss"] for line in lines if "loss" in line) < math.log(5), "it starts at guessing and falls"
    config = json.loads((run.path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert list(config["id2label"].values()) == list(LABELS)
    assert "entity_f1" in (run.path / "model" / "README.md").read_text()
    assert "test entity_f1" in repr(run)


@pytest.mark.parametrize("name", ["run", "adapter"])
def test_the_saved_folder_gives_equal_scores_in_plain_transformers(name, request):
    trained = request.getfixturevalue(name)
    model, tokenizer = trained.load(device="cpu").to_transformers()
    text = "please send my refund jacket"
    encoded = trained.predictor.task.encode_inputs(tokenizer, [text], limit=64, keep_end=False)
    with torch.no_grad():
        stock = model(**tokenizer(text, return_tensors="pt")).logits[0].numpy()
    ours = trained.predictor.score([text])[0]
    marked = np.flatnonzero(np.asarray(encoded.trained[0]))
    assert len(marked) == 5
    np.testing.assert_allclose(ours, stock[marked], atol=1e-5)


def test_the_pipeline_finds_the_same_entities(run):
    from transformers import pipeline

    text = "please send my refund jacket"
    find = pipeline("token-classification", model=str(run.path / "model"), device="cpu")
    stock = {(one["entity"], text[one["start"] : one["end"]].strip()[:2]) for one in find(text)}
    (found,) = run.predict([text])
    (entity,) = found["entities"]
    assert (entity["start"], entity["end"], entity["text"], entity["label"]) == (15, 28, "refund jacket", "Y")
    assert 0.5 < entity["probability"] <= 1
    assert ("B-Y", "re") in stock


def test_other_rows_are_evaluated_and_files_get_a_column_of_entities(run, place, tmp_path):
    measured = run.evaluate(write_rows(tmp_path / "new.conll", count=20, seed=5))
    assert measured["num_rows"] == 20
    assert measured["entity_f1"] > 0.7
    (tmp_path / "new.csv").write_text("id,text\n1,where is my parcel\n2,\n")
    found = run.predict_file(tmp_path / "new.csv")
    lines = found.output.read_text().splitlines()
    assert lines[0] == "id,text,entities"
    assert '""text"": ""parcel""' in lines[1]
    assert found.num_empty == 1
    (tmp_path / "words.jsonl").write_text('{"tokens": ["where", "is", "my", "parcel"]}\n')
    (row,) = [json.loads(line) for line in run.predict_file(tmp_path / "words.jsonl").output.read_text().splitlines()]
    assert [one["text"] for one in row["entities"]] == ["parcel"]
    with pytest.raises(UserError, match="no labels of whole texts"):
        run.load(device="cpu").predict_proba(["where"])
    (tmp_path / "other.conll").write_text("parcel\tB-Z\n\nwhere\tO\n")
    with pytest.raises(UserError, match=r"other.conll:1: 1 of 2 rows, .* tags that the model does not know: 'B-Z'"):
        run.evaluate(tmp_path / "other.conll")


def test_an_adapter_is_merged_without_a_change(adapter):
    merged = merge.export_merged(adapter.folder)
    assert merged.metric.name == "entity_f1"
    assert merged.change.changed == 0
    assert merged.metric_before == pytest.approx(merged.change.metric_after, abs=1e-6)


def test_a_long_text_is_predicted_as_its_parts_are(run):
    part = "please send my refund jacket and the parcel "
    (found,) = run.predict([part * 12])
    assert run.predictor.limit < len(part.split()) * 12
    assert [one["start"] for one in found["entities"] if one["label"] == "Y"] == [15 + len(part) * number for number in range(12)]


def test_entities_of_overlapping_windows_are_those_of_one_long_one(place):
    """With scores that depend on the token alone, where a text is cut must not show."""
    task = TokenClassification(LABELS)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "bert")
    text = " ".join(["where refund jacket tent is"] * 20)

    def outputs(limit):
        encoded = task.encode_inputs(tokenizer, [text], limit=limit, keep_end=False)
        most = max(encoded.num_trained)
        made = np.zeros((len(encoded.ids), most, len(LABELS)), dtype=np.float32)
        for number in range(len(encoded.ids)):
            ids = np.asarray(encoded.ids[number])[np.asarray(encoded.trained[number])]
            made[number, np.arange(len(ids)), ids % len(LABELS)] = 5.0
        return task.predictions([text], task.collect_outputs(encoded, made))

    whole = outputs(2000)
    assert len(whole[0]["entities"]) > 10
    assert outputs(24) == whole == outputs(60)


def test_a_word_that_shares_its_token_cannot_begin_an_entity():
    from finewright.data.words_of_windows import WordsOfWindow

    task = TokenClassification(LABELS)
    window = WordsOfWindow(0, 0, np.array([0, 0, -1]), np.array([False, True, False]), np.array([-100] * 3))
    scores = task.word_scores(window, np.array([[0.0, 3.0, 1.0, 0.0, 0.0]], dtype=np.float32))
    assert [LABELS[best] for best in scores.argmax(axis=1)] == ["B-X", "I-X", "O"]


def test_parts_of_speech_are_measured_by_tokens(place, tmp_path):
    words = {"send": "VERB", "refund": "VERB", "parcel": "NOUN", "tent": "NOUN", "zip": "NOUN", "my": "DET", "the": "DET"}
    draw = random.Random(0)
    texts = [draw.sample([*words], draw.randint(2, 5)) for _ in range(50)]
    rows = [json.dumps({"tokens": text, "pos_tags": [words[word] for word in text]}) for text in texts]
    (tmp_path / "pos.jsonl").write_text("\n".join(rows))
    options = OPTIONS | {"training.max_steps": 5}
    found = finewright.train(
        tmp_path / "pos.jsonl", model=place / "bert", method="freeze", output_dir=tmp_path / "run", options=options
    )
    measured = found.result.metrics.test.model_extra
    assert "entity_f1" not in measured
    assert set(measured["per_tag"]) <= {"VERB", "DET", "NOUN"}
    assert found.config.labels == ["DET", "NOUN", "VERB"]
    (said,) = found.predict(["send the tent"])
    assert len(said["tags"]) == len(said["tokens"]) == 3
    assert "test token_accuracy" in repr(found)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(place):
    settings = build_options(
        RunConfig,
        {"model": str(place / "bert"), "task": "token-classification", "training": {**sessions.OPTIONS, "save_steps": 3}},
    )

    def train(out, **extra):
        candidates = [methods.build_method("lora", {})]
        return pipeline.train(place / "rows.conll", settings=settings, candidates=candidates, out=place / out, **extra)

    with sessions.quickly():
        whole = train("whole")
        stop = StopRequest()

        def count(event):
            if isinstance(event, StepCompleted) and event.step == 5:
                stop.number = 15

        with pytest.raises(Interrupted):
            train("cut", on_event=count, stop=stop)
        cut = train("cut")
    assert sessions.made(cut) == sessions.made(whole)


@pytest.mark.parametrize("method", ["full", "lora", "freeze", "prompt", "scratch"])
def test_it_is_planned_without_data(place, method):
    report = finewright.plan(model=place / "bert", method=method, options={"task": "token-classification"})
    assert report.entries[0].training_plan.plan.peak_memory_bytes > 0


def test_an_architecture_without_such_a_class_is_refused_by_name(place, tmp_path):
    tiny.folder(tmp_path / "opt", kind="opt")
    with pytest.raises(UserError, match="no class that scores every token of the architecture 'opt'"):
        finewright.train(place / "rows.conll", model=tmp_path / "opt", method="lora", output_dir=tmp_path / "run")


def test_metrics_of_hand_made_sentences():
    truth = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X"], ["O"]]
    guess = [["B-X", "I-X", "O", "B-X"], ["O", "B-X"], ["B-Y"]]
    found = entity_metrics.measure_tags(truth, guess, labels=LABELS)
    assert (found["entity_precision"], found["entity_recall"]) == (0.5, pytest.approx(2 / 3))
    assert found["entity_f1"] == pytest.approx(4 / 7)
    assert found["per_type"]["X"]["precision"] == pytest.approx(2 / 3)
    assert found["token_accuracy"] == pytest.approx(5 / 7)
    assert found["text_f1"] == pytest.approx((0.5 + 1 + 0) / 3)
    loose, exact = [["I-X"]], [["B-X"]]
    assert entity_metrics.measure_tags(exact, loose, labels=LABELS)["entity_f1"] == 1.0, "by conlleval"
    assert entity_metrics.measure_tags(exact, loose, labels=LABELS)["entity_f1_strict"] == 0.0, "by seqeval's mode strict"


def test_seqevals_own_example():
    """From the README of seqeval: precision, recall and F1 of MISC 0, of PER 1; overall 0.5."""
    truth = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    guess = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = entity_metrics.entity_metrics(truth, guess)
    assert found["entity_f1"] == 0.5
    assert found["per_type"]["MISC"]["f1"] == 0.0
    assert found["per_type"]["PER"]["f1"] == 1.0
    assert entity_metrics.measure_tags(truth, guess, labels=LABELS)["token_accuracy"] == pytest.approx(0.80)


def test_all_tags_of_a_type_are_there():
    assert complete_tags(["O", "B-B", "B-A"]) == ("O", "B-A", "I-A", "B-B", "I-B")
    assert complete_tags(["NOUN", "VERB"]) == ("NOUN", "VERB")


def test_the_data_set_that_comes_with_the_program():
    data = read_dataset("entities", options=DataConfig(), row_kind="tagged-tokens")
    assert (len(data.train), len(data.validation), len(data.test)) == (160, 30, 60)
    assert not {row.text for row in data.train} & {row.text for row in data.test}
    types = {span.label for row in data.train for span in row.spans()}
    assert types == {"product", "order_number", "date", "amount", "person", "place"}
    assert not [note for note in data.notes if "inside a word" in note]


def test_types_are_confused_by_the_words_that_entities_share():
    truth = [["B-X", "I-X", "O", "B-Y"], ["B-Y", "O"], ["O", "O"]]
    guess = [["B-Y", "I-Y", "O", "O"], ["B-Y", "I-Y"], ["O", "B-X"]]
    assert entity_metrics.confuse_types(truth, guess) == {"X": {"Y": 1}, "Y": {"Y": 1, "none": 1}, "none": {"X": 1}}
    own = entity_metrics.confuse_types([["B-none", "O"]], [["B-none", "B-none"]])
    assert own == {"none": {"none (type)": 1}, "none (type)": {"none (type)": 1}}, "a type of this name is kept apart"


def test_confused_types_are_arranged_as_a_matrix_with_none_last():
    counts = {"X": {"X": 3, "Y": 1}, "Y": {"Y": 2, "none": 4}, "none": {"X": 5}}
    names, matrix = entity_metrics.arrange_confusion(counts)
    assert names == ["X", "Y", "none"]
    assert matrix == [[3, 1, 0], [0, 2, 4], [5, 0, 0]]
    assert entity_metrics.arrange_confusion({}) == (["none"], [[0.0]])


def test_types_beyond_the_most_frequent_ones_are_one_row_and_no_count_is_lost():
    counts = {f"t{number:02}": {f"t{number:02}": 40 - number, "none": 1, "t00": 2} for number in range(20)}
    names, matrix = entity_metrics.arrange_confusion(counts)
    assert names == [*(f"t{number:02}" for number in range(12)), "8 others", "none"]
    assert sum(map(sum, matrix)) == sum(sum(row.values()) for row in counts.values())
    assert matrix[12][-1] == 8, "one of each was missed"
    assert matrix[12][0] == 16, "two of each were taken for t00"


def test_how_exact_the_metric_is_comes_from_words_and_entities_and_not_from_texts_alone():
    """30 texts of 100 words: three points fewer right words are clearly worse, though they are less than one text of 30."""
    words = TokenClassification(("ADJ", "NOUN"))
    best = {"token_accuracy": 0.97, "token_accuracy_ci95": [0.965, 0.975], "num_tokens": 3000, "num_rows": 30, "loss": 0.1}
    worse = best | {"token_accuracy": 0.94, "loss": 0.2}
    assert words.standard_error(best) == pytest.approx(0.0031, abs=1e-4)
    assert words.is_clearly_worse(worse, best)
    entities = TokenClassification(LABELS)
    nothing = {"entity_f1": 0.0, "entity_f1_ci95": [0.0, 0.0], "num_entities": 70, "num_rows": 30, "loss": 1.0}
    assert 0.01 < entities.standard_error(nothing) < 0.02, "resamples of zeros are equal, which proves nothing"
    assert not entities.is_clearly_worse(nothing | {"loss": 1.1}, nothing)
    assert entities.standard_error(nothing | {"num_entities": 0}) > 0
