"""Axes of charts: from a number to its place, and ticks at round values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MARGIN = 1.5
"""What a logarithmic axis goes beyond its values by."""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`; `ticks`: (value, what is written there)."""

    title: str
    low: float
    high: float
    ticks: list[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end, 1 at the high one, kept inside."""
        low, high, at = (math.log(max(v, 1e-12)) if self.log else v for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (at - low) / (high - low)))


def percent(title: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """Shares; ends are moved outwards to round values."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 6 or step == 0.2)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    ticks = [(index * step, f"{index * step:.0%}") for index in range(first, last + 1)]
    return Axis(title, ticks[0][0], ticks[-1][0], ticks)


def log(title: str, values: Sequence[float], *, written: Callable[[float], str]) -> Axis:
    """From under the least to over the largest value; ticks at powers of ten, between them where there are few."""
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    steps: tuple[float, ...] = (1.0,)
    if math.log10(high / low) < 2.5:
        steps = (1.0, 2.0, 5.0) if math.log10(high / low) < 1.3 else (1.0, 3.0)
    if math.log10(high / low) < 0.6:
        steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    every = math.ceil(len(ticks) / 6)
    return Axis(title, low, high, [(tick, written(tick)) for tick in ticks[::every]], log=True)


def linear(title: str, low: float, high: float, *, written: Callable[[float], str]) -> Axis:
    """Ticks at round values; the high end is one of them."""
    rough = max(high - low, 1e-9) / 4
    step = min((base * 10.0 ** math.floor(math.log10(rough)) for base in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    ticks = [index * step for index in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]
    return Axis(title, min(low, ticks[0]), max(ticks[-1], low + step), [(tick, written(tick)) for tick in ticks])
