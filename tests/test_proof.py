"""What was saved is what was trained, asked of a new interpreter (the other tests ask a fork of a clean process)."""

import pytest
from safetensors.torch import load_file, save_file

import lives
from finewright import evaluate, proof
from finewright.errors import ExitCode, UserError

TEXTS = ["where is my parcel", "i was charged twice", "the tent leaks"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with lives.quickly():
        place = lives.place(tmp_path_factory.mktemp("proof"))
        return lives.train(place, place / "run", way="lora", max_steps=2)


def test_a_new_interpreter_scores_as_we_do_and_a_changed_file_is_found(folder):
    trained = evaluate.Predictor.load(folder.model, limit=512, keep_end=False, bfloat16=False)
    with proof.answered_by(proof._in_new_interpreter):
        assert proof.prove(trained, folder.model, TEXTS) == 0
        path = folder.model / "adapter_model.safetensors"
        weights = load_file(path)
        save_file({name: values * 1.5 + 0.01 for name, values in weights.items()}, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"scores of the saved model differ by .* from the trained one's") as caught:
            proof.prove(trained, folder.model, TEXTS)
    assert caught.value.code == ExitCode.MISMATCH


def test_a_file_that_cannot_be_loaded_is_said_with_the_last_words(folder):
    trained = evaluate.Predictor.load(folder.model, limit=512, keep_end=False, bfloat16=False)
    (folder.model / "adapter_model.safetensors").write_bytes(b"not a tensor")
    with (
        proof.answered_by(proof._in_new_interpreter),
        pytest.raises(UserError, match="the saved model cannot be loaded again: ") as caught,
    ):
        proof.prove(trained, folder.model, TEXTS)
    assert caught.value.code == ExitCode.MISMATCH
