"""Scores, predictions and mistakes."""

import numpy as np
import pytest
import torch

from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.data.splits import Example
from finewright.inference import predictor, scoring, threads
from finewright.models import forward, head_init, hub, loading, meta
from finewright.models.prepared import PreparedModel, Runtime
from finewright.models.quantization import FourBit
from finewright.tasks import calibration
from finewright.tasks.text_classification import TextClassification
from support import tiny

LABELS = ("a", "b", "c")


def test_scores_are_in_the_given_order_for_any_batches(monkeypatch):
    prepared_model, ids = tiny.prepared_model("gpt2"), tiny.texts([9, 2, 7, 4, 2, 12])
    encoded = packing.EncodedSplit(ids, [len(one) for one in ids], [])
    alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids]).numpy()
    for budget in (1, 14, 1000):
        monkeypatch.setattr(scoring, "EVALUATION_TOKENS", budget)
        np.testing.assert_allclose(scoring.score_split(prepared_model, encoded), alone, atol=1e-5)


def test_a_batch_that_does_not_fit_is_split_in_two(monkeypatch):
    prepared_model, ids = tiny.prepared_model("gpt2"), tiny.texts([9, 2, 7, 4, 2, 12])
    encoded, original = packing.EncodedSplit(ids, [len(one) for one in ids], []), forward.compute_logits
    expected, sizes = scoring.score_split(prepared_model, encoded), []

    def limited(prepared_model, ids_T, layout, states):
        if len(layout.lengths) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(layout.lengths))
        return original(prepared_model, ids_T, layout, states)

    monkeypatch.setattr(forward, "compute_logits", limited)
    most = 2
    np.testing.assert_allclose(scoring.score_split(prepared_model, encoded), expected, atol=1e-5)
    assert (max(sizes), sum(sizes)) == (2, 6)
    most = 0
    with pytest.raises(UserError, match="one text of 12 tokens") as caught:
        scoring.score_split(prepared_model, encoded)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY


def test_probabilities_are_a_softmax_that_does_not_overflow():
    probabilities = calibration.compute_probabilities(np.array([[1000.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32))
    assert probabilities[0].tolist() == [1.0, 0.0, 0.0]
    assert probabilities[1] == pytest.approx([1 / 3] * 3)


ROWS = [Example("one", "a", "t.csv:2"), Example("two", "b", "t.csv:3"), Example("three", "c", "t.csv:4")]
PROBABILITIES = np.array([[0.9, 0.05, 0.05], [0.8, 0.15, 0.05], [0.1, 0.5, 0.4]])


def evaluated():
    """An evaluation whose probabilities are PROBABILITIES."""
    evaluation = TextClassification(LABELS).start_evaluation([0, 1, 2])
    evaluation.update([0, 1, 2], np.log(PROBABILITIES))
    return evaluation


def test_worst_mistakes_are_sorted_by_the_probability_of_the_label():
    worst = evaluated().worst_mistakes(ROWS)
    assert [(line["text"], line["label"], line["predicted"]) for line in worst] == [("two", "b", "a"), ("three", "c", "b")]
    assert worst[0]["probability_of_label"] == pytest.approx(0.15)
    assert worst[0]["where"] == "t.csv:3"


def test_prediction_lines_have_text_label_and_probability():
    lines = evaluated().prediction_lines(ROWS)
    assert lines[0].pop("probability") == pytest.approx(0.9)
    assert lines[0] == {"text": "one", "label": "a", "predicted": "a", "where": "t.csv:2"}


@pytest.mark.parametrize("kind", ["bloom", "gpt2", "llama"])
def test_a_fresh_head_over_4_bit_weights_is_scaled_in_bfloat16(tmp_path, kind):
    """They return bfloat16; BLOOM adds it to hidden states with an operation that needs one dtype."""
    pytest.importorskip("bitsandbytes")
    source = hub.resolve_model(str(tiny.folder(tmp_path / kind, kind=kind)))
    base = loading.load_model(source, head_spec=tiny.head_spec(LABELS), four_bit=FourBit(), bfloat16=True)
    base.network.score.weight.data *= 1000
    texts = ["where is my parcel", "charged twice", "please send the invoice"]
    (note,) = head_init.scale_head_on_texts(base, texts, bfloat16=True)
    assert note.startswith("head: random start scaled by 0.0")
    prepared_model = PreparedModel(
        network=base.network, trainable_module=base.network, architecture=base.architecture, runtime=Runtime(bfloat16=True)
    )
    encoded = packing.encode_texts(base.origin.tokenizer, texts, limit=64)
    spread = scoring.score_split(prepared_model, encoded).std(axis=1, ddof=1).max()
    assert spread == pytest.approx(head_init.HEAD_SPREAD, rel=0.02)


def test_bloom_cannot_be_scaled_in_float32_over_4_bit_weights_in_bfloat16(tmp_path):
    """The reason for the argument `bfloat16`. Once this raises no error, the argument is not needed."""
    pytest.importorskip("bitsandbytes")
    source = hub.resolve_model(str(tiny.folder(tmp_path / "bloom", kind="bloom")))
    base = loading.load_model(source, head_spec=tiny.head_spec(LABELS), four_bit=FourBit(), bfloat16=True)
    with pytest.raises(RuntimeError, match="dtype"):
        head_init.scale_head_on_texts(base, ["where is my parcel"], bfloat16=False)


def test_little_work_takes_one_thread_and_the_number_is_restored(monkeypatch):
    before, used = torch.get_num_threads(), []
    monkeypatch.setattr(threads, "SMALL_WORK", 1000)
    try:
        torch.set_num_threads(2)
        for num_tokens in (9, 10):
            with threads.threads_for_work(num_tokens, 100):
                used.append(torch.get_num_threads())
        with pytest.raises(ValueError, match="inside"), threads.threads_for_work(1, 1):
            raise ValueError("inside")
        assert (used, torch.get_num_threads()) == ([1, 2], 2)
    finally:
        torch.set_num_threads(before)


def test_an_evaluation_takes_as_many_threads_as_scoring(tmp_path, monkeypatch):
    tiny.folder(tmp_path / "gpt2")
    source = hub.ModelSource(tmp_path / "gpt2", "gpt2", "")
    tokenizer = meta.meta_model(source, head_spec=tiny.head_spec()).origin.tokenizer
    found = predictor.Predictor(tiny.prepared_model("gpt2"), tokenizer, task=TextClassification(LABELS), limit=8, keep_end=False)
    honest, used, before = predictor.evaluate_split, [], torch.get_num_threads()

    def evaluate_split(*given, **options):
        used.append(torch.get_num_threads())
        return honest(*given, **options)

    monkeypatch.setattr(predictor, "evaluate_split", evaluate_split)
    try:
        torch.set_num_threads(2)
        for most in (threads.SMALL_WORK, 1):
            monkeypatch.setattr(threads, "SMALL_WORK", most)
            evaluated = found.evaluate(ROWS)
            assert (evaluated.evaluation.metrics()["num_rows"], evaluated.num_cut) == (3, 0)
        assert (used, torch.get_num_threads()) == ([1, 2], 2)
    finally:
        torch.set_num_threads(before)
