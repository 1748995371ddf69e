"""The summary of a comparison for Python: scores and costs by method, as values and as a table."""

import statistics
from dataclasses import dataclass
from typing import Self

from finewright.comparison.schema import ComparisonResultsFile, Interval, MethodRow
from finewright.core.units import format_bytes


@dataclass(frozen=True)
class MethodSummary:
    """A method or baseline, measured with the largest training set. What was not measured is None.

    `score`: median of the test scores of its seeds: of the accuracy, or of the comparison's `metric`. `score_ci95`: 95% interval
    of their mean, over seeds and rows. `train_seconds`: mean over seeds. `peak_memory_bytes`, `artifact_bytes`: the largest.
    """

    method: str
    score: float
    score_ci95: Interval
    num_seeds: int
    train_seconds: float | None
    peak_memory_bytes: int | None
    artifact_bytes: int | None

    @classmethod
    def from_row(cls, row: MethodRow) -> Self:
        """Summarise a measured row of results.json."""
        assert row.score_ci95 is not None, "it was measured"
        return cls(
            method=row.method,
            score=statistics.median(row.scores),
            score_ci95=row.score_ci95,
            num_seeds=len(row.scores),
            train_seconds=row.train_seconds,
            peak_memory_bytes=row.peak_memory_bytes,
            artifact_bytes=row.artifact_bytes,
        )


@dataclass(frozen=True)
class ComparisonSummary:
    """`methods`: the best first. `not_measured`: the reason by method. `verdict`: what the numbers show. `metric`: name of the
    score, `metric_words`: what people call it."""

    methods: tuple[MethodSummary, ...]
    not_measured: dict[str, str]
    verdict: str
    metric: str = "accuracy"
    metric_words: str = "accuracy"

    @classmethod
    def from_file(cls, file: ComparisonResultsFile) -> Self:
        """Summarise the content of results.json."""
        missing = {row.method: row.message for row in file.methods if row.score is None}
        methods = tuple(map(MethodSummary.from_row, file.measured))
        return cls(methods, missing, file.verdict, file.metric, file.metric_words)

    def __str__(self) -> str:
        """Return a table in columns, then what was not measured, then the verdict."""
        score = f"test {self.metric}" if self.metric_words == self.metric else self.metric_words
        rows = [["method", score, "95% interval", "seconds", "memory", "saved"]]
        for one in self.methods:
            low, high = one.score_ci95
            seconds = "" if one.train_seconds is None else f"{one.train_seconds:,.1f}"
            sizes = ("" if size is None else format_bytes(size) for size in (one.peak_memory_bytes, one.artifact_bytes))
            rows.append([one.method, f"{one.score:.1%}", f"{low:.1%} – {high:.1%}", seconds, *sizes])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, *cells in rows:
            aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join((name.ljust(widths[0]), *aligned)).rstrip())
        lines += [f"{name}: {reason}" for name, reason in self.not_measured.items()]
        return "\n".join([*lines, "", self.verdict])
