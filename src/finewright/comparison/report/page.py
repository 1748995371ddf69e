"""The report of a comparison as a document: verdict, tables, charts, findings, and how it was measured."""

from collections.abc import Sequence
from pathlib import Path

from finewright.comparison.report import figures, label_sets, numbers, tables
from finewright.comparison.report.document import Block, Cell, Code, Document, Figure, Fold, Section, Table
from finewright.comparison.results import ComparisonResults
from finewright.comparison.schema import ComparisonResultsFile, FindingRow
from finewright.comparison.spec import SPEED_ROUNDS, TIMED_TEXTS
from finewright.tasks import metrics

MOST_LABELS = 12
"""Size of a confusion matrix that is shown whole. Of a larger one the most frequent confusions are shown."""

_INTERVALS = (
    "The 95% intervals come from 10,000 resamples of the test rows (the same for "
    "all methods) and of the seeds (of each method separately): the multi-bootstrap of Sellam et al. 2021 (arXiv:2106.16163), "
    "percentile intervals. Resampling S seeds shows (S - 1) / S of their variance; this is corrected."
)
_COST = (
    "Seconds are wall-clock time and include evaluations on the validation rows. Memory is what training takes beyond the "
    "program itself. Planned memory comes from tracing the training step before any weight is loaded."
)
HOW = [
    f"Accuracy and macro F1 are means over seeds. {_INTERVALS} Of one seed the "
    "interval of the accuracy is Wilson's, as in a single run. Macro F1 is the mean over "
    "the labels that occur in the test rows or among the predictions.",
    "A pair is tested by Student's t: the difference of the accuracies on the same rows, over its standard error from rows and "
    "seeds. The spread over seeds of a method is its own, but at least the mean of all methods. With one seed each the test is "
    "McNemar's exact one. All pairs are corrected together (Holm 1979), because the best is known only after all were measured. "
    "Two methods differ significantly if p < 0.05 after the correction.",
    "Checkpoints, the regularisation of the baselines and searched options are chosen on the validation rows; with few of them "
    "the regularisation is chosen by cross-validation on the training rows too. The test rows are scored once, with what was "
    "chosen.",
    _COST,
    f"Texts per second are measured after all runs with one thread, the methods in turn, on up to {TIMED_TEXTS} test texts: the "
    f"median of {SPEED_ROUNDS} rounds.",
    "Bag-of-words and frozen-features are logistic regressions. Their result does not depend on a seed.",
]


_TEST_OF_SCORES = (
    "A pair is tested by Student's t: the difference of the scores on the same rows, over its standard error from rows and "
    "seeds. The spread over seeds of a method is its own, but at least the mean of all methods. With one seed each it is a "
    "randomisation test over rows, of scores of 0 and 1 McNemar's exact one. All pairs are corrected together (Holm 1979), "
    "because the best is known only after all were measured. Two methods differ significantly if p < 0.05 after the correction."
)
_CHOSEN = (
    "Checkpoints, thresholds, the regularisation of the baselines and searched options are chosen on the validation rows. The "
    "test rows are scored once, with what was chosen."
)
HOW_OF_NUMBERS = [
    "R2 is 1 less the squared errors over those of the mean of the test rows: 100% is without error, 0% no better than that "
    "mean, and below 0% worse. It is a mean over rows and seeds, over the same rows for all; RMSE, MAE and Spearman's "
    "correlation beside it are of all test rows. Lower is better for RMSE, MAE and loss. "
    f"{_INTERVALS} The variance of the test rows is held fixed.",
    "A pair is tested by Student's t: the difference of the squared errors on the same rows, over its standard error from rows "
    "and seeds. The spread over seeds of a method is its own, but at least the mean of all methods. With one seed each it is a "
    "randomisation test over rows. All pairs are corrected together (Holm 1979), because the best is known only after all were "
    "measured. Two methods differ significantly if p < 0.05 after the correction.",
    "Checkpoints and searched options are chosen by the RMSE on the validation rows, penalties of the baselines by "
    "cross-validation on the training rows. The test rows are scored once, with what was chosen.",
    _COST,
    "Bag-of-words and frozen-features are ridge regressions. Their result does not depend on a seed.",
]


def _how(results: ComparisonResults) -> list[str]:
    """Return how it was measured."""
    if results.numbers:
        return HOW_OF_NUMBERS
    return HOW if results.has_classes else _how_of_scores(results)


def _how_of_scores(results: ComparisonResults) -> list[str]:
    """Return how it was measured where predictions are no labels, or several."""
    title = results.metric.title
    if results.labels:
        return [f"Each test row has a score from 0 to 1: {title}. {_INTERVALS}", label_sets.HOW, _TEST_OF_SCORES, _CHOSEN, _COST]
    return [
        f"Each test row has a score from 0 to 1: {title}. The number of a method is the mean over rows and seeds, over the same "
        f"rows for all. {_INTERVALS} Of one seed, with scores of 0 and 1 alone, the interval is Wilson's.",
        "The metric follows from the reference answers. Answers are generated greedily: always the most probable token.",
        _TEST_OF_SCORES,
        "Checkpoints and searched options are chosen by the loss on the validation rows. The test rows are scored once, with "
        "what was chosen.",
        _COST,
        "Untuned is the model as it is; few-shot is the same model with the most similar training rows as examples in the "
        "prompt; nearest-answer is the answer of the training row with the most similar words (cosine of TF-IDF). Their result "
        "does not depend on a seed.",
    ]


def build_document(results: ComparisonResults, *, file: ComparisonResultsFile) -> Document:
    """Build the report. `file`: the content of results.json."""
    data, name = file.data, file.model["name"]
    model, source = (Path(place).name if Path(place).is_absolute() else place for place in (name, data.source))
    sizes = [f"{count:,}" for count in sorted({row.num_train for row in file.curve if row.num_train})] or [f"{data.rows.train:,}"]
    training = " and ".join([", ".join(sizes[:-1]), sizes[-1]] if len(sizes) > 1 else sizes)
    subtitle = (
        f"{source}: {training} training, {data.rows.validation:,} validation, {data.rows.test:,} test rows"
        f"{f', {len(data.labels)} labels' if data.labels else ''}; model {model}; seeds {', '.join(map(str, file.seeds))}"
    )
    title = figures.capitalised(results)
    sections = [
        Section(f"{title} by size of the training set", _learning_curve(results)),
        Section("Results", _results(results, file)),
        Section(f"{title} and cost", _charts(results, file)),
        Section("During training", _training(results)),
        Section("Predicted and true numbers", numbers.pictures(results) if results.numbers else []),
        Section("Which labels are found", label_sets.describe_labels(results)),
        Section("Which labels are confused", _confusions(results) if results.has_classes else []),
        Section("By type", tables.by_type(results)),
        Section("Calibration", _calibration(results) if results.has_classes else []),
        Section(
            "Rows on which the methods disagree" if results.has_classes else "Rows with the most different scores",
            tables.disagreements(file),
        ),
        Section("Search", tables.search(file)),
        Section("Findings about the data", _findings(file.findings)),
        Section("Plan and measurement", tables.plans(results)),
        Section("How this was measured", [*file.notes, _how(results)]),
        Section("How to repeat this", [Code(file.command), _versions(file)]),
    ]
    heading = f"{len(file.requested)} methods on {data.name}"
    return Document(heading, subtitle, file.verdict_sentences, [section for section in sections if section.blocks])


def _results(results: ComparisonResults, file: ComparisonResultsFile) -> list[Block]:
    blocks: list[Block] = [tables.scores(results, file), tables.costs(results, file)] if results.measured else []
    missing = [f"{entry.name}: {'; '.join(entry.reasons)}" for entry in results.entries if entry.reasons]
    return [*blocks, *(["Not measured, or not with every seed:", missing] if missing else [])]


def _charts(results: ComparisonResults, file: ComparisonResultsFile) -> list[Block]:
    if not [entry for entry in results.measured if entry.kind != "baseline"]:
        return []
    title = figures.capitalised(results)
    hollow = " Hollow: no weight of the model is trained." if results.has_classes else ""
    drawn = [
        Figure(figures.by_share(results), f"{title} against the trained share of the parameters."),
        Figure(figures.by_seconds(results), f"{title} against training time.{hollow}"),
    ]
    if memory := figures.by_memory(results, budget_bytes=file.budget_bytes):
        drawn.append(Figure(memory, f"{title} against measured peak memory."))
    return [drawn]


def _learning_curve(results: ComparisonResults) -> list[Block]:
    """Return the curve and its numbers; nothing if there is one size."""
    curve = figures.learning_curve(results)
    if not curve:
        return []
    caption = f"{figures.capitalised(results)} against the size of the training set. The smaller sets are parts of the larger."
    return [Figure(curve, caption), tables.curve(results)]


def _training(results: ComparisonResults) -> list[Block]:
    drawn = [Figure(chart, f"{title.capitalize()}. One line per seed.") for title, chart in figures.training_curves(results)]
    table = tables.training(results)
    return [*([drawn] if drawn else []), *([table] if table else [])]


def _confusions(results: ComparisonResults) -> list[Block]:
    blocks: list[Block] = []
    for entry in results.measured:
        if entry.predictions is not None and entry.kind != "baseline":
            whole = len(results.labels) <= MOST_LABELS
            table = tables.matrix(entry, results.labels) if whole else tables.most_confused(entry, results.labels)
            blocks.append(Fold(entry.name, [table], open=not blocks))
    return blocks


def _findings(findings: Sequence[FindingRow]) -> list[Block]:
    if not findings:
        return ["No warnings."]
    lines = []
    for finding in findings:
        places = ", ".join(finding.rows[:5]) + (" …" if len(finding.rows) > 5 else "")
        lines.append(f"{finding.message}{f' ({places})' if places else ''} → {finding.fix}")
    return [lines]


def _versions(file: ComparisonResultsFile) -> str:
    named = ", ".join(f"{name} {version}" for name, version in file.versions.items())
    machine = file.hardware.get("name") or file.hardware.get("device") or "an unknown device"
    return f"Made on {machine} with {named}."


def _calibration(results: ComparisonResults) -> list[Block]:
    chart = figures.calibration(results)
    if chart is None:
        return []
    caption = "Accuracy of the predictions with about the same probability. "
    caption += f"Groups of fewer than {metrics.LEAST_IN_BIN} rows are left out."
    title = "Expected calibration error on the test rows (0 is perfect), mean over seeds, without and with temperature scaling."
    rows: list[list[str | Cell]] = []
    for entry in results.measured:
        before, after = entry.uncalibrated_error(), entry.calibration_error()
        if after is not None:
            rows.append([tables.named(entry), *(["", f"{after:.3f}"] if before is None else [f"{before:.3f}", f"{after:.3f}"])])
    table = Table(title, ["method", "without", "with"], rows)
    return [Figure(chart, caption), table]
