"""What differs between two finished runs: options, data, results."""

from dataclasses import dataclass, field
from typing import Any

from finewright.runs import request, schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import RunConfigFile, RunResult

_RESULTS = (
    "trainable_parameters",
    "total_parameters",
    "epochs",
    "steps",
    "best_step",
    "train_seconds",
    "examples_per_second",
    "peak_memory_bytes",
    "artifact_bytes",
)
_METRICS_LEFT_OUT = (
    "worst_mistakes",
    "confusion",
    "confusions",
    "levels",
    "per_class",
    "per_label",
    "per_type",
    "type_confusion",
)
"""Too long for a line; each run shows its own."""

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class RunDifference:
    """Values of the first and the second run, by name, where they differ. A value that a run does not have is None."""

    options: dict[str, Pair] = field(default_factory=dict)
    data: dict[str, Pair] = field(default_factory=dict)
    metrics: dict[str, Pair] = field(default_factory=dict)

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return each group as a list of `name`, `first`, `second`."""
        return {
            group: [{"name": name, "first": first, "second": second} for name, (first, second) in found.items()]
            for group, found in vars(self).items()
        }


def compare_runs(first: RunFolder, second: RunFolder) -> RunDifference:
    """Return what differs between two finished runs. Options that were left open count with the value that was chosen."""
    configs = [schema.read(RunConfigFile, one.config) for one in (first, second)]
    results = [schema.read(RunResult, one.result) for one in (first, second)]
    return RunDifference(
        options=_different(*map(_options, configs)),
        data=_different(*(_data(config, result) for config, result in zip(configs, results, strict=True))),
        metrics=_different(*map(_metrics, results)),
    )


def _options(config: RunConfigFile) -> dict[str, Any]:
    options = request.flatten(config.settings)
    options |= {choice.option: choice.value for choice in config.choices if options.get(choice.option, "auto") in (None, "auto")}
    model = config.model.name if config.model else options.get("model")
    own = {f"method.{name}": value for name, value in request.flatten(config.method_options).items()}
    return {**options, "model": model, "method": config.method, "precision": config.precision, **own}


def _data(config: RunConfigFile, result: RunResult) -> dict[str, Any]:
    rows = {name: getattr(result, name) for name in ("num_train", "num_validation", "num_test")}
    source = {"source": config.request.source, "test": config.request.test}
    return {**source, "fingerprint": config.data_fingerprint[:12], "labels": config.labels, **rows}


def _metrics(result: RunResult) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in ("test", "validation"):
        if measured := getattr(result.metrics, split):
            values = measured.model_dump(mode="json")
            found |= {f"{split}.{name}": value for name, value in values.items() if name not in _METRICS_LEFT_OUT}
    return found | {name: getattr(result, name) for name in _RESULTS}


def _different(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Pair]:
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}
