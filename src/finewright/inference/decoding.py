"""Run a causal language model token by token with a cache of keys and values, whatever state its training left it in.

Shape suffixes: B answers, T tokens of a step, L tokens so far, D hidden size, V vocabulary.
"""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from finewright.core.errors import UserError
from finewright.inference import growing_cache
from finewright.inference.bfloat16_copies import Bfloat16Copies

_OWN_ATTENTION = "finewright"
"""How the names of this project's attention functions begin; they need packed rows and know no cache."""


def base_of(network: Any) -> Any:
    """Return the network of transformers inside PEFT's wrapper, adapter layers included, or the network itself."""
    # Not by `peft_config`: PEFT sets that on the network inside its wrapper too.
    return network.get_base_model() if hasattr(network, "get_base_model") else network


@contextlib.contextmanager
def decoding_mode(network: Any) -> Iterator[None]:
    """Inside, the network is in evaluation mode with attention that knows a cache. Afterwards all is as it was.

    Each module's training mode, the attention function and `use_cache` are restored, also after an error.
    """
    base = base_of(network)
    modes = [(module, module.training) for module in network.modules()]
    attention, use_cache = base.config._attn_implementation, getattr(base.config, "use_cache", None)
    try:
        network.eval()
        if str(attention).startswith(_OWN_ATTENTION):
            base.set_attn_implementation(_choose_attention(base))
        yield
    finally:
        if base.config._attn_implementation != attention:
            base.set_attn_implementation(attention)
        if use_cache is not None:
            base.config.use_cache = use_cache
        for module, training in modes:
            module.training = training


def _choose_attention(base: Any) -> str:
    """Return the fastest attention of transformers that computes the same; where scores are capped that is the plain one."""
    config = base.config
    if getattr(config, "attn_logit_softcapping", None) or not getattr(base, "_supports_sdpa", False):
        return "eager"
    return "sdpa"


class Decoder:
    """The states of a batch of prompts and their answers so far.

    Prompts are padded on the left, and padding is masked, so the last token of every row is a real one. Any id can pad.
    Position ids count the real tokens.
    """

    def __init__(self, network: Any, *, bfloat16: bool = False) -> None:
        """Use a network inside `decoding_mode`, as its weights are now.

        `bfloat16`: matrix products run in bfloat16: autocast, with copies of the matrices on a CPU.
        """
        self.base = base_of(network)
        self._prompt_source = _find_prompt(network)
        self._takes = inspect.signature(self.base.forward).parameters
        self._bfloat16 = bfloat16
        self._copies = Bfloat16Copies(network) if bfloat16 else None
        self._embedding = self.base.get_input_embeddings()
        self._cache: Any = None
        self._mask_BL = torch.empty(0)
        self._ids_BL = torch.empty(0)

    @property
    def device(self) -> torch.device:
        """Device of the token ids."""
        return self._embedding.weight.device

    @torch.no_grad()  # not inference mode: what modules keep of a pass must be usable in training
    def start(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read the prompts, each with one token or more. Return the outputs for the token after each, float32, (B, V)."""
        padding = self._pad(prompts)
        self._cache = self._new_cache()
        return self._forward(self._ids_BL, self._embed(padding))[:, -1].float()

    @torch.no_grad()
    def read(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read texts without a cache. Return the outputs after each token of the longest text and its place, (B, L, V)."""
        padding = self._pad(texts)
        return self._forward(self._ids_BL, self._embed(padding), num_outputs=max(map(len, texts)))

    def _pad(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Set ids and mask of texts that are padded on the left; return the number of padding tokens of each."""
        extra, longest = prompt_length(self._prompt_source), max(map(len, prompts))
        padding = [longest - len(ids) for ids in prompts]
        # Where the virtual tokens stand, and for padding, any id will do.
        self._ids_BL = torch.tensor([[0] * (pad + extra) + list(ids) for pad, ids in zip(padding, prompts, strict=True)])
        self._mask_BL = torch.tensor([[0] * pad + [1] * (extra + len(ids)) for pad, ids in zip(padding, prompts, strict=True)])
        self._ids_BL, self._mask_BL = self._ids_BL.to(self.device), self._mask_BL.to(self.device)
        return padding

    @torch.no_grad()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Add one token to each answer. Return the outputs for the next one, float32, shape (B, V)."""
        new_B1 = torch.tensor(tokens, device=self.device)[:, None]
        self._ids_BL = torch.cat([self._ids_BL, new_B1], dim=1)
        self._mask_BL = torch.cat([self._mask_BL, torch.ones_like(new_B1)], dim=1)
        if self._cache is None:
            new_B1 = self._ids_BL
        embedded = self._embed((self._mask_BL == 0).sum(dim=1).tolist()) if self._cache is None else None
        return self._forward(new_B1, embedded)[:, -1].float()

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> None:
        """Keep these answers of the batch alone, in this order."""
        index = torch.tensor(rows, device=self.device)
        self._ids_BL, self._mask_BL = self._ids_BL[index], self._mask_BL[index]
        if self._cache is not None:
            for layer in self._cache.layers:  # not `batch_select_indices`, which forgets the states of linear attention
                layer.reorder_cache(index)

    def _new_cache(self) -> Any:
        if "past_key_values" not in self._takes:
            return None  # the whole text is read again for each token
        return growing_cache.make_cache(self.base.config, dtype=torch.bfloat16 if self._bfloat16 else None)

    def _forward(self, ids_BT: torch.Tensor, embedded_BTD: torch.Tensor | None, *, num_outputs: int = 1) -> torch.Tensor:
        """Return the outputs after the last tokens, shape (B, num_outputs, V)."""
        positions_BL = (self._mask_BL.cumsum(dim=1) - 1).clamp(min=0)
        optional = {
            "position_ids": positions_BL[:, -ids_BT.shape[1] :],
            "past_key_values": self._cache,
            "use_cache": self._cache is not None,
            "logits_to_keep": num_outputs,
        }
        inputs = {"attention_mask": self._mask_BL} | {name: value for name, value in optional.items() if name in self._takes}
        inputs |= {"input_ids": ids_BT} if embedded_BTD is None else {"inputs_embeds": embedded_BTD}
        in_place = contextlib.nullcontext() if self._copies is None else self._copies.in_place()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bfloat16), in_place:
            output = self.base(**inputs, return_dict=True)
        return output.logits[:, -num_outputs:]

    def _embed(self, padding: Sequence[int]) -> torch.Tensor | None:
        """Return the embedded texts with the trained prompt before each, behind its padding; None without such a prompt."""
        if self._prompt_source is None:
            return None
        embedded_BLD = self._embedding(self._ids_BL).clone()
        virtual_BPD = self._prompt_source.get_prompt(batch_size=len(embedded_BLD)).to(embedded_BLD)
        for row, pad in enumerate(padding):
            embedded_BLD[row, pad : pad + virtual_BPD.shape[1]] = virtual_BPD[row]
        return embedded_BLD


def score_ends(network: Any, rows: Sequence[tuple[Sequence[int], int]]) -> list[float]:
    """Return the log-likelihood of the end of each text, in nats, inside `decoding_mode`.

    `rows`: the tokens of a text, and where its end begins (1 or later).
    """
    decoder = Decoder(network)
    longest = max(len(ids) for ids, _ in rows)
    logits_BLV = decoder.read([ids for ids, _ in rows])
    scores = []
    for row, (ids, start) in enumerate(rows):
        before = longest - len(ids) + start - 1
        log_LV = logits_BLV[row, before : longest - 1].float().log_softmax(dim=-1)
        targets_L1 = torch.tensor(ids[start:], device=log_LV.device)[:, None]
        scores.append(float(log_LV.gather(1, targets_L1).double().sum()))
    return scores


def prompt_length(network: Any) -> int:
    """Return how many virtual tokens a trained prompt adds to every text."""
    found = _find_prompt(network)
    return 0 if found is None else int(found.active_peft_config.num_virtual_tokens)


def _find_prompt(network: Any) -> Any:
    """Return PEFT's wrapper if it puts trained virtual tokens before a text and is active, else None."""
    adapter = getattr(network, "active_peft_config", None) if hasattr(network, "peft_config") else None
    if adapter is None or not adapter.is_prompt_learning or not network.has_active_enabled_adapter:
        return None
    kind = str(getattr(adapter.peft_type, "value", adapter.peft_type))
    if kind not in ("PROMPT_TUNING", "P_TUNING"):
        what = f"an adapter of the kind {kind} puts more than a prompt before a text, which is not supported here"
        raise UserError(what, where="generate", fix="LoRA or prompt tuning")
    return network
