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
    """Return what the card says of the unit and of the intervals of a saved model."""
    file = read_errors(folder)
    if file is None:
        return ""
    found = _UNIT.format(mean=file.mean, std=file.std)
    half_width = number_metrics.conformal_half_width(file.errors, level=LEVEL)
    if half_width is not None:
        found += _INTERVALS.format(level=LEVEL, half_width=half_width, rows=counted(len(file.errors), "validation row"))
    return found
