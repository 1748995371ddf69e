"""An adapter merged into its base: one ordinary model folder, and what the merging changed, measured.

An adapter that was trained on a base in four bits can go into one of two: the base as it was published, or dequantised, which
are the numbers that the four bits stand for and that the adapter was trained on.
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
from finewright.exporters.verification import BaseKind, ExportCheck, MergeChange, start_check
from finewright.models import loading, meta, quantization
from finewright.runs import model_folder
from finewright.runs.folder import RunFolder

BASES: tuple[BaseKind, ...] = ("dequantised", "published")
CHEAP_BYTES = 2_000_000_000
"""A merged model up to this size is made of both bases and measured, whichever was asked for."""


@dataclass(frozen=True)
class Merged:
    """`change`: of the base that was taken, for this `reason`; `other`: of the one that was not, where it was measured.

    `exact`: it is the base the adapter was trained on, so that nothing but rounding may differ. `quantised`: there were two.
    """

    folder: Path
    num_rows: int
    accuracy_before: float
    change: MergeChange
    other: MergeChange | None
    reason: str
    exact: bool
    quantised: bool

    def as_json(self) -> dict[str, Any]:
        """Every number by name."""
        told = {key: value for key, value in asdict(self).items() if key != "change"}
        return {**told, **asdict(self.change), "folder": str(self.folder)}


def export_merged(run: RunFolder, *, out: Path | None = None, base: BaseKind | None = None) -> Merged:
    """Write the merged model to `out` (`RUN/merged`), then load it again and compare it with the run on its test rows.

    `base`: what it is merged into when the run's base was in four bits; without it, whichever changes the scores least. A way
    that cannot be merged, an `out` in use, or a merged model that is not the run's are `UserError`s. Where a base is asked for
    and the other one, made for comparison, goes wrong, there is no `other` and the reason says so.
    """
    quantised = _require_mergeable(run, base=base)
    model_folder.check_files(run.model, run.read_json(run.result).get("files", {}))
    target = out or run.path / "merged"
    lines = run.read_lines(run.predictions) if run.predictions.exists() else []
    if not lines:
        raise UserError("the run has no test rows to measure the merging on", where=str(run.path), fix="train with a test split")
    with files.explaining_os_errors(target, fix="make room, or choose another --out"), _draft(target) as part:
        judge, changes, failed = start_check(run, lines, quantised=quantised), [], ""
        for kind in _worth_making(run, base=base, quantised=quantised):
            try:
                changes.append(_merge_and_check(judge, part / kind, base=kind, exact=kind == "dequantised" or not quantised))
            except Exception as error:
                if base in (None, kind):
                    raise
                failed = f"; the {kind} base could not be compared: {str(error).splitlines()[0] if str(error) else error!r}"
                shutil.rmtree(part / kind, ignore_errors=True)  # what is asked for may need the room
        taken, reason = _choose(changes, base=base, quantised=quantised)
        reason += failed
        other = next((change for change in changes if change is not taken), None)
        exact, before = taken.base == "dequantised" or not quantised, judge.accuracy(judge.scores)
        merged = Merged(target, len(lines), before, taken, other, reason, exact, quantised)
        (part / taken.base / "README.md").write_text(_card(run, merged), encoding="utf-8")
        files.sync_all(part / taken.base)
        files.rename(part / taken.base, target)
    return merged


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A folder beside `target` for what may become it; it goes away with what is left in it."""
    if target.exists():
        raise UserError("there is something already", where=str(target), fix="choose another --out")
    files.make_folder(target.parent)
    part = Path(tempfile.mkdtemp(prefix=f"{files.DRAFT}{target.name[:40]}-", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_mergeable(run: RunFolder, *, base: BaseKind | None) -> bool:
    """Whether the run's base was in four bits; a way without anything to merge, or a base it does not have, is refused."""
    kind = methods.get_method(run.read_json(run.config)["method"])
    if not kind.mergeable:
        whole = (
            "its model folder is whole already" if kind.saves == "model" else "its vectors stand before the text, not in a weight"
        )
        raise UserError(f"{kind.name()} has nothing to merge: {whole}", where=str(run.path), fix=f"use {run.model}")
    if base is not None and base not in BASES:
        raise UserError(f"wanted {' or '.join(BASES)}, found {base!r}", where="base", fix="leave it out: the better one is taken")
    quantised = quantization.read_quantization(run.model) is not None
    if base == "dequantised" and not quantised:
        what = f"{kind.name()} was trained on the full-precision base: there is no other"
        raise UserError(what, where="base", fix="leave --base out")
    return quantised


def _worth_making(run: RunFolder, *, base: BaseKind | None, quantised: bool) -> list[BaseKind]:
    """Both bases where there are two and the merged models are small; else the one asked for, or the one trained on."""
    if not quantised:
        return ["published"]
    num_bytes = 4 * run.read_json(run.result)["total_parameters"]
    return list(BASES) if num_bytes <= CHEAP_BYTES else [base or "dequantised"]


def _choose(changes: Sequence[MergeChange], *, base: BaseKind | None, quantised: bool) -> tuple[MergeChange, str]:
    """What is kept, and why."""
    if not quantised:
        return changes[0], "the base it was trained on"
    if base is not None:
        return next(change for change in changes if change.base == base), "as asked for"
    best = min(changes, key=lambda change: change.largest_difference)
    if len(changes) > 1:
        return best, "it changes the scores least"
    size = units.format_bytes(CHEAP_BYTES)
    return best, f"the weights it was trained on; over {size} the other is not made to be measured"


def _card(run: RunFolder, merged: Merged) -> str:
    """What the merged folder says of itself: where it comes from, and what merging changed."""
    origin = "its base"
    if merged.quantised:
        origin = (
            "its base dequantised: the four-bit weights that it was trained on, written out in full"
            if merged.exact
            else "the full-precision base, other weights than the four-bit ones it was trained on"
        )
    change, after = merged.change, f"{merged.change.accuracy_after:.1%}"
    return (
        f"# {merged.folder.name}\n\nThe adapter of the run `{run.path.name}`, merged into {origin}.\n\n"
        f"| on {merged.num_rows:,} test rows | |\n|---|---|\n"
        f"| accuracy before, after | {merged.accuracy_before:.1%}, {after} |\n"
        f"| labels that changed | {change.changed:,} |\n| largest change of a score | {change.largest_difference:.2e} |\n"
    )


def _write(adapter: Path, folder: Path, *, dequantised: bool) -> None:
    network, tokenizer = loading.load_merged(adapter, dequantised=dequantised)
    with meta.quiet_libraries():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _merge_and_check(check: ExportCheck, folder: Path, *, base: BaseKind, exact: bool) -> MergeChange:
    """Merge into one base, and look at it."""
    _write(check.run.model, folder, dequantised=base == "dequantised")
    return check.look(folder, base=base, exact=exact)
