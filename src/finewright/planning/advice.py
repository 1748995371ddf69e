"""What to change so that a way that does not fit would: every change that is named was planned, and fits."""

import bisect
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from finewright import methods
from finewright.core import units
from finewright.core.config import RunConfig
from finewright.methods.base import Method
from finewright.models import quantization
from finewright.planning import estimator, optimizations
from finewright.planning.plan import TrainingPlan, asked_for

Look = Callable[[Method, RunConfig], TrainingPlan | None]
_HELD = ("weights", "gradients", "optimizer")
_PACKED = "adamw8bit"
_OPEN_BLOCKS = 3
"""As many blocks as are trained at most where their number is left open."""


def advise(
    method: Method,
    made: TrainingPlan,
    *,
    settings: RunConfig,
    others: Sequence[tuple[Method, TrainingPlan]],
    look: Look,
) -> str:
    """In a sentence; nothing for a way that fits. `others`: what was planned besides; `look`: plans anything, and gives
    nothing where a way cannot be had for this model."""
    if made.fits:
        return ""
    ways_out = [*_opened(settings), *_changed(method, made, settings=settings, look=look)]
    ways_out += _other_ways(method, settings=settings, others=others, look=look)
    return f"{_needs(made)}; what would do: {', or '.join([*ways_out, _budget(made)])}"


def _needs(made: TrainingPlan) -> str:
    needed, parts = units.format_bytes(made.plan.peak_memory_bytes), made.plan.memory
    if parts.get(estimator.LOADING):
        return f"needs {needed} when the weights have been read and none is rounded yet"
    held = sum(parts[part] for part in _HELD)
    if held > made.budget.num_bytes:
        return (
            f"needs {needed}: weights, gradients and optimizer alone take {units.format_bytes(held)}, whatever the texts' length"
        )
    return f"needs {needed} at its tightest"


def _budget(made: TrainingPlan) -> str:
    """What is kept in a file under this budget would be kept in memory under one that has a large enough share for it."""
    needed = made.plan.peak_memory_bytes
    if made.savings.where == "file" and made.savings.kept_bytes <= optimizations.MEMORY_SHARE * needed:
        needed += made.savings.kept_bytes
    return f"a budget of {asked_for(needed, device=made.budget.device)}"


def _opened(settings: RunConfig) -> Iterator[str]:
    """Knobs that keep the plan from its tightest setup."""
    if settings.training.tokens_per_micro_batch is not None:
        yield "training.tokens_per_micro_batch left open"
    if settings.training.gradient_checkpointing == "off":
        yield "training.gradient_checkpointing left open"


def _changed(method: Method, made: TrainingPlan, *, settings: RunConfig, look: Look) -> Iterator[str]:
    """Changes of this way alone; none is planned where its weights are too much for any of them."""
    plan, limit = made.plan, made.budget.num_bytes
    weights = plan.memory["weights"] + plan.memory.get(estimator.LOADING, 0)
    if settings.training.optimizer == "adamw" and weights <= limit and (told := _if_fits(look(method, _packed(settings)))):
        yield f"training.optimizer={_PACKED} ({told}{_wanting()})"
    options = method.model_dump()
    rounded = 2 * plan.trainable_parameters if plan.precision == "bfloat16" else 0
    if weights - rounded <= limit and (found := _most_blocks(method, options, settings=settings, look=look)):
        yield f"method.num_layers={found[0]} ({found[1]})"


def _wanting() -> str:
    there = importlib.util.find_spec("bitsandbytes") is not None
    return "" if there else f"; wants bitsandbytes, not installed here: {quantization.INSTALL}"


def _packed(settings: RunConfig) -> RunConfig:
    return settings.model_copy(update={"training": settings.training.model_copy(update={"optimizer": _PACKED})})


def _most_blocks(method: Method, options: dict[str, Any], *, settings: RunConfig, look: Look) -> tuple[int, str] | None:
    """(most trained blocks that fit, what they need); the more blocks, the more memory, so few numbers are tried."""
    needs: dict[int, str] = {}

    def too_many(blocks: int) -> bool:
        needs[blocks] = _if_fits(look(methods.build_method(method.name(), {**options, "num_layers": blocks}), settings))
        return not needs[blocks]

    wanted = options.get("num_layers", 0)
    wanted = _OPEN_BLOCKS if wanted is None else wanted
    if wanted < 2 or options.get("trainable_fraction") or too_many(1):
        return None
    most = 1 + bisect.bisect_left(range(2, wanted), True, key=too_many)
    return most, needs[most]


def _other_ways(
    method: Method, *, settings: RunConfig, others: Sequence[tuple[Method, TrainingPlan]], look: Look
) -> Iterator[str]:
    """The preferred one of those that fit; where none was planned that packs the weights, that is planned too."""
    trained = [(other, one) for other, one in others if other.weights != "random" and other is not method]
    if method.quantization() is None and not any(other.quantization() for other, _ in trained):
        packed = [kind() for kind in methods.methods_by_preference() if kind().quantization()]
        trained += [(one, found) for one in packed if (found := look(one, settings)) is not None]
    fitting = sorted((other.preference, other.name(), one) for other, one in trained if one.fits)
    for _, name, one in fitting[:1]:
        yield f"{name} ({_if_fits(one)})"


def _if_fits(made: TrainingPlan | None) -> str:
    return units.format_bytes(made.plan.peak_memory_bytes) if made is not None and made.fits else ""
