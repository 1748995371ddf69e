"""Multiple choice by log-likelihood in a run, an evaluation and a comparison, against a plain transformers loop."""

import json

import numpy as np
import pytest
import torch

import finewright
from finewright.comparison.folder import ComparisonFolder
from finewright.core.config import DataConfig
from finewright.data import chat_encoding
from finewright.data.answer_choices import possible_answers
from finewright.data.dataset import read_dataset
from finewright.runs import choices
from finewright.runs.run import open_run
from support import chatters
from support.commands import call

FAST = {"training.max_steps": 4, "training.precision": "float32", "training.num_threads": 1, "training.num_generated": 2}
_THINGS = ("the parcel", "a tent", "my refund", "an invoice", "jackets")


def questions(number: int, *, start: int) -> list[dict]:
    """Questions whose choices differ in length; the right one is the thing that the question names."""
    rows = []
    for index in range(start, start + number):
        offered = [_THINGS[(index + one) % 5] for one in range(2 + index % 3)]
        rows.append(
            {"question": f"{index} what of {offered[index % len(offered)]}", "choices": offered, "answer": index % len(offered)}
        )
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("choices")
    chatters.folder(root / "llama", template=chatters.TEMPLATE, max_position_embeddings=512)
    data = root / "data"
    data.mkdir()
    for start, (name, number) in zip((0, 20, 26), (("train", 20), ("validation", 6), ("test", 10)), strict=True):
        lines = [json.dumps(one) for one in questions(number, start=start)]
        (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def run(place):
    return finewright.train(place / "data", model=str(place / "llama"), method="full", output_dir=place / "run", options=FAST)


def plain_choices(folder, rows, *, limit=1 << 30, by_byte=False):
    """What plain transformers finds most probable, one choice of one row at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for row in rows:
        (prompt,) = chat_encoding.encode_prompts(tokenizer, [row], limit=limit)
        sums = []
        for text in possible_answers(row):
            own = tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*prompt, *own]])).logits[0, len(prompt) - 1 : -1]
            total = logits.float().log_softmax(-1)[torch.arange(len(own)), torch.tensor(own)].sum()
            sums.append(float(total) / (len(text.encode()) if by_byte else 1))
        found.append(possible_answers(row)[int(np.argmax(sums))])
    return found


def lines_of(run):
    return [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]


def test_a_run_chooses_what_plain_transformers_finds_most_probable_before_and_after(place, run):
    rows = read_dataset(place / "data", options=DataConfig(), row_kind="conversation").test
    lines = lines_of(run)
    for folder, key in ((run.path / "model", "choice"), (place / "llama", "untuned_choice")):
        assert [line[key] for line in lines] == plain_choices(folder, rows)
    test, before = run.result.metrics.test, run.result.untuned.metrics.test
    right = [line["choice"] == line["label"] for line in lines]
    assert [line["choice_right"] for line in lines] == right
    assert test.choices["choice_accuracy"] == np.mean(right)
    low, high = test.choices["choice_accuracy_ci95"]
    assert low < test.choices["choice_accuracy"] < high
    norm = plain_choices(run.path / "model", rows, by_byte=True)
    assert test.choices["choice_accuracy_norm"] == np.mean([one == row.label for one, row in zip(norm, rows, strict=True)])
    assert test.choices["chance"] == pytest.approx(np.mean([1 / len(row.choices) for row in rows]))
    assert (test.choices["num_rows"], test.choices["num_without_choices"]) == (10, 0)
    untuned = [line["untuned_choice"] == line["label"] for line in lines]
    assert before.choices["choice_accuracy"] == np.mean(untuned)
    shares = f"{np.mean(right):.1%} (before fine-tuning {np.mean(untuned):.1%})"
    card = (run.path / "model" / "README.md").read_text()
    assert f"| test choice accuracy | {shares} |" in card
    assert "tokens; longer conversations were left out |" in card


def test_evaluate_measures_the_choices_of_other_rows(place, run):
    measured = run.evaluate(place / "data" / "test.jsonl", num_generated=0)
    assert measured["choices"] == run.result.metrics.test.choices
    rows = run.read_labelled_rows(place / "data" / "test.jsonl")
    records = run.evaluate_rows(rows, num_generated=0).table.records
    chosen = {record.where: record.values["choice"] for record in records}
    assert sorted(chosen.values()) == sorted(line["choice"] for line in lines_of(run))
    code, said, _ = call("evaluate", run.path, place / "data" / "test.jsonl")
    assert code == 0
    assert f"choice accuracy {run.result.metrics.test.choices['choice_accuracy']:.1%} of 10 questions" in " ".join(said.split())


def test_letters_are_chosen_where_the_answer_is_a_letter(place, tmp_path):
    """The prompt lists the choices, and no column has them."""
    data = tmp_path / "letters"
    data.mkdir()
    for start, name in ((0, "train"), (20, "test")):
        lines = [
            json.dumps({"prompt": f"{index}?\nA) old {index}\nB) new\nC) red", "completion": "ABC"[index % 3]})
            for index in range(start, start + 12)
        ]
        (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    run = finewright.train(data, model=str(place / "llama"), method="lora", output_dir=tmp_path / "run", options=FAST)
    assert {line["choice"] for line in lines_of(run)} <= {"A", "B", "C"}
    assert run.result.metrics.test.choices["num_rows"] == 12


def test_rows_without_choices_are_counted_and_answers_decide(place, tmp_path):
    data = tmp_path / "mixed"
    data.mkdir()
    rows = [
        {"prompt": f"{index}?\nA) old\nB) new", "completion": "old" if index % 2 else f"it is {index}"} for index in range(12)
    ]
    for name in ("train", "test"):
        (data / f"{name}.jsonl").write_text("\n".join(json.dumps(one | {"prompt": name + one["prompt"]}) for one in rows) + "\n")
    run = finewright.train(data, model=str(place / "llama"), method="lora", output_dir=tmp_path / "run", options=FAST)
    test = run.result.metrics.test.model_dump()
    assert (test["choices"]["num_rows"], test["choices"]["num_without_choices"]) == (6, 6)
    from finewright.tasks.text_generation import TextGeneration

    assert TextGeneration.compared_metric(test).name == test["answers"]["metric"]
    assert sum(score is not None for score in TextGeneration.row_scores(lines_of(run))) == 2


def test_a_choice_that_begins_another_is_told_apart_by_its_end(place):
    """Without the end 1 could never be less probable than 10."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "llama")
    end = chat_encoding.answer_end_ids(tokenizer)
    apart, nested = choices.encode_answers(tokenizer, [("to be", "new"), ("to", "to be")], limit=40)
    assert all(one[-1] != end[-1] for one in apart)
    assert all(one[-len(end) :] == end for one in nested)
    assert nested[1][: len(nested[0]) - len(end)] == nested[0][: -len(end)]


def test_long_prompts_are_cut_alike_for_all_choices_and_a_choice_without_room_is_not_chosen(place, run, tmp_path):
    offered = ["new " * 3, "old", "red"]
    long = {"question": "where is my parcel " * 20, "choices": offered, "answer": 1}
    (tmp_path / "one.jsonl").write_text(json.dumps(long) + "\n")
    (row,) = run.read_labelled_rows(tmp_path / "one.jsonl").rows
    tokenizer, model = run.predictor.tokenizer, run.predictor.prepared_model
    test = choices.choose_test([row])
    room = 50 - max(len(tokenizer(one.strip(), add_special_tokens=False)["input_ids"]) for one in offered)
    chosen = choices.answer_questions(model, tokenizer, test, limit=50)
    assert test.options[0][chosen.chosen[0]] == plain_choices(run.path / "model", [row], limit=room)[0]
    longest = max(range(3), key=lambda one: len(test.options[0][one]))
    few = choices.answer_questions(model, tokenizer, test, limit=1 + max(map(len, (tokenizer("old")["input_ids"], [0]))))
    assert few.chosen[0] != longest


@pytest.mark.slow
def test_a_comparison_goes_by_the_choices_of_all_rows(place, quick_comparisons):
    options = {"model": str(place / "llama"), "methods": ["lora"], "seeds": 1, "jobs": 1, "options": FAST}
    found = finewright.compare(place / "data", output_dir=place / "compared", **options)
    assert (found.file.metric, found.file.metric_words, found.file.num_scored) == ("choice_accuracy", "choice accuracy", 10)
    scores = {row.method: row.score for row in found.file.measured}
    run = open_run(found.path / "runs/lora-all-seed0")
    assert scores["lora"] == pytest.approx(run.result.metrics.test.choices["choice_accuracy"])
    rows = read_dataset(place / "data", options=DataConfig(), row_kind="conversation").test
    expected = plain_choices(place / "llama", rows)
    untuned = json.loads((ComparisonFolder(found.path).path / "baselines/untuned.json").read_text())["sizes"]["all"]
    assert untuned["predicted"] == expected
    assert scores["untuned"] == pytest.approx(np.mean([one == row.label for one, row in zip(expected, rows, strict=True)]))
    assert {"few-shot", "nearest-answer"} <= scores.keys()
    assert all(set(line.predicted) == set(scores) for line in found.file.disagreements)
