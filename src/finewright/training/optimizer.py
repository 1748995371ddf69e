"""Parameter groups, the optimizer, and the learning rate as a pure function of the step."""

import math
from typing import Any, Literal

import torch

from finewright.core.errors import UserError
from finewright.models import quantization
from finewright.models.prepared import PreparedModel

Schedule = Literal["linear", "cosine", "constant"]
OptimizerName = Literal["adamw", "adamw8bit", "paged_adamw8bit"]
_SMALLEST_PACKED, _BLOCK = 4096, 256
"""bitsandbytes keeps the state of smaller tensors in 32 bits; of larger ones, so many numbers share a scale."""


def build_optimizer(
    prepared_model: PreparedModel, *, lr: float, weight_decay: float, kind: OptimizerName = "adamw"
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over what is trained; vectors (biases, norms) are not decayed.

    The 8-bit kinds keep both moments in 8 bits (Dettmers et al. 2021, arXiv:2110.02861); a paged one lets the driver move
    them to main memory when the GPU is full.
    """
    groups = _groups(prepared_model, weight_decay=weight_decay)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    try:
        import bitsandbytes
    except ImportError:
        fix = f"{quantization.INSTALL}, or training.optimizer=adamw"
        raise UserError(f"{kind} wants bitsandbytes, not installed here", where="training.optimizer", fix=fix) from None
    make: Any = bitsandbytes.optim.AdamW8bit if kind == "adamw8bit" else bitsandbytes.optim.PagedAdamW8bit
    return make(groups, lr=lr)


def meta_optimizer(prepared_model: PreparedModel, *, kind: OptimizerName = "adamw") -> torch.optim.Optimizer:
    """The optimizer as the plan runs it on tensors without numbers: the state it keeps has the real one's size."""
    if kind == "adamw":
        return build_optimizer(prepared_model, lr=1.0, weight_decay=0.0)
    return _Packed(_groups(prepared_model, weight_decay=0.0), {})


def init_state(optimizer: torch.optim.Optimizer) -> None:
    """Make the state of every tensor that has none: the very one that its first update would make.

    Made before any work, memory that runs out here has changed nothing; in the first update some weights would be changed
    already. No tensor is left with half a state.
    """
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            if optimizer.state.get(parameter):
                continue
            if isinstance(optimizer, torch.optim.AdamW):
                optimizer.state[parameter] = _moments(parameter)
                continue
            packing: Any = optimizer
            try:
                packing.init_state(group, parameter, group_index, index)
            except BaseException:
                optimizer.state.pop(parameter, None)
                raise


def _moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the fused AdamW keeps of a tensor."""
    steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": steps, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


class _Packed(torch.optim.Optimizer):
    """Two moments in 8 bits with a scale per block; tensors of under 4,096 numbers in 32 bits, as bitsandbytes has it."""

    def init_state(self, group: dict[str, Any], parameter: torch.Tensor, group_index: int, index: int) -> None:
        """Make the state of one tensor, under bitsandbytes' own name for it."""
        packed = parameter.numel() >= _SMALLEST_PACKED
        for moment in ("state1", "state2"):
            kept = torch.empty_like(parameter, dtype=torch.uint8 if packed else torch.float32)
            self.state[parameter][moment] = kept
            if packed:
                self.state[parameter][f"{moment}_scales"] = parameter.new_empty(-(-parameter.numel() // _BLOCK))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing: the update works in place, in the state that is there."""


def _groups(prepared_model: PreparedModel, *, weight_decay: float) -> list[dict[str, Any]]:
    parameters = list(prepared_model.trainable().values())
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def learning_rate_at(step: int, *, num_steps: int, peak: float, warmup_ratio: float, lr_scheduler: Schedule) -> float:
    """Learning rate of update `step` (the first is 0): a linear rise to `peak`, then the schedule down to 0."""
    num_warmup = math.ceil(warmup_ratio * num_steps)
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    if lr_scheduler == "linear":
        return peak * (1 - progress)
    if lr_scheduler == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
