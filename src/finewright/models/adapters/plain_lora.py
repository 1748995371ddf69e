"""Run a saved LoRA adapter without PEFT, whose import takes longer than loading and running a small model.

Only an adapter that PEFT would run as `base(x) + B(A(x)) · scaling` is taken, and the same products are computed in the same
order, so scores are bit for bit those of PEFT. Everything else is PEFT's, faults in the files and their messages too.
"""

import math
import re
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors.torch import load_file
from torch import nn

_PREFIX = "base_model.model."
_INERT = {"inference_mode", "megatron_core", "peft_version", "qalora_group_size", "runtime_config"}
"""Fields that change nothing unless another field is set too."""


class PlainLora(BaseModel):
    """What of adapter_config.json a plain LoRA adapter is run from; any other field that is set makes it not plain."""

    model_config = ConfigDict(extra="allow", strict=True)

    peft_type: Literal["LORA"]
    task_type: str
    base_model_name_or_path: str
    revision: str | None = None
    r: int
    lora_alpha: int | float
    lora_dropout: float = 0.0
    use_rslora: bool = False
    bias: Literal["none"] = "none"
    fan_in_fan_out: bool = False
    init_lora_weights: bool = True
    target_modules: list[str]
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | None = None
    layers_pattern: str | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, int | float] = {}
    is_prompt_learning: Literal[False] = False

    @model_validator(mode="after")
    def _has_nothing_else(self) -> "PlainLora":
        unknown = [name for name, value in (self.model_extra or {}).items() if value and name not in _INERT]
        if unknown:
            raise ValueError(f"not plain: {', '.join(unknown)}")
        return self

    def targets(self, module: str) -> bool:
        """Whether PEFT would put an update beside this module."""
        if not any(_ends_in(module, name) for name in self.target_modules):
            return False
        if self.layers_to_transform is None:
            return True
        index = re.match(rf"(?:^|.*?\.){re.escape(self.layers_pattern or '')}\.(\d+)\.", module)
        return index is not None and int(index[1]) in self.layers_to_transform

    def rank_and_scaling(self, module: str) -> tuple[int, float]:
        """Return (rank, factor of the update) of a module. A pattern's key is a name with escaped dots, matched as PEFT does."""
        ranks = (rank for key, rank in self.rank_pattern.items() if re.fullmatch(rf"(.*\.)?({key})", module))
        alphas = (alpha for key, alpha in self.alpha_pattern.items() if re.fullmatch(rf"(.*\.)?({key})", module))
        rank = next(ranks, self.r)
        return rank, next(alphas, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def _ends_in(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


class LowRankUpdate(nn.Module):
    """A frozen module and its low-rank update, as in PEFT without dropout."""

    def __init__(self, base_layer: nn.Module, *, down: torch.Tensor, up: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.base_layer, self.scaling = base_layer, scaling
        self.lora_A, self.lora_B = _linear(down), _linear(up)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute base(x) + B(A(x)) · scaling in the dtype of the base's result."""
        result = self.base_layer(states)
        update = self.lora_B(self.lora_A(states.to(self.lora_A.weight.dtype))) * self.scaling
        return (result + update).to(result.dtype)


def _linear(weight_OI: torch.Tensor) -> nn.Linear:
    """A linear layer without bias; no random values are drawn for it. The weight may be mapped from its file: it is copied."""
    layer = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight_OI.clone())
    return layer


def read_plain_lora(folder: Path) -> PlainLora | None:
    """Return the config of a plain LoRA adapter; None if PEFT has to load it."""
    try:
        return PlainLora.model_validate_json((folder / "adapter_config.json").read_bytes())
    except (OSError, ValidationError):
        return None


def install_plain_lora(network: Any, folder: Path, config: PlainLora, *, inside: str = "") -> bool:
    """Put the updates and trained modules of an adapter into the network; False, without a change, if a tensor does not fit.

    `inside`: prefix of the modules that the adapter is of, which its tensors' names lack; empty if it is of the whole network.

    Updates and trained modules stay trainable, as after PEFT's loading: what is frozen may be rounded or packed.
    """
    try:
        found = load_file(folder / "adapter_model.safetensors")
    except Exception:  # safetensors and the system have errors of their own; PEFT's loader reports them
        return False
    modules = dict(network.named_modules())
    found = {f"{_PREFIX}{inside}{name.removeprefix(_PREFIX)}": tensor for name, tensor in found.items()}
    saved = [name for name in modules if any(_ends_in(name, kept) for kept in config.modules_to_save or ())]
    expected: dict[str, tuple[int, ...]] = {}
    for name in saved:
        expected |= {f"{_PREFIX}{name}.{key}": tuple(tensor.shape) for key, tensor in modules[name].state_dict().items()}
    own = [name for name in modules if name.startswith(inside) and config.targets(name.removeprefix(inside))]
    targets = [name for name in own if not any(f"{name}.".startswith(f"{one}.") for one in saved)]
    for name in targets:
        rows, columns = _output_and_input(modules[name])
        rank, _ = config.rank_and_scaling(name.removeprefix(inside))
        expected[f"{_PREFIX}{name}.lora_A.weight"] = (rank, columns)
        expected[f"{_PREFIX}{name}.lora_B.weight"] = (rows, rank)
    fitting = {key: tuple(tensor.shape) for key, tensor in found.items() if tensor.dtype == torch.float32}
    if fitting != expected or len(fitting) != len(found) or not targets:
        return False
    for name in saved:
        state = {key: found[f"{_PREFIX}{name}.{key}"] for key in modules[name].state_dict()}
        modules[name].load_state_dict(state)
        modules[name].requires_grad_()
    for name in targets:
        down, up = found[f"{_PREFIX}{name}.lora_A.weight"], found[f"{_PREFIX}{name}.lora_B.weight"]
        parent, _, leaf = name.rpartition(".")
        update = LowRankUpdate(modules[name], down=down, up=up, scaling=config.rank_and_scaling(name.removeprefix(inside))[1])
        setattr(network.get_submodule(parent), leaf, update)
    return True


def _output_and_input(module: Any) -> tuple[int, int]:
    """The shape of a matrix as (outputs, inputs); zeros for a module without one."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return (module.weight.shape[1], module.weight.shape[0]) if isinstance(module, Conv1D) else (0, 0)
