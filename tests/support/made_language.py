"""A comparison of language models that was never run: scores of answers by hand, and the files of its runs."""

import json

import numpy as np

from finewright.comparison import results as comparison_results
from finewright.comparison.results import MethodResult
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.comparison.spec import ANSWER_BASELINES, ComparisonSpec
from finewright.comparison.statistics import Predictions
from finewright.data.conversations import Message, conversation_of
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.tasks.measures import Metric
from support.comparisons import run_result

TASK = "text-generation"
SPEC = ComparisonSpec("chats.jsonl", None, "mini", ("lora", "scratch"), (0, 1), ("all",), 0, {"task": TASK}, {})
METRIC = Metric("json_fields", is_share=True, words="right JSON fields")


def row(*asked, answer="", system="Answer briefly."):
    """A conversation of these turns, the first one a user's."""
    messages = [Message("system", system)] if system else []
    messages += [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(asked)]
    return conversation_of((*messages, Message("assistant", answer)), where="")


TRAIN = [
    row("where is my parcel", answer="shipping"),
    row("I paid the invoice twice", answer="billing"),
    row("the tent has a hole", answer="defect"),
]


def answered(name="json_fields", mean=0.5, rows=4):
    """The summary of answers as result.json has it."""
    return {"metric": name, "num_rows": rows, name: mean, f"{name}_ci95": [0.0, 1.0]}


def split_metrics(*, answers=None, loss=1.5, rows=6):
    """Metrics of a test split."""
    found = {"num_rows": rows, "loss": loss, "perplexity": float(np.exp(loss)), "token_accuracy": 0.6, "num_tokens": 60}
    return found | ({"answers": answers} if answers else {})


def entry(name, mean, *, kind="pretrained", seeds=1, rows=80, number=0, reasons=(), folder=None):
    """The result of a method whose rows score about `mean`, in quarters. The same rows are hard for all methods."""
    made = None
    if mean is not None:
        rng = np.random.default_rng(number)
        ease = np.random.default_rng(99).random(rows)
        scores = np.clip(np.round(4 * (mean + 0.5 * (ease - 0.5) + 0.2 * (rng.random((seeds, rows)) - 0.5))) / 4, 0, 1)
        made = Predictions.scored(scores, seeded=kind != "baseline")
    sizes = {"trainable_fraction": 0.01 * (number + 1), "total_parameters": 100_000, "artifact_bytes": 1_000_000 * 10**number}
    sizes |= {"peak_memory_bytes": int(2e8 + 1e7 * number), "planned_peak_memory_bytes": int(1.9e8), "planned_seconds": 2.1}
    results = []
    if mean is not None and kind == "baseline":
        results = [baseline_result(rows=[*range(rows)], scores=made.row_scores[0].tolist())]
    elif mean is not None:
        metrics = {"test": split_metrics(answers=answered(mean=mean), loss=1.0 + number)}
        results = [run_result(name, task=TASK, seed=seed, num_train=100, metrics=metrics, **sizes) for seed in range(seeds)]
    answers = {row: f"{name} says {row}" for row in range(rows)}
    runs = (
        [RunFolder(folder / "runs" / f"{name}-all-seed{seed}") for seed in range(seeds)] if folder and kind != "baseline" else []
    )
    return MethodResult(
        name, kind, f"what {name} does", "all", runs, results, made, None, list(reasons), best_seconds=[1.5], answers=answers
    )


def baseline_result(*, rows, scores, **changes):
    """The result of a baseline that answers these rows."""
    found = {"predicted": [f"answer {row}" for row in rows], "rows": rows, "scores": scores, "train_seconds": None}
    found |= {"num_train": 100, "metrics": {"num_rows": 6, "answers": answered(rows=len(rows))}}
    return BaselineResult.model_validate(found | changes)


def usual(folder=None):
    """Two methods, scratch and the baselines."""
    means = {"lora": 0.8, "full": 0.78, "scratch": 0.3}
    entries = [
        entry(name, mean, kind="random" if name == "scratch" else "pretrained", seeds=2, number=number, folder=folder)
        for number, (name, mean) in enumerate(means.items())
    ]
    more = zip(ANSWER_BASELINES, (0.2, 0.4, 0.5), strict=True)
    return entries + [entry(name, mean, kind="baseline", number=10 + number) for number, (name, mean) in enumerate(more)]


def standing(entries, *, metric=METRIC, rows=80):
    """The results of a comparison."""
    more = ("loss", "perplexity", "token_accuracy")
    return comparison_results.build_results(
        entries, entries, labels=(), one_class=None, metric=metric, more_metrics=more, rows=range(rows)
    )


def write_split(place, *, rows=6):
    """The test rows of a comparison's folder."""
    lines = [{"text": f"question {row}", "label": f"answer {row}", "from": f"chats.jsonl:{row + 1}"} for row in range(rows)]
    write_lines(place.data("all") / "test.jsonl", lines)


def finish(place, name, scores, *, metric="json_fields"):
    """Write the files of a finished run. `scores`: by the number of the row; None for one that is not answered."""
    run = RunFolder(place.run(name))
    lines = []
    for row, score in scores.items():
        line = {"text": f"question {row}", "label": f"answer {row}", "where": f"test.jsonl:{row + 1}", "token_accuracy": 0.5}
        lines.append(line | ({"score": score, "predicted": f"{name} {row}"} if score is not None else {}))
    write_lines(run.predictions, lines)
    given = [score for score in scores.values() if score is not None]
    answers = answered(metric, float(np.mean(given)), len(given)) if given else None
    metrics = {"test": split_metrics(answers=answers)}
    schema.write(run.result, run_result(name.partition("-")[0], task=TASK, seed=int(name[-1]), metrics=metrics))


def write_baseline(place, name, scores, **changes):
    """Write the file of a baseline. `scores`: by the number of the row."""
    place.baseline(name).parent.mkdir(parents=True, exist_ok=True)
    result = baseline_result(rows=[*scores], scores=[*scores.values()], **changes)
    schema.write(place.baseline(name), BaselineFile(sizes={"all": result}))


def write_lines(path, lines):
    """Write a JSON-lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
