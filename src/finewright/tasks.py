"""What is being learnt: head, loss and targets of text classification.

Shape suffixes: T tokens of all texts of a batch, N texts, L tokens of the longest, H hidden size, C classes.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from finewright.anatomy import Anatomy
from finewright.attention import Layout
from finewright.tuned import Tuned

HEAD_SPREAD = 0.3
"""Largest standard deviation over classes of a fresh head's scores; adds at most about 0.05 nats to ln(classes)."""


@dataclass(frozen=True)
class Classification:
    """One label out of several for each text. `class_weights`: shape (C,) or None for equal weights."""

    labels: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None

    @property
    def expected_first_loss(self) -> float:
        """Loss of a head that knows nothing: ln(classes), in nats."""
        return math.log(len(self.labels))

    def targets(self, labels: Iterable[str]) -> list[int]:
        """Class number of each label."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        return [numbers[label] for label in labels]

    def losses(self, logits_NC: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and weight of every text, both of shape (N,)."""
        losses = torch.nn.functional.cross_entropy(logits_NC.float(), targets_N, reduction="none")
        if self.class_weights is None:
            return losses, torch.ones_like(losses)
        return losses, torch.tensor(self.class_weights, dtype=losses.dtype, device=losses.device)[targets_N]


def infer(labels: tuple[str, ...], *, training_labels: Sequence[str], class_weights: str) -> Classification:
    """The task for these labels; `balanced` weighs class c by rows / (classes · rows of c), as scikit-learn does."""
    if class_weights != "balanced":
        return Classification(labels)
    counts = Counter(training_labels)
    return Classification(labels, tuple(len(training_labels) / (len(labels) * counts[label]) for label in labels))


def settle_head(network: Any, *, anatomy: Anatomy, ids_T: torch.Tensor, layout: Layout, bfloat16: bool = False) -> float:
    """Scale a fresh head down until the scores of these texts spread by no more than HEAD_SPREAD; returns the factor.

    The usual random head assumes states of length about 1. GPT-2's last state is over 100 long: its first loss would be
    far above ln(classes). A head of zeros starts there too, but Adam then makes full-size steps in the body along the one
    direction that such a head knows, which ruins it (measured: trec6, one epoch, 38 % accuracy against 92 %).
    `bfloat16`: the matrices give it already, so all the rest must be ready for it.
    """
    plain = Tuned(network=network.eval(), owner=network, anatomy=anatomy, bfloat16=bfloat16)
    with torch.no_grad():
        spread = float(logits(plain, ids_T, layout).std(dim=1).max())
        factor = min(1.0, HEAD_SPREAD / max(spread, 1e-9))
        for parameter in _last_matrix(network, anatomy).parameters():
            parameter.mul_(factor)
    return factor


def _last_matrix(network: Any, anatomy: Anatomy) -> torch.nn.Linear:
    last = network.get_submodule(anatomy.head[-1])
    return [module for module in last.modules() if isinstance(module, torch.nn.Linear)][-1]


def logits(tuned: Tuned, ids_T: torch.Tensor, layout: Layout, states_TH: torch.Tensor | None = None) -> torch.Tensor:
    """Class scores of every text of a batch, float32, shape (N, C).

    `states_TH`: what comes out of the frozen lower blocks, where that is known. The last token of a text is known from the
    layout; no id is ever searched for.
    """
    network, anatomy, last_block = tuned.network, tuned.anatomy, tuned.last_block
    with torch.autocast(ids_T.device.type, dtype=torch.bfloat16, enabled=tuned.bfloat16):
        above_trunk = nullcontext() if states_TH is None else tuned.trunk.serving(states_TH)
        if states_TH is None:
            states_TH = network.get_input_embeddings()(ids_T)
        if tuned.prompt is not None:
            states_TH, layout = _with_prompt(tuned.prompt, states_TH, layout, shared=_shares_prefix(anatomy))
        run = _padded if anatomy.unpackable else _packed
        with above_trunk:
            hidden_TH = run(network.get_submodule(anatomy.body), states_TH, layout, first_position=anatomy.first_position)
    hidden_NH = None if last_block is None else last_block.take()
    if hidden_NH is None:
        read = layout.last if anatomy.pool == "last" else layout.first
        hidden_NH = hidden_TH[read.to(hidden_TH.device)]
    return _HEADS[anatomy.head_kind](network, anatomy, hidden_NH.float())


def _shares_prefix(anatomy: Anatomy) -> bool:
    """Whether what stands before a text is the same for every text: nothing in a causal model's prompt sees the text."""
    return anatomy.pool == "last" and not anatomy.unpackable


def _with_prompt(
    prompt_PH: torch.Tensor, states_TH: torch.Tensor, layout: Layout, *, shared: bool
) -> tuple[torch.Tensor, Layout]:
    """The prompt before every text, or once for all of them: shape (T + N·P, H) or (T + P, H), and the layout of it."""
    prompt_PH = prompt_PH.to(states_TH.dtype)
    if shared:
        return torch.cat([prompt_PH, states_TH]), layout.prefixed(len(prompt_PH))
    pieces = []
    for text in states_TH.split(list(layout.lengths)):
        pieces += [prompt_PH, text]
    return torch.cat(pieces), layout.lengthened(len(prompt_PH))


def _packed(body: Any, states_TH: torch.Tensor, layout: Layout, *, first_position: int) -> torch.Tensor:
    """All texts in one row: no padding, attention inside each text by the layout."""
    positions = (layout.positions + first_position).to(states_TH.device)
    outputs = body(inputs_embeds=states_TH[None], position_ids=positions[None], use_cache=False, layout=layout)
    return outputs.last_hidden_state[0]


def _padded(body: Any, states_TH: torch.Tensor, layout: Layout, *, first_position: int) -> torch.Tensor:
    """One row per text, padded on the right, for architectures that cannot share a row."""
    texts = states_TH.split(list(layout.lengths))
    states_NLH = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    real_NL = torch.arange(states_NLH.shape[1])[None] < torch.tensor(layout.lengths)[:, None]
    real_NL = real_NL.to(states_TH.device)
    inputs = {"inputs_embeds": states_NLH, "attention_mask": real_NL.long(), "use_cache": False}
    if "position_ids" in inspect.signature(body.forward).parameters:
        inputs["position_ids"] = torch.arange(states_NLH.shape[1], device=states_TH.device)[None] + first_position
    length = states_NLH.shape[1]  # places are counted, not searched for: a shape without numbers has them too
    places = [torch.arange(count) + row * length for row, count in enumerate(layout.lengths)]
    return body(**inputs).last_hidden_state.flatten(0, 1)[torch.cat(places).to(states_TH.device)]


def _linear_head(network: Any, anatomy: Anatomy, states_NH: torch.Tensor) -> torch.Tensor:
    return network.score(states_NH)


def _pooler_head(network: Any, anatomy: Anatomy, states_NH: torch.Tensor) -> torch.Tensor:
    pooled = network.get_submodule(anatomy.pooler)(states_NH[:, None])
    return network.classifier(network.dropout(pooled))


def _features_head(network: Any, anatomy: Anatomy, states_NH: torch.Tensor) -> torch.Tensor:
    return network.classifier(states_NH[:, None])


def _distilled_head(network: Any, anatomy: Anatomy, states_NH: torch.Tensor) -> torch.Tensor:
    return network.classifier(network.dropout(torch.relu(network.pre_classifier(states_NH))))


_HEADS: dict[str, Callable[[Any, Anatomy, torch.Tensor], torch.Tensor]] = {
    "linear": _linear_head,
    "pooler": _pooler_head,
    "features": _features_head,
    "distilled": _distilled_head,
}
