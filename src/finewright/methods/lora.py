"""Low-rank updates beside frozen weights."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from finewright.anatomy import MEANINGS, Anatomy, fused_rows
from finewright.errors import UserError
from finewright.methods.base import AbstractMethod, Span, freeze_all, knob

if TYPE_CHECKING:
    from finewright.tuned import Origin, Tuned

_ADAPTER = "default"
_ALL_LINEAR = "all-linear"
Target = tuple[str, tuple[str, ...]]
"""A module's name inside a block, and which slices of it are tuned; no slices: the whole module."""


class Method(AbstractMethod):
    """LoRA (Hu et al. 2021, arXiv:2106.09685), through PEFT."""

    summary: ClassVar[str] = "low-rank updates beside frozen weights"
    python_name: ClassVar[str] = "LoRA"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    preference: ClassVar[int] = 10
    preference_reason: ClassVar[str] = "near full fine-tuning's accuracy with a small part of its memory and a small file"
    lr: ClassVar[float] = 1e-3
    lr_range: ClassVar[tuple[float, float]] = (1e-5, 1e-2)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {
        "method.rank": (4, 8, 16, 32),
        "method.alpha": (16.0, 32.0, 64.0),
        "method.dropout": (0.0, 0.05, 0.1),
    }

    rank: int = knob(8, "width of the update", low=1, high=4096)
    alpha: float = knob(32.0, "the update is scaled by alpha / rank", low=1e-6)
    dropout: float = knob(0.05, "dropout before the update", low=0, high=0.99)
    target: tuple[str, ...] = knob(("query", "value"), "query, key, value, output, mlp, all-linear, or module names")
    blocks: int = knob(0, "only in this many blocks at the top; 0: in all", low=0)
    rslora: bool = knob(False, "scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)")
    dora: bool = knob(False, "learn magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353)")
    init: Literal["default", "gaussian", "pissa", "olora"] = knob("default", "how the update starts")

    @field_validator("target", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """PEFT's layers on the targets; slices of a fused projection are cut out of PEFT's layer."""
        from finewright.layers import wrap_adapter
        from finewright.tuned import Tuned

        targets = self._targets(network, anatomy=anatomy)
        config = self._peft_config(network, anatomy=anatomy, targets=targets, head=head, origin=origin)
        freeze_all(network, head=head)
        owner = wrap_adapter(network, config)
        self._cut_slices(network, anatomy=anatomy, targets=targets)
        tuned = Tuned(network=network, owner=owner, anatomy=anatomy)
        if self._moves_base:
            tuned.start = {name: tensor.clone() for name, tensor in _factors(owner)}
            tuned.exact_reload = False
        return tuned

    @property
    def _moves_base(self) -> bool:
        """Whether the start takes a part out of the frozen weights, so that a plain base needs it back."""
        return self.init in ("pissa", "olora")

    def _targets(self, network: Any, *, anatomy: Anatomy) -> list[Target]:
        wanted = MEANINGS if _ALL_LINEAR in self.target else self.target
        meanings = [name for name in wanted if name in MEANINGS]
        targets = list(anatomy.block_modules(meanings))
        for name in (name for name in wanted if name not in MEANINGS):
            targets += [(module, ()) for module in _modules_named(network, anatomy=anatomy, name=name)]
        if not targets:
            raise UserError("no module to tune", where="method.target", fix=f"name some of {', '.join(MEANINGS)}, {_ALL_LINEAR}")
        return targets

    def _peft_config(
        self, network: Any, *, anatomy: Anatomy, targets: list[Target], head: tuple[str, ...], origin: "Origin"
    ) -> Any:
        from peft import LoraConfig
        from transformers.pytorch_utils import Conv1D

        block = network.get_submodule(anatomy.blocks)[0]
        conv1d = isinstance(block.get_submodule(targets[0][0]), Conv1D)
        if conv1d and self.init == "olora":
            raise UserError("PEFT's olora start cannot read GPT-2's transposed weights", where="method.init", fix="init=pissa")
        sliced = {module.replace(".", r"\."): len(slices) for module, slices in targets if slices}
        options: dict[str, Any] = dict(
            task_type="SEQ_CLS",
            r=self.rank,
            lora_alpha=_tidy(self.alpha),
            lora_dropout=self.dropout,
            target_modules=[module for module, _ in targets],
            rank_pattern={module: self.rank * count for module, count in sliced.items()},
            alpha_pattern={module: _tidy(self.alpha * self._growth(count)) for module, count in sliced.items()},
            layers_to_transform=self._layers(network, anatomy=anatomy),
            layers_pattern=anatomy.blocks.rpartition(".")[2] if self.blocks else None,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=self._peft_init(sliced=bool(sliced)),
            fan_in_fan_out=conv1d,
            modules_to_save=list(head),
            base_model_name_or_path=origin.name,
            revision=origin.revision or None,
        )
        return LoraConfig(**options)

    def _peft_init(self, *, sliced: bool) -> bool | str:
        ours = sliced and self.init == "pissa"
        return True if self.init == "default" or ours else self.init

    def _growth(self, factor: int) -> float:
        """What alpha grows by when the rank grows by `factor`, so that the scale stays."""
        return math.sqrt(factor) if self.rslora else factor

    def _layers(self, network: Any, *, anatomy: Anatomy) -> list[int] | None:
        num_blocks = len(network.get_submodule(anatomy.blocks))
        if self.blocks > num_blocks:
            fix = f"a number from 0 (all) to {num_blocks}"
            raise UserError(f"wanted the top {self.blocks} blocks, the model has {num_blocks}", where="method.blocks", fix=fix)
        return list(range(num_blocks - self.blocks, num_blocks)) if self.blocks else None

    def _cut_slices(self, network: Any, *, anatomy: Anatomy, targets: list[Target]) -> None:
        from finewright.layers import start_from_principal_parts, train_slices

        for block in network.get_submodule(anatomy.blocks):
            for module, slices in targets:
                layer = block.get_submodule(module)
                if not slices or not hasattr(layer, "lora_A"):
                    continue
                rows = [fused_rows(anatomy, network.config, meaning) for meaning in slices]
                if self.init == "pissa":
                    start_from_principal_parts(layer, rows, rank=self.rank)
                train_slices(layer, rows, rank=self.rank)

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A PEFT adapter folder that any PEFT loads on the plain base, and the config with the label names."""
        from finewright.layers import dense_state

        state = dense_state(tuned.owner)
        kept = tuned.owner.peft_config[_ADAPTER]
        if self._moves_base:
            state |= _as_difference(state, start=tuned.start)
            tuned.owner.peft_config[_ADAPTER] = self._doubled(kept)
        try:
            tuned.owner.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
        finally:
            tuned.owner.peft_config[_ADAPTER] = kept
        tuned.network.config.save_pretrained(folder)

    def _doubled(self, config: Any) -> Any:
        """The same adapter at twice the rank and the same scale, with a plain start."""
        doubled = copy.deepcopy(config)
        doubled.init_lora_weights = True
        doubled.r, doubled.lora_alpha = 2 * config.r, _tidy(config.lora_alpha * self._growth(2))
        doubled.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
        doubled.alpha_pattern = {name: _tidy(alpha * self._growth(2)) for name, alpha in config.alpha_pattern.items()}
        return doubled


def _tidy(number: float) -> float | int:
    """64.0 → 64: adapter_config.json holds whole numbers where it can."""
    return int(number) if float(number).is_integer() else float(number)


def _modules_named(network: Any, *, anatomy: Anatomy, name: str) -> list[str]:
    """Modules inside a block whose name ends in `name`."""
    block = network.get_submodule(anatomy.blocks)[0]
    matrices = [path for path, module in block.named_modules() if getattr(module, "weight", None) is not None]
    linear = [path for path in matrices if block.get_submodule(path).weight.ndim == 2]
    found = [path for path in linear if path == name or path.endswith(f".{name}")]
    if not found:
        known = ", ".join([*MEANINGS, _ALL_LINEAR, *linear])
        raise UserError(f"no module {name!r} in a block of this model", where="method.target", fix=f"known: {known}")
    return found


def _factors(owner: Any) -> Iterator[tuple[str, Any]]:
    """Every A and B under its plain name."""
    from finewright.layers import dense_state

    for name, tensor in dense_state(owner).items():
        if ".lora_A." in name or ".lora_B." in name:
            yield name, tensor


def _as_difference(state: dict[str, Any], *, start: dict[str, Any]) -> dict[str, Any]:
    """B·A − B₀·A₀ as one update [B, −B₀]·[A; A₀]: what was learnt, as seen from the plain base."""
    import torch

    joined = {}
    for name, first in start.items():
        is_a, first = ".lora_A." in name, first.to(state[name].device)
        joined[name] = torch.cat([state[name], first if is_a else -first], dim=0 if is_a else 1)
    return joined
