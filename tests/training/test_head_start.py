"""A head that starts from a regression: the network's scores are the regression's, for every kind of head."""

import numpy as np
import pytest
import torch

from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.inference import scoring
from finewright.models import loading
from finewright.models.head_start import HeadLayers
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.text_classification import TextClassification
from finewright.training import head_start
from support import tiny

TASK = TextClassification(("a", "b", "c"))
LENGTHS = [4 + index % 9 for index in range(60)]


@pytest.fixture(autouse=True)
def no_dropout(monkeypatch):
    """The states of random networks hardly differ from text to text; in the noise of dropout nothing is left of that."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, states: states)


NONE = packing.EncodedSplit([], [], [])


def split(lengths, *, seed):
    """Texts whose tokens tell their label."""
    targets = [index % 3 for index in range(len(lengths))]
    texts = [
        [token % 5 + 5 * target for token in ids] for ids, target in zip(tiny.texts(lengths, seed=seed), targets, strict=True)
    ]
    return packing.EncodedSplit(texts, lengths, targets)


TRAIN, TEST = split(LENGTHS, seed=0), split(LENGTHS[:12], seed=1)


def new_modules(prepared_model):
    """All modules of the head, and BERT's pooler as a checkpoint without one has it."""
    architecture = prepared_model.architecture
    return (*architecture.head, *([architecture.pooler] if architecture.pooler else []))


def start(prepared_model, *, train=TRAIN, test=NONE, new=None):
    new = prepared_model.architecture.head if new is None else new
    return head_start.start_from_probe(prepared_model, TASK, new=new, train=train, test=test)


@pytest.mark.parametrize("with_new_pooler", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bloom", "bert", "roberta", "distilbert"])
def test_the_network_scores_as_the_regression_decides(kind, with_new_pooler, monkeypatch):
    prepared_model = tiny.prepared_model(kind)
    fitted, honest = [], TextClassification.fit_head

    def fit_head(self, features, targets, *, has_bias):
        fitted.append((features, honest(self, features, targets, has_bias=has_bias), has_bias, targets))
        return fitted[-1][1]

    monkeypatch.setattr(TextClassification, "fit_head", fit_head)
    found = start(prepared_model, test=TEST, new=new_modules(prepared_model) if with_new_pooler else None)
    ((features, head, has_bias, targets),) = fitted
    assert has_bias == (kind not in ("gpt2", "llama", "bloom"))
    assert targets == TRAIN.targets
    scores = scoring.score_split(prepared_model, TRAIN)
    assert 0 < head.softness < 1, "60 rows of 32 features: the regression knows them better than others"
    assert found.softness == head.softness
    assert np.abs(scores - head.softness * head.scores(features)).max() <= 1e-5 * max(1.0, np.abs(scores).max())
    evaluation = scoring.evaluate_split(prepared_model, TEST, task=TASK)
    assert found.test["loss"] == pytest.approx(evaluation.metrics()["loss"], abs=1e-5)
    assert (found.strength, found.num_rows) == (head.strength, 60)
    losses = scoring.evaluate_split(prepared_model, TRAIN, task=TASK).row_losses()
    assert losses.mean() < np.log(3)
    assert found.loss_spread == pytest.approx(losses.std(), rel=0.3), "that of the attention is left"


def test_no_training_follows_no_softness():
    """A head that is fitted last keeps the regression's certainty."""
    prepared_model = tiny.prepared_model("bert")
    new = prepared_model.architecture.head
    soft = start(prepared_model)
    scores = scoring.score_split(prepared_model, TRAIN)
    assert head_start.start_from_probe(prepared_model, TASK, new=new, train=TRAIN, softened=False).softness == 1.0
    assert np.allclose(scoring.score_split(prepared_model, TRAIN), scores / soft.softness, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_new_hidden_layer_passes_the_states_on(kind):
    prepared_model = tiny.prepared_model(kind)
    layers = HeadLayers.find(prepared_model, new=new_modules(prepared_model))
    (hidden,) = layers.hidden
    start(prepared_model, new=new_modules(prepared_model))
    rows = range(60)
    states, read = (head_start.read_inputs(prepared_model, TRAIN, layer=one, rows=rows) for one in (hidden, layers.last))
    for feature in range(states.shape[1]):
        assert np.corrcoef(states[:, feature], read[:, feature])[0, 1] > 0.98, "nearly linear"


def test_a_pooler_of_the_checkpoint_stays_as_it_is():
    prepared_model = tiny.prepared_model("bert")
    assert HeadLayers.find(prepared_model, new=prepared_model.architecture.head).hidden == ()


@pytest.mark.parametrize("method", ["lora", "prompt", "freeze", "full"])
@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_with_every_method_the_weights_that_are_trained_are_set(kind, method):
    prepared_model = tiny.prepared(kind, method)
    before = {name: value.detach().clone() for name, value in prepared_model.trainable().items()}
    start(prepared_model)
    changed = {name for name, value in prepared_model.trainable().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("score" in name or "classifier" in name for name in changed)
    assert sum(before[name].numel() for name in changed) == prepared_model.num_head()
    layers = HeadLayers.find(prepared_model, new=prepared_model.architecture.head)
    assert all(parameter.requires_grad for layer in (layers.last, *layers.hidden) for parameter in layer.parameters())


def test_it_draws_no_random_numbers_and_is_the_same_again():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    weights = []
    for _ in range(2):
        prepared_model = tiny.prepared_model("roberta")
        torch.manual_seed(5)
        start(prepared_model)
        assert torch.equal(torch.rand(3), expected)
        weights.append(prepared_model.network.classifier.out_proj.weight.detach())
    assert torch.equal(*weights)


def test_a_head_that_cannot_be_fitted_is_as_it_was():
    prepared_model = tiny.prepared_model("roberta")
    before = [value.detach().clone() for value in prepared_model.network.classifier.parameters()]
    one_label = packing.EncodedSplit(TRAIN.ids, TRAIN.lengths_uncut, [0] * 60)
    with pytest.raises(HeadNotFitted, match="do not have every label"):
        start(prepared_model, train=one_label)
    assert all(map(torch.equal, before, prepared_model.network.classifier.parameters()))


def test_broken_states_are_no_features():
    prepared_model = tiny.prepared_model("distilbert")
    prepared_model.network.distilbert.transformer.layer[1].ffn.lin1.weight.data[0, 0] = float("nan")
    with pytest.raises(HeadNotFitted, match="not all finite"):
        start(prepared_model)


def test_labels_of_other_rows_are_caught(monkeypatch):
    """The features of every row get the label of the next one."""
    honest = head_start.read_inputs
    monkeypatch.setattr(head_start, "read_inputs", lambda *given, **how: np.roll(honest(*given, **how), 1, axis=0))
    with pytest.raises(UserError, match=r"60 training rows have a loss of \d+\.\d+, in the regression itself of") as caught:
        start(tiny.prepared_model("gpt2"))
    assert caught.value.code == ExitCode.MISMATCH


def test_of_many_rows_an_even_share_of_each_label_is_read(monkeypatch):
    monkeypatch.setattr(head_start, "MOST_ROWS", 12)
    assert head_start.choose_rows([0] * 40 + [1] * 40, num_labels=20) == [*range(80)], "four rows of each label are always read"
    chosen = head_start.choose_rows([0] * 40 + [1] * 40 + [2] * 40)
    assert len(set(chosen)) == 12
    assert chosen == sorted(chosen)
    assert [sum(row // 40 == label for row in chosen) for label in range(3)] == [4, 4, 4]
    assert start(tiny.prepared_model("gpt2")).num_rows == 12


def test_cached_states_of_frozen_layers_give_the_same_head(tmp_path):
    from finewright.models import acceleration, frozen_cache

    heads = []
    for cached in (False, True):
        prepared_model = tiny.prepared("gpt2", "freeze")
        train = TRAIN
        if cached:
            acceleration.skip_frozen_layers(prepared_model, 1, cached=True)
            states = frozen_cache.build_cache(prepared_model, TRAIN, where="memory", dtype=torch.float32)
            train = packing.EncodedSplit(TRAIN.ids, TRAIN.lengths_uncut, TRAIN.targets, states)
        start(prepared_model, train=train)
        heads.append(prepared_model.network.score.weight.detach())
    assert torch.allclose(*heads, atol=1e-3)


def test_a_saved_head_is_loaded_as_it_was_set(tmp_path):
    prepared_model = tiny.prepared("bert", "full")
    start(prepared_model)
    expected = scoring.score_split(prepared_model, TEST)
    prepared_model.network.save_pretrained(tmp_path)
    again, _ = loading._from_pretrained(tmp_path, prepared_model.network.config, auto_model=TASK.auto_model)
    assert torch.equal(again.classifier.weight, prepared_model.network.classifier.weight)
    assert expected.shape == (12, 3)


def test_a_head_that_dropout_makes_worse_than_guessing_is_not_taken(monkeypatch):
    prepared_model = tiny.prepared_model("roberta")
    before = [value.detach().clone() for value in prepared_model.network.classifier.parameters()]

    def noise(self, states):
        return states + 1e3 * torch.randn_like(states) if self.training else states

    monkeypatch.setattr(torch.nn.Dropout, "forward", noise)
    with pytest.raises(HeadNotFitted, match=r"dropout makes the fitted one worse than guessing: a loss of \d+"):
        start(prepared_model)
    assert all(map(torch.equal, before, prepared_model.network.classifier.parameters()))


def test_rare_labels_keep_their_rows_where_not_all_are_read(monkeypatch):
    monkeypatch.setattr(head_start, "MOST_ROWS", 100)
    targets = [0] * 5000 + [1] * 3 + [2] * 400
    rows = head_start.choose_rows(targets)
    counts = np.bincount([targets[row] for row in rows])
    assert counts.tolist() == [49, 3, 48]
    assert rows == sorted(set(rows))
