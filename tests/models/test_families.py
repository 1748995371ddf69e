"""Every architecture that is described: the same scores alone, in any batch and in transformers; trained, saved, loaded."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

from finewright import methods
from finewright.core.errors import UserError
from finewright.data.layout import PackedLayout
from finewright.models import architectures, forward, frozen_cache, heads, last_layer
from finewright.models.architectures.base import fused_rows, max_text_length
from finewright.models.prepared import PreparedModel
from support import families, tiny
from support.prepared import prepared, step

LENGTHS = [5, 1, 9, 5, 12, 3]
KINDS = tuple(families.CONFIGS)
EXPERTS = {kind for kind in KINDS if architectures.architecture_of(tiny.build_config(kind)).experts}


def describe(kind):
    return architectures.architecture_of(tiny.build_config(kind))


PACKED = [kind for kind in KINDS if not describe(kind).not_packable]


def stock_scores(prepared_model, stock, ids):
    """Scores of one text by transformers' own attention: by its own class, or by its body and our linear head."""
    architecture, tokens = prepared_model.architecture, torch.tensor([ids])
    with torch.no_grad():
        if architecture.has_standard_head:
            return stock(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
        body = stock.get_submodule(architecture.body)
        states_1TH = body(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        pooled = {"last": states_1TH[:, -1], "first": states_1TH[:, 0], "mean": states_1TH.mean(1)}[architecture.pooling]
        return heads.HEADS[architecture.head_kind](stock, architecture, pooled)


def test_every_described_architecture_has_a_tiny_network():
    installed = {name for name in architectures.architecture_names() if name in transformers.CONFIG_MAPPING}
    assert {*tiny.CONFIGS, *families.CONFIGS} - {*families.DERIVED} == installed


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_alone_in_any_batch_and_in_transformers(kind):
    prepared_model, ids = tiny.prepared_model(kind), [[*one[:-1], 7] for one in tiny.texts(LENGTHS)]
    stock = tiny.network(kind, packed=False)
    alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids])
    assert alone.std(0).max() > 1e-3, "with equal scores for every text this test would always pass"
    torch.testing.assert_close(tiny.scores(prepared_model, ids), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(tiny.scores(prepared_model, ids[::-1]).flip(0), alone, atol=1e-5, rtol=0)
    expected = torch.cat([stock_scores(prepared_model, stock, one) for one in ids])
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in families.DERIVED])
def test_every_module_is_where_the_architecture_says(kind):
    network, architecture = tiny.network(kind), describe(kind)
    layers = network.get_submodule(architecture.layers)
    found = {name: module for layer in layers for name, module in layer.named_modules()}
    linear = {name for name, module in found.items() if isinstance(module, torch.nn.Linear)}
    for modules in architecture.projections.values():
        assert {*modules} <= linear
    left_out = linear - {name for modules in architecture.projections.values() for name in modules}
    assert not {name for name in left_out if not any(part in name for part in ("expert", "pos_", "conv", "router"))}
    parameters = dict(layers[0].named_parameters())
    assert all(parameters[name].ndim == 3 for name in architecture.experts)
    assert bool(architecture.experts) == any(parameter.ndim == 3 and "conv" not in name for name, parameter in parameters.items())
    for name in (architecture.body, architecture.final_norm, architecture.pooler, *architecture.head):
        assert not name or network.get_submodule(name) is not None
    assert " at 0x" not in repr(architecture), "it is part of the key of cached traces"
    for fused in {module for module in found if architecture.is_fused(module)}:
        rows = [row for part in ("query", "key", "value") for row in fused_rows(architecture, network.config, part)]
        weight = found[fused].weight
        assert sorted(rows) == list(range(weight.shape[1 if weight.shape[0] == 32 != weight.shape[1] else 0]))


def fused_kinds():
    return [kind for kind in KINDS if describe(kind).qkv_slices]


@pytest.mark.parametrize("kind", fused_kinds())
def test_the_value_rows_of_a_fused_projection_are_those_that_scale_the_outputs(kind):
    """Without values the attention puts out nothing but its bias."""
    network, architecture = tiny.network(kind, packed=False), describe(kind)
    layer = network.get_submodule(architecture.layers)[0]
    fused = layer.get_submodule(architecture.projections["value"][0])
    seen = []
    layer.get_submodule(architecture.projections["output"][0]).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for parameter in fused.parameters():
        rows = fused_rows(architecture, network.config, "value")
        transposed = parameter.ndim == 2 and len(parameter) == 32 and parameter.shape[1] != 32
        (parameter.data.T if transposed else parameter.data)[rows] = 0
    for name, parameter in layer.named_parameters():  # DeBERTa has biases of its own
        if name.endswith("v_bias"):
            parameter.data.zero_()
    with torch.no_grad():
        network(input_ids=torch.tensor(tiny.texts([6])))
    assert not seen[0].any()


def scores_and_gradients(prepared_model, lengths=(1, 3, 3, 5, 9)):
    ids = torch.tensor([token for one in tiny.texts(list(lengths)) for token in one])
    scores = forward.compute_logits(prepared_model, ids, PackedLayout(tuple(lengths)))
    scores.pow(2).sum().backward()
    gradients = {name: parameter.grad for name, parameter in prepared_model.trainable().items() if parameter.grad is not None}
    return scores.detach(), gradients


@pytest.mark.parametrize("kind", PACKED)
def test_a_last_layer_for_pooled_tokens_changes_nothing(kind):
    scores, gradients = scores_and_gradients(tiny.prepared_model(kind))
    narrow = tiny.prepared_model(kind)
    pooled = last_layer.install_pooled_last_layer(narrow.network, architecture=narrow.architecture)
    assert (pooled is None) == (not narrow.architecture.attention_entry or narrow.architecture.pooling == "mean")
    narrow.runtime.pooled_last_layer = pooled
    narrow_scores, narrow_gradients = scores_and_gradients(narrow)
    torch.testing.assert_close(narrow_scores, scores, atol=1e-6, rtol=1e-6)
    assert {*gradients} == {*narrow_gradients}
    for name, gradient in gradients.items():
        torch.testing.assert_close(narrow_gradients[name], gradient, atol=5e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", [kind for kind in PACKED if describe(kind).has_plain_layers])
def test_the_layers_above_frozen_ones_run_from_their_outputs(kind):
    prepared_model = prepared("freeze", kind=kind, num_layers=1)
    assert frozen_cache.count_frozen_layers(prepared_model) == 1
    ids, layout = torch.tensor([token for one in tiny.texts([3, 3, 9]) for token in one]), PackedLayout((3, 3, 9))
    prepared_model.runtime.frozen_prefix = frozen_cache.FrozenPrefix(
        prepared_model.network, layers=prepared_model.architecture.layers, num_layers=1
    )
    with torch.no_grad():
        states_TH = prepared_model.runtime.frozen_prefix.run(prepared_model, ids, layout)
        served = forward.compute_logits(prepared_model, ids, layout, states_TH)
        prepared_model.runtime.frozen_prefix = None
        whole = forward.compute_logits(prepared_model, ids, layout)
    torch.testing.assert_close(served, whole, atol=1e-6, rtol=0)


def trained(kind, name):
    options = {"lora": {"target_modules": "query,value,output" if kind in EXPERTS else "all-linear", "dropout": 0.0}}
    options["freeze"] = {"num_layers": 0 if describe(kind).shares_layers else 1}
    torch.manual_seed(5)
    prepared_model = prepared(name, kind=kind, **options.get(name, {}))
    prepared_model.trainable_module.eval()  # dropout would hide which tensors are read
    return prepared_model, methods.build_method(name, options.get(name, {}))


def check_a_step(kind, name):
    """Train, save, load by transformers and PEFT; the scores and the number of trained parameters must agree."""
    prepared_model, method = trained(kind, name)
    before = {key: value.detach().clone() for key, value in prepared_model.trainable_module.named_parameters()}
    step(prepared_model, times=2)
    moved = {
        key for key, value in prepared_model.trainable_module.named_parameters() if not torch.equal(value.detach(), before[key])
    }
    assert moved <= {*prepared_model.trainable()}, "a frozen parameter moved"
    assert len(moved) > 0.6 * len(prepared_model.trainable())
    return prepared_model, method


def load_in_transformers(prepared_model, kind, folder, *, adapter):
    """The saved model by transformers and PEFT alone, in our form: a network with its head."""
    architecture = prepared_model.architecture
    network = tiny.network(kind, packed=False)
    if architecture.has_standard_head and adapter:
        return PeftModel.from_pretrained(network, str(folder)).eval()
    if architecture.has_standard_head:
        return transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    body = network.get_submodule(architecture.body)
    loaded = PeftModel.from_pretrained(body, str(folder)).base_model.model if adapter else type(body).from_pretrained(folder)
    network.set_submodule(architecture.body, loaded.eval())
    stored = load_file(folder / "2_Dense" / "model.safetensors")
    network.classifier.load_state_dict({key.removeprefix("linear."): value for key, value in stored.items()})
    return network


QUICK = {
    kind: ("lora", "full", "freeze") for kind in ("phi3", "qwen3_moe", "granite", "modernbert", "albert", "deberta-v2", "t5")
}
QUICK |= dict.fromkeys(
    ("gemma3_text", "gpt_bigcode", "gpt_oss", "falcon", "mpt", "gptj", "gpt_neo", "lfm2", "codegen"), ("lora",)
)
QUICK |= dict.fromkeys(
    ("electra", "deberta", "mpnet", "nomic_bert", "biogpt", "xlnet", "mamba", "fnet", "umt5", "ctrl"), ("lora",)
)
"""Methods of the default run: LoRA, which touches every projection, for every set of names; the others for a few sorts."""
CELLS = [
    pytest.param(kind, name, marks=[] if name in QUICK.get(kind, ()) else [pytest.mark.slow])
    for kind, name in itertools.product(KINDS, ("lora", "full", "freeze"))
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "full", "freeze"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_counts_what_is_trained(kind, name):
    with torch.device("meta"):
        planned = trained(kind, name)[0]
    assert planned.num_trainable() == trained(kind, name)[0].num_trainable()


@pytest.mark.parametrize(("kind", "name"), CELLS)
def test_a_step_is_trained_saved_and_loaded_by_transformers(kind, name, tmp_path):
    prepared_model, method = check_a_step(kind, name)
    ids = [[*one[:-1], 7] for one in tiny.texts(LENGTHS)]
    ours = tiny.scores(prepared_model, ids)
    method.save(prepared_model, tmp_path)
    assert (tmp_path / "modules.json").exists() != prepared_model.architecture.has_standard_head
    stock = load_in_transformers(prepared_model, kind, tmp_path, adapter=method.saves == "adapter")
    theirs = torch.cat([stock_scores(prepared_model, stock, one) for one in ids])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=2e-6)


@pytest.mark.parametrize("kind", sorted(EXPERTS))
def test_low_rank_updates_of_experts_are_refused_by_name(kind):
    with pytest.raises(UserError, match=rf"do not reach the experts of {kind} \(.*experts\.gate_up_proj") as caught:
        prepared("lora", kind=kind, target_modules="all-linear")
    assert caught.value.where == "method.target_modules"


@pytest.mark.parametrize(("name", "options"), [("freeze", {}), ("freeze", {"num_layers": 1}), ("lora", {"num_layers": 1})])
def test_layers_that_share_their_weights_cannot_be_chosen(name, options):
    with pytest.raises(UserError, match="no layer of albert can be .* alone: all its layers are one") as caught:
        prepared(name, kind="albert", **options)
    assert caught.value.where == "method.num_layers"


def test_no_text_is_so_long_that_longrope_turns_the_others_of_its_batch():
    config = tiny.build_config("phi3")
    architecture = architectures.architecture_of(config)
    before = max_text_length(config, architecture)
    pairs = config.hidden_size // config.num_attention_heads // 2
    factors = {"short_factor": [1.0] * pairs, "long_factor": [4.0] * pairs}
    longrope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 16, **factors}
    config.rope_parameters = longrope
    assert (before, max_text_length(config, architecture)) == (66, 16)
    config.rope_parameters = {"full_attention": longrope, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
    assert max_text_length(config, architecture) == 16
    sparse = transformers.BigBirdConfig(block_size=4, num_random_blocks=1)
    assert max_text_length(sparse, architecture) == 28


@pytest.mark.parametrize(("said", "pooling"), [("cls", "first"), ("mean", "mean")])
def test_modernberts_config_says_which_states_its_head_reads(said, pooling):
    config = tiny.build_config("modernbert")
    config.classifier_pooling = said
    network = tiny.network("modernbert", config=config)
    architecture = architectures.architecture_of(config)
    assert architecture.pooling == pooling
    prepared_model = PreparedModel(network=network, trainable_module=network, architecture=architecture)
    stock = tiny.network("modernbert", config=config, packed=False)
    for one in tiny.texts(LENGTHS):
        torch.testing.assert_close(
            tiny.scores(prepared_model, [one]), stock_scores(prepared_model, stock, one), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(("said", "standard"), [("bos", True), ("mean", True), ("late", False)])
def test_euroberts_head_on_every_token_is_replaced(said, standard):
    config = tiny.build_config("eurobert")
    config.classifier_pooling = said
    architecture = architectures.architecture_of(config)
    assert architecture.has_standard_head == standard
    assert (architecture.pooling, f"classifier_pooling is {said}" in architecture.pooling_reason) == (
        "first" if said == "bos" else "mean",
        True,
    )
    network = tiny.network("eurobert", config=config)
    prepared_model = PreparedModel(network=network, trainable_module=network, architecture=architecture)
    together = tiny.scores(prepared_model, tiny.texts(LENGTHS))
    stock = tiny.network("eurobert", config=config, packed=False)
    alone = torch.cat([stock_scores(prepared_model, stock, one) for one in tiny.texts(LENGTHS)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_embedding_gemma_attends_in_both_directions():
    config = tiny.build_config("gemma3_text")
    config.use_bidirectional_attention = True
    config = type(config)(**json.loads(config.to_json_string(use_diff=False)))
    architecture = architectures.architecture_of(config)
    assert not architecture.is_causal
    network, stock = tiny.network("gemma3_text", config=config), tiny.network("gemma3_text", config=config, packed=False)
    prepared_model = PreparedModel(network=network, trainable_module=network, architecture=replace(architecture, pooling="first"))
    ids = tiny.texts(LENGTHS)
    for one, score in zip(ids, tiny.scores(prepared_model, ids), strict=True):
        with torch.no_grad():
            states = stock.model(input_ids=torch.tensor([one])).last_hidden_state[:, 0]
        torch.testing.assert_close(score, stock.score(states)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "field", "value"), [("gemma2", "attn_logit_softcapping", None), ("mistral", "sliding_window", None)]
)
def test_what_the_attention_is_told_matters(kind, field, value):
    """Otherwise the comparison with transformers would not notice what is left out."""
    config = tiny.build_config(kind)
    setattr(config, field, value)
    ids = tiny.texts(LENGTHS)
    with_it, without = tiny.prepared_model(kind), tiny.network(kind, config=config)
    other = PreparedModel(network=without, trainable_module=without, architecture=with_it.architecture)
    assert (tiny.scores(with_it, ids) - tiny.scores(other, ids)).abs().max() > 1e-3


def prompted(kind):
    prepared_model = prepared("prompt", kind=kind, num_virtual_tokens=4)
    torch.manual_seed(11)
    prepared_model.prompt.data = 0.3 * torch.randn_like(prepared_model.prompt)
    prepared_model.trainable_module.eval()
    return prepared_model


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "gpt_oss", "phi", "olmo2", "modernbert", "xlm-roberta-xl", "mpnet"])
def test_a_prompt_scores_the_same_alone_in_any_batch_and_in_plain_peft(kind, tmp_path):
    prepared_model, ids = prompted(kind), [[*one[:-1], 7] for one in tiny.texts([4, 9, 9, 2])]
    together = tiny.scores(prepared_model, ids)
    alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    methods.build_method("prompt", {"num_virtual_tokens": 4}).save(prepared_model, tmp_path)
    plain = PeftModel.from_pretrained(tiny.network(kind, packed=False), str(tmp_path)).eval()
    for one, score in zip(ids, together, strict=True):
        tokens = torch.tensor([one])
        with torch.no_grad():
            theirs = plain(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0]
        torch.testing.assert_close(score, theirs, atol=1e-5, rtol=0)
