"""A comparison that was never run: its results, with the numbers that a test needs."""

import json
from dataclasses import replace

import numpy as np

from finewright.comparison import results as comparison_results
from finewright.comparison import summary
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.results import MethodResult
from finewright.comparison.schema import ComparisonResultsFile
from finewright.comparison.spec import BASELINES, ComparisonSpec
from finewright.comparison.statistics import Predictions
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import MetricsLine
from support.comparisons import baseline_result, run_result, split_metrics

LABELS = ("billing", "shipping")
HOSTILE = "<script>alert('x')</script> & \"quotes\" | `ticks` [link](http://example.com)"


def predictions(accuracy, *, seeds=1, rows=200, seed=0, labels=2):
    """Make predictions with about this accuracy. The same rows are hard for all methods."""
    rng = np.random.default_rng(seed)
    targets = np.arange(rows) % labels
    ease = np.random.default_rng(99).random(rows)
    right = (0.7 * ease + 0.3 * rng.random((seeds, rows))) < accuracy
    return Predictions(np.where(right, targets, (targets + 1) % labels), targets)


def entry(  # noqa: PLR0913
    name, accuracy, *, kind="pretrained", size="all", seeds=1, rows=200, number=0, folder=None, reasons=()
):
    """Make the result of a method. `number`: which mistakes it makes."""
    made = predictions(accuracy, seeds=seeds, rows=rows, seed=number) if accuracy is not None else None
    made = replace(made, seeded=kind != "baseline") if made else None
    made_of = {"num_train": 100 if size == "all" else int(size), "train_seconds": 2.0 + number}
    sizes = {"trainable_fraction": 0.01 * (number + 1), "total_parameters": 100_000, "artifact_bytes": 1_000_000 * 10**number}
    sizes |= {"peak_memory_bytes": int(2e8 + 1e7 * number), "planned_peak_memory_bytes": int(1.9e8), "planned_seconds": 2.1}
    where = {"versions": {"torch": "2"}, "hardware": {"name": "a machine"}}
    if kind == "baseline":
        metrics = split_metrics(calibration_error=0.05)
        results = [baseline_result([], parameters=12, metrics=metrics, **made_of)] * seeds
    else:
        results = [run_result(name, seed=seed, **made_of, **sizes, **where) for seed in range(seeds)]
    sure = np.full((seeds, rows), 0.8) if accuracy is not None else None
    runs = [_run(folder / "runs" / f"{name}-{size}-seed{seed}") for seed in range(seeds)] if folder and made else []
    return MethodResult(
        name,
        kind,
        f"what {name} does",
        size,
        runs,
        results if made else [],
        made,
        sure,
        list(reasons),
        speed=100.0,
        best_seconds=[1.5] if made and kind != "baseline" else [],
    )


def _run(path):
    path.mkdir(parents=True)
    run = RunFolder(path)
    for step in (10, 20, 30):
        run.append(MetricsLine(step=step, epoch=step / 10, loss=1 / step, lr=1e-3, grad_norm=1.0))
        run.append(MetricsLine(step=step, epoch=step / 10, validation={"accuracy": 0.5 + step / 100, "loss": 0.5}))
    return run


def standing(entries, *, labels=LABELS, one_class=None):
    """Make the results of a comparison. Entries of the size `all` are the main ones."""
    main = [one for one in entries if one.size == "all"]
    return comparison_results.build_results(main, entries, labels=labels, one_class=one_class)


def results_file(table, folder, *, budget_bytes=0, search=None, findings=(), hostile=False):
    """Make the content of results.json, typed."""
    spec = ComparisonSpec("data/tickets.csv", None, "mini", ("lora", "full", "scratch"), (0, 1), ("all",), 0, {}, {})
    place = ComparisonFolder(folder)
    test = place.data("all")
    test.mkdir(parents=True, exist_ok=True)
    text = HOSTILE if hostile else "a text"
    lines = [{"text": f"{text} {i}", "label": LABELS[i % 2], "from": f"t.csv:{i + 2}"} for i in range(200)]
    (test / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sentences = summary.summarise(table)
    disagreements = comparison_results.build_disagreement_rows(table, place, spec)
    return ComparisonResultsFile(
        verdict=" ".join(sentences),
        verdict_sentences=sentences,
        methods=comparison_results.build_method_rows(table, place),
        pairs=[vars(pair) | {"told_apart": pair.is_significant} for pair in table.pairs],
        curve=comparison_results.build_curve_rows(table),
        ways=spec.candidates,
        seeds=[0, 1],
        train_sizes=["all"],
        search=search or {},
        data={
            "source": "data/tickets.csv",
            "name": "tickets",
            "rows": {"train": 100, "validation": 20, "test": 200},
            "labels": table.labels,
        },
        model={"name": "mini"},
        budget_bytes=budget_bytes,
        jobs=2,
        threads=1,
        notes=comparison_results.build_notes(table, spec, jobs=2, threads=1),
        findings=findings,
        disagreements=disagreements,
        num_disagreements=len(disagreements),
        command=spec.command(budget="", out=folder),
        versions={"torch": "2"},
        hardware={"name": "a machine"},
    )


def results(table, folder, **options):
    """Make the content of results.json, as plain values."""
    return schema.dump(results_file(table, folder, **options))


def usual(folder=None):
    """Make the results of three methods and the baselines at two sizes."""
    entries = []
    for size in ("50", "all"):
        more = 0.0 if size == "all" else -0.1
        candidates = {"lora": 0.92, "full": 0.93, "scratch": 0.7}
        for number, (name, accuracy) in enumerate(candidates.items()):
            kind = "random" if name == "scratch" else "pretrained"
            entries.append(entry(name, accuracy + more, kind=kind, size=size, seeds=2, number=number, folder=folder))
        for number, (name, accuracy) in enumerate(zip(BASELINES, (0.5, 0.8, 0.85), strict=True)):
            entries.append(entry(name, accuracy, kind="baseline", size=size, number=10 + number))
    return entries
