"""What the runs of `accuracy.py` say, as Markdown.

A difference of two contestants is the mean, over their common seeds, of right minus wrong on the same test rows; its interval
resamples the test rows (paired bootstrap, 95%). It speaks of other test rows, not of other draws of training rows. The best is
known only afterwards, and no correction is made for that: of equally good contestants the default looks worse than it is.
"""

import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DEFAULT, FROZEN = "auto", "frozen-regression"
RESAMPLES, RESAMPLES_AT_A_TIME = 10_000, 200
GOAL = 0.95
"""Share of the cells where the default should be as good as the best."""


@dataclass
class Group:
    """The runs of one cell: the same data, size and model. `runs`: by contestant and seed."""

    data: str
    size: str
    model: str
    max_test: int
    runs: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.data}, {self.size}, {self.model}"

    def accuracy(self, method: str) -> float:
        return statistics.mean(run["accuracy"] for run in self.runs[method].values())

    def num_common(self, method: str) -> int:
        """Seeds that both the default and the contestant have."""
        return len(self.runs[DEFAULT].keys() & self.runs[method].keys())

    def differences(self, method: str) -> np.ndarray:
        """Of each test row the default's share of right runs minus the contestant's, on their common seeds."""
        seeds = sorted(self.runs[DEFAULT].keys() & self.runs[method].keys())
        ours, theirs = (np.array([_bits(self.runs[name][seed]) for seed in seeds]) for name in (DEFAULT, method))
        return (ours - theirs).mean(axis=0)

    def compare(self, method: str) -> tuple[float, float, float]:
        """The default's accuracy minus the contestant's: (difference, low, high)."""
        return bootstrap(self.differences(method))

    def rivals(self) -> list[str]:
        """Who has a seed in common with the default, the most accurate on those first."""
        if DEFAULT not in self.runs:
            return []
        found = [name for name in self.runs if name != DEFAULT and self.num_common(name)]
        return sorted(found, key=lambda name: float(self.differences(name).mean()))


def _bits(run: dict[str, Any]) -> list[float]:
    return [float(bit) for bit in run["right"]]


def bootstrap(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95% interval of the differences of rows; the same resamples each time."""
    rng, size = np.random.default_rng(0), len(differences)
    means = [
        differences[rng.integers(0, size, (RESAMPLES_AT_A_TIME, size))].mean(axis=1)
        for _ in range(RESAMPLES // RESAMPLES_AT_A_TIME)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def group_runs(lines: list[dict[str, Any]]) -> list[Group]:
    """The cells, in the order of the file. Who reads no model is in those of every model."""
    models = list(dict.fromkeys(line["model"] for line in lines if line["model"])) or [""]
    groups: dict[tuple[Any, ...], Group] = {}
    for line in lines:
        for model in [line["model"]] if line["model"] else models:
            place = (line["data"], line["size"], model, line["max_test"])
            group = groups.setdefault(place, Group(*place))
            group.runs.setdefault(line["method"], {})[line["seed"]] = line
    return [group for group in groups.values() if not group.model or any(_reads(group, name) for name in group.runs)]


def _reads(group: Group, method: str) -> bool:
    return any(run["model"] for run in group.runs[method].values())


def verdict(group: Group) -> str:
    """Whether the default is the best, as good as the best, or below it; empty if it was not run beside others."""
    rivals = group.rivals()
    if not rivals:
        return ""
    difference, _, high = group.compare(rivals[0])
    if difference >= 0:
        return "best"
    return "not significantly below the best" if high >= 0 else "below the best"


def below_frozen(group: Group) -> str:
    """Whether the default is below a regression on frozen features by more than the interval; empty if not run."""
    if FROZEN not in group.rivals():
        return ""
    return "yes" if group.compare(FROZEN)[2] < 0 else "no"


def _points(found: tuple[float, float, float]) -> str:
    """A difference in points of accuracy."""
    difference, low, high = (100 * value for value in found)
    return f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"


def table(lines: list[dict[str, Any]]) -> list[str]:
    """Each cell with its contestants, the most accurate first."""
    said = []
    for group in group_runs(lines):
        first = next(iter(next(iter(group.runs.values())).values()))
        sample = ", a fixed sample" if group.max_test else ""
        said += [f"## {group.name} ({first['test_rows']} test rows{sample})", ""]
        said += ["| contestant | accuracy, mean of seeds (least–most) | seeds | CPU s | auto minus this, points (95%) |"]
        said += ["|---|---|---|---|---|"]
        rivals = group.rivals()
        for method in sorted(group.runs, key=group.accuracy, reverse=True):
            runs = group.runs[method].values()
            scores, seconds = [100 * run["accuracy"] for run in runs], statistics.mean(run["cpu_seconds"] for run in runs)
            cells = f"{statistics.mean(scores):.1f} ({min(scores):.1f}–{max(scores):.1f}) | {len(scores)} | {seconds:.0f}"
            said += [f"| {method} | {cells} | {_points(group.compare(method)) if method in rivals else ''} |"]
        said += ["", f"auto: {verdict(group) or 'not run'}. Below {FROZEN}: {below_frozen(group) or 'not run'}.", ""]
    return said + goals(lines)


def summary(lines: list[dict[str, Any]]) -> list[str]:
    """A line for each cell, and the goals."""
    said = [
        "| data | rows | model | test rows | seeds | auto | best other | its accuracy | auto minus it, points (95%) | auto is |"
    ]
    said[0] += f" below {FROZEN} |"
    said += ["|---" * 11 + "|"]
    for group in group_runs(lines):
        rivals = group.rivals()
        if rivals:
            best, runs = rivals[0], group.runs[DEFAULT]
            rows = next(iter(runs.values()))["test_rows"]
            cells = f"{group.data} | {group.size} | {group.model} | {rows} | {group.num_common(best)}"
            cells += f" | {100 * group.accuracy(DEFAULT):.1f} | {best} | {100 * group.accuracy(best):.1f}"
            said += [f"| {cells} | {_points(group.compare(best))} | {verdict(group)} | {below_frozen(group)} |"]
    return [*said, "", *goals(lines)]


def goals(lines: list[dict[str, Any]]) -> list[str]:
    """In how many of the cells that have the default and others it is as good as the best, and below frozen features."""
    groups = [group for group in group_runs(lines) if group.rivals()]
    if not groups:
        return ["No cell has auto and another contestant."]
    good = sum(verdict(group) != "below the best" for group in groups)
    reached = "reached" if good >= GOAL * len(groups) else "not reached"
    frozen = [below_frozen(group) for group in groups if below_frozen(group)]
    return [
        f"auto is the best or not significantly below it in {good} of {len(groups)} cells,"
        f" {good / len(groups):.0%} (goal: at least {GOAL:.0%}; {reached}).",
        f"auto is below {FROZEN} in {frozen.count('yes')} of {len(frozen)} cells.",
    ]
