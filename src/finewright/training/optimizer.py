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
"""bitsandbytes stores the state of tensors with fewer elements in 32 bits; in larger ones, `_BLOCK` elements share a scale."""


def build_optimizer(
    prepared_model: PreparedModel, *, lr: float, weight_decay: float, kind: OptimizerName = "adamw"
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) over the trained parameters. Vectors (biases, norms) get no weight decay.

    The 8-bit kinds store both moments in 8 bits (Dettmers et al. 2021, arXiv:2110.02861). With a paged one, the driver
    moves them to main memory when the GPU is full.
    """
    groups = _parameter_groups(prepared_model, weight_decay=weight_decay)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    try:
        import bitsandbytes
    except ImportError:
        fix = f"{quantization.INSTALL}, or training.optimizer=adamw"
        raise UserError(f"{kind} needs bitsandbytes, which is not installed", where="training.optimizer", fix=fix) from None
    make: Any = bitsandbytes.optim.AdamW8bit if kind == "adamw8bit" else bitsandbytes.optim.PagedAdamW8bit
    return make(groups, lr=lr)


def meta_optimizer(prepared_model: PreparedModel, *, kind: OptimizerName = "adamw") -> torch.optim.Optimizer:
    """Return an optimizer for tensors without data, for planning. Its state has the size of the real one's."""
    if kind == "adamw":
        return build_optimizer(prepared_model, lr=1.0, weight_decay=0.0)
    return _MetaAdamW8bit(_parameter_groups(prepared_model, weight_decay=0.0), {})


def init_state(optimizer: torch.optim.Optimizer) -> None:
    """Allocate the state of every tensor that has none, exactly as its first update would.

    If memory runs out here, no weight has changed yet; in the first update some would have. No tensor is left with an
    incomplete state.
    """
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            if optimizer.state.get(parameter):
                continue
            if isinstance(optimizer, torch.optim.AdamW):
                optimizer.state[parameter] = _build_moments(parameter)
                continue
            bitsandbytes_optimizer: Any = optimizer
            try:
                bitsandbytes_optimizer.init_state(group, parameter, group_index, index)
            except BaseException:
                optimizer.state.pop(parameter, None)
                raise


def _build_moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the state of the fused AdamW for a tensor."""
    steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": steps, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


class _MetaAdamW8bit(torch.optim.Optimizer):
    """State of the size that bitsandbytes allocates: two moments in 8 bits with scales, or in 32 bits for small tensors."""

    def init_state(self, group: dict[str, Any], parameter: torch.Tensor, group_index: int, index: int) -> None:
        """Allocate the state of one tensor, with the method name and keys of bitsandbytes."""
        packed = parameter.numel() >= _SMALLEST_PACKED
        for moment in ("state1", "state2"):
            self.state[parameter][moment] = torch.empty_like(parameter, dtype=torch.uint8 if packed else torch.float32)
            if packed:
                self.state[parameter][f"{moment}_scales"] = parameter.new_empty(-(-parameter.numel() // _BLOCK))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: the real update works in place and allocates nothing."""


def _parameter_groups(prepared_model: PreparedModel, *, weight_decay: float) -> list[dict[str, Any]]:
    parameters = list(prepared_model.trainable().values())
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def learning_rate_at(step: int, *, num_steps: int, peak: float, warmup_ratio: float, lr_scheduler: Schedule) -> float:
    """Return the learning rate of update `step`, counted from 0: a linear rise to `peak`, then the schedule."""
    num_warmup = math.ceil(warmup_ratio * num_steps)
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    if lr_scheduler == "linear":
        return peak * (1 - progress)
    if lr_scheduler == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
