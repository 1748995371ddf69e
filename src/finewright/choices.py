"""Knobs that were left open: a value for each, with its reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finewright import batches, hardware, methods, quantization
from finewright.config import Settings, TrainKnobs
from finewright.errors import UserError
from finewright.methods.base import AbstractMethod

LEAST_STEPS = 500
LEAST_EPOCHS, MOST_EPOCHS = 3, 20
LONGEST_TEXT = 512
MOST_LR_FACTOR = 2.0
"""How many times its default a way's learning rate may be in a narrow network; more was measured for `mini` alone."""
LEAST_ROOM = 8
"""Fewest tokens of a text that are worth training on beside a prompt."""


@dataclass
class Choices:
    """What was chosen for the user, in the order of choosing."""

    made: list[dict[str, Any]] = field(default_factory=list)

    def note(self, knob: str, value: Any, reason: str) -> Any:
        """Keep a choice and hand its value back; a later choice for the same knob takes the place of an earlier one."""
        self.made = [choice for choice in self.made if choice["knob"] != knob]
        self.made.append({"knob": knob, "value": value, "reason": reason})
        return value

    def sentences(self) -> list[str]:
        """`knob = value: reason` for each."""
        return [f"{choice['knob']} = {choice['value']}: {choice['reason']}" for choice in self.made]


def candidates(name: str, *, knobs: Mapping[str, Any]) -> list[AbstractMethod]:
    """The way called `name`; with `auto` every way that could be taken, the preferred one first.

    Knobs of a way narrow `auto` down to the preferred one: others would not know them.
    """
    if name != methods.AUTO:
        return [methods.make(name, knobs)]
    kinds = [kind for kind in methods.by_preference() if kind.weights != "random"]
    if knobs:
        return [methods.make(kinds[0].name(), knobs)]
    return [kind() for kind in kinds if not kind.needs or not quantization.missing()]


def left_out(*, preferred_to: AbstractMethod | None) -> list[str]:
    """Sentences about ways that `auto` would rather have looked at and that want what is not installed.

    `preferred_to`: the way that was taken; None: none of those that were looked at fits.
    """
    if not (absent := quantization.missing()):
        return []
    kinds = [kind for kind in methods.by_preference() if kind.needs and kind.weights != "random"]
    kinds = [kind for kind in kinds if preferred_to is None or kind.preference < preferred_to.preference]
    wants = f"it wants {' and '.join(absent)}, not installed here ({quantization.INSTALL})"
    return [f"{kind.name()} was not looked at, though it might fit: {wants}" for kind in kinds]


def precision(settings: Settings, *, machine: hardware.Hardware, choices: Choices) -> str:
    """float32 or bfloat16."""
    value, reason = hardware.choose_precision(settings.train.precision, hardware=machine)
    return choices.note("train.precision", value, reason) if settings.train.precision == "auto" else value


def threads(settings: Settings, *, machine: hardware.Hardware, choices: Choices) -> int:
    """CPU threads."""
    if settings.train.threads:
        return settings.train.threads
    return choices.note("train.threads", machine.cpu_count, "cores this process may use")


def max_length(settings: Settings, *, longest: int, prompt_tokens: int, choices: Choices) -> int:
    """Tokens of the longest text, special tokens included; `longest`: positions the model has."""
    room = longest - prompt_tokens
    if room < LEAST_ROOM:
        what = f"a prompt of {prompt_tokens} tokens leaves room for {room} tokens of text, the model has {longest} positions"
        raise UserError(what, where="method.tokens", fix=f"at most {longest - LEAST_ROOM}")
    if settings.data.max_length is None:
        reason = f"the model has {longest} positions" + (f", {prompt_tokens} for the prompt" if prompt_tokens else "")
        return choices.note(
            "data.max_length", min(LONGEST_TEXT, room), reason if room < LONGEST_TEXT else "long enough for most texts"
        )
    if settings.data.max_length > room:
        return choices.note("data.max_length", room, f"{settings.data.max_length} was asked for, the model has room for {room}")
    return settings.data.max_length


def lr(train: TrainKnobs, *, method: AbstractMethod, choices: Choices, config: Any = None) -> tuple[float, list[str]]:
    """Peak learning rate, and a warning when it lies far outside the way's range.

    A model's `config` may suggest rates that were measured for it: `"finewright": {"learning_rates": {way: rate}}`.
    """
    if train.lr is None:
        return choices.note("train.lr", *_usual_lr(config, method)), []
    low, high = method.lr_range
    if low <= train.lr <= high:
        return train.lr, []
    return train.lr, [f"learning rate {train.lr:g} is far outside {method.name()}'s usual range, {low:g} to {high:g}"]


def _usual_lr(config: Any, method: AbstractMethod) -> tuple[float, str]:
    """What the model suggests, or the way's default in inverse proportion to the network's width (Yang et al. 2022,
    arXiv:2203.03466); and why."""
    if suggested := _suggested_lr(config, method):
        return suggested, "what the model's config.json suggests for this way"
    width = getattr(config, "hidden_size", None)
    if not method.lr_width or not isinstance(width, int) or width == method.lr_width:
        return method.lr, "the way's own default, docs/learning_rates.md"
    (low, high), factor = method.lr_range, min(method.lr_width / max(1, width), MOST_LR_FACTOR)
    usual = float(f"{min(max(method.lr * factor, low), high):.1e}")
    why = f"the way's {method.lr:g} is for a width of {method.lr_width}, this network's is {width}"
    return usual, f"{why}; never more than {MOST_LR_FACTOR:g} times as much, docs/learning_rates.md"


def _suggested_lr(config: Any, method: AbstractMethod) -> float | None:
    """One that is a number inside the way's range; a config can hold anything."""
    rates = getattr(config, "finewright", None)
    rates = rates.get("learning_rates") if isinstance(rates, dict) else None
    rate = rates.get(method.name()) if isinstance(rates, dict) else None
    low, high = method.lr_range
    return rate if isinstance(rate, float) and low <= rate <= high else None


def batch_tokens(train: TrainKnobs, *, lengths: Sequence[int], choices: Choices) -> int:
    """Tokens per forward pass."""
    if train.batch_tokens is None:
        return choices.note("train.batch_tokens", *batches.choose_budget(lengths))
    return train.batch_tokens


def epochs(train: TrainKnobs, *, steps_per_epoch: int, choices: Choices) -> float:
    """Passes over the data: three, more where the data is so small that few updates would come of it.

    Short fine-tuning on small sets is unstable; more steps mend it (Mosbach et al. 2021, arXiv:2006.04884).
    """
    if train.epochs is not None:
        return train.epochs
    value = min(max(math.ceil(LEAST_STEPS / steps_per_epoch), LEAST_EPOCHS), MOST_EPOCHS)
    return choices.note("train.epochs", value, f"{steps_per_epoch} steps an epoch, {value * steps_per_epoch} in all")
