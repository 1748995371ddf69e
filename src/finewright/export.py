"""An adapter merged into its base: one ordinary model folder, and what the merging changed, measured."""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright import evaluate, methods, models, quantization, shapes
from finewright.errors import ExitCode, UserError
from finewright.evaluate import Predictor
from finewright.run import RunFolder


@dataclass(frozen=True)
class Merged:
    """What merging changed, on the run's test rows. `largest_difference`: of a score; `changed`: labels that are now others.

    `exact`: the base was in full precision when the adapter was trained, so that nothing but rounding may differ.
    """

    folder: Path
    num_rows: int
    largest_difference: float
    changed: int
    accuracy_before: float
    accuracy_after: float
    exact: bool

    def as_json(self) -> dict[str, Any]:
        """Every number by name."""
        return {**asdict(self), "folder": str(self.folder)}


EXACT = 1e-3
"""Largest difference of a float32 score that rounding explains, relative to the largest score."""


def merge(run: RunFolder, *, out: Path | None = None) -> Merged:
    """Write the merged model to `out` (`RUN/merged`), then load it again and compare it with the run on its test rows.

    A way that cannot be merged, an `out` in use, or a merged model that is not the run's are `UserError`s.
    """
    config = run.read_json(run.config)
    kind = methods.kind(config["method"])
    if not kind.mergeable:
        whole = (
            "its model folder is whole already" if kind.saves == "model" else "its vectors stand before the text, not in a weight"
        )
        raise UserError(f"{kind.name()} has nothing to merge: {whole}", where=str(run.path), fix=f"use {run.model}")
    target = out or run.path / "merged"
    lines = run.read_lines(run.predictions) if run.predictions.exists() else []
    if not lines:
        raise UserError("the run has no test rows to measure the merging on", where=str(run.path), fix="train with a test split")
    exact, part = quantization.read(run.model) is None, None
    try:
        if target.exists():
            raise UserError("there is something already", where=str(target), fix="choose another --out")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
        _write(run.model, part)
        merged = Merged(target, exact=exact, **_compare(run, part, lines, config=config, exact=exact))
        (part / "README.md").write_text(_card(run, merged), encoding="utf-8")
        part.chmod(0o755)
        part.rename(target)
    except OSError as error:
        what = f"cannot write: {error.strerror}"
        raise UserError(what, where=str(target), fix="choose another --out", code=ExitCode.DISK) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return merged


def _card(run: RunFolder, merged: Merged) -> str:
    """What the merged folder says of itself: where it comes from, and what merging changed."""
    origin = "the full-precision base, other weights than it was trained on" if not merged.exact else "its base"
    return (
        f"# {merged.folder.name}\n\nThe adapter of the run `{run.path.name}`, merged into {origin}.\n\n"
        f"| on {merged.num_rows:,} test rows | |\n|---|---|\n"
        f"| accuracy before, after | {merged.accuracy_before:.1%}, {merged.accuracy_after:.1%} |\n"
        f"| labels that changed | {merged.changed:,} |\n| largest change of a score | {merged.largest_difference:.2e} |\n"
    )


def _write(adapter: Path, folder: Path) -> None:
    network, tokenizer = models.merged(adapter)
    with shapes.quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _compare(run: RunFolder, folder: Path, lines: list[dict[str, Any]], *, config: dict[str, Any], exact: bool) -> dict[str, Any]:
    texts, labels = [line["text"] for line in lines], [line["label"] for line in lines]
    given: dict[str, Any] = {"limit": config["max_length"], "keep_end": config["settings"]["data"]["keep_end"]}
    half = config.get("precision") == "bfloat16" and not exact  # four-bit products were trained in the run's own precision
    before, after = Predictor.load(run.model, bfloat16=half, **given), Predictor.load(folder, bfloat16=False, **given)
    scores = [predictor.score(texts) for predictor in (before, after)]
    largest = float(np.abs(scores[0] - scores[1]).max())
    bound = EXACT * max(1.0, float(np.abs(scores[0]).max()))
    if exact and not largest <= bound:
        what = f"scores of the merged model differ by {largest:.2e} from the adapter's (allowed: {bound:.0e})"
        raise UserError(what, where=str(run.model), fix="please report this with the command", code=ExitCode.MISMATCH)
    chosen = [evaluate.probabilities(one).argmax(axis=1) for one in scores]
    right = [
        float(np.mean([before.labels[pick] == label for pick, label in zip(picks, labels, strict=True)])) for picks in chosen
    ]
    return {
        "num_rows": len(texts),
        "largest_difference": largest,
        "changed": int((chosen[0] != chosen[1]).sum()),
        "accuracy_before": right[0],
        "accuracy_after": right[1],
    }
