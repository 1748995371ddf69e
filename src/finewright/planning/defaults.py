"""Defaults for options that were left open, each with its reason."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from finewright.core import hardware
from finewright.core.config import RunConfig, TrainingConfig
from finewright.core.errors import UserError
from finewright.data import packing
from finewright.methods.base import Method
from finewright.models import architectures, hub, meta, pooling
from finewright.models.head_spec import HeadSpec
from finewright.planning import hardware_rates
from finewright.tasks.base import Task

LEAST_STEPS = 500
PAIR_STEPS, PAIR_STEPS_PER_ROW, MOST_PAIR_STEPS = 60, 3, 240
"""Fewest updates on pairs of texts, how many for each row that a label has on average, and the most: measured in
docs/explanation/contrastive.md."""
PATIENT_EPOCHS = 3
"""Epochs without improvement after which training stops. Runs of so few epochs, the default for larger data, never stop early."""
MOST_LR_FACTOR = 2.0
"""Most times its default that a method's learning rate may be in a narrow network; more was measured for `mini` alone."""
LEAST_ROOM = 8
"""Fewest tokens of a text beside a prompt that are worth training on."""

LEAST_THREAD_GAIN = 1.1
"""Several threads must be at least so many times as fast as one."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with which a user or a batch system limits threads."""


@dataclass
class Decisions:
    """Values chosen for the user, in the order of choosing."""

    made: list[dict[str, Any]] = field(default_factory=list)

    def note(self, option: str, value: Any, reason: str) -> Any:
        """Record a choice and return its value. A later choice for the same option replaces an earlier one."""
        self.made = [choice for choice in self.made if choice["option"] != option]
        self.made.append({"option": option, "value": value, "reason": reason})
        return value

    def sentences(self) -> list[str]:
        """Return `option = value: reason` for each choice."""
        return [f"{choice['option']} = {choice['value']}: {choice['reason']}" for choice in self.made]


def choose_precision(settings: RunConfig, *, machine: hardware.Hardware, choices: Decisions) -> str:
    """Return `float32` or `bfloat16`."""
    value, reason = hardware.choose_precision(settings.training.precision, hardware=machine)
    return choices.note("training.precision", value, reason) if settings.training.precision == "auto" else value


def choose_threads(settings: RunConfig, *, machine: hardware.Hardware, choices: Decisions) -> int:
    """Return the number of CPU threads: as many as were asked for, else the least of what the process may use.

    If nobody limits them, several are used only if they are clearly faster than one on this machine just now.
    """
    if settings.training.num_threads:
        return settings.training.num_threads
    limits = [(machine.cpu_count, "cores this process may use")]
    for name in _THREAD_VARIABLES:
        text = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP takes a list, a number per level of nesting
        if text.isascii() and text.isdigit() and int(text):
            limits.append((int(text), f"{name} is {int(text)}"))
    value, reason = min(limits, key=lambda limit: limit[0])
    if value > 1 and len(limits) == 1 and machine.device == "cpu":
        gain = hardware_rates.measure_thread_gain(value)
        reason = f"{reason}; they were {gain:.2g} times as fast as one thread just now"
        if gain < LEAST_THREAD_GAIN:
            value, reason = 1, f"{value} threads were {gain:.2g} times as fast as one just now; other programs use the cores"
    return choices.note("training.num_threads", value, reason)


def choose_head(settings: RunConfig, *, method: Method, task: Task, source: hub.ModelSource, choices: Decisions) -> HeadSpec:
    """Return the task's head with the pooling that was asked for, or that suits model and method.

    Raise `UserError` if the method cannot be saved with a head on that pooling.
    """
    wanted = settings.training.pooling
    spec = replace(task.head_spec, pooling=wanted)
    if spec.reads != "pooled":
        return spec
    config = meta.load_saved_config(source.path)
    chosen = pooling.choose_for_task(source.path, architectures.architecture_of(config), spec)
    value, reason = chosen.value, chosen.reason
    if method.standard_head_only and not architectures.architecture_of(config).has_standard_head:
        what = f"{method.name()} cannot be saved with {config.model_type}, which has a head that no class of transformers has"
        raise UserError(f"{what}: {method.standard_head_only}", where="method", fix="another method, or another model")
    if not chosen.architecture.has_standard_head and method.standard_head_only:
        if spec.needs_bias and chosen.architecture.pooling == "last":
            what = f"{method.name()} cannot learn these numbers: {chosen.reason}, and {method.standard_head_only}"
            raise UserError(what, where="method", fix="subtract their mean from all numbers, or take another method")
        if wanted != "auto":
            fix = "training.pooling=standard, or another method"
            what = f"{method.name()} cannot read {wanted!r}: {method.standard_head_only}"
            raise UserError(what, where="training.pooling", fix=fix)
        value, reason = "standard", method.standard_head_only
    if wanted == "auto":
        choices.note("training.pooling", value, reason)
    return replace(spec, pooling=value)


def default_max_length(settings: RunConfig, *, usual: int, longest: int, prompt_tokens: int, choices: Decisions) -> int:
    """Return the most tokens of a text, special tokens included.

    `usual`: the task's default. `longest`: positions the model has, of which a prompt takes `prompt_tokens`.
    """
    room = longest - prompt_tokens
    if longest < LEAST_ROOM:
        what = f"the model has {longest} positions, too few for a text"
        raise UserError(what, where="config.json: max_position_embeddings", fix="take another model")
    if room < LEAST_ROOM:
        what = f"a prompt of {prompt_tokens} tokens leaves room for {room} tokens of text, the model has {longest} positions"
        raise UserError(what, where="method.num_virtual_tokens", fix=f"at most {longest - LEAST_ROOM}")
    if settings.data.max_length is None:
        reason = f"the model has {longest} positions" + (f", {prompt_tokens} for the prompt" if prompt_tokens else "")
        return choices.note("data.max_length", min(usual, room), reason if room < usual else "long enough for most texts")
    if settings.data.max_length > room:
        return choices.note("data.max_length", room, f"{settings.data.max_length} was asked for, the model has room for {room}")
    return settings.data.max_length


def default_learning_rate(
    options: TrainingConfig, *, method: Method, choices: Decisions, config: Any = None, factor: float = 1.0
) -> tuple[float, list[str]]:
    """Return the peak learning rate, and a warning if it is far outside the method's range. `factor`: of the task.

    A model's `config` may suggest rates that were measured for it: `"finewright": {"learning_rates": {method: rate}}`.
    """
    if options.learning_rate is None:
        value, reason = _default_lr(config, method)
        if factor != 1.0:
            value, reason = float(f"{value * factor:.1e}"), f"{reason}; {factor:g} of it, as the task wants"
        return choices.note("training.learning_rate", value, reason), []
    low, high = (factor * end for end in method.learning_rate_range)
    if low <= options.learning_rate <= high:
        return options.learning_rate, []
    return options.learning_rate, [
        f"learning rate {options.learning_rate:g} is far outside {method.name()}'s usual range, {low:g} to {high:g}"
    ]


def _default_lr(config: Any, method: Method) -> tuple[float, str]:
    """Return (rate, reason): what the model suggests, or the method's default scaled by the inverse of the network's width
    (Yang et al. 2022, arXiv:2203.03466)."""
    if suggested := _suggested_lr(config, method):
        return suggested, "what the model's config.json suggests for this method"
    width = getattr(config, "hidden_size", None)
    if not method.learning_rate_width or not isinstance(width, int) or width == method.learning_rate_width:
        return method.learning_rate, "the method's own default, docs/explanation/learning-rates.md"
    (low, high), wanted = method.learning_rate_range, method.learning_rate_width / max(1, width)
    factor = min(wanted, MOST_LR_FACTOR)
    usual = float(f"{min(max(method.learning_rate * factor, low), high):.1e}")
    why = f"the method's {method.learning_rate:g} is for a width of {method.learning_rate_width}, this network's is {width}"
    capped = factor < wanted and low <= method.learning_rate * factor <= high
    limit = f"; never more than {MOST_LR_FACTOR:g} times as much" if capped else ""
    return usual, f"{why}{limit}, docs/explanation/learning-rates.md"


def _suggested_lr(config: Any, method: Method) -> float | None:
    """Return the rate in the config if it is a number inside the method's range; a config can hold anything."""
    rates = getattr(config, "finewright", None)
    rates = rates.get("learning_rates") if isinstance(rates, dict) else None
    rate = rates.get(method.name()) if isinstance(rates, dict) else None
    low, high = method.learning_rate_range
    return rate if isinstance(rate, float) and low <= rate <= high else None


def choose_head_start(options: TrainingConfig, *, method: Method, task: Task, choices: Decisions) -> Literal["probe", "random"]:
    """Return the first weights of a new head. A checkpoint's own head for these labels stays, whatever this says.

    A language model has no new head, so nothing is recorded of it unless a start was asked for.
    """
    value: Literal["probe", "random"] = "random"
    if task.is_language_model():
        if options.head_start == "auto":
            return "random"
        reason = "the model's own output layer is the head"
    elif method.weights == "random":
        reason = "the features of random weights tell little"
    elif not task.fits_head:
        reason = "the task has no way to fit a head"
    else:
        own = "unless the checkpoint's own head has these labels"
        value, reason = "probe", f"a regression on the frozen features comes first {own}, docs/explanation/head-start.md"
    if options.head_start == "random":
        return "random"
    return value if options.head_start == value else choices.note("training.head_start", value, reason)


def default_early_stopping_patience(options: TrainingConfig, *, num_validation: int, choices: Decisions) -> int:
    """Return the number of evaluations without improvement after which training stops; 0: it never does."""
    if options.early_stopping_patience is not None:
        return options.early_stopping_patience
    if not num_validation:
        return choices.note("training.early_stopping_patience", 0, "no validation rows show when training no longer helps")
    value = PATIENT_EPOCHS * options.evals_per_epoch
    reason = f"{PATIENT_EPOCHS} epochs clearly worse on validation than the best or the same"
    reason += ", docs/explanation/early-stopping.md; 0: never"
    return choices.note("training.early_stopping_patience", value, reason)


def default_tokens_per_micro_batch(options: TrainingConfig, *, lengths: Sequence[int], choices: Decisions) -> int:
    """Return the tokens per micro-batch."""
    if options.tokens_per_micro_batch is None:
        return choices.note("training.tokens_per_micro_batch", *packing.auto_tokens_per_batch(lengths))
    return options.tokens_per_micro_batch


def default_pair_steps(options: TrainingConfig, *, num_rows: int, num_labels: int, choices: Decisions) -> int:
    """Return the number of updates on pairs of texts: few, as each compares all pairs of its texts.

    With many rows of a label there is more to learn from; with few, or many labels, more steps learn these rows by heart.
    """
    per_epoch = math.ceil(num_rows / packing.ROWS_PER_STEP)
    if options.epochs is not None:
        steps = max(1, round(options.epochs * per_epoch))
    else:
        rows_per_label = num_rows / max(1, num_labels)
        steps = round(min(max(PAIR_STEPS, PAIR_STEPS_PER_ROW * rows_per_label), MOST_PAIR_STEPS))
        reason = f"{steps} steps for {rows_per_label:.3g} rows a label, docs/explanation/contrastive.md"
        choices.note("training.epochs", steps / per_epoch, reason)
    return min(steps, options.max_steps) if options.max_steps else steps


def default_epochs(
    options: TrainingConfig, *, steps_per_epoch: int, usual: tuple[int, int], choices: Decisions, least_steps: int = LEAST_STEPS
) -> float:
    """Return the number of epochs: the task's least, or more if the data is so small that there would be few updates.

    `usual`: the task's fewest and most. `least_steps`: updates that few rows are trained for at least.

    Short fine-tuning on small data sets is unstable; more steps help (Mosbach et al. 2021, arXiv:2006.04884).
    """
    if options.epochs is not None:
        return options.epochs
    least, most = usual
    value = min(max(math.ceil(least_steps / steps_per_epoch), least), most)
    return choices.note("training.epochs", value, f"{steps_per_epoch} steps an epoch, {value * steps_per_epoch} in all")
