"""What a comparison found, as a document: verdict, tables, charts, what to look at, and how it was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright.comparison.report import figures, tables
from finewright.comparison.report.document import Block, Cell, Code, Document, Figure, Fold, Section, Table
from finewright.comparison.results import ComparisonResults
from finewright.comparison.spec import TIMED_TEXTS
from finewright.tasks import metrics

MOST_LABELS = 12
"""Of a confusion matrix that is shown whole; of a larger one the most frequent confusions."""

HOW = [
    "Accuracy and macro F1 are means over seeds. Their 95 % intervals resample the test rows (the same for all ways) and the "
    "seeds (of each way apart) 10,000 times: the multi-bootstrap of Sellam et al. 2021 (arXiv:2106.16163), percentile "
    "intervals. Few seeds show too little of their spread, (S - 1) / S of it; it is stretched accordingly. Macro F1 is the mean "
    "over the labels that occur in the test rows or among the predictions.",
    "Pairs are tested by the difference of their accuracies on the same rows, over its standard error from rows and from "
    "seeds, by Student's t. A way's spread over seeds is its own, but no less than the mean of all ways. With one seed each "
    "it is McNemar's exact test. All pairs are corrected together (Holm 1979), for the best is only known after looking. "
    "Told apart means p < 0.05 after that.",
    "Checkpoints, the regularisation of the baselines and the search are chosen on the validation rows; the test rows are "
    "scored once, by what was chosen.",
    "Seconds are wall clock and include the looks at validation. Memory is what training takes beyond the program itself; "
    "planned is from tracing the training step before any weight is loaded.",
    f"Texts a second when predicting are measured alone, after all runs, with all threads, on up to {TIMED_TEXTS} test texts.",
    "Bag-of-words and frozen-features are logistic regressions; their result does not depend on a seed.",
]


def build_document(standings: ComparisonResults, *, results: Mapping[str, Any]) -> Document:
    """`results`: what results.json holds."""
    data = results["data"]
    rows = data["rows"]
    name = results["model"]["name"]
    model = Path(name).name if Path(name).is_absolute() else name
    subtitle = (
        f"{data['source']}: {rows['train']:,} training, {rows['validation']:,} validation, {rows['test']:,} test rows, "
        f"{len(data['labels'])} labels; model {model}; seeds {', '.join(map(str, results['seeds']))}"
    )
    sections = [
        Section("Results", _results(standings, results)),
        Section("Accuracy and price", _charts(standings, results)),
        Section("During training", _training(standings)),
        Section("Which labels are mixed up", _confusions(standings)),
        Section("How sure the ways are", _calibration(standings)),
        Section("Rows where the ways disagree", tables.disagreements(results)),
        Section("The search", tables.search(results)),
        Section("What was found in the data", _findings(results["findings"])),
        Section("Plan and measurement", tables.plans(standings)),
        Section("How this was measured", [*results["notes"], HOW]),
        Section("The same again", [Code(results["command"]), _versions(results)]),
    ]
    title = f"{len(results['ways'])} ways on {data['name']}"
    return Document(title, subtitle, results["verdict_sentences"], [section for section in sections if section.blocks])


def _results(standings: ComparisonResults, results: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    by_name = {line["method"]: line for line in results["methods"]}
    if standings.measured:
        blocks += [tables.accuracies(standings, by_name), tables.prices(standings, by_name)]
    left = [f"{entry.name}: {'; '.join(entry.reasons)}" for entry in standings.entries if entry.reasons]
    return [*blocks, *(["Not measured, or not with every seed:", left] if left else [])]


def _charts(standings: ComparisonResults, results: Mapping[str, Any]) -> list[Block]:
    if not [entry for entry in standings.measured if entry.kind != "baseline"]:
        return []
    seconds = "Accuracy against the seconds of training. Hollow: no weight of the model is trained."
    drawn = [
        Figure(figures.by_share(standings), "Accuracy against the share of the parameters that is trained."),
        Figure(figures.by_seconds(standings), seconds),
    ]
    if memory := figures.by_memory(standings, budget_bytes=results["budget_bytes"]):
        drawn.append(Figure(memory, "Accuracy against the measured peak of memory."))
    if curve := figures.learning_curve(standings):
        sizes = "Accuracy against the size of the training set; the smaller sets are parts of the larger."
        drawn.append(Figure(curve, sizes))
    return [drawn, *([tables.curve(standings)] if curve else [])]


def _training(standings: ComparisonResults) -> list[Block]:
    told = "a line for every seed."
    drawn = [Figure(chart, f"{title.capitalize()}; {told}") for title, chart in figures.training_curves(standings)]
    table = tables.training(standings)
    return [*([drawn] if drawn else []), *([table] if table else [])]


def _confusions(standings: ComparisonResults) -> list[Block]:
    blocks: list[Block] = []
    for entry in standings.measured:
        if entry.predictions is not None and entry.kind != "baseline":
            whole = len(standings.labels) <= MOST_LABELS
            table = tables.matrix(entry, standings.labels) if whole else tables.most_confused(entry, standings.labels)
            blocks.append(Fold(entry.name, [table], open=not blocks))
    return blocks


def _findings(findings: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not findings:
        return ["Nothing was found that is worth a warning."]
    lines = []
    for finding in findings:
        places = ", ".join(finding["rows"][:5]) + (" …" if len(finding["rows"]) > 5 else "")
        lines.append(f"{finding['message']}{f' ({places})' if places else ''} → {finding['fix']}")
    return [lines]


def _versions(results: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = results["hardware"].get("name") or results["hardware"].get("device") or "an unknown device"
    return f"Made on {machine} with {named}."


def _calibration(standings: ComparisonResults) -> list[Block]:
    chart = figures.calibration(standings)
    if chart is None:
        return []
    caption = "Of predictions that were equally sure, how many are right. "
    caption += f"Groups of fewer than {metrics.LEAST_IN_BIN} rows are left out."
    errors = [(entry, entry.calibration_error()) for entry in standings.measured]
    rows: list[list[str | Cell]] = [[tables.named(entry), f"{error:.3f}"] for entry, error in errors if error is not None]
    table = Table("Expected calibration error on the test rows (0 is perfect), mean over seeds.", ["way", "error"], rows)
    return [Figure(chart, caption), table]
