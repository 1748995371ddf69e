"""Merge an adapter into its base: one ordinary model folder, and a measurement of what the merging changed.

An adapter that was trained on a base in four bits can be merged into one of two bases: the published one, or the dequantised
one, whose weights are the values of the four-bit weights that the adapter was trained on.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.core import files, units
from finewright.core.errors import UserError
from finewright.core.units import counted
from finewright.exporters.verification import BaseKind, ExportCheck, MergeChange, start_check
from finewright.methods.base import Method
from finewright.models import loading, meta, quantization, sentence_folder
from finewright.runs import model_folder, request, schema
from finewright.runs.calibration import CALIBRATION_FILE, describe_temperature, read_calibration
from finewright.runs.folder import RunFolder
from finewright.runs.intervals import INTERVALS_FILE
from finewright.runs.schema import PredictionLine, RunConfigFile, RunResult
from finewright.runs.thresholds import THRESHOLDS_FILE, describe_for_card
from finewright.tasks.measures import Metric

BASES: tuple[BaseKind, ...] = ("dequantised", "published")
CHEAP_BYTES = 2_000_000_000
"""Up to this size a merged model is made from both bases and measured, whichever was requested."""


@dataclass(frozen=True)
class Merged:
    """A merged model, and what the merging changed.

    `change`: with the chosen base, for this `reason`. `other`: with the other base, if it was measured.

    `metric_before`: the `metric` of the run on its test rows.
    `exact`: the base is the one the adapter was trained on, so that only rounding may differ. `quantised`: there were two bases.
    """

    folder: Path
    num_rows: int
    metric: Metric
    metric_before: float
    change: MergeChange
    other: MergeChange | None
    reason: str
    exact: bool
    quantised: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values by name."""
        others = {key: value for key, value in asdict(self).items() if key != "change"}
        return {**others, **asdict(self.change), "folder": str(self.folder), "metric": self.metric.name}


def export_merged(run: RunFolder, *, out: Path | None = None, base: BaseKind | None = None) -> Merged:
    """Write the merged model to `out` (`RUN/merged`), reload it and compare it with the run on the test rows.

    `base`: which base to merge into if it was in four bits; without it, the one that changes the scores least. Raise `UserError`
    if the method cannot be merged, `out` exists, or the merged model does not reproduce the run. If `base` is given and the
    other one, made for comparison, fails, there is no `other`, and the reason says so.
    """
    config, result = schema.read(RunConfigFile, run.config), schema.read(RunResult, run.result)
    if request.is_baseline(config.request):
        what = f"{config.method} has nothing to merge: a baseline's model folder is complete already"
        raise UserError(what, where=str(run.path), fix=f"use {run.model}")
    quantised = _check_mergeable(run, method=methods.get_method(config.method), base=base)
    model_folder.check_files(run.model, result.files)
    target = out or run.path / "merged"
    lines = schema.read_lines(PredictionLine, run.predictions) if run.predictions.exists() else []
    if not lines:
        raise UserError("the run has no test rows to measure the merge on", where=str(run.path), fix="train with a test split")
    with files.explaining_os_errors(target, fix="make room, or choose another --out"), _draft_folder(target) as draft:
        check, changes, failed = start_check(run, lines, config=config, result=result, quantised=quantised), [], ""
        for kind in _bases_to_try(result, base=base, quantised=quantised):
            try:
                changes.append(_merge_and_compare(check, draft / kind, base=kind, exact=kind == "dequantised" or not quantised))
            except Exception as error:
                if base in (None, kind):
                    raise
                failed = f"; the {kind} base could not be compared: {str(error).splitlines()[0] if str(error) else error!r}"
                shutil.rmtree(draft / kind, ignore_errors=True)  # the requested one may need the space
        chosen, reason = _choose(changes, base=base, quantised=quantised)
        reason += failed
        other = next((change for change in changes if change is not chosen), None)
        exact, before = chosen.base == "dequantised" or not quantised, check.metric_before()
        merged = Merged(target, len(check.examples), check.metric, before, chosen, other, reason, exact, quantised)
        (draft / chosen.base / "README.md").write_text(_card(run, merged), encoding="utf-8")
        _copy_calibration(run, draft / chosen.base)
        files.sync_all(draft / chosen.base)
        files.rename(draft / chosen.base, target)
    return merged


def _copy_calibration(run: RunFolder, folder: Path) -> None:
    """The merged model has the scores of the run, so their temperature, thresholds and errors hold for it too."""
    for name in (CALIBRATION_FILE, THRESHOLDS_FILE, INTERVALS_FILE):
        if (run.model / name).exists():
            shutil.copyfile(run.model / name, folder / name)


@contextlib.contextmanager
def _draft_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside `target`, and remove it afterwards with what is left in it."""
    if target.exists():
        raise UserError("something is there already", where=str(target), fix="choose another --out")
    files.make_folder(target.parent)
    draft = Path(tempfile.mkdtemp(prefix=f"{files.DRAFT}{target.name[:40]}-", dir=target.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_mergeable(run: RunFolder, *, method: type[Method], base: BaseKind | None) -> bool:
    """Return whether the base was in four bits. Raise `UserError` if there is nothing to merge, or no such base."""
    if not method.mergeable:
        prompt = "its vectors come before the text, they are not part of a weight"
        reason = "its model folder is complete already" if method.saves == "model" else prompt
        raise UserError(f"{method.name()} has nothing to merge: {reason}", where=str(run.path), fix=f"use {run.model}")
    if base is not None and base not in BASES:
        raise UserError(f"wanted {' or '.join(BASES)}, found {base!r}", where="base", fix="without it the better one is chosen")
    quantised = quantization.read_quantization(run.model) is not None
    if base == "dequantised" and not quantised:
        what = f"{method.name()} was trained on the full-precision base: there is no other"
        raise UserError(what, where="base", fix="do not give --base")
    return quantised


def _bases_to_try(result: RunResult, *, base: BaseKind | None, quantised: bool) -> list[BaseKind]:
    """Return both bases if there are two and the merged models are small; else the requested one, or the one trained on."""
    if not quantised:
        return ["published"]
    num_bytes = 4 * result.total_parameters
    return list(BASES) if num_bytes <= CHEAP_BYTES else [base or "dequantised"]


def _choose(changes: Sequence[MergeChange], *, base: BaseKind | None, quantised: bool) -> tuple[MergeChange, str]:
    """Return the change with the chosen base, and why it was chosen."""
    if not quantised:
        return changes[0], "the base it was trained on"
    if base is not None:
        return next(change for change in changes if change.base == base), "as requested"
    best = min(changes, key=lambda change: change.largest_difference)
    if len(changes) > 1:
        return best, "it changes the scores least"
    size = units.format_bytes(CHEAP_BYTES)
    return best, f"the weights it was trained on; above {size} the other one is not measured"


def _card(run: RunFolder, merged: Merged) -> str:
    """Return the README of the merged model: where it comes from, and what merging changed."""
    origin = "its base"
    if merged.quantised:
        origin = (
            "its base dequantised: the values of the four-bit weights that it was trained on"
            if merged.exact
            else "the full-precision base, whose weights are not the four-bit ones it was trained on"
        )
    change, metric = merged.change, merged.metric
    before, after = metric.format(merged.metric_before), metric.format(change.metric_after)
    changed = "" if change.changed is None else f"| labels that changed | {change.changed:,} |\n"
    return (
        f"# {merged.folder.name}\n\nThe adapter of the run `{run.path.name}`, merged into {origin}.\n\n"
        f"| on {counted(merged.num_rows, 'test row')} | |\n|---|---|\n"
        f"| {metric.name} before, after | {before}, {after} |\n"
        f"{changed}| largest change of a score | {change.largest_difference:.2e} |\n"
        f"{describe_temperature(read_calibration(run.model))}{describe_for_card(run.model)}"
    )


def _merge_and_compare(check: ExportCheck, folder: Path, *, base: BaseKind, exact: bool) -> MergeChange:
    """Merge into one base and write the model. It is merged on the CPU, whose memory is the larger; then measure the change."""
    merged, tokenizer = loading.load_merged(check.run.model, auto_model=check.task.auto_model, dequantised=base == "dequantised")
    with meta.quiet_libraries():
        sentence_folder.save_network(merged.network, folder, architecture=merged.architecture)
        tokenizer.save_pretrained(folder)
    sentence_folder.write_max_length(folder, tokenizer.model_max_length)
    del merged  # the check loads the model again
    return check.compare(folder, base=base, exact=exact)
