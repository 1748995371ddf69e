"""Every method under one budget, from a config alone."""

import json
import re
import time

import pytest

from finewright import api, methods
from finewright.core import hardware, units
from finewright.core.errors import UserError
from finewright.models import kernels, quantization
from finewright.planning import report
from support import tiny

SMALL = {"data.max_length": 64, "training.precision": "bfloat16"}


@pytest.fixture(scope="module")
def seven_billion():
    options = {"memory_budget": "8GB", "data.max_length": 512, "training.precision": "bfloat16"}
    return api.plan(model="llama-2-7b", options=options)


def test_7b_fits_8_gb_in_four_bits_only(seven_billion):
    by_name = {entry.method.name(): entry.training_plan for entry in seven_billion.entries}
    assert set(by_name) == set(methods.method_names())
    assert [name for name, made in by_name.items() if made.fits] == ["qlora"]
    assert seven_billion.recommended == "qlora"
    weights = by_name["lora"].plan.memory["weights"]
    assert 13.2e9 < weights < 13.8e9, "6.6 billion numbers of 16 bits, embeddings of 32"
    assert by_name["full"].plan.memory["optimizer"] == pytest.approx(2 * 4 * 6.607e9, rel=0.01)
    assert by_name["qlora"].plan.peak_memory_bytes <= 8e9
    assert by_name["qlora"].plan.trainable_parameters == 2 * 32 * 8 * (4096 + 4096) + 4096 * 2


def test_weights_are_read_in_float32_before_they_are_rounded(seven_billion):
    by_name = {entry.method.name(): entry.training_plan.plan for entry in seven_billion.entries}
    for name in ("lora", "freeze", "prompt"):
        assert by_name[name].memory["loading"] > 0
        assert by_name[name].peak_memory_bytes == pytest.approx(4 * by_name[name].total_parameters, rel=1e-3)
    assert "loading" not in by_name["qlora"].memory, "packed while they are read"
    assert by_name["full"].peak_memory_bytes > 16 * by_name["full"].total_parameters


@pytest.mark.slow
def test_mistral_7b_fits_8_gb_in_four_bits_only():
    options = {"memory_budget": "8GB", "data.max_length": 512, "training.precision": "bfloat16"}
    fits = {
        method_name: api.plan(model="mistral-7b", method=method_name, options=options).entries[0].training_plan.fits
        for method_name in ("qlora", "lora", "full")
    }
    assert fits == {"qlora": True, "lora": False, "full": False}


def test_what_does_not_fit_is_reported_what_it_needs(seven_billion):
    advice = {entry.method.name(): entry.advice for entry in seven_billion.entries}
    assert advice["qlora"] == ""
    assert advice["lora"].startswith("needs ")
    assert "weights, gradients and optimizer alone take" in advice["full"]
    assert re.search(r"; what would do: qlora \([67]\.\d+ GB\), or a budget of \d+ GB$", advice["full"])
    assert re.match(r"needs 26\.4 GB while the weights are read", advice["lora"])


def test_a_budget_on_a_cpu_leaves_out_the_program_and_says_so(seven_billion):
    assert any(note.startswith("the budget is for training; what the program itself takes, ") for note in seven_billion.notes)


def test_the_reason_names_what_would_be_preferred(seven_billion):
    assert "lora would be preferred and does not fit" in seven_billion.reason


def test_the_same_updates_in_every_setup(seven_billion):
    for entry in seven_billion.entries:
        setup = entry.training_plan.setup
        assert setup.tokens_per_micro_batch in (16 * 512, 16 * 532), (
            "16 texts, a prompt of 20 tokens before each, however they are cut"
        )
        assert setup.gradient_accumulation_steps == 1


def test_json_has_the_contract_and_is_json(seven_billion):
    told = json.loads(json.dumps(seven_billion.as_json()))
    assert {"plans", "recommended", "reason", "notes"} <= set(told)
    wanted = {"method", "trainable_parameters", "head_parameters", "total_parameters", "peak_memory_bytes", "memory", "flops"}
    for plan in told["plans"]:
        assert wanted | {"seconds", "artifact_bytes", "fits"} <= set(plan)
        assert set(plan["memory"]) - {"loading"} == {"weights", "gradients", "optimizer", "activations", "other"}
        assert plan["peak_memory_bytes"] == sum(plan["memory"].values())


def test_without_data_the_assumption_is_said():
    found = api.plan(model="gpt2", method="lora", options=SMALL, num_labels=7)
    assert found.notes[0].startswith("precision ")
    assert found.notes[1:] == ["no data: 7 labels and 1,000 texts of 64 tokens, or the most a method reads, are assumed"]
    assert found.entries[0].training_plan.plan.head_parameters == 7 * 768


def test_data_and_tokenizer_give_the_real_lengths(tmp_path):
    tiny.folder(tmp_path / "gpt2")
    tiny.tickets(tmp_path / "tickets.csv")
    found = api.plan(tmp_path / "tickets.csv", model=tmp_path / "gpt2", method="full")
    assert [note.partition(" file")[0] for note in found.notes[1:]] == ["no test", "no validation"], "the first is the precision"
    assert found.trials is None, "there is no choice"


def test_of_many_rows_a_small_model_is_trained_whole(tmp_path):
    tiny.folder(tmp_path / "bert", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=700)
    found = api.plan(tmp_path / "tickets.csv", model=tmp_path / "bert")
    assert (found.recommended, found.entries[0].method.name(), found.trials) == ("full", "full", None)
    assert found.reason.startswith("a model of 0.0 million parameters learns most from ")


def test_trials_of_few_rows_are_planned(tmp_path):
    tiny.folder(tmp_path / "bert", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    found = api.plan(tmp_path / "tickets.csv", model=tmp_path / "bert")
    assert found.trials.methods == ["contrastive", "full", "freeze"]
    costs = {entry.method.name(): entry.training_plan.plan.seconds for entry in found.entries}
    assert found.trials.seconds == pytest.approx(costs["contrastive"])
    said = found.trials.describe()
    assert said.startswith("so few rows decide themselves: contrastive is tried on held-out rows, in about ")
    assert said.endswith("; full and freeze if it is worse than the frozen features")
    assert found.as_json()["trials"]["methods"] == found.trials.methods
    assert found.entries[0].training_plan.plan.head_parameters == 2 * 32 + 2


@pytest.mark.slow
def test_a_shape_without_tokenizer_guesses_lengths_and_says_so(tmp_path):
    found = api.plan(tiny.tickets(tmp_path / "tickets.csv"), model="llama-2-7b", method="prompt", options=SMALL)
    assert found.notes[-1] == "no tokenizer here: one token for every 4 characters is assumed"


def test_when_nothing_fits_the_least_is_named():
    found = api.plan(model="gpt2", options={**SMALL, "memory_budget": "1MB"})
    assert found.recommended == ""
    assert found.reason.startswith("no method fits; the least, ")
    assert found.as_json()["recommended"] is None


def test_a_recommended_method_that_wants_a_package_says_which(monkeypatch):
    monkeypatch.setattr(quantization, "missing_packages", lambda: ["bitsandbytes"])
    found = api.plan(model="gpt2", method="qlora", options=SMALL)
    assert found.reason.endswith("it needs bitsandbytes: pip install 'finewright[qlora]'")


@pytest.mark.parametrize("packs", [True, False], ids=["packed", "plain"])
def test_what_was_not_asked_about_and_cannot_be_had_is_left_out(monkeypatch, packs):
    """Where the processor has packed products, frozen matrices are held twice. So no fixed budget is too little everywhere."""
    honest, refused = report.plan_lengths, set()

    def plan_lengths(method, context, lengths):
        optimizer = context.settings.training.optimizer
        if method.quantization() or optimizer != "adamw":
            refused.add((method.name(), optimizer))
            raise UserError("not for this model")
        return honest(method, context, lengths)

    monkeypatch.setattr(kernels, "can_pack", lambda dtype: packs)
    monkeypatch.setattr(report, "plan_lengths", plan_lengths)
    # In float32 reading the weights takes no more than training, so that weights fit and training does not.
    options = {"data.max_length": 1024, "training.precision": "float32"}
    (tightest,) = api.plan(model="gpt2", method="prompt", memory_budget="1MB", options=options).entries
    refused.clear()
    too_little = units.format_bytes_exactly(tightest.training_plan.plan.peak_memory_bytes - 1)
    (entry,) = api.plan(model="gpt2", method="prompt", memory_budget=too_little, options=options).entries
    assert not entry.training_plan.fits
    assert refused == {("prompt", "adamw8bit"), ("qlora", "adamw")}
    assert re.fullmatch(r"needs at least \S+ \wB; what would do: a budget of \S+ \wB", entry.advice)


@pytest.mark.parametrize("budget", ["8", "-1", "8 apples", "1e400GB"])
def test_a_budget_that_is_none_is_one_message(budget):
    with pytest.raises(UserError, match="budget: wanted a size above zero"):
        api.plan(model="gpt2", options={"memory_budget": budget})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 10**9}, r"n_layer is 1000000000, wanted 1 to 512"),
        ({"n_layer": 0}, r"num_hidden_layers is 0"),
        ({"n_layer": "many"}, r"config\.json"),
        ({"n_embd": 10**13}, r"not a model config: Storage size calculation overflowed"),
        ({"n_embd": 10**7}, r"claims [\d,]+ parameters, more than 20,000,000,000,000"),
        ({"vocab_size": 10**15}, r"parameters, more than"),
        ({"model_type": "oracle"}, r"has no architecture 'oracle'"),
    ],
)
def test_a_small_config_that_claims_terabytes_costs_nothing(tmp_path, change, message):
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100, "n_positions": 64}
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    began, before = time.process_time(), hardware.peak_resident_bytes()
    with pytest.raises(UserError, match=message):
        api.plan(model=tmp_path, method="full", options=SMALL)
    assert time.process_time() - began < 60, "it stops; how fast is not the matter here"
    assert hardware.peak_resident_bytes() - before < 200e6, "nothing of what it claims was asked for"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": 3}', "null", '{"a": ' * 2000])
def test_a_malformed_config_is_one_message(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config"):
        api.plan(model=tmp_path, method="full", options=SMALL)
