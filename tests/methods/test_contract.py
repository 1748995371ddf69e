"""The contract of every method of the folder."""

import re
from pathlib import Path

import pytest
import torch

import finewright
from finewright import methods
from finewright.core.errors import UserError
from support import tiny
from support.prepared import prepared, step

SOURCE = Path(finewright.__file__).parent
HEAD = ("score",)


@pytest.mark.parametrize("name", methods.method_names())
class TestEveryWay:
    def test_describes_itself(self, name):
        kind = methods.get_method(name)
        assert kind.name() == name
        assert kind.summary[0].islower()
        assert kind.learning_rate_range[0] <= kind.learning_rate <= kind.learning_rate_range[1]
        assert getattr(finewright, kind.__name__) is kind
        assert all(field.description for field in kind.model_fields.values())

    def test_trains_the_head(self, name):
        prepared_model = prepared(name)
        assert prepared_model.num_head() == 32 * 3
        before = [p.clone() for n, p in prepared_model.trainable().items() if "score" in n]
        step(prepared_model)
        after = [p for n, p in prepared_model.trainable().items() if "score" in n]
        assert before
        assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))

    def test_every_trained_tensor_moves_and_no_frozen_one_does(self, name):
        prepared_model = prepared(name)
        start = {n: p.detach().clone() for n, p in prepared_model.trainable_module.named_parameters()}
        step(prepared_model, times=3)
        for parameter_name, parameter in prepared_model.trainable_module.named_parameters():
            moved = not torch.equal(parameter, start[parameter_name])
            assert moved == parameter.requires_grad, parameter_name

    def test_prepares_on_the_meta_device(self, name):
        with torch.device("meta"):
            prepared_model = prepared(name)
        assert all(p.is_meta for p in prepared_model.trainable().values())
        assert prepared_model.num_trainable() == prepared(name).num_trainable()

    def test_a_text_scores_the_same_alone_and_in_a_batch(self, name):
        prepared_model = prepared(name)
        step(prepared_model, times=3)
        prepared_model.trainable_module.eval()
        ids = tiny.texts([3, 9, 5])
        alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids])
        torch.testing.assert_close(tiny.scores(prepared_model, ids), alone, atol=1e-5, rtol=0)

    def test_has_a_test_of_its_own(self, name):
        text = (Path(__file__).parent / f"test_{name}.py").read_text()
        assert "num_trainable()" in text, "the trainable count is computed by hand in the method's own test"

    def test_no_other_source_file_names_it(self, name):
        own = SOURCE / "methods" / f"{name}.py"
        word = re.compile(rf"""["']{name}["']""")
        places = [SOURCE / place for place in ("models", "training", "planning", "runs", "exporters")]  # all that handles methods
        whole = [SOURCE] if name != "prompt" else places  # elsewhere it is what a language model is asked
        others = [path for place in whole for path in place.rglob("*.py") if path != own]
        guilty = [path.name for path in others if word.search(path.read_text())]
        assert guilty == []


def test_unknown_method_offers_the_nearest():
    with pytest.raises(UserError, match=r"unknown method 'lorra'\n.*did you mean 'lora'\?"):
        methods.get_method("lorra")


def test_unknown_option_offers_the_nearest():
    with pytest.raises(UserError, match=r"method\.rnak: unknown option; did you mean 'rank'\?"):
        methods.build_method("lora", {"rnak": 8})


def test_auto_prefers_one_method_for_a_reason():
    first, second, *_ = methods.methods_by_preference()
    assert first.preference_reason
    assert first.preference < second.preference
