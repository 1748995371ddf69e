"""Runs that fine-tune a language model: every method, verified, resumed exactly, and read by plain transformers and PEFT."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import finewright
from finewright import methods
from finewright.core import config
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import RunPlanned
from finewright.data import chat_encoding
from finewright.data.dataset import read_dataset
from finewright.planning.estimator import PassCost
from finewright.runs import answers, checkpoint_manager, context, pipeline
from support import chats, sessions, tiny
from support.killed import killed_session

TRAINABLE = [name for name in methods.method_names() if methods.get_method(name).objective == "task"]
WITHOUT_GPU = [name for name in TRAINABLE if not methods.get_method(name).needs]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("chats")
    chats.folder(root / "data")
    tiny.folder(root / "llama", kind="llama")
    tiny.folder(root / "gpt2")
    tiny.folder(root / "long", kind="llama", max_position_embeddings=512)
    return root


def train(place, name, method="lora", **options):
    given = {"training.max_steps": 4, "training.num_threads": 1, "training.precision": "float32", "data.max_length": 60}
    return finewright.train(
        place / "data", model=str(place / "llama"), method=method, output_dir=place / name, options=given | options
    )


def stock_losses(run, rows):
    """The loss of each row by plain transformers, an adapter by plain PEFT."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run.path / "model"
    kind = AutoPeftModelForCausalLM if (folder / "adapter_config.json").exists() else AutoModelForCausalLM
    model, tokenizer = kind.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    encoded = chat_encoding.encode_conversations(tokenizer, rows, limit=60, options=config.DataConfig())
    found = []
    for ids, marks in zip(encoded.ids, encoded.trained, strict=True):
        own = torch.tensor(ids, dtype=torch.long)[None]
        with torch.no_grad():
            logits = model(input_ids=own).logits[0]
        logits = logits[-own.shape[1] :]  # a trained prompt stands before the text
        losses = F.cross_entropy(logits[:-1], own[0, 1:], reduction="none")
        found.append(float(losses[torch.tensor(marks[1:])].mean()))
    return found


@pytest.mark.parametrize("method", WITHOUT_GPU)
def test_every_method_trains_and_plain_libraries_load_what_was_saved(place, method):
    options = {"method.num_virtual_tokens": 4} if method == "prompt" else {}
    run = train(place, f"run-{method}", method, **options)
    result = run.result
    assert result.task == "text-generation"
    assert result.verification_difference == 0
    test = result.metrics.test
    assert test.num_rows == 10
    assert test.perplexity == pytest.approx(2.718281828**test.loss, rel=1e-4)
    lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
    rows = read_dataset(place / "data", options=config.DataConfig(), row_kind="conversation").test
    assert stock_losses(run, rows) == pytest.approx([line["loss"] for line in lines], abs=2e-5)


def test_training_helps_and_the_untrained_model_stands_beside_it(place):
    run = train(place, "longer", "full", **{"training.max_steps": 30, "training.epochs": 10, "training.learning_rate": 3e-3})
    before, after = run.result.untuned.metrics.test, run.result.metrics.test
    assert after.loss < 0.7 * before.loss
    assert after.token_accuracy > before.token_accuracy
    assert run.evaluate(place / "data" / "test.jsonl")["loss"] == pytest.approx(after.loss, rel=1e-5)


def test_measuring_the_untrained_model_is_no_training_time(place, monkeypatch):
    moved, generate = [0.0], answers.generate

    def slow(*args, **options):
        moved[0] += 1000.0 if options["doing"] == "before training" else 0.0
        return generate(*args, **options)

    monkeypatch.setattr(answers, "generate", slow)
    for module in (checkpoint_manager, context):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + moved[0]))
    heard = []
    options = {"training.max_steps": 2, "training.num_threads": 1, "data.max_length": 60}
    where = {"model": str(place / "llama"), "method": "lora", "output_dir": place / "clock"}
    result = finewright.train(place / "data", **where, options=options, callbacks=[heard.append]).result
    assert moved[0] == 1000.0
    assert result.stage_seconds["untuned"] > 1000
    assert result.stage_seconds["train"] < 500
    (planned,) = [one for one in heard if isinstance(one, RunPlanned)]
    assert 0 < planned.answer_seconds < 500


def test_planned_answers_are_as_long_as_allowed_before_training_and_as_those_of_training_after_it(place, monkeypatch):
    found = []
    plan_seconds = answers.plan_seconds

    def kept(planned, *, settings):
        found.append((planned, settings))
        return plan_seconds(planned, settings=settings)

    monkeypatch.setattr(answers, "plan_seconds", kept)
    train(place, "planned", "lora")
    ((planned, settings),) = found
    lengths = answers.answer_lengths(planned.splits["train"])
    tests = answers.choose_test(planned.dataset, planned.splits["train"], settings=settings)
    number, most = len(tests.rows), tests.max_new_tokens

    def priced(fixed, per_token, given=settings):
        cost = PassCost(fixed=fixed, per_token=per_token)
        return plan_seconds(replace(planned, training_plan=replace(planned.training_plan, pass_cost=cost)), settings=given)

    assert priced(1.0, 0.0) == max(lengths) + most  # one batch
    prompts = sum(map(len, planned.splits["test"].ids)) - sum(answers.answer_lengths(planned.splits["test"]))
    assert priced(0.0, 1.0) == pytest.approx(2 * prompts + number * (most + sum(lengths) / len(lengths)))
    alone = settings.model_copy(update={"training": settings.training.model_copy(update={"baselines": "off"})})
    assert priced(1.0, 0.0, alone) == max(lengths)


def test_scratch_has_no_untrained_model_beside_it(place):
    assert train(place, "from-scratch", "scratch").result.untuned is None


@pytest.mark.parametrize("method_name", WITHOUT_GPU)
def test_a_killed_run_ends_like_one_that_was_not(place, tmp_path, monkeypatch, method_name):
    """Killed inside an accumulated update and inside an evaluation; freezing trains from cached states."""
    short = {"prompt": {"num_virtual_tokens": 4}}.get(method_name, {})
    extra = {"method_name": method_name, "source": "data", "options": short, "save_steps": 2, "gradient_accumulation_steps": 2}
    extra |= {"tokens_per_micro_batch": 400, "max_steps": 6}
    with sessions.quickly():
        expected = sessions.made(sessions.train(place, tmp_path / "whole", **extra))
        out = tmp_path / "cut"
        killed_session(place, out, monkeypatch, torch.Tensor, "backward", call=6, **extra)
        sessions.cut_short(place, out, after=4, **extra)
        folder = sessions.train(place, out, **extra)
    assert sessions.made(folder) == expected
    assert json.loads(folder.result.read_text())["sessions"] == 3


def test_contrastive_is_refused_as_there_are_no_labels(place):
    with pytest.raises(UserError, match="text-generation has no one label for each text"):
        train(place, "no-labels", "contrastive")


def test_long_rows_are_left_out_with_a_count(place, tmp_path):
    folder = chats.folder(tmp_path / "long")
    lines = (folder / "train.jsonl").read_text().splitlines()
    row = json.loads(lines[3])
    row["messages"][0]["content"] *= 30
    lines[3] = json.dumps(row)
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    said = []
    run = finewright.train(
        folder, model=str(place / "llama"), method="lora", output_dir=tmp_path / "run", callbacks=[said.append],
        options={"training.max_steps": 2, "data.max_length": 60},
    )  # fmt: skip
    assert run.result.num_train == 39
    assert any("1 of 40 train rows (2.5%) is longer than 60 tokens and left out" in str(event) for event in said)


def test_nothing_trained_is_refused(place, tmp_path):
    folder = chats.folder(tmp_path / "long")
    with pytest.raises(UserError, match="no row is left") as error:
        finewright.train(
            folder, model=str(place / "llama"), method="lora", output_dir=tmp_path / "run", options={"data.max_length": 8}
        )
    assert error.value.code == ExitCode.BAD_DATA


def test_other_marks_are_another_run(place, tmp_path):
    """A resumed run refuses rows of which other tokens are trained."""
    out = tmp_path / "run"
    sessions.cut_short(place, out, after=2, source="data", save_steps=1)
    settings = sessions.settings(place, save_steps=1, data={"trained_tokens": "all"})
    with pytest.raises(UserError, match="trained_tokens"):
        pipeline.train(place / "data", settings=settings, candidates=[methods.build_method("freeze", {})], out=out)


def test_evaluate_asks_the_model_and_measures_its_answers(place, tmp_path):
    run = train(place, "asked", "full", **{"training.max_steps": 6})
    measured = run.evaluate(place / "data" / "test.jsonl", num_generated=4)
    assert measured["answers"]["num_rows"] == 4
    assert measured["answers"]["metric"] == run.result.metrics.test.answers["metric"]
    assert "answers" not in run.evaluate(place / "data" / "test.jsonl", num_generated=0)
    from finewright.inference.evaluation_table import EvaluatedRows

    rows = run.read_labelled_rows(place / "data" / "test.jsonl")
    found = run.evaluate_rows(rows, num_generated=4)
    assert isinstance(found, EvaluatedRows)
    answered = [record for record in found.table.records if record.values["predicted"] is not None]
    assert len(answered) == 4
    assert len(found.table.records) == 10


def test_python_generates_and_a_language_model_labels_nothing(place):
    run = train(place, "asked", "full", **{"training.max_steps": 6})
    one = run.generate(["where is my parcel"], max_new_tokens=4)[0]
    assert one.num_tokens <= 4
    assert finewright.generate(run.path, "where is my parcel", max_new_tokens=4)[0].text == one.text
    assert finewright.load(run).chat([{"role": "user", "content": "where is my parcel"}], max_new_tokens=4) == one.text
    for call in (lambda: run.predict(["x"]), lambda: run.load()):
        with pytest.raises(UserError, match="answers, not labels"):
            call()


def several_turns(path):
    """Conversations with two answers each, some with a long first question."""
    path.mkdir()
    for name, number in (("train", 24), ("validation", 6), ("test", 6)):
        lines = []
        for index in range(number):
            first = "where is my parcel please " * (1 + 9 * (index % 2))
            turns = [("user", first), ("assistant", f"it is new {index}"), ("user", "thanks"), ("assistant", f"bye {index}")]
            lines.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
        (path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return path


OTHER_READING = [
    {"data.trained_tokens": "all"},
    {"data.trained_tokens": "last-answer"},
    {"data.over_long": "cut-prompt", "data.max_length": 140},
]


@pytest.mark.parametrize("options", OTHER_READING, ids=str)
def test_a_saved_model_reads_rows_by_the_options_of_its_run(place, tmp_path, options):
    data = several_turns(tmp_path / "turns")
    given = {"training.max_steps": 2, "training.num_threads": 1, "data.max_length": 400, "training.num_generated": 0} | options
    run = finewright.train(data, model=str(place / "long"), method="lora", output_dir=tmp_path / "run", options=given)
    assert run.result.verification_difference == 0
    again = run.evaluate(data / "test.jsonl", num_generated=0)
    assert again["num_tokens"] == run.result.metrics.test.num_tokens
    assert again["loss"] == pytest.approx(run.result.metrics.test.loss, rel=1e-5)


def test_a_prompt_of_the_answer_test_is_never_cut(place, tmp_path, monkeypatch):
    """The answer may be as long as the last answers of training, not as all turns of a sample together."""
    seen = []
    honest = answers.generation.generate_answers
    monkeypatch.setattr(
        answers.generation, "generate_answers", lambda *given, **how: seen.append(given[2]) or honest(*given, **how)
    )
    data = several_turns(tmp_path / "turns")
    given = {"training.max_steps": 1, "training.num_threads": 1, "data.max_length": 260, "training.num_generated": 4}
    run = finewright.train(data, model=str(place / "long"), method="lora", output_dir=tmp_path / "run", options=given)
    tokenizer = finewright.load(run, device="cpu").tokenizer
    rows = read_dataset(data, options=config.DataConfig(), row_kind="conversation").test
    whole = chat_encoding.encode_prompts(tokenizer, rows, limit=10_000)
    assert len(seen) == 2, "before and after training"
    assert all(prompt in whole for prompts in seen for prompt in prompts)


def test_a_folder_that_is_no_run_is_loaded_as_a_language_model(place):
    assert finewright.load(place / "llama").generate(["where"], max_new_tokens=2)[0].num_tokens <= 2
