"""The task of preference tuning: rows as tokens, the loss of packed pairs against plain ones, metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from finewright.core.config import DataConfig, RunConfig, build_options
from finewright.core.errors import UserError
from finewright.data import packing
from finewright.data.conversations import Message
from finewright.data.dataset import Dataset
from finewright.data.preferences import Preference, preference_from_json
from finewright.models import frozen_cache, loading
from finewright.models.acceleration import skip_frozen_layers
from finewright.models.hub import resolve_model
from finewright.models.prepared import PreparedModel
from finewright.planning.fake_batches import make_batch
from finewright.tasks import preference_losses, preference_rows
from finewright.tasks.preference import DEFAULTS, PreferenceTuning
from finewright.training import objectives
from support import tiny


def said(role, text):
    return (Message(role, text),)


def decode(base, ids):
    """The text of token ids; the tokenizer of the tiny model decodes to pieces."""
    return "".join(base.origin.tokenizer.convert_ids_to_tokens(list(map(int, ids)))).replace("Ġ", " ")


def pair(prompt, chosen, rejected, where="pairs.jsonl:1"):
    answers = [said("assistant", text) if text else () for text in (chosen, rejected)]
    return Preference(prompt, chosen or rejected, where, said("user", prompt), *answers)


ROWS = [
    pair("where is my parcel", "please send it", "charged twice and refund the jacket"),
    pair("when does it arrive", "ship the new parcel to my tent please", "refund"),
    pair("the invoice please", "send the new one", "the zip is broken"),
]
GOOD = [pair("where is my parcel", "please send it", ""), pair("the invoice", "", "refund"), pair("pay", "ship it", "")]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    source = resolve_model(str(tiny.folder(tmp_path_factory.mktemp("model") / "gpt2", n_positions=128)))
    return loading.load_model(source, head_spec=PreferenceTuning().head_spec)


@pytest.fixture
def model(base):
    base.network.requires_grad_(True)
    made = PreparedModel(base.network, base.network, base.architecture)
    made.runtime.reads = "next-token"
    base.network.eval()
    return made


def task_of(name, **changes):
    values = {one: value for one, (value, _) in DEFAULTS[name].items()} | changes
    return PreferenceTuning(loss_name=name, values=tuple(values.items()))


def encoded(base, rows, **options):
    how = {"limit": 100, "data": DataConfig(), "name": "train", **options}
    return preference_rows.encode_preferences(base.origin.tokenizer, rows, **how)


def with_reference(split):
    """Any reference will do."""
    sums = -10 * np.random.default_rng(0).random(split.parts.shape).astype(np.float32)
    return packing.replace(split, reference=sums)


def texts_of(split, row):
    """Each text of a row with its marks."""
    ends = np.cumsum(split.parts[row])[:-1]
    return list(zip(np.split(split.ids[row], ends), np.split(split.trained[row], ends), strict=True))


def plain_sums(network, split, row):
    """Sums and numbers of the log-probabilities of a row's texts by a plain pass over each of them."""
    found = []
    for ids, marks in texts_of(split, row):
        shares = network(input_ids=torch.from_numpy(ids.astype(np.int64))[None], attention_mask=None, use_cache=False)
        logps = shares.logits[0, :-1].log_softmax(dim=-1)
        places = np.flatnonzero(marks)
        found.append((sum(logps[place - 1, int(ids[place])] for place in places), len(places)))
    return found


def plain_loss(network, split, name, option):
    """The mean loss of all rows from the formulas, without packing."""
    rows, ratios = [], []
    for row in range(len(split.ids)):
        sums = plain_sums(network, split, row)
        known = split.reference[row]
        ratios.append([total - float(ref) for (total, _), ref in zip(sums, known, strict=True)])
        rows.append([(total, count, float(ref)) for (total, count), ref in zip(sums, known, strict=True)])
    found = []
    baseline = torch.stack([one[1] for one in ratios]).mean().detach().clamp(min=0) if name == "kto" else None
    for number, ((one, num_one, ref_one), (two, num_two, ref_two)) in enumerate(rows):
        if name == "kto":
            sign = 1 if split.targets[number] else -1
            found.append(1 - torch.sigmoid(sign * option["beta"] * (one - ref_one - baseline)))
        elif name == "dpo":
            found.append(-torch.nn.functional.logsigmoid(option["beta"] * (one - ref_one - two + ref_two)))
        elif name == "ipo":
            margin = (one - ref_one) / num_one - (two - ref_two) / num_two
            found.append((margin - 1 / (2 * option["beta"])) ** 2)
        elif name == "orpo":
            odds = [torch.log(p / (1 - p)) for p in (torch.exp(one / num_one), torch.exp(two / num_two))]
            found.append(-option["beta"] * torch.nn.functional.logsigmoid(odds[0] - odds[1]) - one / num_one)
        else:
            margin = option["beta"] * (one / num_one - two / num_two) - option["gamma"]
            found.append(-torch.nn.functional.logsigmoid(margin))
    return torch.stack(found).mean()


@pytest.mark.parametrize("name", DEFAULTS)
def test_packed_pairs_have_the_loss_and_the_gradients_of_plain_ones(base, model, name):
    task = task_of(name)
    rows = GOOD if name == "kto" else ROWS
    split = with_reference(encoded(base, rows, adds_mismatched=name == "kto").split)
    network = model.network
    plain = AutoModelForCausalLM.from_pretrained(base.origin.name, attn_implementation="eager").eval()
    expected = plain_loss(plain, split, name, task.option)
    wanted = torch.autograd.grad(expected, [plain.get_parameter(one) for one, _ in network.named_parameters()])
    batch = packing.collate(split, range(len(rows)))
    found = objectives.compute_loss(model, batch, task=task) / objectives.compute_weight(model, batch, task=task)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    got = torch.autograd.grad(found, list(network.parameters()))
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_update_does_not_depend_on_its_micro_batches(base, model, name):
    task, rows = task_of(name), GOOD if name == "kto" else ROWS
    split = with_reference(encoded(base, rows, adds_mismatched=name == "kto").split)
    found = []
    for parts in ([(0, 1, 2)], [(2,), (1,), (0,)]):
        batches = objectives.measure_aside(model, [packing.collate(split, rows) for rows in parts])
        found.append(sum(objectives.compute_loss(model, one, task=task).item() for one in batches))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_loss_at_the_start_is_that_of_a_model_that_is_its_own_reference(base):
    for name, value in (("dpo", np.log(2)), ("ipo", 25.0), ("kto", 0.5)):
        split = with_reference(encoded(base, GOOD if name == "kto" else ROWS, adds_mismatched=name == "kto").split)
        assert task_of(name).expected_loss_at_start(split, [0, 2]) == pytest.approx(value)
    split = with_reference(encoded(base, ROWS).split)
    nll = [-split.reference[row, 0] / texts_of(split, row)[0][1].sum() for row in (0, 1)]
    assert task_of("dpo", nll_weight=0.5).expected_loss_at_start(split, [0, 1]) == pytest.approx(np.log(2) + 0.5 * np.mean(nll))
    assert task_of("simpo").expected_loss_at_start(split, [0]) is None


def test_texts_of_a_batch_are_sorted_and_known_by_row_and_part(base):
    split = encoded(base, ROWS).split
    batch = packing.collate(split, [2, 0])
    assert batch.rows == (0, 2)
    assert list(batch.layout.lengths) == sorted(batch.layout.lengths)
    pieces = batch.ids.split(list(batch.layout.lengths))
    for place, row in enumerate(batch.rows):
        for part, (ids, marks) in enumerate(texts_of(split, row)):
            number = int(batch.texts_RP[place, part])
            assert pieces[number].tolist() == ids.tolist()
            assert batch.num_targets[number] == marks.sum()
    starts = np.cumsum([0, *batch.layout.lengths])
    text_of = np.searchsorted(starts, batch.read.numpy(), side="right") - 1
    assert (batch.ids[batch.read + 1] == batch.targets).all()
    assert [int((text_of == number).sum()) for number in range(4)] == list(batch.num_targets)


def test_cached_states_of_frozen_layers_are_those_of_each_text(base, model):
    split = with_reference(encoded(base, ROWS).split)
    task, batch = task_of("dpo"), packing.collate(split, [0, 1, 2])
    expected = objectives.compute_loss(model, batch, task=task).item()
    model.network.requires_grad_(False)
    model.network.get_submodule(model.architecture.layers)[-1].requires_grad_(True)
    skip_frozen_layers(model, 2, cached=True)
    states = frozen_cache.build_cache(model, split, where="memory", dtype=torch.float32)
    cached = packing.collate(packing.replace(split, cached_states=states), [1, 0, 2])
    assert cached.states is not None
    assert objectives.compute_loss(model, cached, task=task).item() == pytest.approx(expected, rel=1e-5)


def test_a_fake_batch_has_the_shape_of_a_real_one(base, model):
    split = with_reference(encoded(base, GOOD, adds_mismatched=True).split)
    real = packing.collate(split, [0, 1, 2])
    fake = make_batch(model, split.parts.tolist(), split.num_trained, num_aside=1, rows=(0, 1, 2))
    for one, other in ((real, fake), (real.aside, fake.aside)):
        assert one.layout == other.layout
        assert one.texts_RP.shape == other.texts_RP.shape
    assert len(fake.targets) + len(fake.aside.targets) == sum(split.num_trained)
    assert real.reference.shape == fake.reference.shape


def test_prompts_of_a_pair_are_cut_alike(base):
    long = pair("the parcel is broken " * 20 + "where is it", "please send it", "charged twice and refund the jacket please")
    found = encoded(base, [long, ROWS[0]], limit=60, data=DataConfig(over_long="cut-prompt"))
    (chosen, marks), (rejected, others) = texts_of(found.split, 0)
    first, second = int(np.flatnonzero(marks)[0]), int(np.flatnonzero(others)[0])
    assert first == second
    assert chosen[:first].tolist() == rejected[:first].tolist()
    assert max(len(chosen), len(rejected)) == 60
    assert "charged twice" in decode(base, rejected[second:])
    assert [one.code for one in found.findings] == ["truncated"]


def test_rows_that_do_not_fit_are_counted(base):
    long = pair("the parcel is broken " * 50, "please send it", "refund", where="pairs.jsonl:7")
    found = encoded(base, [ROWS[0], long])
    assert found.rows == [ROWS[0]]
    assert found.findings[0].rows == ("pairs.jsonl:7",)
    with pytest.raises(UserError, match="no row is left"):
        encoded(base, [long])
    assert not len(encoded(base, [long], name="test").split.ids)


def test_the_answer_to_another_prompt_is_set_aside(base):
    found = encoded(base, GOOD, adds_mismatched=True)
    answers = [[decode(base, ids[marks]) for ids, marks in texts_of(found.split, row)] for row in range(3)]
    assert "please send it" in answers[0][0]
    assert "refund" in answers[0][1]
    assert "please send it" in answers[2][1], "the last row takes the first one's"
    assert found.split.targets == [1, 0, 1]
    assert found.split.num_aside == 1


def test_pairs_become_answers_that_are_judged(base):
    rows = preference_rows.divide_pairs(ROWS[:1])
    assert [(row.is_wanted, row.label) for row in rows] == [(True, "please send it"), (False, ROWS[0].rejected[0].content)]


def test_earlier_answers_of_a_prompt_are_not_learnt(base):
    prompt = (Message("user", "the tent"), Message("assistant", "is broken"), Message("user", "ship it"))
    row = Preference("ship it", "please", "x:1", prompt, said("assistant", "send it"), said("assistant", "refund"))
    for ids, marks in texts_of(encoded(base, [row]).split, 0):
        assert "broken" in decode(base, ids)
        assert "broken" not in decode(base, ids[marks])
    assert preference_from_json(row.as_json()).prompt == row.prompt


def test_metrics_of_pairs_by_hand():
    task = task_of("dpo", beta=0.5)
    evaluation = task.start_evaluation([1, 1])
    evaluation.update([1, 0], np.array([[-4, 2, -6, -9, 3, -9], [-5, 2, -5, -3, 3, -4]], dtype=np.float32))
    found = evaluation.metrics()
    assert found["reward_chosen"] == pytest.approx(0.5)  # (0 + 0.5·2) / 2
    assert found["reward_rejected"] == pytest.approx(0.25)
    assert found["reward_margin"] == pytest.approx(0.25)
    assert found["reward_accuracy"] == 0.5
    expected = preference_losses.dpo(torch.tensor([-1.0, 2.0]), beta=0.5).mean()
    assert found["loss"] == pytest.approx(float(expected))
    lines = evaluation.prediction_lines(ROWS[:2])
    assert [line["score"] for line in lines] == [0.0, 1.0]
    assert evaluation.worst_mistakes(ROWS[:2])[0]["margin"] == pytest.approx(-0.5)


def test_metrics_of_judged_answers_by_hand():
    task = task_of("kto", beta=1.0)
    evaluation = task.start_evaluation([1, 0, 1])
    outputs = [[-1, 1, -2, -1, 1, -2], [-3, 1, -2, -2, 1, -2], [-4, 1, -2, 0, 1, -1.5]]
    evaluation.update([0, 1, 2], np.array(outputs, dtype=np.float32))
    found = evaluation.metrics()
    assert found["kl"] == pytest.approx((1 + 0 + 1.5) / 3)
    assert found["reward_accuracy"] == 0.5, "of a wanted answer above, and one below the unwanted one"
    assert found["reward_chosen"] == pytest.approx(-0.5)


def test_without_a_reference_the_log_probabilities_are_measured():
    task = task_of("dpo")
    evaluation = task.start_evaluation([1])
    evaluation.update([0], np.array([[-4, 2, -9, 3]], dtype=np.float32))
    found = evaluation.metrics()
    assert found["likelihood_accuracy"] == 1.0
    assert found["loss"] == pytest.approx(2.0)
    assert not [name for name in found if name.startswith("reward")]


def test_options_are_resolved_by_the_loss():
    config = build_options(RunConfig, {"preference": {"loss": "simpo", "beta": 2.5}})
    from finewright.data.dataset import Dataset

    data = Dataset(list(ROWS), [], [], (), "text", [], "", row_kind="preference")
    task = PreferenceTuning.for_dataset(data, config=config)
    assert task.option == {"beta": 2.5, "gamma": 1.0, "nll_weight": 0.0}
    assert {name for name, _, _ in task.choices} == {"preference.gamma", "preference.nll_weight"}
    assert not task.needs_reference
    mixed = Dataset([*ROWS], [*GOOD], [], (), "text", [], "", row_kind="preference")
    with pytest.raises(UserError, match="some splits have pairs"):
        PreferenceTuning.for_dataset(mixed, config=config)


def test_no_row_counts_as_cut_whose_texts_fit_one_by_one(base):
    split = encoded(base, ROWS).split
    assert split.parts is not None
    assert list(split.lengths_uncut) == split.parts.max(axis=1).tolist()
    assert max(split.lengths) > max(split.lengths_uncut)


@pytest.mark.parametrize(("wanted", "said_of_it"), [("please send it", "wanted"), ("", "unwanted")])
def test_answers_of_one_kind_are_warned_of(wanted, said_of_it):
    rows = [pair(f"{row.text} {number}", wanted, "" if wanted else "refund") for number, row in enumerate(ROWS * 3)]
    both = [pair("the tent", "ship it", ""), pair("the jacket", "", "refund")]
    dataset = Dataset(rows[:6], both, rows[6:], (), "text", [], "x", row_kind="preference")
    findings = {one.code: one for one in PreferenceTuning(loss_name="kto").check_dataset(dataset)}
    assert findings["one_kind"].severity == "warning"
    assert f"all 6 train answers are {said_of_it}; all 3 test answers are {said_of_it}" in findings["one_kind"].message
    pairs = replace(dataset, train=ROWS, test=ROWS)
    assert "one_kind" not in {one.code for one in PreferenceTuning().check_dataset(pairs)}


def test_between_answers_of_one_kind_the_loss_decides():
    task = PreferenceTuning(loss_name="kto")
    assert task.is_better({"reward_accuracy": 0.5, "loss": 0.3}, {"reward_accuracy": 0.5, "loss": 0.5})
