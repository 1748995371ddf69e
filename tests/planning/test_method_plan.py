"""A method planned before its weights are loaded."""

import shutil

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finewright import methods
from finewright.core import hardware
from finewright.core.config import RunConfig, build_options
from finewright.data import dataset as dataset_module
from finewright.data import tokenization
from finewright.models import hub
from finewright.planning import method_plan
from finewright.tasks import label_checks
from finewright.tasks.text_classification import TextClassification
from support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("prospect")
    tiny.folder(root / "whole")
    shutil.copytree(root / "whole", root / "gpt2", ignore=shutil.ignore_patterns("*.safetensors"))
    tiny.tickets(root / "tickets.csv")
    return root


def plan_for(place, name="lora", *, known=None, **options):
    settings = build_options(RunConfig, {"model": str(place / "gpt2"), **options})
    dataset, findings = dataset_module.read_dataset(place / "tickets.csv", options=settings.data), []
    task = TextClassification(dataset.labels)
    given = {"settings": settings, "machine": hardware.detect(), "dataset": dataset, "task": task}
    source = hub.resolve_model(str(place / "gpt2"), weights=False)
    found = method_plan.plan_method(source, methods.build_method(name, {}), report=findings.extend, known=known, **given)
    return found, dataset, findings


def test_no_weights_are_wanted_and_everything_is_decided(place):
    found, dataset, findings = plan_for(place, training={"epochs": 2})
    assert findings == []
    assert [len(found.splits[name].ids) for name in ("train", "validation", "test")] == [
        len(dataset.train),
        len(dataset.validation),
        len(dataset.test),
    ]
    assert found.limit == 64
    trained = sum(len(rows) for step in found.training_plan.schedule.steps for rows in step.batches)
    assert trained == 2 * len(dataset.train)
    assert found.training_plan.plan.trainable_parameters == 3 * 2 * 8 * 64 + 32 * 2


def test_every_choice_is_reported_with_its_reason_and_none_for_what_was_asked(place):
    made = {choice["option"]: choice["reason"] for choice in plan_for(place)[0].choices.made}
    assert {
        "data.max_length",
        "training.learning_rate",
        "training.tokens_per_micro_batch",
        "training.epochs",
        "training.frozen_layer_cache",
    } <= set(made)
    assert {"fast.parts", "evaluation.batch_tokens"} <= set(made)
    assert all(made.values())
    assert "token_ids" not in made, "few texts are tokenised anew"
    asked = {"data": {"max_length": 32}, "training": {"learning_rate": 1e-3, "tokens_per_micro_batch": 200, "epochs": 1}}
    made = {choice["option"] for choice in plan_for(place, **asked)[0].choices.made}
    assert not {"data.max_length", "training.learning_rate", "training.tokens_per_micro_batch", "training.epochs"} & made


def test_a_prompt_takes_its_room_from_the_texts(place):
    assert plan_for(place, "prompt")[0].limit == 64 - 20


def test_texts_that_are_cut_are_reported(place):
    found, dataset, findings = plan_for(place, data={"max_length": 8})
    assert {finding.code for finding in findings} == {"truncated"}
    assert max(found.splits["train"].lengths) == 8
    assert len(found.splits["train"].lengths) == len(dataset.train)
    assert sum(len(finding.rows) for finding in findings) == sum(
        length > 8 for split in found.splits.values() for length in split.lengths_uncut
    )


def test_ids_that_are_cached_on_disk_are_reported(place, tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(tokenization, "WORTH_CACHING", 10)
    found, dataset, _ = plan_for(place)
    made = {choice["option"]: choice for choice in found.choices.made}["token_ids"]
    assert made["value"] == "cached on disk"
    assert str(tmp_path) in made["reason"]
    assert len(list((tmp_path / "tokens").iterdir())) == 1, "validation and test have fewer texts than that"


def test_ids_that_are_known_are_not_made_again(place):
    known = {}
    plan_for(place, known=known)
    first = next(iter(known))
    known[first] = [5, 6, 7]
    found, dataset, _ = plan_for(place, known=known)
    row = next(i for i, row in enumerate(dataset.train) if row.text == first)
    assert list(found.splits["train"].ids[row]) == [5, 6, 7]


def test_from_data_and_model_alone_comes_the_same_plan_and_every_finding(place):
    options = {"model": str(place / "gpt2"), "data": {"max_length": 8}, "training": {"num_threads": 1}}
    datasets = dataset_module.DatasetCache()
    found, findings = method_plan.plan_from_source(
        place / "tickets.csv",
        methods.build_method("lora", {}),
        settings=build_options(RunConfig, options),
        datasets=datasets,
    )
    wanted, dataset, about_texts = plan_for(place, data={"max_length": 8}, training={"num_threads": 1})
    assert list(found.training_plan.schedule.steps) == list(wanted.training_plan.schedule.steps)
    assert found.training_plan.plan.memory == wanted.training_plan.plan.memory
    assert findings == about_texts + label_checks.check_labelled_texts(dataset)
    assert set(datasets.ids(found.source.name)) == {row.text for row in (*dataset.train, *dataset.validation, *dataset.test)}


def test_texts_in_letters_that_the_tokenizer_does_not_know_are_an_error(tmp_path):
    khmer = [f"{chr(0x1780 + n % 30)}{chr(0x1780 + n // 30)} {chr(0x1781 + n % 30)}" for n in range(60)]
    path = tmp_path / "khmer.csv"
    path.write_text("text,label\n" + "".join(f"{text},{'ab'[n % 2]}\n" for n, text in enumerate(khmer)))
    settings = RunConfig()
    dataset = dataset_module.read_dataset(path, options=settings.data)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "parcel": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    findings = method_plan.encode_splits(
        tokenizer, dataset, task=TextClassification(dataset.labels), settings=settings, limit=8
    ).findings
    unknown = [finding for finding in findings if finding.code == "unknown_tokens"]
    assert [finding.severity for finding in unknown] == ["error"] * 3, "of every split"
    assert "100% of the tokens of the train texts are unknown to this tokenizer ([UNK])" in unknown[0].message
