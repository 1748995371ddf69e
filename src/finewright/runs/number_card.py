"""What the card of a model that predicts numbers says of their unit, and of the intervals of its predictions."""

from pathlib import Path

from finewright.core.units import counted
from finewright.runs.intervals import LEVEL, read_errors
from finewright.tasks import number_metrics

_UNIT = """
The outputs are numbers in the unit of the training rows, whose mean is {mean:.6g} and standard deviation {std:.6g}: nothing is to
be scaled. `config.problem_type` is `regression`. Load the weights in float32: bfloat16 keeps two to three digits of a number.
"""
_INTERVALS = """
`finewright predict` gives an interval of {level:.0%} too, the number plus or minus {half_width:.6g}: split conformal prediction
(Lei et al. 2018, arXiv:1604.04173) from the absolute errors of {rows}, which are in `intervals.json`. It
holds for new rows of the same kind.
"""


def describe_numbers(folder: Path) -> str:
    """Return what the card says of the unit and of the intervals of a saved network."""
    file = read_errors(folder)
    return "" if file is None else _UNIT.format(mean=file.mean, std=file.std) + describe_intervals(folder)


def describe_intervals(folder: Path) -> str:
    """Return what the card says of the intervals of a saved model; empty if it has none."""
    file = read_errors(folder)
    half_width = None if file is None else number_metrics.conformal_half_width(file.errors, level=LEVEL)
    if file is None or half_width is None:
        return ""
    return _INTERVALS.format(level=LEVEL, half_width=half_width, rows=counted(len(file.errors), "validation row"))
