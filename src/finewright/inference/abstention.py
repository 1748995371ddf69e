"""Leave the least certain rows without an answer: the confidence below which that happens, for a wanted share of answers.

This is selective classification (Chow 1970; Geifman and El-Yaniv 2017, arXiv:1705.08500): the share that is answered is the
coverage. The threshold comes from the validation rows, so it does not depend on the rows that are asked about: the same text
gets the same answer in any batch.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from finewright.core.errors import UserError
from finewright.tasks.base import Task

CONFIDENCE_DIGITS = 4
"""Decimals of a confidence in a file; it is compared with a threshold as it is written."""
MOST_POINTS = 500
"""Most points of a curve: coverages differ by a fifth of a percent then."""


class CoveragePoint(NamedTuple):
    """How many rows are at least this certain, and how many of these are right."""

    threshold: float
    num_rows: int
    num_right: int


@dataclass(frozen=True)
class CoverageCurve:
    """What each threshold would answer of some labelled rows, from the highest on. The last point answers all of them."""

    points: tuple[CoveragePoint, ...]

    @property
    def num_rows(self) -> int:
        """Rows that the curve was measured on."""
        return self.points[-1].num_rows

    def find_point(self, coverage: float) -> CoveragePoint:
        """Return the point with the highest threshold that answers at least this share of the rows."""
        least = coverage * self.num_rows - 1e-9  # 0.9 * 10 rows are 9
        return next(point for point in self.points if point.num_rows >= least)


def build_curve(confidence_N: np.ndarray, right_N: np.ndarray) -> CoverageCurve | None:
    """Return the curve of labelled rows, None without any. Rows of equal confidence, as it is written, are on the same side."""
    if len(confidence_N) == 0:
        return None
    order = np.argsort(-confidence_N, kind="stable")
    confidence_N, num_right_N = np.round(confidence_N[order], CONFIDENCE_DIGITS), np.cumsum(right_N[order])
    ends = np.flatnonzero(np.append(np.diff(confidence_N) != 0, True))
    if len(ends) > MOST_POINTS:
        wanted = np.linspace(0, len(confidence_N) - 1, MOST_POINTS)  # evenly by the share of rows, not by confidence
        ends = ends[np.unique(np.searchsorted(ends, wanted))]
    return CoverageCurve(tuple(CoveragePoint(float(confidence_N[end]), int(end) + 1, int(num_right_N[end])) for end in ends))


LEAST_VALIDATION_ROWS = 20
"""Answered validation rows from which on their accuracy is worth expecting of others."""


@dataclass(frozen=True)
class Abstention:
    """Which rows got an answer. `share`: the wanted one. `threshold`: rows below this confidence have none. Rows without a text
    do not count. `expected_share_right`: how many of the validation rows that are answered, `num_validation`, are right; None if
    the rows themselves set the threshold."""

    share: float
    threshold: float
    num_rows: int
    num_answered: int
    expected_share_right: float | None
    num_validation: int = 0

    @property
    def is_from_few_rows(self) -> bool:
        """Whether so few validation rows are answered that their accuracy says little about others."""
        return self.expected_share_right is not None and self.num_validation < LEAST_VALIDATION_ROWS

    @property
    def reason(self) -> str:
        """Why the threshold is this one."""
        rows = "these" if self.expected_share_right is None else "the validation"
        return f"{100 * self.share:.4g}% of {rows} rows are at or above it"

    def as_json(self) -> dict[str, Any]:
        """Return plain values by name."""
        return {
            "wanted_share": self.share,
            "threshold": self.threshold,
            "num_rows": self.num_rows,
            "num_answered": self.num_answered,
            "expected_share_right": self.expected_share_right,
            "num_validation": self.num_validation,
            "threshold_from": "these rows" if self.expected_share_right is None else "validation",
        }


@dataclass(frozen=True)
class AbstentionRule:
    """Answer this share of the rows. `curve`: of the validation rows; without it the rows themselves set the threshold."""

    share: float
    curve: CoverageCurve | None

    def apply(self, confidences: Iterable[float | None]) -> Abstention:
        """Return the threshold for rows of these confidences, None or NaN where there is no text."""
        given = [value for value in confidences if value is not None and not math.isnan(value)]
        found = np.round(np.array(given, dtype=float), CONFIDENCE_DIGITS)
        curve = self.curve or build_curve(found, np.zeros(len(found), dtype=bool))
        point = curve.find_point(self.share) if curve else CoveragePoint(0.0, 0, 0)
        threshold = 0.0 if self.share == 1 else point.threshold  # all rows, also those that are less certain than any before
        num_answered = int((found >= threshold).sum())
        measured = (None, 0) if self.curve is None else (point.num_right / point.num_rows, point.num_rows)
        return Abstention(self.share, threshold, len(found), num_answered, *measured)

    def measure(self, confidence_N: np.ndarray, right_N: np.ndarray) -> dict[str, Any]:
        """Return what the rule answers of labelled rows, JSON-ready, and the share of right ones; None if it answers none."""
        abstention = self.apply(confidence_N.tolist())
        answered_N = np.round(confidence_N, CONFIDENCE_DIGITS) >= abstention.threshold
        share_right = float(right_N[answered_N].mean()) if answered_N.any() else None
        return {**abstention.as_json(), "coverage": float(answered_N.mean()), "share_right": share_right}


def is_below(confidence: float | None, threshold: float) -> bool:
    """Whether a row's confidence, as it is written, is below the threshold; False for rows without a text."""
    return confidence is not None and float(np.round(confidence, CONFIDENCE_DIGITS)) < threshold


def make_rule(share: Any, *, curve: CoverageCurve | None, task: type[Task] | Task) -> AbstentionRule:
    """Return the rule. Raise `UserError` if `share` is none above 0 and at most 1, or predictions have no confidence."""
    check_share(share)
    if not task.has_confidences:
        what = f"{task.name} has no confidences, so no row is less certain than another"
        raise UserError(what, where="--abstain", fix="leave out --abstain")
    return AbstentionRule(float(share), curve)


def check_share(share: Any) -> None:
    """Raise `UserError` if this is no share of rows to answer."""
    is_number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
    if not is_number or not 0 < share <= 1:
        shown = f"{share:g}" if is_number else repr(share)
        what = f"wanted the share of rows to answer, above 0 and at most 1, found {shown}"
        raise UserError(what, where="--abstain", fix="for instance --abstain 0.9: the least certain 10% get no label")


def check_one_threshold(share: float | None, *, min_confidence: float | None) -> None:
    """Raise `UserError` if a share and a threshold are both given."""
    if share is not None and min_confidence is not None:
        what = "--min-confidence and --abstain both say which rows are not certain enough"
        raise UserError(what, where="--abstain", fix="give one of them")
