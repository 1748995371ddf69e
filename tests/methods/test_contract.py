"""What every way must keep, whoever writes it: one table over the folder."""

import re
from pathlib import Path

import pytest
import torch

import finewright
import tiny
from finewright import anatomy as anatomies
from finewright import methods, tasks
from finewright.attention import Layout
from finewright.errors import UserError

SOURCE = Path(finewright.__file__).parent
HEAD = ("score",)


def prepared(name, *, kind="gpt2", **knobs):
    net = tiny.network(kind)
    anatomy = anatomies.of(net.config)
    return methods.make(name, knobs).prepare(net, anatomy=anatomy, head=anatomy.head, origin=tiny.ORIGIN)


def step(tuned, *, times=1):
    optimizer = torch.optim.SGD(tuned.trainable().values(), lr=0.5)
    layout, ids = Layout((4, 6, 6)), torch.randint(0, tiny.VOCABULARY, (16,), generator=torch.Generator().manual_seed(1))
    for _ in range(times):
        optimizer.zero_grad()
        losses, _ = tasks.Classification(("a", "b", "c")).losses(tasks.logits(tuned, ids, layout), torch.tensor([0, 1, 2]))
        losses.mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", methods.names())
class TestEveryWay:
    def test_says_what_it_is(self, name):
        kind = methods.kind(name)
        assert kind.name() == name
        assert kind.summary[0].islower()
        assert kind.lr_range[0] <= kind.lr <= kind.lr_range[1]
        assert getattr(finewright, kind.python_name) is kind
        assert all(field.description for field in kind.model_fields.values())

    def test_trains_the_head(self, name):
        tuned = prepared(name)
        assert tuned.num_head() == 32 * 3
        before = [p.clone() for n, p in tuned.trainable().items() if "score" in n]
        step(tuned)
        after = [p for n, p in tuned.trainable().items() if "score" in n]
        assert before
        assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))

    def test_every_trained_tensor_moves_and_no_frozen_one_does(self, name):
        tuned = prepared(name)
        start = {n: p.detach().clone() for n, p in tuned.owner.named_parameters()}
        step(tuned, times=3)
        for parameter_name, parameter in tuned.owner.named_parameters():
            moved = not torch.equal(parameter, start[parameter_name])
            assert moved == parameter.requires_grad, parameter_name

    def test_prepares_on_the_meta_device(self, name):
        with torch.device("meta"):
            tuned = prepared(name)
        assert all(p.is_meta for p in tuned.trainable().values())
        assert tuned.num_trainable() == prepared(name).num_trainable()

    def test_a_text_scores_the_same_alone_and_in_a_batch(self, name):
        tuned = prepared(name)
        step(tuned, times=3)
        tuned.owner.eval()
        ids = tiny.texts([3, 9, 5])
        alone = torch.cat([tiny.scores(tuned, [one]) for one in ids])
        torch.testing.assert_close(tiny.scores(tuned, ids), alone, atol=1e-5, rtol=0)

    def test_has_a_test_of_its_own(self, name):
        text = (Path(__file__).parent / f"test_{name}.py").read_text()
        assert "num_trainable()" in text, "the trainable count is computed by hand in the method's own test"

    def test_no_other_source_file_knows_its_name(self, name):
        own = SOURCE / "methods" / f"{name}.py"
        word = re.compile(rf"""["']{name}["']""")
        guilty = [path.name for path in SOURCE.rglob("*.py") if path != own and word.search(path.read_text())]
        assert guilty == []


def test_unknown_way_offers_the_nearest():
    with pytest.raises(UserError, match=r"unknown method 'lorra'\n.*did you mean 'lora'\?"):
        methods.kind("lorra")


def test_unknown_knob_offers_the_nearest():
    with pytest.raises(UserError, match=r"method\.rnak: unknown knob; did you mean 'rank'\?"):
        methods.make("lora", {"rnak": 8})


def test_auto_prefers_one_way_for_a_reason():
    first, second, *_ = methods.by_preference()
    assert first.preference_reason
    assert first.preference < second.preference
