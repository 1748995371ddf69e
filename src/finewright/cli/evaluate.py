"""The command `evaluate`: metrics of a run on other labelled rows, and the rows with what was predicted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import DATA_FLAGS, Json, Set, data_config
from finewright.core.errors import UserError
from finewright.core.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from finewright.cli.console import ErrorConsole, OutputConsole
    from finewright.data.dataset import LabelledRows
    from finewright.inference.evaluation_table import EvaluatedRows
    from finewright.runs.schema import RunConfigFile
    from finewright.tasks.measures import Measures

MOST_MATRIX_LABELS = 12
"""Labels up to which the whole confusion matrix is shown; above, the most frequent confusions."""
_MOST_LABELS, _NUM_WEAKEST = 100, 20
"""Labels up to which the table has all of them; of more, so many that are found worst."""
_NUM_CONFUSIONS, _NUM_MISTAKES = 8, 5
_LABEL_WIDTH = 16


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright evaluate runs/tickets-lora-seed0 new.csv -o errors.csv")(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    flags: Annotated[dict[str, Any], DATA_FLAGS],
    data: Annotated[
        str | None,
        typer.Argument(
            help="A file with labelled rows, or `-` for standard input. [default: the run's own test rows]", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write all rows with label, predicted, confidence and right; the worst first."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    abstain: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Also measure the accuracy if this share of the rows is answered, as `predict --abstain` does."
        ),
    ] = None,
    num_generated: Annotated[
        int | None,
        typer.Option(
            "--num-generated", metavar="N", min=0, help="Rows that a language model answers. [default: what takes little time]"
        ),
    ] = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run on other labelled rows, or again on its own test rows."""
    from finewright import tasks
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.cli.progress import print_wrapped
    from finewright.data import writers
    from finewright.inference import abstention
    from finewright.runs import folder, reading, schema

    if abstain is not None:
        abstention.check_share(abstain)
    config = schema.read(schema.RunConfigFile, folder.open_run(run).config)
    found = _read_rows(run, data, config, flags, assignments=assignments)
    if output is not None:
        if str(output) == "-":
            raise UserError("standard output has the metrics", where="-o", fix="-o FILE")
        writers.check_output(output, found.table, force=force)
    errors = ErrorConsole()
    num_trained = reading.count_trained_rows(config, found.rows)
    trained_too = [reading.describe_trained_rows(num_trained, len(found.rows))] if num_trained else []
    for note in (*found.notes, *trained_too):
        print_wrapped(errors, note)
    measured = _measure(run, found, console=errors, abstain=abstain, num_generated=num_generated)
    notes = []
    if output is not None:
        notes = writers.write_table(output, measured.table)
        num_rows = len(measured.table.records)
        notes.append(f"{counted(num_rows, 'row')} with predictions, the worst first: {output}")
    if as_json:
        print_json({**measured.metrics, "num_rows_trained_on": num_trained})
    else:
        show_metrics(OutputConsole(), measured.metrics, measures=tasks.get_task(config.task or tasks.DEFAULT).measures)
    for note in notes:
        print_wrapped(errors, note)


def _read_rows(
    run: Path, data: str | None, config: "RunConfigFile", flags: dict[str, Any], *, assignments: list[str] | None
) -> "LabelledRows":
    """Return the rows of the data, the run's own test rows without one. Options of reading are about a file that is given."""
    from finewright.runs import reading

    if data is not None:
        return reading.read_evaluated_rows(data, config, data_config(flags, assignments=assignments))
    given = [*(assignments or []), *(name for name, value in flags.items() if value is not None)]
    if given:
        what = f"{given[0]} says how a file is read, and the run's own test rows are read as in training"
        raise UserError(what, where="evaluate", fix="finewright evaluate RUN FILE")
    return reading.read_own_test_rows(config, where=str(run))


def _measure(
    run: Path, found: "LabelledRows", *, console: "ErrorConsole", abstain: float | None, num_generated: int | None
) -> "EvaluatedRows":
    """Return the evaluation of the rows, with progress on the console, which says too how many texts were cut."""
    from finewright.cli.progress import print_wrapped
    from finewright.inference.labelling import describe_cut
    from finewright.runs.run import open_run

    opened = open_run(run)
    rule = None if abstain is None else opened.abstention_rule(abstain)
    with console.status("evaluating") as status:

        def show_answers(done: int, total: int, num_tokens: int) -> None:
            status.update(f"answers: {done:,} of {total:,}, {num_tokens:,} tokens")

        measured = opened.evaluate_rows(found, abstain=rule, num_generated=num_generated, on_progress=show_answers)
    if cut := describe_cut(measured.num_cut, limit=measured.max_length, keep_end=opened.predictor.keep_end):
        print_wrapped(console, cut)
    return measured


def show_metrics(console: "OutputConsole", measured: dict[str, Any], *, measures: "Measures") -> None:
    """Print the metrics of a split and its worst mistakes, at most 80 columns wide. `measures`: what they are about."""
    shows: dict[Measures, Callable[[OutputConsole, dict[str, Any]], None]] = {
        "labels": _show_labels,
        "label-sets": _show_label_sets,
        "numbers": _show_numbers,
        "tags": show_tags,
        "values": _show_values,
    }
    shows[measures](console, measured)


def _show_values(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print every metric by its name, and how good choices and answers are, where there are any."""
    from finewright.cli import progress
    from finewright.cli.result_card import describe_choices

    plain = [[name, f"{value:.4g}"] for name, value in measured.items() if isinstance(value, int | float)]
    console.print(progress.rows_table(["metric", "value"], plain))
    if measured.get("choices"):
        console.print(describe_choices(measured["choices"]), highlight=False)
    if measured.get("answers"):
        _show_answers(console, measured)


def _show_labels(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print how good predicted labels are, by label, the confusions and the worst mistakes."""
    from finewright.cli import progress
    from finewright.cli.predict import shorten
    from finewright.cli.result_card import describe_levels

    low, high = measured["accuracy_ci95"]
    interval = f"95% interval {low:.1%} to {high:.1%}, {counted(measured['num_rows'], 'row')}"
    console.print(f"accuracy {measured['accuracy']:.1%} ({interval})", highlight=False)
    console.print(
        f"macro F1 {measured['macro_f1']:.1%}   loss {measured['loss']:.3f}   majority class {measured['majority_accuracy']:.1%}"
    )
    if levels := describe_levels(measured.get("levels", [])):
        console.print(f"{levels}   hierarchical F1 {measured['hierarchical_f1']:.1%}", highlight=False)
    if (answers := measured.get("abstain")) is not None:
        for line in describe_answered(answers):
            console.print(line, highlight=False)
    shown, num_more = choose_labels(measured["per_class"])
    rows = [
        [shorten(name, 32), *(f"{v[key]:.1%}" for key in ("precision", "recall", "f1")), f"{v['num_rows']:,}"]
        for name, v in shown.items()
    ]
    console.print(progress.rows_table(["label", "precision", "recall", "F1", "rows"], rows, gap=1))
    if num_more:
        others = counted(num_more, "label with a higher F1 or no row is", "labels with a higher F1 or no row are")
        console.print(f"{others} not shown; --json has all of them", highlight=False)
    show_confusions(console, list(measured["per_class"]), measured)
    worst = sorted(measured["worst_mistakes"], key=lambda line: -line["probability"])
    if worst:
        console.print("worst mistakes, the surest first: label, predicted, its confidence, text", highlight=False)
    for line in worst[:_NUM_MISTAKES]:
        start = f"  {shorten(line['label'], 14)}, {shorten(line['predicted'], 14)} {line['probability']:.2f}  "
        _print_plain(console, start + shorten(" ".join(line["text"].split()), max(8, 80 - len(start))))


def _show_numbers(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print how good predicted numbers are, and the worst of them."""
    from finewright.cli import number_view, progress
    from finewright.cli.predict import shorten

    heads = [counted(measured["num_rows"], "row"), "value", "95% interval"]
    console.print(progress.rows_table(heads, number_view.metric_rows(measured)))
    console.print("worst predictions: true and predicted number, text", highlight=False)
    for numbers, text in number_view.mistake_lines(measured, count=_NUM_MISTAKES):
        _print_plain(console, f"  {numbers}  {shorten(' '.join(text.split()), max(8, 76 - len(numbers)))}")


def _show_label_sets(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print the metrics of a split with any number of labels for each text, a table of them, and the worst mistakes."""
    from finewright.cli import multi_label_view, progress
    from finewright.cli.console import clean
    from finewright.cli.predict import shorten

    for line in multi_label_view.describe_scores(measured, rows="rows"):
        console.print(clean(line), highlight=False, soft_wrap=True)
    console.print(f"F1 per text {measured['samples_f1']:.1%}   loss {measured['loss']:.3f}", highlight=False)
    headings, rows, num_more = multi_label_view.label_rows(measured["per_label"])
    console.print(progress.rows_table(headings, rows, gap=1))
    if num_more:
        console.print(
            f"{counted(num_more, 'label with fewer rows is', 'labels with fewer rows are')} not shown; --json has all of them",
            highlight=False,
        )
    if measured["worst_mistakes"]:
        console.print("worst mistakes: labels, predicted, text", highlight=False)
    for line in measured["worst_mistakes"][:_NUM_MISTAKES]:
        start = f"  {shorten(line['label'] or '(none)', 24)}, {shorten(line['predicted'] or '(none)', 24)}  "
        text = shorten(" ".join(line["text"].split()), max(8, 80 - len(start)))
        console.print(clean(start + text), highlight=False, soft_wrap=True)


def show_tags(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print how good tags of words are, by type, and the texts that are most wrong."""
    from finewright.cli import progress
    from finewright.cli.predict import shorten
    from finewright.tasks.entity_metrics import describe_tags

    console.print(describe_tags(measured), highlight=False)
    table = measured.get("per_type") or measured.get("per_tag") or {}
    rows = [
        [shorten(name, 32), *(f"{values[key]:.1%}" for key in ("precision", "recall", "f1")), f"{values['support']:,}"]
        for name, values in table.items()
    ]
    heads = ["type", "entities"] if measured.get("per_type") else ["tag", "words"]
    console.print(progress.rows_table([heads[0], "precision", "recall", "F1", heads[1]], rows, gap=1))
    if measured.get("type_confusion"):
        show_type_confusions(console, measured["type_confusion"])
    if measured["worst_mistakes"]:
        console.print("texts with the highest loss among those with a mistake: labelled / predicted / text", highlight=False)
    for line in measured["worst_mistakes"][:_NUM_MISTAKES]:
        shown = (" ".join(str(line[key] or "-").split()) for key in ("label", "predicted", "text"))
        _print_plain(console, "  " + " / ".join(shorten(one, 60) for one in shown))


def _show_answers(console: "OutputConsole", measured: dict[str, Any]) -> None:
    """Print how good the generated answers are, and the worst of them."""
    from finewright.cli.predict import shorten
    from finewright.cli.result_card import describe_answers

    console.print(describe_answers(measured["answers"]), highlight=False)
    if measured["worst_mistakes"]:
        console.print("worst answers: score, prompt / answer / reference", highlight=False)
    for line in measured["worst_mistakes"][:_NUM_MISTAKES]:
        shown = (" ".join(str(line[key]).split()) for key in ("text", "predicted", "label"))
        _print_plain(console, f"  {line['score']:.2f}  " + " / ".join(shorten(one, 60) for one in shown))


def describe_answered(answers: dict[str, Any]) -> list[str]:
    """Return lines about how many rows are answered when the least certain ones are not, and how many answers are right."""
    answered = f"{answers['num_answered']:,} of {answers['num_rows']:,} rows ({answers['coverage']:.1%})"
    right = "" if answers["share_right"] is None else f", accuracy on these {answers['share_right']:.1%}"
    lines = [f"answered {answered}{right}, threshold {answers['threshold']:g}"]
    if answers["threshold_from"] != "validation":
        lines.append("  the run kept no confidences of validation rows, so these rows set the threshold")
    return lines


def choose_labels(per_class: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the labels to show and how many more there are: of very many those with rows and the lowest F1, lowest first."""
    if len(per_class) <= _MOST_LABELS:
        return per_class, 0
    known = sorted((name for name in per_class if per_class[name]["num_rows"]), key=lambda name: per_class[name]["f1"])
    shown = known[:_NUM_WEAKEST]
    return {name: per_class[name] for name in shown}, len(per_class) - len(shown)


def show_type_confusions(console: "OutputConsole", counts: dict[str, dict[str, int]]) -> None:
    """Print which types of entities are taken for which, missed and invented."""
    from finewright.tasks.entity_metrics import arrange_confusion

    names, matrix = arrange_confusion(counts, most=MOST_MATRIX_LABELS - 2)  # the other types and none are rows too
    heading = "labelled (rows) and predicted types (columns); none: invented, missed"
    show_matrix(console, names, [[round(count) for count in row] for row in matrix], heading=heading)


def show_confusions(console: "OutputConsole", labels: list[str], measured: dict[str, Any]) -> None:
    """Print the confusion matrix; with many labels the most frequent confusions."""
    from finewright.cli.predict import shorten

    confusion: list[list[int]] = measured["confusion"]
    if len(labels) > MOST_MATRIX_LABELS:
        cells = [(-line["num_rows"], line["label"], line["predicted"]) for line in measured.get("confusions", [])]
        cells += sorted(
            (-count, labels[truth], labels[said])
            for truth, row in enumerate(confusion)
            for said, count in enumerate(row)
            if count and truth != said
        )
        if cells:
            console.print("most frequent confusions: label, predicted, rows", highlight=False)
        for count, truth, said in cells[:_NUM_CONFUSIONS]:
            _print_plain(console, f"  {shorten(truth, 30)}, {shorten(said, 30)}  {-count:,}")
        return
    show_matrix(console, labels, confusion, heading="confusion matrix: a row for each label, a column for each prediction")


def show_matrix(console: "OutputConsole", labels: list[str], confusion: list[list[int]], *, heading: str) -> None:
    """Print a matrix of counts under its heading."""
    from finewright.cli.predict import shorten

    width = max(len(str(value)) for row in confusion for value in (*row, len(labels)))
    name_width = min(_LABEL_WIDTH, max(map(len, labels)))
    console.print(heading, highlight=False)
    numbers = " ".join(f"{number:>{width}}" for number in range(1, len(labels) + 1))
    _print_plain(console, f"  {'':<{name_width}}     {numbers}")
    for number, (label, row) in enumerate(zip(labels, confusion, strict=True), start=1):
        cells_shown = " ".join(f"{value:>{width}}" for value in row)
        _print_plain(console, f"  {shorten(label, name_width):<{name_width}}  {number:>2} {cells_shown}")


def _print_plain(console: "OutputConsole", line: str) -> None:
    from finewright.cli.console import clean

    console.print(clean(line), highlight=False, soft_wrap=True)
