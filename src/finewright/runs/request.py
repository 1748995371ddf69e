"""The request of a run: written first, read again when the run is resumed, changed only by `--change`."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finewright import baselines, methods, tasks
from finewright.baselines.base import Baseline
from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.data.tables import IN_MEMORY, Table
from finewright.methods.base import Method
from finewright.runs import schema
from finewright.runs.schema import Change, RequestRecord, RunConfigFile

CHANGEABLE = (
    "learning_rate",
    "epochs",
    "max_steps",
    "lr_scheduler",
    "early_stopping_patience",
    "evals_per_epoch",
    "logging_steps",
    "micro_batch_splits",
    "num_threads",
    "compile",
)
"""Training options that `--change` may set inside a run; all others would make it another run."""
FREE = ("training.save_steps", "training.calibrate", "training.baselines", "force")
"""Options on which nothing that is trained depends."""
_AND = ", "
_OTHER_ROWS = "these are other rows: "


@dataclass(frozen=True)
class RunRequest:
    """`source`, `test`: where the data is, absolute for files. `settings`: as requested, open options still open.

    `candidates`: the first that fits is selected. Only the first has options that differ from its defaults.
    """

    source: str
    test: str | None
    settings: RunConfig
    candidates: tuple[Method, ...]

    @property
    def method_name(self) -> str:
        """Name of the only candidate, or `auto` if there are several."""
        return self.candidates[0].name() if len(self.candidates) == 1 else methods.AUTO

    def record(self) -> RequestRecord:
        """Return what config.json holds of it."""
        return RequestRecord(
            source=self.source,
            test=self.test,
            settings=self.settings.model_dump(),
            method=_AND.join(method.name() for method in self.candidates),
            method_options=self.candidates[0].model_dump(mode="json"),
        )


@dataclass(frozen=True)
class BaselineRequest:
    """The request of a run that fits a baseline. The fields are those of `RunRequest`."""

    source: str
    test: str | None
    settings: RunConfig
    baseline: Baseline

    def record(self) -> RequestRecord:
        """Return what config.json holds of it."""
        return RequestRecord(
            source=self.source,
            test=self.test,
            settings=self.settings.model_dump(),
            method=self.baseline.name(),
            method_options=self.baseline.model_dump(mode="json"),
        )


def is_baseline(record: RequestRecord) -> bool:
    """Whether a saved request is one for a baseline."""
    return record.method in baselines.baseline_names()


def is_baseline_run(path: Path) -> bool:
    """Whether a folder holds a run of a baseline. A damaged one counts as none: opening it says what is wrong."""
    try:
        return is_baseline(schema.read(RunConfigFile, path / "config.json").request)
    except UserError:
        return False


def make_baseline_request(source: object, *, test: object, settings: RunConfig, baseline: Baseline) -> BaselineRequest:
    """Return a request with absolute paths. Raise `UserError` for an unknown task, or an option that would be ignored."""
    tasks.get_task(settings.task)
    baseline.check_settings(settings)
    return BaselineRequest(_locate(source), None if test is None else _locate(test), settings, baseline)


def read_baseline_request(record: RequestRecord) -> BaselineRequest:
    """Return the baseline's request of a record; raise `UserError` if one of its options no longer exists."""
    baseline = baselines.build_baseline(record.method, record.method_options)
    return BaselineRequest(record.source, record.test, config.build_options(RunConfig, record.settings), baseline)


def make_request(source: object, *, test: object, settings: RunConfig, candidates: Sequence[Method]) -> RunRequest:
    """Return a request with absolute paths, so that its files are found from any folder; an unknown task is refused."""
    tasks.get_task(settings.task)
    return RunRequest(_locate(source), None if test is None else _locate(test), settings, tuple(candidates))


def read_request(record: RequestRecord) -> RunRequest:
    """Return the request of a record; raise `UserError` if one of its options no longer exists."""
    first, *others = record.method.split(_AND)
    candidates = (methods.build_method(first, record.method_options), *(methods.build_method(name, {}) for name in others))
    return RunRequest(record.source, record.test, config.build_options(RunConfig, record.settings), candidates)


def default_run_name(source: object, *, method: str, seed: int) -> str:
    """Return the name of a run's folder: data, method and seed. `auto` is left out, as it is not what will be trained."""
    stem = "data" if isinstance(source, Table) else "stdin" if str(source) == "-" else Path(str(source)).stem
    return "-".join([stem, *([] if method == methods.AUTO else [method]), f"seed{seed}"])


def request_differences(saved: RequestRecord, wanted: RunRequest | BaselineRequest) -> list[str]:
    """Return `option: then → now` for every option that differs, except those in FREE. Rows in memory are one option."""
    read = read_baseline_request if is_baseline(saved) else read_request
    then = flatten(read(saved).record().model_dump())
    now = flatten(wanted.record().model_dump())
    return [
        f"{_option_name(name)}: {_OTHER_ROWS if _are_in_memory(then.get(name), now.get(name)) else ''}"
        f"{then.get(name)!r} → {now.get(name)!r}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name) and _option_name(name) not in FREE
    ]


def _are_in_memory(*values: Any) -> bool:
    return all(str(value).startswith(IN_MEMORY) for value in values)


def for_resume(
    earlier: RunConfigFile | None, run_request: RunRequest, assignments: Sequence[str]
) -> tuple[RunRequest, list[Change]]:
    """Return the request of a later session, and what `--change` changes now. `earlier`: the run's config.json.

    Choices and changes of earlier sessions are kept. Raise `UserError` for an option that would make it another run.
    """
    if earlier is not None:
        choices = [choice.model_dump() for choice in earlier.choices]
        run_request = replace(run_request, settings=with_decisions(run_request.settings, choices))
    if earlier is not None and earlier.method:
        run_request = replace(run_request, candidates=(methods.build_method(earlier.method, earlier.method_options),))
    for change in earlier.changes if earlier is not None else ():
        run_request = _with_training_options(run_request, {change.option.removeprefix("training."): change.after})
    wanted = {
        {"lr": "learning_rate"}.get(key, key.removeprefix("training.")): value
        for key, value in flatten(config.parse_assignments(assignments)).items()
    }
    for name in wanted:
        if name not in CHANGEABLE:
            fix = f"start a new run; inside a run can change: {', '.join(CHANGEABLE)}"
            raise UserError(f"{name} cannot change inside a run", where="--change", fix=fix)
    before, run_request = run_request.settings.training.model_dump(), _with_training_options(run_request, wanted)
    after = run_request.settings.training.model_dump()
    changed = [name for name in wanted if before[name] != after[name]]
    return run_request, [Change(option=f"training.{name}", before=before[name], after=after[name]) for name in changed]


def _with_training_options(run_request: RunRequest, options: Mapping[str, Any]) -> RunRequest:
    training = config.build_options(
        config.TrainingConfig, {**run_request.settings.training.model_dump(), **options}, prefix="training"
    )
    return replace(run_request, settings=run_request.settings.model_copy(update={"training": training}))


def with_decisions(settings: RunConfig, choices: Sequence[Mapping[str, Any]]) -> RunConfig:
    """Return settings with every open option at the value that was chosen for it, as another machine or version might choose
    differently. A choice that is not a valid value of its option is left out."""
    for choice in choices:
        group, _, name = str(choice["option"]).rpartition(".")
        tree = settings.model_dump()
        if not group and name == "model" and settings.model == config.AUTO_MODEL:
            settings = settings.model_copy(update={"model": str(choice["value"])})
        if isinstance(tree.get(group), dict) and name in tree[group]:
            with contextlib.suppress(UserError):
                settings = config.build_options(RunConfig, config.merge_options(tree, {group: {name: choice["value"]}}))
    return settings


def _locate(source: object) -> str:
    path = Path(str(source))
    return str(path.absolute()) if path.exists() else str(source)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested groups as one mapping with dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def _option_name(name: str) -> str:
    """Return the name that a user types."""
    return name.removeprefix("settings.").replace("method_options.", "method.")
