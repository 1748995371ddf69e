"""What a comparison was asked for: methods, options, sizes of the training set, seeds, and the runs that follow from them."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import baselines, methods, tasks
from finewright.baselines import majority, tagging
from finewright.comparison import search
from finewright.core import config
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import UserError
from finewright.core.program import quote_path
from finewright.core.units import counted
from finewright.data.conversation_shapes import RowKind
from finewright.data.dataset import Dataset, Source
from finewright.data.tables import IN_MEMORY
from finewright.planning.candidates import take_bare_options
from finewright.runs.request import flatten
from finewright.tasks.base import Task

ALL = "all"
MAJORITY, WORDS, FEATURES = majority.NAME, "bag-of-words", "frozen-features"
BASELINES = {MAJORITY: majority.SUMMARY} | {name: baselines.get_baseline(name).describe("labelled") for name in (WORDS, FEATURES)}
"""Always compared too where rows have labels. They train no weight of the model."""
LABEL_SET_BASELINES = BASELINES | {MAJORITY: majority.SUMMARY_OF_SETS}
"""The same where rows have any number of labels."""
ANSWER_BASELINES = {name: baselines.get_answer_baseline(name).summary for name in baselines.answer_baseline_names()}
"""Always compared too where rows have answers."""
MEAN = "mean"
NUMBER_BASELINES = {MEAN: "always the mean of the training rows"} | {
    name: baselines.get_baseline(name).describe("number") for name in (WORDS, FEATURES)
}
"""Always compared too where rows have numbers."""
TAG_BASELINES = tagging.SUMMARIES
"""Always compared too where words have tags."""
UNTUNED = "untuned"
SPEED_ROUNDS = 3
"""How often the speed of prediction is measured, all methods in each round; the median counts."""
TIMED_TEXTS = 128
"""Largest number of texts on which the speed of prediction is measured."""


@dataclass(frozen=True)
class ComparisonSpec:
    """`options`: shared by all methods, as a tree. `method_options`: those of one method, `method.*` or `training.*`."""

    data: str
    test: str | None
    model: str
    candidates: tuple[str, ...]
    seeds: tuple[int, ...]
    train_sizes: tuple[str, ...]
    search: int
    options: dict[str, Any]
    method_options: dict[str, dict[str, Any]]

    @property
    def task(self) -> type[Task]:
        """The task of all runs."""
        return tasks.get_task(self.options.get("task", tasks.DEFAULT))

    @property
    def baselines(self) -> dict[str, str]:
        """What each baseline for such rows does, by its name."""
        return baselines_for(self.task.row_kind)

    @property
    def main_size(self) -> str:
        """The largest training set, which tables and tests are about."""
        return self.train_sizes[-1]

    @property
    def in_memory(self) -> bool:
        """Whether some rows were given in memory; no command line can give them."""
        return any(str(source).startswith(IN_MEMORY) for _, source in self._sources)

    def command(self, *, budget: str | None, out: Path, jobs: int | None = None) -> str:
        """Return the command line that makes this comparison; with rows in memory the call in Python."""
        options = flatten(self.options)
        for method, tree in self.method_options.items():
            options |= {f"{method}.{key.removeprefix('method.')}": value for key, value in flatten(tree).items()}
        options |= {"seed": self.seeds[0]} if self.seeds[0] else {}
        options = {key: value for key, value in options.items() if value is not None}  # None: left open
        if self.in_memory:
            return self._python_call(options, budget=budget, out=out, jobs=jobs)
        words = ["finewright", "compare", self.data, "--model", self.model, "--methods", ",".join(self.candidates)]
        words += ["--seeds", str(len(self.seeds)), "--train-sizes", ",".join(self.train_sizes)]
        words += ["--test", self.test] if self.test else []
        words += ["--search", str(self.search)] if self.search else []
        words += ["--budget", budget] if budget else []
        words += ["--jobs", str(jobs)] if jobs else []
        given = [f"{key}={_format_value(value)}" for key, value in options.items()]
        words += [part for option in given for part in ("--set", option)]
        return f"{shlex.join(words)} --out {quote_path(out)}"

    def _python_call(self, options: dict[str, Any], *, budget: str | None, out: Path, jobs: int | None) -> str:
        """Return the call that makes this comparison; `data` and `test` are variables for rows in memory."""
        data, test = (name if str(source).startswith(IN_MEMORY) else repr(source) for name, source in self._sources)
        sizes = [size if size == ALL else int(size) for size in self.train_sizes]
        given: dict[str, Any] = {"model": self.model, "methods": list(self.candidates), "seeds": len(self.seeds)}
        given |= {"train_sizes": sizes, "search_trials": self.search, "memory_budget": budget, "jobs": jobs, "options": options}
        words = [data, *(f"{name}={value!r}" for name, value in given.items() if value)]
        words += [f"test={test}"] if self.test else []
        return f"finewright.compare({', '.join(words)}, output_dir={str(out)!r})"

    @property
    def _sources(self) -> tuple[tuple[str, str | None], ...]:
        return ("data", self.data), ("test", self.test)


def baselines_for(row_kind: RowKind) -> dict[str, str]:
    """Return what each baseline for rows of this kind does, by its name."""
    known: dict[RowKind, dict[str, str]] = {
        "labelled": BASELINES,
        "multi-label": LABEL_SET_BASELINES,
        "number": NUMBER_BASELINES,
        "tagged-tokens": TAG_BASELINES,
        "conversation": ANSWER_BASELINES,
    }
    return known.get(row_kind, {})


def _format_value(value: Any) -> str:
    """Return text that `config.parse_assignments` reads back as this value. Text that looks like TOML is quoted."""
    if isinstance(value, str) and config.parse_assignments([f"key={value}"])["key"] == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def choose_methods(wanted: Sequence[str] | None) -> list[str]:
    """Return the wanted methods, each once, or all. Those that start from random weights are always added, at the end."""
    known = methods.methods_by_preference()
    names = None if wanted is None else [*wanted] if isinstance(wanted, Iterable) and not isinstance(wanted, str) else []
    if names is not None and (not names or not all(isinstance(name, str) for name in names)):
        found = repr(wanted) if wanted else "none"
        fix = f"some of {', '.join(kind.name() for kind in known)}; all when it is left out"
        raise UserError(f"wanted a list of methods, found {found}", where="methods", fix=fix)
    always = (*BASELINES, *ANSWER_BASELINES, *NUMBER_BASELINES, *TAG_BASELINES)
    if named := [name for name in names or () if name in always]:
        fix = "leave it out: it is always compared"
        raise UserError(f"{named[0]} is a baseline, and all baselines are always compared", where="methods", fix=fix)
    chosen = [methods.get_method(name).name() for name in names] if names else [kind.name() for kind in known]
    random = [kind.name() for kind in known if kind.weights == "random"]
    return [name for name in dict.fromkeys(chosen) if name not in random] + random


def build_spec(
    source: Source,
    *,
    test: Source | None,
    model: str | Path,
    wanted: Sequence[str] | None,
    num_seeds: int,
    search_trials: int,
    options: Mapping[str, Any],
) -> ComparisonSpec:
    """Check all settings before anything is read. The sizes of the training set are not known yet."""
    for name, value in (("data", str(source)), ("model", str(model))):
        if not value.strip() or "\0" in value:
            raise UserError(f"wanted the {name}, found {value!r}", where=name, fix="a path or a hub id")
    if num_seeds < 1:
        raise UserError(f"wanted at least one seed, found {num_seeds}", where="--seeds", fix="--seeds 3")
    tree = search.nest_options(options)
    candidates = choose_methods(wanted)
    shared, own = split_options(config.resolve_names(RunConfig, tree), candidates, meant=_only_method(wanted))
    if search_trials:
        search.check_installed()
        search.trials_per_method(search_trials, num_methods=len(candidates))
    first = config.build_options(RunConfig, shared).seed
    return ComparisonSpec(
        data=str(source),
        test=str(test) if test is not None else None,
        model=str(model),
        candidates=tuple(candidates),
        seeds=tuple(range(first, first + num_seeds)),
        train_sizes=(),
        search=search_trials,
        options={key: value for key, value in shared.items() if key not in ("seed", "model", "memory_budget")},
        method_options=own,
    )


def _only_method(wanted: Sequence[str] | None) -> str:
    """Return the method that is meant where one alone was asked for; training from scratch, which is always added, is none."""
    names = list(dict.fromkeys(wanted or ()))
    return names[0] if len(names) == 1 else ""


def _move_method_options(tree: Mapping[str, Any], candidates: Sequence[str], *, meant: str) -> dict[str, Any]:
    """Return `tree` with the options in `method.*` below the name of the method that is meant."""
    tree = dict(tree)
    group = tree.pop("method", {})
    options = dict(group) if isinstance(group, Mapping) else {"name": group}
    name = options.pop("name", None) or meant  # a config file of one run names its method
    if name in candidates:
        take_bare_options(tree, options, method=name)
    if not options:
        return tree
    if name not in candidates:
        what = "several methods are compared: an option must name its method"
        raise UserError(what, where="method", fix=f"for instance --set {candidates[0]}.OPTION=VALUE")
    given, _ = methods.split_group(name, tree.get(name, {}))
    if twice := [option for option in options if option in given]:
        what = f"method.{twice[0]} and {name}.{twice[0]} are the same option"
        raise UserError(what, where="method", fix="give one of them")
    return tree | {name: {**tree.get(name, {}), **options}}


def split_options(
    tree: Mapping[str, Any], candidates: Sequence[str], *, meant: str = ""
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return (shared options, options by method). Raise `UserError` if one is unknown or out of range.

    A group named like a method belongs to it: `lora.rank` or `lora.training.learning_rate`. `method.rank` is an option of the
    method that is `meant`, where one is.
    """
    tree = _move_method_options(tree, candidates, meant=meant)
    shared = {key: value for key, value in tree.items() if key not in methods.method_names()}
    own: dict[str, dict[str, Any]] = {}
    for name in methods.method_names():
        if name not in tree:
            continue
        if name not in candidates:
            raise UserError("this method is not compared", where=name, fix=f"compared are {', '.join(candidates)}")
        group, training = methods.split_group(name, tree[name])
        own[name] = {"training": training} if "training" in tree[name] else {}
        own[name] |= {"method": group} if group else {}
    places = {option: place.replace("method.", f"{candidates[0]}.", 1) for option, place in methods.option_places().items()}
    config.build_options(RunConfig, shared, elsewhere=places)
    for name, group in own.items():
        methods.build_method(name, group.get("method", {}))
        config.build_options(RunConfig, config.merge_options(shared, {"training": group.get("training", {})}))
    return shared, own


def choose_sizes(wanted: Sequence[int | str], *, dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the training sizes, ascending. Raise `UserError` if one has fewer rows than labels or too many."""
    number, least = len(dataset.train), max(1, len(dataset.labels))
    sizes: set[int] = set()
    for size in wanted:
        text = str(size).strip().lower()
        if text != ALL and not (text.isascii() and text.isdigit()):
            raise UserError(f"wanted a number of rows or {ALL!r}, found {text!r}", where="--train-sizes", fix="50,200,all")
        rows = number if text == ALL else int(text)
        if not least <= rows <= number:
            need = f", and {least} labels need a row each" if dataset.labels else ""
            what = f"wanted {counted(rows, 'training row')}; there are {number:,}{need}"
            raise UserError(what, where="--train-sizes", fix=f"numbers from {least} to {number}, or {ALL}")
        sizes.add(rows)
    return tuple(ALL if rows == number else str(rows) for rows in sorted(sizes))


def run_data_options(spec: ComparisonSpec, dataset: Dataset, *, test: bool = True) -> dict[str, Any]:
    """Return the data options of a run: the columns are those of our split files, and no row is held out again."""
    given = spec.options.get("data", {})
    own = {name: DataConfig.model_fields[name].default for name in config.FILE_OPTIONS}
    own |= {} if dataset.validation else {"validation_fraction": 0.0}
    own |= {} if dataset.test and test else {"test_fraction": 0.0}
    return config.build_options(DataConfig, {**given, **own}, prefix="data").model_dump()


@dataclass(frozen=True)
class RunSpec:
    """One run: a method, a size of the training set, a seed."""

    method: str
    size: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.method}-{self.size}-seed{self.seed}"


def list_runs(spec: ComparisonSpec, candidates: Sequence[str]) -> list[RunSpec]:
    """Return every run of these methods. Seeds come first, so that each method has a result early."""
    return [RunSpec(method, size, seed) for seed in spec.seeds for size in reversed(spec.train_sizes) for method in candidates]
