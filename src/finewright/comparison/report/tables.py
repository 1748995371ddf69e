"""The tables of a comparison's page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finewright.comparison.report import figures
from finewright.comparison.report.document import Block, Cell, Table
from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.summary import shown_p

MOST_ROWS = 20
MOST_CONFUSIONS = 10
MOST_CHARACTERS = 300
TRAINING_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of a run: where its loss and accuracy are told."""


def accuracies(standings: ComparisonResults, lines: Mapping[str, Any]) -> Table:
    """Accuracy and macro F1 with their intervals, and the test against the best."""
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        summary = standings.summaries[entry.name]
        difference, p_value = lines[entry.name]["difference_to_best"], lines[entry.name]["p_value"]
        against = "the best" if p_value is None else f"{signed(100 * difference)} points, p {shown_p(p_value)}"
        rows.append(
            [
                named(entry),
                f"{summary.accuracy:.1%}",
                "{:.1%} – {:.1%}".format(*summary.accuracy_ci95),
                f"{summary.macro_f1:.3f}",
                "{:.3f} – {:.3f}".format(*summary.macro_f1_ci95),
                against,
                str(len(entry.results)),
            ]
        )
    headings = ["way", "test accuracy", "95 % interval", "macro F1", "95 % interval", "against the best", "runs"]
    return Table("Accuracy on the test rows, the most accurate first.", headings, rows)


def prices(standings: ComparisonResults, lines: Mapping[str, Any]) -> Table:
    """What every way costs. `lines`: of results.json, by name."""
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        line = lines[entry.name]
        trained = _number(line["trainable_parameters"], "{:,}")
        share = "" if line["trainable_fraction"] is None else f" ({line['trainable_fraction']:.2%})"
        rows.append(
            [
                named(entry),
                f"{trained}{share}",
                _number(line["train_seconds"], "{:,.1f}"),
                _number(line["best_seconds"], "{:,.1f}"),
                _megabytes(line["planned_peak_memory_bytes"]),
                _megabytes(line["peak_memory_bytes"]),
                _number(line["predict_texts_per_second"], "{:,.0f}"),
                _megabytes(line["artifact_bytes"]),
            ]
        )
    headings = ["way", "trained numbers (share)", "seconds", "to the best step"]
    headings += ["MB planned", "MB measured", "texts/s", "MB saved"]
    return Table("What they cost: means over seeds, memory the largest.", headings, rows)


def curve(standings: ComparisonResults) -> Table:
    """Accuracy at every size of the training set."""
    sizes = list(dict.fromkeys(entry.size for entry in standings.curve))
    rows: list[list[str | Cell]] = []
    for entry in standings.entries:
        found = [standings.curve_summaries.get((size, entry.name)) for size in sizes]
        cells = ["–" if one is None else "{:.1%} ({:.1%} – {:.1%})".format(one.accuracy, *one.accuracy_ci95) for one in found]
        rows.append([named(entry), *cells])
    return Table("Test accuracy by training rows, with 95 % intervals.", ["way", *(f"{size} rows" for size in sizes)], rows)


def training(standings: ComparisonResults) -> Table | None:
    """Loss and validation accuracy on the way; None where no run was watched."""
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        seen = [learnt for learnt in entry.training if learnt.loss]
        if not seen:
            continue
        cells = []
        for share in TRAINING_SHARES:
            loss = [_by_then(learnt.smooth_loss(), share * learnt.loss[-1][0]) for learnt in seen]
            accuracy = [_by_then(learnt.accuracy, share * learnt.loss[-1][0]) for learnt in seen]
            cells.append(f"{_mean(loss, '{:.3f}')} / {_mean(accuracy, '{:.1%}')}")
        rows.append([named(entry), *cells])
    if not rows:
        return None
    caption = "Loss on training batches (smoothed) / accuracy on validation, as last seen by then; mean over seeds."
    return Table(caption, ["way", *(f"{share:.0%} of the passes" for share in TRAINING_SHARES)], rows)


def _by_then(curve: Sequence[tuple[float, float]], at: float) -> float | None:
    return next((value for place, value in reversed(curve) if place <= at + 1e-9), None)


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known) / len(known) if known else None, form)


def matrix(entry: MethodResult, labels: Sequence[str]) -> Table:
    """The whole confusion matrix of a way, shaded by the share of the row."""
    counts = entry.confusion(num_labels=len(labels))
    rows: list[list[str | Cell]] = []
    for label, line in zip(labels, counts, strict=True):
        total = max(line.sum(), 1e-9)
        rows.append([label, *(Cell(f"{count:.4g}", shade=float(count / total)) for count in line)])
    per_seed = ", mean over seeds" if len(entry.results) > 1 else ""
    return Table(f"{entry.name}: rows by label (down) and predicted label (across){per_seed}.", ["label", *labels], rows)


def most_confused(entry: MethodResult, labels: Sequence[str]) -> Table:
    """The most frequent confusions of a way with many labels."""
    counts = entry.confusion(num_labels=len(labels))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    places = [divmod(int(index), len(labels)) for index in order]
    rows: list[list[str | Cell]] = [[labels[i], labels[j], f"{counts[i, j]:.4g}"] for i, j in places if counts[i, j] > 0]
    return Table(f"{entry.name}: what it confuses most.", ["label", "predicted", "rows"], rows)


def disagreements(results: Mapping[str, Any]) -> list[Block]:
    """Rows that the ways label differently."""
    rows: list[list[str | Cell]] = []
    for line in results["disagreements"][:MOST_ROWS]:
        text = line["text"] if len(line["text"]) <= MOST_CHARACTERS else f"{line['text'][:MOST_CHARACTERS]} …"
        rows.append([text, line["label"], _said(line)])
    caption = f"The {len(rows)} of {results['num_disagreements']:,} such rows on which the ways are most divided. "
    caption += "What a way says is what most of its seeds say; ✓ is right."
    return [Table(caption, ["text", "label", "what they say"], rows, numeric=False)] if rows else []


def _said(line: Mapping[str, Any]) -> str:
    """`✓ lora, full; returns: prompt`: the ways by what they predict, the right ones first."""
    groups: dict[str, list[str]] = {}
    for name, label in line["predicted"].items():
        groups.setdefault(label, []).append(name)
    order = sorted(groups, key=lambda label: label != line["label"])
    return "; ".join(f"{'✓' if label == line['label'] else f'{label}:'} {', '.join(groups[label])}" for label in order)


def search(results: Mapping[str, Any]) -> list[Block]:
    """What the search tried and chose, way by way."""
    rows: list[list[str | Cell]] = []
    for way, record in (results["search"] or {}).items():
        done = [trial for trial in record["trials"] if trial["accuracy"] is not None]
        first, best = record["trials"][0]["accuracy"], record["best"]
        chosen = ", ".join(f"{key} = {_short(value)}" for key, value in best["params"].items()) if best else "none finished"
        accuracies = [_number(first, "{:.1%}"), _number(best["accuracy"] if best else None, "{:.1%}")]
        number = f"{len(done)} of {len(record['trials'])}"
        rows.append([Cell(way, style=figures.style(way)), number, *accuracies, chosen or "the defaults"])
    if not rows:
        return []
    caption = "On the validation rows, with one seed; the same number of trials for every way. "
    caption += "What was best was used for every run above."
    return [Table(caption, ["way", "trials finished", "defaults", "best", "with"], rows, numeric=False)]


def plans(standings: ComparisonResults) -> list[Block]:
    """Planned memory and time beside the measured."""
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        if entry.kind == "baseline":
            continue
        planned, measured = entry.most("planned_peak_memory_bytes"), entry.most("peak_memory_bytes")
        seconds, took = entry.mean("planned_seconds"), entry.mean("train_seconds")
        took = took and took - (entry.mean("saving_seconds") or 0.0)
        rows.append(
            [
                named(entry),
                _megabytes(planned),
                _megabytes(measured),
                signed(planned / measured - 1, ".0%") if planned and measured else "–",
                _number(seconds, "{:,.1f}"),
                _number(took, "{:,.1f}"),
                signed(seconds / took - 1, ".0%") if seconds and took else "–",
            ]
        )
    headings = ["way", "MB planned", "MB measured", "off by", "seconds planned", "seconds measured", "off by"]
    caption = "The plan before training beside what training took, the saving of checkpoints left out."
    return [Table(caption, headings, rows)] if rows else []


def named(entry: MethodResult) -> Cell:
    """The name of an entry with its colour and shape."""
    return Cell(entry.name, style=figures.style(entry.name), hollow=entry.kind == "baseline")


def signed(value: float, form: str = ".1f") -> str:
    """With a true minus sign, and none before a zero."""
    text = format(value, f"+{form}").replace("-", "−")
    return text if text.strip("+−0.%") else text.strip("+−")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f}" if value >= 1e7 else f"{value / 1e6:.2f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
