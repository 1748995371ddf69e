"""Training on from a run: its adapter is merged into its base, and where the model comes from is recorded."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from finewright import api
from finewright.core import cache
from finewright.core.errors import UserError
from finewright.data.preferences import Preference
from finewright.inference import scoring
from finewright.models import hub, loading, quantization
from finewright.runs.run import open_run
from finewright.tasks import preference_rows
from finewright.tasks.preference import PreferenceTuning
from support import preferred, sessions, tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = preferred.place(tmp_path_factory.mktemp("chains"))
    chats = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in preferred.rows()]
    preferred.write(root / "chats.jsonl", chats)
    with pytest.MonkeyPatch.context() as patch, sessions.quickly():
        patch.setenv("FINEWRIGHT_CACHE", str(root / "store"))
        yield root


def trained(root, out, source, *, model=None, method="lora", **changes):
    options = {
        "training.max_steps": 3,
        "training.precision": "float32",
        "training.num_threads": 1,
        "training.learning_rate": 0.01,
    }
    options |= {"data.validation_fraction": 0.2, **changes}
    if not out.exists():
        api.train(root / source, model=str(model or root / "gpt2"), method=method, output_dir=out, options=options)
    return out


@pytest.fixture(scope="module")
def tuned(place):
    """A finished run of supervised fine-tuning with an adapter."""
    return trained(place, place / "tuned", "chats.jsonl")


def log_probabilities(model, tokenizer):
    """What a model says of some pairs, in nats."""
    rows = []
    for row in preferred.rows(count=6):
        messages = [(preferred.message(role, row[part]),) for role, part in preferred.PARTS]
        rows.append(Preference(row["prompt"], row["chosen"], "x:1", *messages))
    data = PreferenceTuning().data
    split = preference_rows.encode_preferences(tokenizer, rows, limit=100, data=data, name="test").split
    model.runtime.reads = "next-token"
    model.trainable_module.eval()
    return scoring.score_split(model, split)


def of_run(run):
    return log_probabilities(*loading.reload_model(run / "model", auto_model="AutoModelForCausalLM", bfloat16=False))


def of_source(source):
    base = loading.load_model(source, head_spec=PreferenceTuning().head_spec)
    return log_probabilities(base.as_prepared(), base.origin.tokenizer)


def test_an_adapter_is_merged_into_its_base(place, tuned):
    source = hub.resolve_model(str(tuned))
    assert source.name == str(tuned)
    assert source.path.is_relative_to(place / "store" / cache.MODELS)
    assert "merged" in source.note
    assert np.abs(of_source(source) - of_run(tuned)).max() < 1e-3
    assert np.abs(of_source(source) - of_source(hub.resolve_model(str(place / "gpt2")))).max() > 0.01
    assert hub.resolve_model(str(tuned / "model")).path == source.path
    light = hub.resolve_model(str(tuned), weights=False)
    assert not list(light.path.glob("*.safetensors"))
    assert json.loads((light.path / "config.json").read_text())["model_type"] == "gpt2"
    assert (source.path / "chat_template.jinja").exists() or "chat_template" in (
        source.path / "tokenizer_config.json"
    ).read_text()


def test_preferences_after_supervised_fine_tuning(place, tuned):
    run = trained(place, place / "preferred", "pairs.jsonl", model=tuned)
    result, config = (json.loads((run / name).read_text()) for name in ("result.json", "config.json"))
    (before,) = result["lineage"]
    assert config["lineage"] == result["lineage"]
    assert (before["run"], before["task"], before["method"], before["data"]) == (
        "tuned",
        "text-generation",
        "lora",
        "chats.jsonl",
    )
    assert before["loss"] == json.loads((tuned / "result.json").read_text())["metrics"]["test"]["loss"]
    card = (run / "model" / "README.md").read_text()
    assert "| trained before | tuned (text-generation by lora on chats.jsonl, loss " in card
    assert str(place) not in card
    assert result["untuned"]["metrics"]["test"]["loss"] == pytest.approx(np.log(2), rel=1e-4), "the reference is the tuned model"
    third = trained(place, place / "third", "judged.jsonl", model=run, method="full")
    lineage = json.loads((third / "result.json").read_text())["lineage"]
    assert [one["run"] for one in lineage] == ["tuned", "preferred"]
    assert lineage[1]["objective"] == "dpo"
    whole = hub.resolve_model(str(third))
    assert whole.path == third / "model", "a whole model is used as it is"


def test_a_merged_model_that_is_gone_is_made_again(place, tuned):
    run = trained(place, place / "preferred", "pairs.jsonl", model=tuned)
    expected = of_run(run)
    shutil.rmtree(place / "store" / cache.MODELS)
    assert (of_run(run) == expected).all()
    assert open_run(run).result.model == str(tuned)


def test_an_earlier_run_that_others_need_is_not_removed_and_its_merged_copy_takes_its_place(place, tuned, tmp_path):
    from support.commands import call

    first = tmp_path / "first"
    shutil.copytree(tuned, first)
    preferred_run = trained(place, tmp_path / "second", "pairs.jsonl", model=first)
    expected = of_run(preferred_run)
    code, _, said = call("runs", "rm", first, "--yes")
    assert (code, "second" in said, "--force" in said, first.exists()) == (2, True, True, True)
    assert call("runs", "rm", first, "--yes", "--force")[0] == 0
    assert (of_run(preferred_run) == expected).all()
    assert np.abs(of_source(hub.resolve_model(str(preferred_run))) - expected).max() < 1e-3, "it can be trained on too"
    shutil.rmtree(place / "store" / cache.MODELS)
    with pytest.raises(UserError, match="base model cannot be loaded"):
        of_run(preferred_run)
    assert call("runs", "rm", preferred_run, "--yes")[0] == 0


def test_a_base_in_four_bits_is_merged_as_it_was_trained(place):
    if quantization.missing_packages():
        pytest.skip("four-bit weights need bitsandbytes")
    run = trained(place, place / "packed", "chats.jsonl", method="qlora")
    assert np.abs(of_source(hub.resolve_model(str(run))) - of_run(run)).max() < 1e-3


def test_a_base_that_changed_is_refused(place, tuned, tmp_path):
    shutil.copytree(place / "gpt2", tmp_path / "gpt2")
    run = trained(place, tmp_path / "run", "chats.jsonl", model=tmp_path / "gpt2")
    tiny.folder(tmp_path / "gpt2", n_positions=128, n_layer=2)
    with pytest.raises(UserError, match="not the one the adapter was trained on"):
        hub.resolve_model(str(run))


def test_a_prompt_cannot_be_merged(place):
    run = trained(place, place / "prompted", "chats.jsonl", method="prompt")
    with pytest.raises(UserError, match="it is a prompt") as caught:
        hub.resolve_model(str(run))
    assert "lora" in caught.value.fix


def test_a_run_that_is_not_finished_is_refused(place, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "half")
    (tmp_path / "half" / "result.json").unlink()
    with pytest.raises(UserError, match="this run is not finished") as caught:
        hub.resolve_model(str(tmp_path / "half"))
    assert "--resume" in caught.value.fix


def test_a_run_with_another_head_is_refused(place, tmp_path):
    tiny.tickets(place / "tickets.csv")
    run = trained(place, place / "classifier", "tickets.csv", method="full")
    for source in ("pairs.jsonl", "chats.jsonl"):
        with pytest.raises(UserError, match="this run was trained for text-classification"):
            trained(place, tmp_path / source, source, model=run)
    with pytest.raises(UserError, match="this run was trained for text-classification"):
        api.plan(place / "pairs.jsonl", model=str(run))


def test_a_classifier_may_begin_with_a_language_model_of_a_run(place, tuned, tmp_path):
    tiny.tickets(place / "tickets.csv")
    run = trained(place, tmp_path / "run", "tickets.csv", model=tuned)
    assert json.loads((run / "result.json").read_text())["lineage"][0]["run"] == "tuned"


def test_the_flag_names_the_model(place, tuned):
    from finewright.cli.main import app

    both = CliRunner().invoke(app, ["train", str(place / "pairs.jsonl"), "--from", str(tuned), "--model", "mini"])
    assert "--from and --model" in str(both.exception) + both.output
    none = CliRunner().invoke(app, ["train", str(place / "pairs.jsonl"), "--from", str(place / "gpt2")])
    assert "no run here" in str(none.exception) + none.output
