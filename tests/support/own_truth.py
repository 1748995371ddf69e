"""Right answers to questions about runs, computed from the runs' files without the package.

What the questions compute from metrics is counted from the predictions here.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path

from finewright.models import adapter_folder

ADAPTERS = ("lora", "prompt")
"""Methods whose trained parameters, except the head, are not part of the model."""
Z95 = 1.959963984540054


class Raw:
    """A run's files, read without the package."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.result = json.loads((folder / "result.json").read_text())
        self.config = json.loads((folder / "config.json").read_text())
        self.memory = json.loads((folder / "plan.json").read_text())["memory"]
        self.lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.width = json.loads((adapter_folder.config_folder(folder / "model") / "config.json").read_text())["n_embd"]
        rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
        self.pairs = [(row["label"], row["predicted"]) for row in rows]
        self.right = [a == b for a, b in self.pairs]
        self.labels = self.config["labels"]
        self.counts = Counter(self.pairs)
        self.true = Counter(a for a, _ in self.pairs)
        self.said = Counter(b for _, b in self.pairs)

    def __getattr__(self, name):
        return self.result[name]

    @property
    def f1(self) -> dict[str, float]:
        found = {}
        for label in self.labels:
            both = self.true[label] + self.said[label]
            found[label] = 2 * self.counts[label, label] / both if both else 0.0
        return found

    @property
    def interval(self) -> tuple[float, float]:
        """Where (p - share)² = z² p (1 - p) / n: Wilson's bounds as the roots of that equation."""
        return self.bounds(len(self.right))

    def bounds(self, n: int) -> tuple[float, float]:
        """The interval of the same accuracy on `n` rows."""
        share = self.accuracy
        a, b, c = 1 + Z95**2 / n, -(2 * share + Z95**2 / n), share**2
        root = math.sqrt(max(0.0, b * b - 4 * a * c))
        return (-b - root) / (2 * a), (-b + root) / (2 * a)

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def majority(self) -> float:
        return max(self.true.values()) / len(self.pairs)


def frozen_count(run, _):
    stays = run.head_parameters if run.method in ADAPTERS else run.trainable_parameters
    return f"{run.total_parameters - stays:,}"


def plan_and_measured(run, _):
    tenth = 0.1 * run.planned_peak_memory_bytes
    above = run.peak_memory_bytes - run.planned_peak_memory_bytes
    if abs(above) <= tenth:
        return "Within 10% of the plan"
    return f"More than 10% {'above' if above > 0 else 'below'} the plan"


def largest_part(run, _):
    return max(run.memory.items(), key=lambda pair: pair[1])[0]


def kept_step(run, _):
    evaluations = [(line["validation"]["accuracy"], line["step"]) for line in run.lines if "validation" in line]
    assert run.best_step in (max(evaluations)[1], max(step for _, step in evaluations))
    return f"those of step {run.best_step:,}"


def own_reason(run, question):
    option = re.search(r"ran with ([\w.]+) =", question.question)[1]
    return next(choice["reason"] for choice in run.config["choices"] if choice["option"] == option)


def loss_fall(run, _):
    losses = [line["loss"] for line in run.lines if "loss" in line]
    return f"by {losses[0] - losses[-1]:.2f}"


def validation_loss(run, _):
    losses = [line["validation"]["loss"] for line in run.lines if "validation" in line]
    if abs(losses[-1] - losses[0]) <= 0.01 * losses[0]:
        return "It stayed within 1% of where it was"
    return "It rose" if losses[-1] > losses[0] else "It fell"


def step_seconds(run, _):
    seconds = run.train_seconds / run.steps
    return f"about {1000 * seconds:,.3g} ms" if seconds < 0.9995 else f"about {seconds:,.1f} s"


def adam_averages(run, _):
    size = 2 * 4 * run.trainable_parameters
    assert abs(run.memory["optimizer"] / size - 1) <= 0.1
    return f"{size / 1e6:,.3f} MB"


def own_majority(run, _):
    low, high = run.interval
    if low <= run.majority <= high:
        return "It cannot be told: the interval holds both possibilities"
    above = low > run.majority
    return "Yes: the whole interval lies above it" if above else "No, it is worse: the whole interval lies below it"


def own_interval(run, _):
    low, high = run.interval
    return f"{low:.1%} to {high:.1%}"


def most_confused(run, _):
    (true, said), _ = max(((pair, n) for pair, n in run.counts.items() if pair[0] != pair[1]), key=lambda one: one[1])
    return f"{true} taken for {said}"


def found_of_label(run, question):
    label = re.search(r"messages are (\w+)\.", question.question)[1]
    assert str(run.true[label]) in question.question
    return f"{run.counts[label, label]:,}"


def said_label(run, question):
    label = re.search(r"messages (\w+)\. How often", question.question)[1]
    assert str(run.said[label]) in question.question
    return f"{run.counts[label, label] / run.said[label]:.1%}"


def macro_f1(run, _):
    there = [f1 for label, f1 in run.f1.items() if run.true[label] + run.said[label]]
    return f"{sum(there) / len(there):.3f}"


def half_interval(run, _):
    one, two, four = (run.bounds(times * len(run.pairs)) for times in (1, 2, 4))
    width = one[1] - one[0]
    assert abs((four[1] - four[0]) / width - 0.5) <= 0.05
    assert (two[1] - two[0]) / width > 0.6
    return f"{4 * len(run.pairs):,}"


def pretraining_worth(pretrained, random):
    return f"{100 * (pretrained.accuracy - random.accuracy):+.1f} points of accuracy"


def better_run(a, b):
    """McNemar's exact test, summed by hand."""
    only_a = sum(x and not y for x, y in zip(a.right, b.right, strict=True))
    only_b = sum(y and not x for x, y in zip(a.right, b.right, strict=True))
    n, fewer = only_a + only_b, min(only_a, only_b)
    p = min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n) if n else 1.0
    better = a if only_a > only_b else b
    return "Nobody can say from these messages" if p >= 0.05 else f"{better.method} is better"


ONE = {
    "trained-share": lambda run, _: f"{100 * run.trainable_parameters / run.total_parameters:.3f}%",
    "frozen-count": frozen_count,
    "head-size": lambda run, _: f"3 labels x {run.width:,} numbers a token's state has",
    "own-first-loss": lambda run, _: f"about {-math.log(1 / len(run.labels)):.2f}",
    "plan-and-measured": plan_and_measured,
    "largest-part": largest_part,
    "file-size": lambda run, _: f"{run.artifact_bytes / 1e6:,.2f} MB",
    "kept-step": kept_step,
    "own-reason": own_reason,
    "messages-a-step": lambda run, _: f"about {run.num_train * run.epochs / run.steps:.1f}",
    "loss-fall": loss_fall,
    "validation-loss": validation_loss,
    "step-seconds": step_seconds,
    "adam-averages": adam_averages,
    "own-majority": own_majority,
    "wrong-rows": lambda run, _: f"{len(run.right) - sum(run.right):,}",
    "own-interval": own_interval,
    "hardest-label": lambda run, _: min(run.f1, key=run.f1.__getitem__),
    "most-confused": most_confused,
    "macro-f1": macro_f1,
    "largest-label": lambda run, _: run.true.most_common(1)[0][0],
    "found-of-label": found_of_label,
    "said-label": said_label,
    "half-interval": half_interval,
    "one-message": lambda run, _: f"{100 / len(run.pairs):.3f} points",
}
"""By kind: the right answer for the run of the question, and the question."""
PAIRS = {
    "pretraining-worth": pretraining_worth,
    "told-apart": better_run,
    "how-many-times": lambda many, few: f"about {many.trainable_parameters / few.trainable_parameters:,.1f} times as many",
}
"""By kind: the right answer for the two runs of the question, in the order of its key."""
GROUPS = {
    "which-fits": lambda runs: min(runs, key=lambda run: run.planned_peak_memory_bytes).method,
    "most-right": lambda runs: max(runs, key=lambda run: run.accuracy).method,
    "longest-pass": lambda runs: (
        max((run for run in runs if run.method != "scratch"), key=lambda run: run.train_seconds / run.epochs).method
    ),
}
"""By kind: the right answer among all runs of a folder."""
KINDS = {*ONE, *PAIRS, *GROUPS}


def answer(question, root: Path) -> str:
    """Return the text of the right answer; runs of `root` have different methods."""
    runs = {path.parent.name: Raw(path.parent) for path in root.glob("*/result.json")}
    about = [runs[name] for name in question.key.split("/")[2].split("+")]
    if question.id in GROUPS:
        return GROUPS[question.id](list(runs.values()))
    return PAIRS[question.id](*about) if question.id in PAIRS else ONE[question.id](about[0], question)
