"""Who takes part in a comparison: its settings, the sizes of the training set, and a run for each way, size and seed."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.core import config
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import UserError
from finewright.data.dataset import Dataset

ALL = "all"
MAJORITY, WORDS, FEATURES = "majority", "bag-of-words", "frozen-features"
BASELINES = {
    MAJORITY: "always the most frequent label",
    WORDS: "logistic regression on words and pairs of words, no language model",
    FEATURES: "logistic regression on what the frozen model makes of a text",
}
"""What is always there and trains no weight of the model."""
TIMED_TEXTS = 128
"""At most so many texts are what the speed of predicting is measured on."""


@dataclass(frozen=True)
class ComparisonSpec:
    """What was asked for. `knobs`: shared ones, as a tree; `way_knobs`: those of one way, `method.*` or `train.*`."""

    data: str
    test: str | None
    model: str
    candidates: tuple[str, ...]
    seeds: tuple[int, ...]
    train_sizes: tuple[str, ...]
    search: int
    options: dict[str, Any]
    way_knobs: dict[str, dict[str, Any]]

    @property
    def main_size(self) -> str:
        """The largest training set: what tables and tests are about."""
        return self.train_sizes[-1]

    def command(self, *, budget: str | None, out: Path, jobs: int | None = None) -> str:
        """The command that makes this comparison, as one would type it."""
        words = ["finewright", "compare", self.data, "--model", self.model, "--methods", ",".join(self.candidates)]
        words += ["--seeds", str(len(self.seeds)), "--train-sizes", ",".join(self.train_sizes)]
        words += ["--test", self.test] if self.test else []
        words += ["--search", str(self.search)] if self.search else []
        words += ["--budget", budget] if budget else []
        words += ["--jobs", str(jobs)] if jobs else []
        words += ["--out", str(out)]
        options = dotted(self.options) | {
            f"{way}.{key}": value for way, tree in self.way_knobs.items() for key, value in _flat(tree)
        }
        options |= {"seed": self.seeds[0]} if self.seeds[0] else {}
        given = [f"{key}={_typed(value)}" for key, value in options.items() if value is not None]  # None: left open
        return shlex.join(words + [part for option in given for part in ("--set", option)])


def _flat(tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key.removeprefix("method."), value) for key, value in dotted(tree).items()]


def _typed(value: Any) -> str:
    """As it comes back from `config.parse_assignments`; a text that would come back as something else is quoted."""
    if isinstance(value, str) and config.parse_assignments([f"key={value}"])["key"] == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def dotted(tree: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """A tree of knobs as one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= dotted(value, prefix=f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def choose_methods(wanted: Sequence[str] | None) -> list[str]:
    """The ways asked for, each once, or all; what starts from random weights is always among them, at the end."""
    known = methods.methods_by_preference()
    chosen = [methods.get_method(name).name() for name in wanted] if wanted else [kind.name() for kind in known]
    random = [kind.name() for kind in known if kind.weights == "random"]
    return [name for name in dict.fromkeys(chosen) if name not in random] + random


def split_options(tree: Mapping[str, Any], candidates: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(shared options, options of one method each).

    A group named like a method is that method's: `lora.rank` or `lora.training.learning_rate`.
    """
    shared = {key: value for key, value in tree.items() if key not in methods.method_names()}
    if "method" in shared:
        what = "knobs of a method belong to one way of several"
        raise UserError(what, where="method", fix=f"name the way, for instance --set {candidates[0]}.KNOB=VALUE")
    own: dict[str, dict[str, Any]] = {}
    for name in methods.method_names():
        if name not in tree:
            continue
        if name not in candidates:
            raise UserError("this way is not compared", where=name, fix=f"compared are {', '.join(candidates)}")
        if not isinstance(tree[name], Mapping):
            raise UserError(f"wanted knobs of this way, found {tree[name]!r}", where=name, fix=f"--set {name}.KNOB=VALUE")
        group = dict(tree[name])
        own[name] = {"training": group.pop("training")} if "training" in group else {}
        own[name] |= {"method": group} if group else {}
    config.build_options(RunConfig, shared)
    for name in candidates:  # every way's knobs are looked at before anything is done
        mine = own.get(name, {})
        methods.build_method(name, mine.get("method", {}))
        config.build_options(
            RunConfig, {**config.merge_options(shared, {key: value for key, value in mine.items() if key != "method"})}
        )
    return shared, own


def choose_sizes(wanted: Sequence[int | str], *, dataset: Dataset) -> tuple[str, ...]:
    """Names of training sizes, ascending; each needs at least a row of every label and no more rows than there are."""
    number, least = len(dataset.train), len(dataset.labels)
    sizes: set[int] = set()
    for size in wanted:
        text = str(size).strip().lower()
        if text != ALL and not (text.isascii() and text.isdigit()):
            raise UserError(f"wanted a number of rows or {ALL!r}, found {text!r}", where="--train-sizes", fix="50,200,all")
        rows = number if text == ALL else int(text)
        if not least <= rows <= number:
            what = f"wanted {rows:,} training rows; there are {number:,}, and {least} labels want a row each"
            raise UserError(what, where="--train-sizes", fix=f"numbers from {least} to {number}, or {ALL}")
        sizes.add(rows)
    return tuple(ALL if rows == number else str(rows) for rows in sorted(sizes))


def run_data_options(spec: ComparisonSpec, dataset: Dataset, *, test: bool = True) -> dict[str, Any]:
    """How a member reads its folder: the columns are ours, and nothing is held out that the splits do not have."""
    given = spec.options.get("data", {})
    own = {"text_column": None, "label_column": None, "skip_invalid_rows": False, "drop_unseen_labels": False}
    own |= {} if dataset.validation else {"validation_fraction": 0.0}
    own |= {} if dataset.test and test else {"test_fraction": 0.0}
    return config.build_options(DataConfig, {**given, **own}, prefix="data").model_dump()


@dataclass(frozen=True)
class RunSpec:
    """One run: a way, a size of the training set, a seed."""

    way: str
    size: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"{self.way}-{self.size}-seed{self.seed}"


def list_runs(spec: ComparisonSpec, candidates: Sequence[str]) -> list[RunSpec]:
    """Every run of these ways; seed by seed and size by size, so that all ways are there early."""
    return [RunSpec(way, size, seed) for seed in spec.seeds for size in reversed(spec.train_sizes) for way in candidates]
