"""The head, the loss, and logits that do not depend on company."""

import math

import pytest
import torch

import tiny
from finewright import tasks
from finewright.attention import Layout, sort_by_length
from finewright.tasks import Classification

LENGTHS = [5, 1, 9, 5, 12, 3]


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_text_scores_the_same_alone_and_in_any_batch(kind):
    tuned, ids = tiny.tuned(kind), tiny.texts(LENGTHS)
    alone = torch.cat([tiny.scores(tuned, [one]) for one in ids])
    together = tiny.scores(tuned, ids)
    backwards = tiny.scores(tuned, ids[::-1]).flip(0)
    assert alone.std() > 1e-3, "a network that says the same of every text would pass anything"
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(backwards, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_scores_equal_the_stock_model_on_one_unpadded_text(kind):
    tuned, stock = tiny.tuned(kind), tiny.network(kind, packed=False)
    for one in tiny.texts(LENGTHS):
        ids = torch.tensor([[*one[:-1], 7]])  # the stock model looks for the last id that is not the padding id
        with torch.no_grad():
            expected = stock(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(tiny.scores(tuned, ids.tolist()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_the_padding_id_may_stand_at_the_end_of_a_text(kind):
    """The stock model reads a text that ends in the padding id too short; the layout cannot."""
    tuned = tiny.tuned(kind)
    pad = tuned.network.config.pad_token_id
    assert not torch.allclose(tiny.scores(tuned, [[4, 8, pad]]), tiny.scores(tuned, [[4, 8]]), atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "roberta", "distilbert", "bloom"])
def test_a_settled_head_starts_near_ln_classes_whatever_the_scale_of_the_body(kind):
    tuned, ids = tiny.tuned(kind), tiny.texts(LENGTHS)
    head = tuned.network.get_submodule(tuned.anatomy.head[-1])
    for parameter in head.parameters():
        parameter.data *= 100
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    task = Classification(("a", "b", "c"))
    order = sort_by_length(LENGTHS)
    layout, flat = Layout(tuple(sorted(LENGTHS))), torch.tensor([token for index in order for token in ids[index]])
    assert float(task.losses(tiny.scores(tuned, ids), targets)[0].mean()) > 1.5 * math.log(3)
    factor = tasks.settle_head(tuned.network, anatomy=tuned.anatomy, ids_T=flat, layout=layout)
    scores = tiny.scores(tuned, ids)
    assert factor < 0.2
    assert float(scores.std(dim=1).max()) == pytest.approx(tasks.HEAD_SPREAD, rel=1e-4)
    assert float(task.losses(scores, targets)[0].mean()) == pytest.approx(math.log(3), abs=0.3)
    assert task.expected_first_loss == pytest.approx(math.log(3))


def test_a_head_that_is_small_enough_stays_as_it_is():
    tuned, ids = tiny.tuned("gpt2"), tiny.texts([4])
    tuned.network.score.weight.data *= 0.01
    before = tuned.network.score.weight.clone()
    assert tasks.settle_head(tuned.network, anatomy=tuned.anatomy, ids_T=torch.tensor(ids[0]), layout=Layout((4,))) == 1.0
    assert torch.equal(before, tuned.network.score.weight)


def test_balanced_class_weights_are_scikit_learns():
    task = tasks.infer(("a", "b"), training_labels=["a", "a", "a", "b"], class_weights="balanced")
    assert task.class_weights == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))
    _, weights = task.losses(torch.zeros(2, 2), torch.tensor([1, 0]))
    assert weights.tolist() == pytest.approx([2.0, 2 / 3])


def test_layout_refuses_texts_out_of_order():
    with pytest.raises(AssertionError, match="order of length"):
        Layout((3, 1))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_a_prompt_run_once_for_all_texts_scores_and_learns_as_one_before_each(kind, monkeypatch):
    ids = torch.tensor([token for one in tiny.texts(sorted(LENGTHS)) for token in one])
    outcomes = []
    for shared in (True, False):
        tuned = tiny.tuned(kind)
        torch.manual_seed(1)
        tuned.prompt = torch.nn.Parameter(torch.randn(5, 32))
        monkeypatch.setattr(tasks, "_shares_prefix", lambda anatomy, shared=shared: shared)
        scores = tasks.logits(tuned, ids, Layout(tuple(sorted(LENGTHS))))
        scores.pow(2).sum().backward()
        outcomes.append((scores.detach(), tuned.prompt.grad))
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], atol=2e-6, rtol=0)
    torch.testing.assert_close(outcomes[0][1], outcomes[1][1], atol=2e-6, rtol=1e-5)


def test_an_encoders_prompt_sees_the_text_and_is_never_shared():
    assert tasks._shares_prefix(tiny.tuned("gpt2").anatomy)
    assert not tasks._shares_prefix(tiny.tuned("bert").anatomy)
    assert not tasks._shares_prefix(tiny.tuned("bloom").anatomy)


def test_targets_are_the_places_of_the_labels():
    class Label(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Label.compared += 1
            return str.__eq__(self, other)

    labels = tuple(Label(f"label {number}") for number in range(100))
    assert Classification(labels).targets(f"label {number}" for number in (99, 0, 50)) == [99, 0, 50]
    assert Label.compared < 50, "they are looked up, not gone through"
