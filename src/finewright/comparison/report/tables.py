"""The tables of a comparison's report."""

from collections.abc import Sequence
from typing import Any

from finewright.comparison import confusions, type_scores
from finewright.comparison.report import figures
from finewright.comparison.report.document import Block, Cell, Fold, Table
from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.schema import ComparisonResultsFile, DisagreementRow
from finewright.comparison.search import Trial
from finewright.comparison.summary import format_p
from finewright.tasks import entity_metrics

MOST_ROWS = 20
MOST_CONFUSIONS = 10
MOST_CHARACTERS = 300
TRAINING_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Fractions of training at which the table shows loss and accuracy."""


def scores(results: ComparisonResults, file: ComparisonResultsFile) -> Table:
    """Return the score and macro F1 with their intervals, or the further metrics, and the test against the best."""
    more = results.more_metrics
    lines = file.by_method
    rows: list[list[str | Cell]] = []
    for entry in results.measured:
        summary = results.summaries[entry.name]
        difference, p_value = lines[entry.name].difference_to_best, lines[entry.name].p_value
        known = difference is not None and p_value is not None
        against = f"{signed(100 * difference)} points, p {format_p(p_value)}" if known else "the best"
        rows.append(
            [
                named(entry),
                f"{summary.score:.1%}",
                "{:.1%} – {:.1%}".format(*summary.score_ci95),
                *([_share(summary.macro_f1), _range(summary.macro_f1_ci95)] if results.has_classes else []),
                *(_number(lines[entry.name].test_metrics.get(name), "{:.4g}") for name in more),
                against,
                str(len(entry.results)),
            ]
        )
    further = ["macro F1", "95% interval"] if results.has_classes else [name.replace("_", " ") for name in more]
    headings = ["method", figures.on_test(results), "95% interval", *further, "against the best", "runs"]
    if results.has_classes:
        return Table("Accuracy on the test rows, the most accurate first.", headings, rows)
    caption = f"{figures.capitalised(results)}, mean over the test rows that have a score, the best first."
    return Table(f"{caption} The other metrics are of all test rows.", headings, rows)


def _share(value: float | None) -> str:
    return _number(value, "{:.1%}")


def _range(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else "{:.1%} – {:.1%}".format(*interval)


def costs(results: ComparisonResults, file: ComparisonResultsFile) -> Table:
    """Return what each method costs."""
    has_speed = results.has_classes
    rows: list[list[str | Cell]] = []
    for entry in results.measured:
        line = file.by_method[entry.name]
        trained = _number(line.trainable_parameters, "{:,}")
        share = "" if line.trainable_fraction is None else f" ({line.trainable_fraction:.2%})"
        rows.append(
            [
                named(entry),
                f"{trained}{share}",
                _number(line.train_seconds, "{:,.1f}"),
                _number(line.best_seconds, "{:,.1f}"),
                _megabytes(line.planned_peak_memory_bytes),
                _megabytes(line.peak_memory_bytes),
                *([_number(line.predict_texts_per_second, "{:,.0f}")] if has_speed else []),
                _megabytes(line.artifact_bytes),
            ]
        )
    headings = ["method", "trained parameters (share)", "seconds", "to the best step"]
    headings += ["MB planned", "MB measured", *(["texts/s"] if has_speed else []), "MB saved"]
    return Table("Cost: means over seeds; of memory the largest.", headings, rows)


def curve(results: ComparisonResults) -> Table:
    """Return the score at every size of the training set."""
    sizes = list(dict.fromkeys(entry.size for entry in results.curve))
    rows: list[list[str | Cell]] = []
    for entry in results.entries:
        found = [results.curve_summaries.get((size, entry.name)) for size in sizes]
        cells = ["–" if one is None else "{:.1%} ({:.1%} – {:.1%})".format(one.score, *one.score_ci95) for one in found]
        rows.append([named(entry), *cells])
    return Table(
        f"{figures.capitalised(results)} on the test rows by training rows, with 95% intervals.",
        ["method", *(f"{size} rows" for size in sizes)],
        rows,
    )


def training(results: ComparisonResults) -> Table | None:
    """Return loss and validation accuracy, or loss, during training; None if no run has a log."""
    validated, form = ("accuracy", "{:.1%}") if results.has_classes else ("loss", "{:.3f}")
    rows: list[list[str | Cell]] = []
    for entry in results.measured:
        logged = [one for one in entry.training if one.loss]
        if not logged:
            continue
        cells = []
        for share in TRAINING_SHARES:
            loss = [_latest(one.smooth_loss(), share * one.loss[-1][0]) for one in logged]
            curves = [one.validation_accuracy if results.has_classes else one.validation_loss for one in logged]
            values = [_latest(curve, share * one.loss[-1][0]) for curve, one in zip(curves, logged, strict=True)]
            cells.append(f"{_mean(loss, '{:.3f}')} / {_mean(values, form)}")
        rows.append([named(entry), *cells])
    if not rows:
        return None
    caption = f"Latest loss on training batches (smoothed) / latest {validated} on validation; means over seeds."
    return Table(caption, ["method", *(f"{share:.0%} of training" for share in TRAINING_SHARES)], rows)


def _latest(curve: Sequence[tuple[float, float]], until: float) -> float | None:
    return next((value for epoch, value in reversed(curve) if epoch <= until + 1e-9), None)


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known) / len(known) if known else None, form)


def matrix(entry: MethodResult, labels: Sequence[str]) -> Table:
    """Return the whole confusion matrix of a method, shaded by the share of the row."""
    counts = confusions.build_matrix(entry, num_labels=len(labels))
    rows: list[list[str | Cell]] = []
    for label, line in zip(labels, counts, strict=True):
        total = max(line.sum(), 1e-9)
        rows.append([label, *(Cell(f"{count:.4g}", shade=float(count / total)) for count in line)])
    per_seed = ", mean over seeds" if len(entry.results) > 1 else ""
    return Table(f"{entry.name}: rows by label (down) and predicted label (across){per_seed}.", ["label", *labels], rows)


def by_type(results: ComparisonResults) -> list[Block]:
    """Return the F1 of each type of entities by method, and how each method confuses them; nothing for other tasks."""
    found = {entry.name: type_scores.average_f1(entry) for entry in results.measured}
    types = list(dict.fromkeys(name for values in found.values() for name in values))
    if not types:
        return []
    rows: list[list[str | Cell]] = [
        [named(entry), *(_shaded(found[entry.name].get(name)) for name in types)] for entry in results.measured
    ]
    blocks: list[Block] = [Table("F1 of the entities of each type, mean over seeds.", ["method", *types], rows)]
    folds: list[Block] = []
    for entry in results.measured:
        if counts := type_scores.average_confusion(entry):
            folds.append(Fold(entry.name, [type_matrix(entry, counts)], open=not folds))
    return [*blocks, *folds]


def type_matrix(entry: MethodResult, counts: type_scores.Counts) -> Table:
    """Return which types of entities a method confuses, misses and invents, shaded by the share of the row.

    A row of invented entities has no whole that they could be a share of, so it is shaded by their share of what was predicted as
    the type. `counts`: means over seeds.
    """
    names, matrix = entity_metrics.arrange_confusion(counts)
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    rows: list[list[str | Cell]] = []
    for label, line in zip(names, matrix, strict=True):
        is_invented = label == entity_metrics.NO_TYPE
        wholes = predicted if is_invented else [sum(line)] * len(line)
        cells: list[str | Cell] = [
            Cell(f"{count:.4g}", shade=count / max(whole, 1e-9)) for count, whole in zip(line, wholes, strict=True)
        ]
        cells[-1] = Cell("–", shade=0.0) if is_invented else cells[-1]
        rows.append(["none: invented" if is_invented else label, *cells])
    per_seed = ", mean over seeds" if len(entry.results) > 1 else ""
    caption = f"{entry.name}: entities by labelled type (down) and type of the predicted entity that shares most words (across)"
    return Table(
        f"{caption}{per_seed}. Whether the bounds are right does not count.", ["type", *names[:-1], "none: missed"], rows
    )


def _shaded(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.1%}", shade=value)


def most_confused(entry: MethodResult, labels: Sequence[str]) -> Table:
    """Return the most frequent confusions of a method with many labels."""
    wrong = sorted((-count, pair) for pair, count in confusions.count_confusions(entry).items() if pair[0] != pair[1])
    rows: list[list[str | Cell]] = [[labels[i], labels[j], f"{-count:.4g}"] for count, (i, j) in wrong[:MOST_CONFUSIONS]]
    return Table(f"{entry.name}: the most frequent confusions.", ["label", "predicted", "rows"], rows)


def disagreements(file: ComparisonResultsFile) -> list[Block]:
    """Return the rows that the methods label differently, or answer with different scores."""
    rows: list[list[str | Cell]] = []
    for line in file.disagreements[:MOST_ROWS]:
        rows.append([_cut(line.text), _cut(line.label), _describe_predictions(line)])
    if not file.has_classes:
        caption = f"{len(rows)} of {file.num_disagreements:,} such rows, those with the most different scores first. "
        caption += "Answers are those of the first seed, scores the mean over seeds."
        headings = ["text", "labels", "predictions"] if file.data.labels else ["prompt", "reference", "answers"]
        return [Table(caption, headings, rows, numeric=False)] if rows else []
    caption = f"{len(rows)} of {file.num_disagreements:,} such rows, those with the most different labels first. "
    caption += "The prediction of a method is that of most of its seeds. ✓: correct."
    return [Table(caption, ["text", "label", "predictions"], rows, numeric=False)] if rows else []


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"


def _describe_predictions(line: DisagreementRow) -> str:
    """Return the methods by predicted label, the correct label first: `✓ lora, full; returns: prompt`. With scores each method's
    score and answer, the best first."""
    if line.scores is not None:
        order = sorted(line.predicted, key=lambda name: -(line.scores or {})[name])
        return "; ".join(f"{name} {line.scores[name]:.0%}: {_cut(line.predicted[name])}" for name in order)
    groups: dict[str, list[str]] = {}
    for name, label in line.predicted.items():
        groups.setdefault(label, []).append(name)
    order = sorted(groups, key=lambda label: label != line.label)
    return "; ".join(f"{'✓' if label == line.label else f'{label}:'} {', '.join(groups[label])}" for label in order)


def search(file: ComparisonResultsFile) -> list[Block]:
    """Return what the search tried and chose for each method."""
    rows: list[list[str | Cell]] = []
    measured = ""
    for method, record in file.search.items():
        finished, by_loss = [trial for trial in record.trials if trial.is_finished], record.trials[0].by_loss
        best, params = record.best, record.best.params if record.best else {}
        chosen = ", ".join(f"{key} = {_short(value)}" for key, value in params.items()) if best else "none finished"
        accuracies = [_trial_value(one) for one in (record.trials[0], best)]
        measured = "Loss" if by_loss else "Accuracy"
        number = f"{len(finished)} of {len(record.trials)}"
        rows.append([Cell(method, style=figures.style(method)), number, *accuracies, chosen or "the defaults"])
    if not rows:
        return []
    caption = f"{measured} on the validation rows, with one seed. Each method had the same number of trials. "
    caption += "All runs above use the best options."
    return [Table(caption, ["method", "trials finished", "defaults", "best", "with"], rows, numeric=False)]


def _trial_value(trial: Trial | None) -> str:
    if trial is None or not trial.is_finished:
        return "–"
    return _number(trial.loss, "{:.3f}") if trial.by_loss else _number(trial.accuracy, "{:.1%}")


def plans(results: ComparisonResults) -> list[Block]:
    """Return planned and measured memory and time."""
    rows: list[list[str | Cell]] = []
    for entry in results.measured:
        if entry.kind == "baseline":
            continue
        planned, measured = entry.largest("planned_peak_memory_bytes"), entry.largest("peak_memory_bytes")
        seconds, took = entry.mean("planned_seconds_for_steps"), entry.mean("train_seconds")
        took = took and took - (entry.mean("saving_seconds") or 0.0)
        rows.append(
            [
                named(entry),
                _megabytes(planned),
                _megabytes(measured),
                _against_plan(measured, planned),
                _number(seconds, "{:,.1f}"),
                _number(took, "{:,.1f}"),
                _against_plan(took, seconds),
            ]
        )
    against = "against the plan"
    headings = ["method", "MB planned", "MB measured", against, "seconds planned", "seconds measured", against]
    caption = "The plan made before training, of the steps that were made, and what they took without the saving of checkpoints."
    return [Table(caption, headings, rows)] if rows else []


def _against_plan(measured: float | None, planned: float | None) -> str:
    """Return how much more or less was measured than planned, in the words of the terminal."""
    if not measured or not planned:
        return "–"
    more = round(measured / planned - 1, 2)
    return "as planned" if more == 0 else f"{abs(more):.0%} {'more' if more > 0 else 'less'}"


def named(entry: MethodResult) -> Cell:
    """Return the name of an entry with its colour and shape."""
    return Cell(entry.name, style=figures.style(entry.name), hollow=entry.kind == "baseline")


def signed(value: float, form: str = ".1f") -> str:
    """Format with a sign, U+2212 for minus, and none before a zero."""
    text = format(value, f"+{form}").replace("-", "−")
    return text if text.strip("+−0.%") else text.strip("+−")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f}" if value >= 1e7 else f"{value / 1e6:.2f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
