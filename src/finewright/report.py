"""What a comparison found, as a document: verdict, tables, charts, what to look at, and how it was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finewright import figures, verdict
from finewright.pages import Block, Cell, Code, Document, Figure, Fold, Section, Table
from finewright.standings import Entry, Standings

MOST_LABELS = 12
"""Of a confusion matrix that is shown whole; of a larger one the most frequent confusions."""
MOST_ROWS = 20
MOST_CONFUSIONS = 10
MOST_CHARACTERS = 300

HOW = [
    "Accuracy and macro F1 are means over seeds. Their 95 % intervals resample the test rows (the same for all ways) and the "
    "seeds (of each way apart) 10,000 times: the multi-bootstrap of Sellam et al. 2021 (arXiv:2106.16163), percentile "
    "intervals. Few seeds show too little of their spread, (S - 1) / S of it; it is stretched accordingly.",
    "Pairs are tested by the difference of their accuracies on the same rows: over its standard error from rows and from "
    "seeds, as Student's t with Satterthwaite's degrees of freedom; with one seed each, by McNemar's exact test. All pairs "
    "are corrected together (Holm 1979), for the best is only known after looking. Told apart means p < 0.05 after that.",
    "Checkpoints, the regularisation of the baselines and the search are chosen on the validation rows; the test rows are "
    "scored once, by what was chosen.",
    "Seconds are wall clock and include the looks at validation. Memory is what training takes beyond the program itself; "
    "planned is from tracing the training step before any weight is loaded.",
    "Bag-of-words and frozen-features are logistic regressions; their result does not depend on a seed.",
]


def document(standings: Standings, *, results: Mapping[str, Any]) -> Document:
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
        Section("Rows where the ways disagree", _disagreements(standings, results["disagreements"])),
        Section("The search", _search(results)),
        Section("What was found in the data", _findings(results["findings"])),
        Section("Plan and measurement", _plans(standings)),
        Section("How this was measured", [*results["notes"], HOW]),
        Section("The same again", [Code(results["command"]), _versions(results)]),
    ]
    title = f"{len(results['ways'])} ways on {data['name']}"
    return Document(title, subtitle, results["verdict_sentences"], [section for section in sections if section.blocks])


def _results(standings: Standings, results: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    by_name = {line["method"]: line for line in results["methods"]}
    if standings.measured:
        blocks += [_accuracies(standings, by_name), _prices(standings, by_name)]
    left = [f"{entry.name}: {'; '.join(entry.reasons)}" for entry in standings.entries if entry.reasons]
    return [*blocks, *(["Not measured, or not with every seed:", left] if left else [])]


def _named(entry: Entry) -> Cell:
    return Cell(entry.name, style=figures.style(entry.name), hollow=entry.kind == "baseline")


def _accuracies(standings: Standings, lines: Mapping[str, Any]) -> Table:
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        summary = standings.summaries[entry.name]
        difference, p_value = lines[entry.name]["difference_to_best"], lines[entry.name]["p_value"]
        against = "the best" if p_value is None else f"{_signed(100 * difference)} points, p {verdict.shown_p(p_value)}"
        rows.append(
            [
                _named(entry),
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


def _prices(standings: Standings, lines: Mapping[str, Any]) -> Table:
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        line = lines[entry.name]
        trained = _number(line["trainable_parameters"], "{:,}")
        share = "" if line["trainable_fraction"] is None else f" ({line['trainable_fraction']:.2%})"
        rows.append(
            [
                _named(entry),
                f"{trained}{share}",
                _number(line["train_seconds"], "{:,.1f}"),
                _number(line["best_seconds"], "{:,.1f}"),
                _megabytes(line["planned_peak_memory_bytes"]),
                _megabytes(line["peak_memory_bytes"]),
                _number(line["predict_texts_per_second"], "{:,.0f}"),
                _megabytes(line["artifact_bytes"]),
            ]
        )
    headings = [
        "way",
        "trained numbers (share)",
        "seconds",
        "to the best step",
        "MB planned",
        "MB measured",
        "texts/s",
        "MB saved",
    ]
    return Table("What they cost: means over seeds, memory the largest.", headings, rows)


def _signed(value: float, form: str = ".1f") -> str:
    """With a true minus sign, and none before a zero."""
    text = format(value, f"+{form}").replace("-", "−")
    return text if text.strip("+−0.%") else text.strip("+−")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f}" if value >= 1e7 else f"{value / 1e6:.2f}"


def _charts(standings: Standings, results: Mapping[str, Any]) -> list[Block]:
    if not [entry for entry in standings.measured if entry.kind != "baseline"]:
        return []
    drawn = [
        Figure(figures.by_share(standings), "Accuracy against the share of the parameters that is trained."),
        Figure(
            figures.by_seconds(standings), "Accuracy against the seconds of training. Hollow: no weight of the model is trained."
        ),
    ]
    memory = figures.by_memory(standings, budget_bytes=results["budget_bytes"])
    drawn += [Figure(memory, "Accuracy against the measured peak of memory.")] if memory else []
    curve = figures.learning_curve(standings)
    drawn += (
        [Figure(curve, "Accuracy against the size of the training set; the smaller sets are parts of the larger.")]
        if curve
        else []
    )
    return [drawn, *([_curve_table(standings)] if curve else [])]


def _curve_table(standings: Standings) -> Table:
    sizes = list(dict.fromkeys(entry.size for entry in standings.curve))
    rows: list[list[str | Cell]] = []
    for entry in standings.entries:
        found = [standings.curve_summaries.get((size, entry.name)) for size in sizes]
        cells = ["–" if one is None else "{:.1%} ({:.1%} – {:.1%})".format(one.accuracy, *one.accuracy_ci95) for one in found]
        rows.append([_named(entry), *cells])
    return Table("Test accuracy by training rows, with 95 % intervals.", ["way", *(f"{size} rows" for size in sizes)], rows)


def _training(standings: Standings) -> list[Block]:
    drawn = [
        Figure(chart, f"{title.capitalize()}; a line for every seed.") for title, chart in figures.training_curves(standings)
    ]
    return [drawn] if drawn else []


def _confusions(standings: Standings) -> list[Block]:
    blocks: list[Block] = []
    for entry in standings.measured:
        if entry.predictions is not None and entry.kind != "baseline":
            whole = len(standings.labels) <= MOST_LABELS
            blocks.append(
                Fold(entry.name, [_matrix(entry, standings.labels) if whole else _most_confused(entry, standings.labels)])
            )
    return blocks


def _matrix(entry: Entry, labels: Sequence[str]) -> Table:
    counts = confusion(entry, num_labels=len(labels))
    rows: list[list[str | Cell]] = []
    for label, line in zip(labels, counts, strict=True):
        total = max(line.sum(), 1e-9)
        rows.append([label, *(Cell(f"{count:.4g}", shade=float(count / total)) for count in line)])
    per_seed = ", mean over seeds" if len(entry.results) > 1 else ""
    return Table(f"{entry.name}: rows by label (down) and predicted label (across){per_seed}.", ["label", *labels], rows)


def confusion(entry: Entry, *, num_labels: int) -> np.ndarray:
    """Test rows by label and predicted label, mean over seeds, shape (labels, labels)."""
    assert entry.predictions is not None
    counts = np.zeros((num_labels, num_labels))
    for chosen in entry.predictions.chosen:
        np.add.at(counts, (entry.predictions.targets, chosen), 1)
    return counts / len(entry.predictions.chosen)


def _most_confused(entry: Entry, labels: Sequence[str]) -> Table:
    counts = confusion(entry, num_labels=len(labels))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    places = [divmod(int(index), len(labels)) for index in order]
    rows: list[list[str | Cell]] = [[labels[i], labels[j], f"{counts[i, j]:.4g}"] for i, j in places if counts[i, j] > 0]
    return Table(f"{entry.name}: what it confuses most.", ["label", "predicted", "rows"], rows)


def _calibration(standings: Standings) -> list[Block]:
    chart = figures.calibration(standings)
    if chart is None:
        return []
    caption = "Of predictions that were equally sure, how many are right. "
    caption += f"Groups of fewer than {figures.LEAST_IN_BIN} rows are left out."
    errors = {entry.name: _mean_calibration_error(entry) for entry in standings.measured}
    rows: list[list[str | Cell]] = [[_named(entry), f"{errors[entry.name]:.3f}"] for entry in standings.measured]
    table = Table("Expected calibration error on the test rows (0 is perfect), mean over seeds.", ["way", "error"], rows)
    return [Figure(chart, caption), table]


def _mean_calibration_error(entry: Entry) -> float:
    tests = [result["metrics"].get("test", result["metrics"]) for result in entry.results]
    return sum(test["calibration_error"] for test in tests) / len(tests)


def _disagreements(standings: Standings, lines: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not lines:
        return []
    names = list(lines[0]["predicted"])
    rows: list[list[str | Cell]] = []
    for line in lines[:MOST_ROWS]:
        text = line["text"] if len(line["text"]) <= MOST_CHARACTERS else f"{line['text'][:MOST_CHARACTERS]} …"
        marks = ("✓" if line["predicted"][name] == line["label"] else line["predicted"][name] for name in names)
        rows.append([text, line["label"], *marks])
    caption = f"The {len(rows)} of {len(lines)} such rows on which the ways are most divided. "
    caption += "✓ is right, else what the way said with most seeds."
    return [Table(caption, ["text", "label", *names], rows, numeric=False)]


def _search(results: Mapping[str, Any]) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for way, record in (results["search"] or {}).items():
        done = [trial for trial in record["trials"] if trial["accuracy"] is not None]
        first, best = record["trials"][0]["accuracy"], record["best"]
        chosen = ", ".join(f"{key} = {_short(value)}" for key, value in best["params"].items()) if best else "none finished"
        accuracies = [_number(first, "{:.1%}"), _number(best["accuracy"] if best else None, "{:.1%}")]
        rows.append(
            [
                Cell(way, style=figures.style(way)),
                f"{len(done)} of {len(record['trials'])}",
                *accuracies,
                chosen or "the defaults",
            ]
        )
    if not rows:
        return []
    caption = "On the validation rows, with one seed; the same number of trials for every way. "
    caption += "What was best was used for every run above."
    return [Table(caption, ["way", "trials finished", "defaults", "best", "with"], rows, numeric=False)]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _findings(findings: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not findings:
        return ["Nothing was found that is worth a warning."]
    lines = []
    for finding in findings:
        places = ", ".join(finding["rows"][:5]) + (" …" if len(finding["rows"]) > 5 else "")
        lines.append(f"{finding['message']}{f' ({places})' if places else ''} → {finding['fix']}")
    return [lines]


def _plans(standings: Standings) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for entry in standings.measured:
        if entry.kind == "baseline":
            continue
        planned, measured = entry.most("planned_peak_memory_bytes"), entry.most("peak_memory_bytes")
        seconds, took = entry.mean("planned_seconds"), entry.mean("train_seconds")
        rows.append(
            [
                _named(entry),
                _megabytes(planned),
                _megabytes(measured),
                _signed(planned / measured - 1, ".0%") if planned and measured else "–",
                _number(seconds, "{:,.1f}"),
                _number(took, "{:,.1f}"),
                _signed(seconds / took - 1, ".0%") if seconds and took else "–",
            ]
        )
    headings = ["way", "MB planned", "MB measured", "off by", "seconds planned", "seconds measured", "off by"]
    return [Table("The plan before training beside what training took.", headings, rows)] if rows else []


def _versions(results: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = results["hardware"].get("name") or results["hardware"].get("device") or "an unknown device"
    return f"Made on {machine} with {named}."
