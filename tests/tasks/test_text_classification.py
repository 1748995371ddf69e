"""The head, the loss, and logits that do not depend on the other texts of a batch."""

import math
from types import SimpleNamespace

import pytest
import torch

from finewright.core.config import RunConfig, build_options
from finewright.data.layout import PackedLayout, sort_by_length
from finewright.data.splits import Example
from finewright.models import forward, head_init
from finewright.tasks.text_classification import TextClassification
from support import tiny

LENGTHS = [5, 1, 9, 5, 12, 3]


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_text_scores_the_same_alone_and_in_any_batch(kind):
    prepared_model, ids = tiny.prepared_model(kind), tiny.texts(LENGTHS)
    alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids])
    together = tiny.scores(prepared_model, ids)
    backwards = tiny.scores(prepared_model, ids[::-1]).flip(0)
    assert alone.std() > 1e-3, "with equal scores for every text this test would always pass"
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(backwards, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_scores_equal_the_stock_model_on_one_unpadded_text(kind):
    prepared_model, stock = tiny.prepared_model(kind), tiny.network(kind, packed=False)
    for one in tiny.texts(LENGTHS):
        ids = torch.tensor([[*one[:-1], 7]])  # the stock model looks for the last id that is not the padding id
        with torch.no_grad():
            expected = stock(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(tiny.scores(prepared_model, ids.tolist()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_a_text_may_end_in_the_padding_id(kind):
    """The stock model drops padding ids at the end of a text; the packed layout does not."""
    prepared_model = tiny.prepared_model(kind)
    pad = prepared_model.network.config.pad_token_id
    assert not torch.allclose(tiny.scores(prepared_model, [[4, 8, pad]]), tiny.scores(prepared_model, [[4, 8]]), atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "roberta", "distilbert", "bloom"])
def test_a_scaled_head_starts_near_ln_classes_for_any_scale_of_the_network(kind):
    prepared_model, ids = tiny.prepared_model(kind), tiny.texts(LENGTHS)
    head = prepared_model.network.get_submodule(prepared_model.architecture.head[-1])
    for parameter in head.parameters():
        parameter.data *= 100
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    task = TextClassification(("a", "b", "c"))
    order = sort_by_length(LENGTHS)
    layout, flat = PackedLayout(tuple(sorted(LENGTHS))), torch.tensor([token for index in order for token in ids[index]])
    assert float(task.loss(tiny.scores(prepared_model, ids), targets)) / 6 > 1.5 * math.log(3)
    factor = head_init.scale_head(tiny.base_network(prepared_model.network), ids_T=flat, layout=layout)
    scores = tiny.scores(prepared_model, ids)
    assert factor < 0.2
    assert float(scores.std(dim=1).max()) == pytest.approx(head_init.HEAD_SPREAD, rel=1e-4)
    assert float(task.loss(scores, targets)) / 6 == pytest.approx(math.log(3), abs=0.3)
    assert task.expected_first_loss == pytest.approx(math.log(3))


def test_a_small_head_is_not_scaled():
    prepared_model, ids = tiny.prepared_model("gpt2"), tiny.texts([4])
    prepared_model.network.score.weight.data *= 0.01
    before = prepared_model.network.score.weight.clone()
    assert (
        head_init.scale_head(
            tiny.base_network(prepared_model.network),
            ids_T=torch.tensor(ids[0]),
            layout=PackedLayout((4,)),
        )
        == 1.0
    )
    assert torch.equal(before, prepared_model.network.score.weight)


def test_balanced_class_weights_are_scikit_learns():
    rows = [Example("x", label, "t.csv") for label in "aaab"]
    dataset = SimpleNamespace(labels=("a", "b"), train=rows)
    config = build_options(RunConfig, {"training": {"class_weights": "balanced"}})
    task = TextClassification.for_dataset(dataset, config=config)
    assert task.class_weights == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))
    assert task.weight(torch.tensor([1, 0])) == pytest.approx(2.0 + 2 / 3)
    assert float(task.loss(torch.zeros(2, 2), torch.tensor([1, 0]))) == pytest.approx((2.0 + 2 / 3) * math.log(2))


def test_layout_refuses_texts_out_of_order():
    with pytest.raises(AssertionError, match="order of length"):
        PackedLayout((3, 1))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_a_shared_prompt_has_the_scores_and_gradients_of_one_per_text(kind, monkeypatch):
    ids = torch.tensor([token for one in tiny.texts(sorted(LENGTHS)) for token in one])
    results = []
    for shared in (True, False):
        prepared_model = tiny.prepared_model(kind)
        torch.manual_seed(1)
        prepared_model.prompt = torch.nn.Parameter(torch.randn(5, 32))
        monkeypatch.setattr(forward, "shares_prefix", lambda architecture, shared=shared: shared)
        scores = forward.compute_logits(prepared_model, ids, PackedLayout(tuple(sorted(LENGTHS))))
        scores.pow(2).sum().backward()
        results.append((scores.detach(), prepared_model.prompt.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-6, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=2e-6, rtol=1e-5)


def test_a_prompt_is_not_shared_in_encoders_where_it_attends_to_the_text():
    assert forward.shares_prefix(tiny.prepared_model("gpt2").architecture)
    assert not forward.shares_prefix(tiny.prepared_model("bert").architecture)
    assert not forward.shares_prefix(tiny.prepared_model("bloom").architecture)


def test_targets_are_the_indices_of_the_labels():
    class Label(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Label.compared += 1
            return str.__eq__(self, other)

    labels = tuple(Label(f"label {number}") for number in range(100))
    assert TextClassification(labels).targets([Example("x", f"label {number}", "") for number in (99, 0, 50)]) == [99, 0, 50]
    assert Label.compared < 50, "labels are looked up in a dict"


def test_a_prediction_of_very_many_labels_lists_the_most_probable_ones():
    import numpy as np

    from finewright.tasks import metrics

    labels = tuple(f"label {number}" for number in range(metrics.MOST_LISTED_LABELS + 1))
    scores = np.random.default_rng(0).normal(size=(2, len(labels))).astype(np.float32)
    for scores_C, found in zip(scores, TextClassification(labels).predictions(["a", "b"], scores), strict=True):
        best = np.argsort(-scores_C)[: metrics.NUM_LISTED]
        assert list(found["probabilities"]) == [labels[index] for index in best]
        assert found["label"] == labels[best[0]]
        assert found["probability"] == next(iter(found["probabilities"].values()))
