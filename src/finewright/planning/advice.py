"""What to change so that a method fits: every change that is named was planned, and fits."""

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

PlanOne = Callable[[Method, RunConfig], TrainingPlan | None]
_HELD = ("weights", "gradients", "optimizer")
_SMALL_OPTIMIZER = "adamw8bit"
_OPEN_LAYERS = 3
"""Most layers to suggest if the number of trained layers is left open."""


def advise(
    method: Method,
    made: TrainingPlan,
    *,
    settings: RunConfig,
    others: Sequence[tuple[Method, TrainingPlan]],
    plan_one: PlanOne,
) -> str:
    """Return a sentence, empty for a method that fits. `others`: the plans of all methods asked for. `plan_one`: returns the plan
    of any method, None if there is none for this model."""
    if made.fits:
        return ""
    changes = [*_options_to_open(settings), *_changes_of_method(method, made, settings=settings, plan_one=plan_one)]
    changes += _other_methods(method, settings=settings, others=others, plan_one=plan_one)
    return f"{_describe_need(made)}; what would do: {', or '.join([*changes, _describe_budget(made)])}"


def _describe_need(made: TrainingPlan) -> str:
    needed, parts = units.format_bytes(made.plan.peak_memory_bytes), made.plan.memory
    if parts.get(estimator.LOADING):
        return f"needs {needed} while the weights are read, before they are rounded"
    held = sum(parts[part] for part in _HELD)
    if held > made.budget.num_bytes:
        return (
            f"needs {needed}: weights, gradients and optimizer alone take {units.format_bytes(held)}, whatever the texts' length"
        )
    return f"needs at least {needed}"


def _describe_budget(made: TrainingPlan) -> str:
    """Return the budget that would do: what is cached in a file under this one may be cached in memory under a larger one."""
    needed = made.plan.peak_memory_bytes
    if made.optimizations.where == "file" and made.optimizations.cache_bytes <= optimizations.MEMORY_SHARE * needed:
        needed += made.optimizations.cache_bytes
    return f"a budget of {asked_for(needed, device=made.budget.device)}"


def _options_to_open(settings: RunConfig) -> Iterator[str]:
    """Yield options that keep the plan from its tightest setup."""
    if settings.training.tokens_per_micro_batch is not None:
        yield "training.tokens_per_micro_batch left open"
    if settings.training.gradient_checkpointing == "off":
        yield "training.gradient_checkpointing left open"


def _changes_of_method(method: Method, made: TrainingPlan, *, settings: RunConfig, plan_one: PlanOne) -> Iterator[str]:
    """Yield changes of this method's options; none is planned if its weights alone are too large."""
    plan, limit = made.plan, made.budget.num_bytes
    weights = plan.memory["weights"] + plan.memory.get(estimator.LOADING, 0)
    if (
        settings.training.optimizer == "adamw"
        and weights <= limit
        and (needed := _if_fits(plan_one(method, _with_small_optimizer(settings))))
    ):
        yield f"training.optimizer={_SMALL_OPTIMIZER} ({needed}{_missing_package()})"
    options = method.model_dump()
    rounded = 2 * plan.trainable_parameters if plan.precision == "bfloat16" else 0
    if weights - rounded <= limit and (found := _most_layers(method, options, settings=settings, plan_one=plan_one)):
        yield f"method.num_layers={found[0]} ({found[1]})"


def _missing_package() -> str:
    installed = importlib.util.find_spec("bitsandbytes") is not None
    return "" if installed else f"; needs bitsandbytes, which is not installed here: {quantization.INSTALL}"


def _with_small_optimizer(settings: RunConfig) -> RunConfig:
    return settings.model_copy(update={"training": settings.training.model_copy(update={"optimizer": _SMALL_OPTIMIZER})})


def _most_layers(method: Method, options: dict[str, Any], *, settings: RunConfig, plan_one: PlanOne) -> tuple[int, str] | None:
    """Return (most trained layers that fit, what they need). Memory grows with the layers, so a bisection tries few."""
    needs: dict[int, str] = {}

    def too_many(num_layers: int) -> bool:
        needs[num_layers] = _if_fits(
            plan_one(methods.build_method(method.name(), {**options, "num_layers": num_layers}), settings)
        )
        return not needs[num_layers]

    wanted = options.get("num_layers", 0)
    wanted = _OPEN_LAYERS if wanted is None else wanted
    if wanted < 2 or options.get("trainable_fraction") or too_many(1):
        return None
    most = 1 + bisect.bisect_left(range(2, wanted), True, key=too_many)
    return most, needs[most]


def _other_methods(
    method: Method, *, settings: RunConfig, others: Sequence[tuple[Method, TrainingPlan]], plan_one: PlanOne
) -> Iterator[str]:
    """Yield the preferred method of those that fit. If none with quantized weights was planned, plan that too."""
    trained = [(other, one) for other, one in others if other.weights != "random" and other is not method]
    if method.quantization() is None and not any(other.quantization() for other, _ in trained):
        packed = [kind() for kind in methods.methods_by_preference() if kind().quantization()]
        trained += [(one, found) for one in packed if (found := plan_one(one, settings)) is not None]
    fitting = sorted((other.preference, other.name(), one) for other, one in trained if one.fits)
    for _, name, one in fitting[:1]:
        yield f"{name} ({_if_fits(one)})"


def _if_fits(made: TrainingPlan | None) -> str:
    return units.format_bytes(made.plan.peak_memory_bytes) if made is not None and made.fits else ""
