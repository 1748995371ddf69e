"""The end of a run in the terminal: the one number that counts, what it is to be compared with, what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from finewright import tasks
from finewright.baselines import tagging
from finewright.cli import multi_label_view, number_view
from finewright.cli.console import clean
from finewright.cli.head_start_view import describe_start, start_metrics
from finewright.cli.progress import compare_to_plan, describe_early_stop, format_duration, print_wrapped
from finewright.core.cpu_share import describe_share
from finewright.core.errors import UserError
from finewright.core.events import MeasuredStage
from finewright.core.program import program_name, quote_path, show_path
from finewright.core.units import counted, format_bytes
from finewright.models.head_spec import LANGUAGE_MODEL
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import RunConfigFile, RunResult
from finewright.runs.split_metrics import ClassificationMetrics, SplitMetrics
from finewright.tasks import answer_metrics, entity_metrics

BAG_OF_WORDS = "bag-of-words"
LEAST_ROWS = 3
"""Fewest rows of a label that is called the weakest."""
_STAGES: dict[MeasuredStage, str] = {
    "start": "start",
    "read": "read",
    "plan": "plan",
    "load": "load",
    "untuned": "untrained model",
    "train": "train",
    "save": "save",
    "evaluate": "score",
    "verify": "verify",
}


def print_result_card(console: Console, result: RunResult, *, path: Path) -> None:
    """Print the result of a finished run and the commands that come next."""
    _print_scores(console, result, path=path)
    if unmeasured := describe_missing_rows(result):
        print_wrapped(console, unmeasured)
    if result.calibration is not None and result.calibration.on:
        print_wrapped(console, f"calibration error {result.calibration.describe()}")
    print_wrapped(console, describe_size(result))
    print_wrapped(console, describe_time(result))
    if result.stopped_early:
        print_wrapped(console, describe_early_stop(result))
    if result.steps:  # the memory of a baseline is not measured
        memory = compare_to_plan(result.peak_memory_bytes, result.planned_peak_memory_bytes, describe=format_bytes)
        print_wrapped(console, f"peak memory {memory}")
    quoted = quote_path(path)
    console.print()
    program = program_name()
    lines = {
        "saved in": show_path(path),
        **_next_commands(result, program=program, quoted=quoted, path=path),
        "all numbers": f"{program} runs show {quoted}",
    }
    for name, text in lines.items():
        console.print(f"  {name:<12} {clean(text)}", highlight=False, soft_wrap=True)


def _print_scores(console: Console, result: RunResult, *, path: Path) -> None:
    """Print how good the model is, and what that is to be compared with."""
    measured = result.metrics.test or result.metrics.validation
    if measured is None:
        return
    rows = "validation texts" if not result.metrics.test else "test texts" if has_leak(path) else "unseen texts"
    measures = tasks.get_task(result.task).measures
    if isinstance(measured, ClassificationMetrics):
        _print_accuracy(console, measured, rows=rows, has_steps=result.steps > 0)
        compared = [compare_with_start(result, measured), compare_with_bag_of_words(result, measured)]
    elif measures == "numbers":
        print_wrapped(console, number_view.describe_numbers(measured, rows=rows))
        compared = number_view.compare_numbers(result, measured)
    elif measures == "label-sets":
        best, *more = multi_label_view.describe_scores(measured.model_dump(), rows=rows)
        console.print(Text(f"  {clean(best)}", style="bold"), soft_wrap=not console.is_terminal)
        compared = [*more, *multi_label_view.compare_scores(result, measured)]
    else:
        said = entity_metrics.describe_tags(measured.model_dump()) if measures == "tags" else describe_metrics(measured)
        print_wrapped(console, f"{said} on {measured.num_rows:,} {rows}")
        compared = [compare_with_untuned(result), compare_with_taggers(result)]
    for comparison in filter(None, compared):
        print_wrapped(console, comparison)


def _next_commands(result: RunResult, *, program: str, quoted: str, path: Path) -> dict[str, str]:
    """Return what to do with the model, by what it is for."""
    if tasks.get_task(result.task).auto_model == LANGUAGE_MODEL:
        return {"talk to it": f"{program} chat {quoted}", "answer all": f"{program} generate {quoted} --file prompts.jsonl"}
    config = RunFolder(path).config
    columns = schema.read(RunConfigFile, config).columns if config.is_file() else None
    what = "label" if tasks.get_task(result.task).predicts_one_label else "predict"
    if columns is not None and columns.form == "pair":
        first, second = (f"'a {name}'" for name in columns.texts)
        return {f"{what} pairs": f"{program} predict {quoted} {first} --text-pair {second}"}
    return {"label texts" if what == "label" else what: f"{program} predict {quoted} 'a text of yours'"}


def compare_with_untuned(result: RunResult) -> str:
    """Say what the model did on the same rows before it was trained; empty if that was not measured."""
    if result.untuned is None:
        return ""
    before = result.untuned.metrics.test if result.metrics.test else result.untuned.metrics.validation
    return f"before training: {describe_metrics(before)}" if before is not None else ""


def compare_with_taggers(result: RunResult) -> str:
    """Say how baselines for tags of words do on the same test rows; empty if none were measured."""
    shown = []
    for name, score in result.tag_baselines.items():
        low, high = score.ci95
        what = tagging.SUMMARIES.get(name, name)
        shown.append(
            f"{what}: {score.metric.replace('_f1', ' F1').replace('_', ' ')} {score.value:.1%} ({low:.1%} to {high:.1%})"
        )
    return "; ".join(shown)


def describe_metrics(measured: SplitMetrics) -> str:
    """Return every number of a split by its name."""
    values = measured.model_dump()
    numbers = {name: value for name, value in values.items() if isinstance(value, float)}
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items()]
    shown += [describe_answers(values["answers"])] if values.get("answers") else []
    return ", ".join([*shown, *([describe_choices(values["choices"])] if values.get("choices") else [])])


def describe_answers(summary: dict[str, Any]) -> str:
    """Return how good generated answers are by the metric that models are compared by."""
    name, number = summary["metric"], summary["num_rows"]
    low, high = summary[f"{name}_ci95"]
    of_answers = counted(number, "answer")
    return f"{answer_metrics.WORDS.get(name, name)} {summary[name]:.1%} of {of_answers} (95% interval {low:.1%} to {high:.1%})"


def describe_choices(summary: dict[str, Any]) -> str:
    """Return how often the right choice is the most probable one, and what to compare that with."""
    right, number = summary["choice_accuracy"], summary["num_rows"]
    low, high = summary["choice_accuracy_ci95"]
    more = f"by chance {summary['chance']:.1%}; length-normalised {summary['choice_accuracy_norm']:.1%}"
    return f"choice accuracy {right:.1%} of {counted(number, 'question')} (95% interval {low:.1%} to {high:.1%}; {more})"


def _print_accuracy(console: Console, measured: ClassificationMetrics, *, rows: str, has_steps: bool) -> None:
    low, high = measured.accuracy_ci95
    style = "bold green" if measured.is_better_than_majority else "bold red"
    text = Text("  ")
    text.append(f"{measured.accuracy:.1%} of {measured.num_rows:,} {rows} right", style=style)
    text.append(f" (95% interval {low:.1%} to {high:.1%})")
    console.print(text, soft_wrap=not console.is_terminal)
    print_wrapped(console, compare_with_majority(measured, has_steps=has_steps))
    if levels := describe_levels([one.model_dump() for one in measured.levels]):
        print_wrapped(console, levels)
    if weakest := describe_weakest_label(measured):
        print_wrapped(console, weakest)


def has_leak(path: Path) -> bool:
    """Whether test texts of the run also occur in its other splits, as far as checks.json tells."""
    try:
        findings = schema.read(schema.ChecksFile, RunFolder(path).checks).findings
    except UserError:
        return False
    leaks = [found.message for found in findings if getattr(found, "code", "") == "leak"]
    return any("test row" in message for message in leaks)


def compare_with_majority(measured: ClassificationMetrics, *, has_steps: bool = True) -> str:
    """Say how the accuracy compares with always predicting the most frequent label, and what may help. `has_steps`: whether it
    was trained step by step; a baseline has neither a learning rate nor epochs."""
    if measured.is_better_than_majority:
        return f"always predicting the most frequent label: {measured.majority_accuracy:.1%}"
    what = f"no better than always predicting the majority class ({measured.majority_accuracy:.1%})"
    advice = "half the learning rate (--lr), more epochs (--epochs) or more rows" if has_steps else "more rows"
    return f"{what}; {advice} may help"


def compare_with_start(result: RunResult, measured: ClassificationMetrics) -> str:
    """Say how the accuracy compares with that before the first update on the same rows; empty if the head started at random."""
    start = start_metrics(result)
    if not isinstance(start, ClassificationMetrics):
        return ""
    return describe_start(result, f"{start.accuracy:.1%}", f"{measured.accuracy:.1%}")


def compare_with_bag_of_words(result: RunResult, measured: ClassificationMetrics) -> str:
    """Say how the accuracy compares with that of a bag of words on the same test rows; empty if none was measured."""
    score = result.baselines.get(BAG_OF_WORDS)
    if score is None:
        return ""
    if score.accuracy >= measured.accuracy:
        as_good = "as well" if score.accuracy == measured.accuracy else "better"
        return f"a bag of words does {as_good} here ({score.accuracy:.1%}): `--method {BAG_OF_WORDS}` trains one in seconds"
    low, high = score.accuracy_ci95
    return f"a bag of words, which trains in seconds: {score.accuracy:.1%} (95% interval {low:.1%} to {high:.1%})"


def describe_missing_rows(result: RunResult) -> str:
    """Say what nothing was measured on; empty with validation rows, and for a baseline, whose options are cross-validated."""
    if not result.steps or result.num_validation:
        return ""
    if result.metrics.test is None:
        return "no texts were kept apart, so how good it is on new ones is not known: --test FILE, or data.test_fraction=0.15"
    return (
        "no validation texts, and no cross-validation: the last weights are kept, and the test texts alone say how good they are"
    )


def describe_weakest_label(measured: ClassificationMetrics) -> str:
    """Name the label that is found least often, and what it is taken for; empty if every label is found always."""
    known = [label for label, own in measured.per_class.items() if own.num_rows >= LEAST_ROWS]
    if len(measured.per_class) < 2 or not known:
        return ""
    weakest = min(known, key=lambda label: measured.per_class[label].recall)
    own = measured.per_class[weakest]
    found = round(own.recall * own.num_rows)
    if found == own.num_rows:
        return ""
    taken = _most_taken_for(measured, weakest)
    return f"weakest label: {weakest}, {found} of {own.num_rows} found" + (f", most often taken for {taken}" if taken else "")


def _most_taken_for(measured: ClassificationMetrics, label: str) -> str:
    """Return what a label is most often taken for; empty if that is not kept, as of the rarer confusions of very many labels."""
    labels = list(measured.per_class)
    if len(measured.confusion) != len(labels):
        return next((one.predicted for one in measured.confusions if one.label == label), "")
    row = measured.confusion[labels.index(label)]
    others: Sequence[int] = [0 if name == label else count for name, count in zip(labels, row, strict=True)]
    return labels[others.index(max(others))]


def describe_levels(levels: Sequence[Mapping[str, Any]]) -> str:
    """Say how often the levels above the whole label are right; empty if labels have none."""
    shown = [f"level {one['level']} alone ({one['num_labels']:,} labels): {one['accuracy']:.1%} right" for one in levels]
    return "; ".join(shown)


def describe_size(result: RunResult) -> str:
    """Say how much was trained and saved."""
    trained = f"{result.trainable_parameters:,} of {result.total_parameters:,} parameters ({result.trainable_fraction:.2%})"
    saved = f"{format_bytes(result.artifact_bytes)} saved"
    return f"{result.method} trained {trained}; {saved} and verified: a new process loads it and gets equal scores"


def describe_time(result: RunResult) -> str:
    """Say how long the run took in all, and each stage that took a second or more; training against the plan."""
    stages = {name: seconds for name, seconds in result.stage_seconds.items() if name in _STAGES and seconds >= 1}
    took = result.train_seconds - result.saving_seconds
    training = compare_to_plan(took, result.planned_seconds_for_steps, describe=lambda seconds: f"{seconds:.1f} s")
    training += describe_share(result.cpu_share)
    if not stages:
        return f"training {training}"
    parts = [f"{_STAGES[name]} {format_duration(seconds)}" for name, seconds in stages.items()]  # type: ignore[index]
    return f"{format_duration(sum(result.stage_seconds.values()))} in all: {', '.join(parts)}; training itself {training}"
