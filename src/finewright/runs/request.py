"""What a run was asked to do: written before anything else, read again when it goes on, changed only on request."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.methods.base import Method
from finewright.runs.schema import RequestRecord, RunConfigFile

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
"""Knobs of `train` that `--change` may set inside a run; all others would make it another run."""
FREE = ("training.save_steps", "force")
"""Knobs that no result depends on."""
_AND = ", "


@dataclass(frozen=True)
class RunRequest:
    """`source`, `test`: where the data is, absolute for files. `settings`, `ways`: as asked, open knobs still open.

    Of several `ways` the first that fits is taken; only the first has knobs that are not its defaults.
    """

    source: str
    test: str | None
    settings: RunConfig
    candidates: tuple[Method, ...]

    @property
    def way(self) -> str:
        """The way's name, or that it is left open."""
        return self.candidates[0].name() if len(self.candidates) == 1 else methods.AUTO

    def record(self) -> RequestRecord:
        """What config.json keeps of it."""
        return RequestRecord(
            source=self.source,
            test=self.test,
            settings=self.settings.model_dump(),
            method=_AND.join(method.name() for method in self.candidates),
            method_options=self.candidates[0].model_dump(mode="json"),
        )


def make_request(source: object, *, test: object, settings: RunConfig, candidates: Sequence[Method]) -> RunRequest:
    """An order whose files are found again from any folder."""
    return RunRequest(_place(source), None if test is None else _place(test), settings, tuple(candidates))


def read_request(record: RequestRecord) -> RunRequest:
    """What `record` made; options that no longer exist are a `UserError`."""
    first, *others = record.method.split(_AND)
    candidates = (methods.build_method(first, record.method_options), *(methods.build_method(name, {}) for name in others))
    return RunRequest(record.source, record.test, config.build_options(RunConfig, record.settings), candidates)


def request_differences(kept: RequestRecord, wanted: RunRequest) -> list[str]:
    """`knob: then → now` for all in which two orders differ, knobs without influence aside."""
    then = flatten(read_request(kept).record().model_dump())
    now = flatten(wanted.record().model_dump())
    return [
        f"{_shown(name)}: {then.get(name)!r} → {now.get(name)!r}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name) and _shown(name) not in FREE
    ]


@dataclass(frozen=True)
class Change:
    """A knob that was set inside a run: `step` updates had been made."""

    option: str
    before: Any
    after: Any
    step: int = 0

    def as_json(self) -> dict[str, Any]:
        """For config.json and result.json."""
        return {"option": self.option, "from": self.before, "to": self.after, "step": self.step}


def for_resume(earlier: RunConfigFile | None, order: RunRequest, assignments: Sequence[str]) -> tuple[RunRequest, list[Change]]:
    """The order of a later life of a run, and what `--change` changes now. `kept`: the run's config.json.

    What was chosen, and changed, in earlier lives stays so. Knobs that would make it another run are a `UserError`.
    """
    if earlier is not None:
        choices = [choice.model_dump() for choice in earlier.choices]
        order = replace(order, settings=with_decisions(order.settings, choices))
    if earlier is not None and earlier.method:
        order = replace(order, candidates=(methods.build_method(earlier.method, earlier.method_options),))
    for change in earlier.changes if earlier is not None else ():
        order = _with(order, {change["option"].removeprefix("training."): change["to"]})
    wanted = {
        {"lr": "learning_rate"}.get(key, key.removeprefix("training.")): value
        for key, value in flatten(config.parse_assignments(assignments)).items()
    }
    for name in wanted:
        if name not in CHANGEABLE:
            fix = f"begin a new run; inside one can change: {', '.join(CHANGEABLE)}"
            raise UserError(f"{name} cannot change inside a run", where="--change", fix=fix)
    before, order = order.settings.training.model_dump(), _with(order, wanted)
    after = order.settings.training.model_dump()
    return order, [Change(f"training.{name}", before[name], after[name]) for name in wanted if before[name] != after[name]]


def _with(order: RunRequest, options: Mapping[str, Any]) -> RunRequest:
    training = config.build_options(config.TrainingConfig, {**order.settings.training.model_dump(), **options}, prefix="training")
    return replace(order, settings=order.settings.model_copy(update={"training": training}))


def with_decisions(settings: RunConfig, choices: Sequence[Mapping[str, Any]]) -> RunConfig:
    """Settings with every open knob at the value that was chosen for it: another machine, or another version's defaults,
    must not choose anew. A choice that is no value of its knob is left out."""
    for choice in choices:
        group, _, name = str(choice["option"]).rpartition(".")
        tree = settings.model_dump()
        if isinstance(tree.get(group), dict) and name in tree[group]:
            with contextlib.suppress(UserError):
                settings = config.build_options(RunConfig, config.merge_options(tree, {group: {name: choice["value"]}}))
    return settings


def _place(source: object) -> str:
    path = Path(str(source))
    return str(path.absolute()) if path.exists() else str(source)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups under dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def _shown(name: str) -> str:
    """The name a person types."""
    return name.removeprefix("settings.").replace("method_options.", "method.")
