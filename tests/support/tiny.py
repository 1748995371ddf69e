"""Tiny random networks, one per architecture, built from a config without any download."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finewright.data import layout as layout_module
from finewright.models import architectures, forward, network_class, pooling
from finewright.models.attention import packed as packed_module
from finewright.models.head_spec import HeadSpec
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import BaseModelRef, PreparedModel
from support import families

VOCABULARY = 320
ORIGIN = BaseModelRef(name="tiny", revision="", tokenizer=None)


def _gpt2() -> Any:
    from transformers import GPT2Config

    return GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0)


def _llama_like(kind: str, **extra: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        **extra,
    )


def _bert_like(kind: str, **extra: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=66,
        **extra,
    )


def _distilbert() -> Any:
    from transformers import DistilBertConfig

    return DistilBertConfig(vocab_size=VOCABULARY, dim=32, hidden_dim=48, n_layers=3, n_heads=4, max_position_embeddings=64)


def _bloom() -> Any:
    from transformers import BloomConfig

    return BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4)


def _opt() -> Any:
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )


CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "llama": lambda: _llama_like("LlamaConfig"),
    "mistral": lambda: _llama_like("MistralConfig", sliding_window=4),
    "qwen2": lambda: _llama_like("Qwen2Config"),
    "qwen3": lambda: _llama_like("Qwen3Config", head_dim=8),
    "bert": lambda: _bert_like("BertConfig"),
    "roberta": lambda: _bert_like("RobertaConfig", pad_token_id=1, type_vocab_size=1),
    "xlm-roberta": lambda: _bert_like("XLMRobertaConfig", pad_token_id=1, type_vocab_size=1),
    "gpt_neox": lambda: _bert_like("GPTNeoXConfig"),
    "distilbert": _distilbert,
    "bloom": _bloom,
    "opt": _opt,
}


def build_config(kind: str) -> Any:
    """The tiny config of an architecture, common or not."""
    return (families.CONFIGS | CONFIGS)[kind]()


def network(kind: str, *, num_labels: int = 3, packed: bool = True, seed: int = 0, config: Any = None) -> Any:
    """A random classification network in evaluation mode; `packed=False` has transformers' own attention."""
    torch.manual_seed(seed)
    config = copy.deepcopy(config) or build_config(kind)
    config.num_labels = num_labels
    if config.pad_token_id is None:
        config.pad_token_id = 0
    net = network_class.from_config(config, auto_model=network_class.CLASSIFICATION).eval()
    net.config.use_cache = False
    net.name_or_path = "tiny"
    architecture = architectures.architecture_of(config)
    pooling.install_linear_head(net, architecture, standard=architecture, num_outputs=num_labels)
    if not packed and getattr(config, "attn_logit_softcapping", None):
        net.set_attn_implementation("eager")  # older releases of transformers leave the cap out of their faster attention
    if packed and not architecture.not_packable:
        packed_module.register()
        net.set_attn_implementation(packed_module.NAME)
    for parameter in net.parameters():  # norms and biases start as ones and zeros, where mistakes can hide
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


def head_spec(labels: Sequence[str] = ("a", "b", "c"), **changes: Any) -> HeadSpec:
    """The head of text classification with these labels."""
    from finewright.tasks.text_classification import TextClassification

    return replace(TextClassification(tuple(labels)).head_spec, **changes)


def base_network(net: Any, **changes: Any) -> BaseNetwork:
    """A network with a fresh head, as a method gets it. `changes`: other fields."""
    architecture = architectures.architecture_of(net.config)
    spec = head_spec([f"label {number}" for number in range(net.config.num_labels)])
    total = sum(parameter.numel() for parameter in net.parameters())
    base = BaseNetwork(net, architecture, ORIGIN, spec, new=architecture.head, reuses_head=False, total_parameters=total)
    return replace(base, **changes)


def prepared_model(kind: str, **options: Any) -> PreparedModel:
    """The network as a method returns it, everything trainable."""
    net = network(kind, **options)
    return PreparedModel(network=net, trainable_module=net, architecture=architectures.architecture_of(net.config))


def prepared(kind: str, method: str, *, bfloat16: bool = False) -> PreparedModel:
    """The network as a method prepares it."""
    from finewright import methods
    from finewright.models import prepared as prepared_module

    base = base_network(network(kind))
    torch.manual_seed(3)
    prepared_model = methods.build_method(method, {}).prepare(base)
    if bfloat16:
        prepared_module.use_bfloat16(prepared_model)
    return prepared_model


def texts(lengths: list[int], *, seed: int = 0) -> list[list[int]]:
    """Random token ids; no id is special, so the padding id occurs inside texts too."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def scores(prepared: PreparedModel, ids: list[list[int]]) -> torch.Tensor:
    """Scores of all texts from one batch, in the given order."""
    order = layout_module.sort_by_length([len(one) for one in ids])
    flat = torch.tensor([token for index in order for token in ids[index]])
    layout = layout_module.PackedLayout(tuple(len(ids[index]) for index in order))
    with torch.no_grad():
        sorted_scores = forward.compute_logits(prepared, flat, layout)
    result = torch.empty_like(sorted_scores)
    result[order] = sorted_scores
    return result


WORDS = "the parcel invoice refund jacket tent where is my when does it arrive charged twice please send new broken zip pay ship"


def folder(path: Path, *, kind: str = "gpt2", **changes: Any) -> Path:
    """A model folder as a user has it: base weights without a head, and a trained tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

    specials = ["<|endoftext|>", "<pad>", "[CLS]", "[SEP]", "<unk>"]
    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=310, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    pieces.train_from_iterator([WORDS] * 20, trainer)
    names = {"eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    config = build_config(kind)
    encoder = not architectures.architecture_of(config).is_causal
    if encoder:
        names = {"pad_token": "<pad>", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "<unk>"}
        pieces.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    PreTrainedTokenizerFast(tokenizer_object=pieces, **names).save_pretrained(path)
    torch.manual_seed(7)
    config.update(changes)
    generates = not encoder and type(config) in AutoModelForCausalLM._model_mapping
    net = (AutoModelForCausalLM if generates else AutoModel).from_config(config)
    net.save_pretrained(path)
    return path


def tickets(path: Path, *, count: int = 60, times: int = 1) -> Path:
    """Labelled rows that even a tiny network can learn. `times`: how often a text says the same; 20 makes it a long one."""
    shipping = ["where is my parcel", "when does it arrive", "please ship it", "send the parcel"]
    billing = ["charged twice", "the invoice please", "refund my pay", "pay the new invoice"]
    texts = [f"{(shipping, billing)[i % 2][i // 2 % 4]} {i}" for i in range(count)]
    rows = [f"{' '.join([text] * times)},{('shipping', 'billing')[i % 2]}" for i, text in enumerate(texts)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path
