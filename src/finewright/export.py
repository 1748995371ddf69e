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
from typing import Any, Literal

import numpy as np

from finewright import disk, evaluate, memory, methods, models, quantization, results, shapes
from finewright.errors import ExitCode, UserError
from finewright.evaluate import Predictor
from finewright.run import RunFolder

BaseKind = Literal["dequantised", "published"]
BASES: tuple[BaseKind, ...] = ("dequantised", "published")
CHEAP_BYTES = 2_000_000_000
"""A merged model up to this size is made of both bases and measured, whichever was asked for."""
EXACT = 1e-3
"""Largest difference of a float32 score that rounding explains, relative to the largest score."""


@dataclass(frozen=True)
class Change:
    """What merging into a base changed, on the run's test rows. `largest_difference`: of a score; `changed`: other labels."""

    base: BaseKind
    largest_difference: float
    changed: int
    accuracy_after: float


@dataclass(frozen=True)
class Merged:
    """`change`: of the base that was taken, for this `reason`; `other`: of the one that was not, where it was measured.

    `exact`: it is the base the adapter was trained on, so that nothing but rounding may differ. `quantised`: there were two.
    """

    folder: Path
    num_rows: int
    accuracy_before: float
    change: Change
    other: Change | None
    reason: str
    exact: bool
    quantised: bool

    def as_json(self) -> dict[str, Any]:
        """Every number by name."""
        told = {key: value for key, value in asdict(self).items() if key != "change"}
        return {**told, **asdict(self.change), "folder": str(self.folder)}


@dataclass(frozen=True)
class _Judge:
    """A run's test rows and its own scores for them. `exact_scores`: in float32, which a merged model must reproduce."""

    run: RunFolder
    texts: Sequence[str]
    targets: Sequence[str]
    labels: tuple[str, ...]
    scores: np.ndarray
    exact_scores: np.ndarray
    reading: dict[str, Any]

    def accuracy(self, scores: np.ndarray) -> float:
        """Share of right labels."""
        picks = evaluate.probabilities(scores).argmax(axis=1)
        return float(np.mean([self.labels[pick] == target for pick, target in zip(picks, self.targets, strict=True)]))

    def made(self, folder: Path, *, base: BaseKind, exact: bool) -> Change:
        """Merge into one base, and look at it."""
        _write(self.run.model, folder, dequantised=base == "dequantised")
        return self.look(folder, base=base, exact=exact)

    def look(self, folder: Path, *, base: BaseKind, exact: bool) -> Change:
        """What a merged model changed; one that ought to be the run's own and is not is a `UserError`."""
        scores = Predictor.load(folder, bfloat16=False, **self.reading).score(self.texts)
        strayed = float(np.abs(self.exact_scores - scores).max())
        bound = EXACT * max(1.0, float(np.abs(self.exact_scores).max()))
        if exact and not strayed <= bound:
            what = f"scores of the merged model differ by {strayed:.2e} from the adapter's (allowed: {bound:.0e})"
            fix = "please report this with the command"
            raise UserError(what, where=str(self.run.model), fix=fix, code=ExitCode.MISMATCH)
        before, after = (evaluate.probabilities(one).argmax(axis=1) for one in (self.scores, scores))
        largest = float(np.abs(self.scores - scores).max())
        return Change(base, largest, int((before != after).sum()), self.accuracy(scores))


def merge(run: RunFolder, *, out: Path | None = None, base: BaseKind | None = None) -> Merged:
    """Write the merged model to `out` (`RUN/merged`), then load it again and compare it with the run on its test rows.

    `base`: what it is merged into when the run's base was in four bits; without it, whichever changes the scores least. A way
    that cannot be merged, an `out` in use, or a merged model that is not the run's are `UserError`s. Where a base is asked for
    and the other one, made for comparison, goes wrong, there is no `other` and the reason says so.
    """
    quantised = _require_mergeable(run, base=base)
    results.require_whole(run.model, run.read_json(run.result).get("files", {}))
    target = out or run.path / "merged"
    lines = run.read_lines(run.predictions) if run.predictions.exists() else []
    if not lines:
        raise UserError("the run has no test rows to measure the merging on", where=str(run.path), fix="train with a test split")
    with disk.explained(target, fix="make room, or choose another --out"), _draft(target) as part:
        judge, changes, failed = _judge(run, lines, quantised=quantised), [], ""
        for kind in _worth_making(run, base=base, quantised=quantised):
            try:
                changes.append(judge.made(part / kind, base=kind, exact=kind == "dequantised" or not quantised))
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
        disk.sync_all(part / taken.base)
        disk.rename(part / taken.base, target)
    return merged


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A folder beside `target` for what may become it; it goes away with what is left in it."""
    if target.exists():
        raise UserError("there is something already", where=str(target), fix="choose another --out")
    disk.make_folder(target.parent)
    part = Path(tempfile.mkdtemp(prefix=f"{disk.DRAFT}{target.name[:40]}-", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_mergeable(run: RunFolder, *, base: BaseKind | None) -> bool:
    """Whether the run's base was in four bits; a way without anything to merge, or a base it does not have, is refused."""
    kind = methods.kind(run.read_json(run.config)["method"])
    if not kind.mergeable:
        whole = (
            "its model folder is whole already" if kind.saves == "model" else "its vectors stand before the text, not in a weight"
        )
        raise UserError(f"{kind.name()} has nothing to merge: {whole}", where=str(run.path), fix=f"use {run.model}")
    if base is not None and base not in BASES:
        raise UserError(f"wanted {' or '.join(BASES)}, found {base!r}", where="base", fix="leave it out: the better one is taken")
    quantised = quantization.read(run.model) is not None
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


def _choose(changes: Sequence[Change], *, base: BaseKind | None, quantised: bool) -> tuple[Change, str]:
    """What is kept, and why."""
    if not quantised:
        return changes[0], "the base it was trained on"
    if base is not None:
        return next(change for change in changes if change.base == base), "as asked for"
    best = min(changes, key=lambda change: change.largest_difference)
    if len(changes) > 1:
        return best, "it changes the scores least"
    size = memory.in_words(CHEAP_BYTES)
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
    network, tokenizer = models.merged(adapter, dequantised=dequantised)
    with shapes.quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _judge(run: RunFolder, lines: list[dict[str, Any]], *, quantised: bool) -> _Judge:
    config = run.read_json(run.config)
    texts, targets = [line["text"] for line in lines], [line["label"] for line in lines]
    reading: dict[str, Any] = {"limit": config["max_length"], "keep_end": config["settings"]["data"]["keep_end"]}
    exact = Predictor.load(run.model, bfloat16=False, **reading)
    exact_scores = scores = exact.score(texts)
    if quantised and config.get("precision") == "bfloat16":  # four-bit products were trained in the run's own precision
        scores = Predictor.load(run.model, bfloat16=True, **reading).score(texts)
    return _Judge(run, texts, targets, exact.labels, scores, exact_scores, reading)
