"""The command `predict`: label a file, or texts that are given one by one."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import READ_FLAGS, Json, OptionFlags, Set, data_config
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from finewright.data.inputs import TextRows
    from finewright.inference.abstention import Abstention
    from finewright.inference.labelling import LabelledTable
    from finewright.runs.schema import RunConfigFile

STANDARD_INPUT = "-"
SECONDS_BETWEEN_LINES = 10
"""Where standard error is no terminal: the least time between two lines about progress."""
MOST_LABELS = 12
"""Labels that are counted one by one."""


Texts = Annotated[
    list[str] | None,
    typer.Argument(help="A file, `-` for standard input, or texts; without any, standard input is read.", show_default=False),
]
TextPair = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="The second text of a pair, for a model of pairs; once for each text that is given."),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write all rows with their labels: .csv, .tsv, .jsonl, .json, .parquet, .xlsx, or `-` for standard "
        "output. [default: NAME.labelled.* beside the file]",
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(metavar="X", help="A row below this confidence needs review. [default: what the run measured, else 0.8]"),
]
Abstain = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Answer this share of the rows, such as 0.9: the least certain 10% get no label. [default: all]"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright predict runs/tickets-lora-seed0 new.csv")(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    flags: Annotated[dict[str, Any], OptionFlags(only=READ_FLAGS)],
    texts: Texts = None,
    text_pair: TextPair = None,
    file: Annotated[Path | None, typer.Option(help="A file with texts, the same as FILE in place of texts.")] = None,
    output: Output = None,
    min_confidence: MinConfidence = None,
    otherwise: Annotated[
        str | None, typer.Option("--else", metavar="LABEL", help="Label of the rows that need review. [default: the model's]")
    ] = None,
    abstain: Abstain = None,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of numbers that lie between low and high, for a regression. [default: 0.9]"),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="N", help="Add the N most probable labels as label_1, confidence_1 and so on.", min=1)
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add the probability of each label, where a text has any number of labels.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Label a file: all rows and columns, with what the run predicts for each. Or predict for single texts."""
    from finewright.runs import folder, reading, schema

    _check_abstain(abstain, min_confidence=min_confidence)
    opened = folder.open_run(run)
    config = schema.read(schema.RunConfigFile, opened.config)
    check_predicts(config, run)
    options = reading.data_options(config, data_config(flags, assignments=assignments))
    columns = reading.trained_columns(config)
    source = None if text_pair else find_source(texts or [], file)
    from finewright.data import inputs

    if source is None:
        given = _check_texts(texts or [], text_pair or [], file, reads_pairs=columns.form == "pair")
        rows = inputs.find_text_rows(given, options=options, trained=columns)
    else:
        rows = inputs.read_text_rows(source, options=options, trained=columns)
    target = choose_target(source, rows, output=output, as_json=as_json, force=force)
    labelling: dict[str, Any] = {
        "min_confidence": min_confidence,
        "otherwise": otherwise,
        "top_k": top_k or 0,
        "abstain": abstain,
        "interval": interval,
        "probabilities": probabilities,
    }
    if target is None and (probabilities or any(value is not None for value in (min_confidence, otherwise, top_k))):
        what = "--min-confidence, --else, --top-k and --probabilities are about a file with labels"
        raise UserError(what, where="predict", fix="give a file, or -o FILE for texts")
    _say_source(source, texts, rows)
    if target is None:
        _predict_texts(run, rows, abstain=abstain, interval=interval, as_json=as_json)
    else:
        _label_rows(run, rows, target, labelling, as_json=as_json)


def check_predicts(config: "RunConfigFile", run: Path) -> None:
    """Raise `UserError` with the command to take if a run trained a language model, which has answers, not labels."""
    from finewright import tasks

    if tasks.get_task(config.task or tasks.DEFAULT).generates:
        what = "the run trained a language model, which has answers, not labels"
        raise UserError(what, where=str(run), fix=f"finewright generate {run}, or finewright chat {run}")


def _check_abstain(share: float | None, *, min_confidence: float | None) -> None:
    """Raise `UserError` before anything is loaded if the share is none, or a threshold is given beside it."""
    if share is None:
        return
    from finewright.inference import abstention

    abstention.check_share(share)
    abstention.check_one_threshold(share, min_confidence=min_confidence)


def _check_texts(texts: list[str], text_pair: list[str], file: Path | None, *, reads_pairs: bool) -> list[Any]:
    """Return the texts that are given one by one, or their pairs."""
    given = [_check_text(text, number) for number, text in enumerate(texts, start=1)]
    second = [_check_text(text, number) for number, text in enumerate(text_pair, start=1)]
    _check_pairs(given, second, file, reads_pairs=reads_pairs)
    return [*zip(given, second, strict=True)] if second else given


def _check_pairs(first: list[str], second: list[str], file: Path | None, *, reads_pairs: bool) -> None:
    """Raise `UserError` if texts are given to a model of pairs, or the reverse, or a pair is not whole."""
    if second and file is not None:
        raise UserError("--file and --text-pair are both given", where="--text-pair", fix="give the file alone")
    if reads_pairs and not second:
        what, fix = (
            "the model reads pairs of texts",
            "finewright predict RUN FIRST --text-pair SECOND, or a file with both columns",
        )
        raise UserError(what, where="predict", fix=fix)
    if second and not reads_pairs:
        raise UserError("the model reads single texts", where="--text-pair", fix="leave --text-pair out")
    if len(first) != len(second) and second:
        what = f"{len(first)} first and {len(second)} second texts"
        raise UserError(what, where="--text-pair", fix="give --text-pair once for each text")


def find_source(texts: list[str], file: Path | None) -> str | None:
    """Return the file to label, `-` for standard input; None if the texts are meant themselves.

    A text that names a file is that file, as is one word that names a data set of the program. Raise `UserError` if it looks like
    the path of one that is not there, or if files and texts are mixed.
    """
    from finewright.data import source_tables

    if file is not None:
        if texts:
            what = f"--file {file} and {texts[0]!r} are both given"
            raise UserError(what, where="--file", fix="give the file alone, or put the text into it")
        return str(file)
    if not texts:
        return STANDARD_INPUT
    named = [text for text in texts if text == STANDARD_INPUT or is_file(text)]
    if named and len(texts) > 1:
        raise UserError(f"{named[0]!r} is a file, and more is given beside it", where="predict", fix="give one file at a time")
    if named or (len(texts) == 1 and source_tables.is_packaged(texts[0])):
        return texts[0]
    for text in texts:
        _refuse_path(text)
    return None


def _refuse_path(text: str) -> None:
    """Raise `UserError` if a text that is to be labelled is a folder, or looks like the path of a file that is not there."""
    from finewright.data import dataset, inputs

    if _is_path(text, os.path.isdir):
        raise UserError("this is a folder", where=text, fix="give one file of it; texts go through standard input")
    if inputs.looks_like_a_path(text):
        try:
            dataset.find_existing(text)
        except UserError as error:
            stop = "" if error.fix.endswith((".", "?")) else "."
            error.fix += f"{stop} To label it as a text, send it through standard input"
            raise


def is_file(text: str) -> bool:
    """Return whether a text is the path of a file, or of a pipe."""
    return _is_path(text, lambda path: os.path.exists(path) and not os.path.isdir(path))


def _is_path(text: str, check: "Callable[[str], bool]") -> bool:
    try:
        return bool(text.strip()) and check(text)
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False


def _check_text(text: str, number: int) -> str:
    from finewright.data import dataset

    if dataset.is_blank(text):
        raise UserError("an empty text has no label", where=f"text {number}", fix="leave it out", code=ExitCode.BAD_DATA)
    return text


def choose_target(source: str | None, rows: "TextRows", *, output: str | None, as_json: bool, force: bool) -> str | None:
    """Return where the labelled rows go: a path, or `-`; None if predictions are shown. Raise `UserError` if it cannot be."""
    from finewright.data import writers

    if output is None:
        if source is None or as_json:
            return None
        if source == STANDARD_INPUT:
            return None if rows.has_lines else STANDARD_INPUT
        output = str(writers.name_output(Path(source), rows.table, added="labelled"))
    if output == STANDARD_INPUT:
        if as_json:
            raise UserError("--json and -o - both want standard output", where="-o", fix="-o FILE, or leave --json out")
        return output
    writers.check_output(Path(output), rows.table, force=force)
    return output


def _say_source(source: str | None, texts: list[str] | None, rows: "TextRows") -> None:
    from finewright.cli.console import ErrorConsole
    from finewright.cli.progress import print_wrapped

    console = ErrorConsole()
    if source is not None and source != STANDARD_INPUT and texts and is_file(source):
        labelled = "1 row is" if len(rows.texts) == 1 else f"{len(rows.texts):,} rows are"
        print_wrapped(console, f"{source} is a file: its {labelled} labelled")
    for note in rows.notes:
        print_wrapped(console, note)


def _predict_texts(run: Path, rows: "TextRows", *, abstain: float | None, interval: float | None, as_json: bool) -> None:
    """Predict and show a short table, or all predictions as JSON."""
    from finewright.cli.console import showing_loading
    from finewright.core.imports import garbage_collection_paused

    with showing_loading(str(run)), garbage_collection_paused():
        from finewright.inference import labelling
        from finewright.runs.run import open_run

        opened = open_run(run)
        rule = None if abstain is None else opened.abstention_rule(abstain)
        predictor = opened.with_interval(opened.predictor, interval)  # loaded here, where its imports are cheaper
    predictions, num_cut = labelling.predict_rows(predictor, rows.texts)
    left_out = None
    if rule is not None:
        predictions, left_out = labelling.leave_out_uncertain(predictions, rule)
    from finewright.cli import progress
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json

    num_empty = sum(text is None for text in rows.texts)
    for sentence in (
        labelling.describe_cut(num_cut, limit=predictor.limit, keep_end=predictor.keep_end),
        describe_empty(num_empty),
        describe_abstention(left_out) if left_out else "",
    ):
        if sentence:
            progress.print_wrapped(ErrorConsole(), sentence)
    if as_json:
        print_json({"predictions": predictions, **({"abstain": left_out.as_json()} if left_out else {})})
        return
    if predictions and "labels" in predictions[0]:
        heads = ["labels", "probabilities", "text"]
        OutputConsole().print(progress.rows_table(heads, [_label_set_cells(line) for line in predictions]))
        return
    texts = [name for name in ("text", "text_pair") if any(name in line for line in predictions)]
    hidden = (*texts, "probabilities")
    shown = [
        [line.get("label") or "", "" if line.get("probability") is None else f"{line['probability']:.3f}"]
        if "label" in line
        else [show_value(value) for key, value in line.items() if key not in hidden]
        for line in predictions
    ]
    shown = [[*cells, *(line.get(name, "") for name in texts)] for cells, line in zip(shown, predictions, strict=True)]
    if predictions:
        first = predictions[0]
        heads = ["label", "probability"] if "label" in first else [key for key in first if key not in hidden]
        OutputConsole().print(progress.rows_table([*heads, *texts], shown))


def _label_set_cells(prediction: dict[str, Any]) -> list[str]:
    """Return the labels of a prediction, their probabilities and its text."""
    labels = prediction["labels"]
    if labels is None:
        return ["", "", prediction["text"]]
    shares = ", ".join(f"{prediction['probabilities'][label]:.3f}" for label in labels)
    return [", ".join(labels) or "(none)", shares, prediction["text"]]


def show_value(value: Any) -> str:
    """Return what was predicted as a person reads it: entities with their labels, words apart."""
    if not isinstance(value, list):
        return str(value)
    if all(isinstance(one, dict) for one in value):
        return "; ".join(f"{one['label']}: {one['text']} ({one['probability']:.2f})" for one in value)
    return " ".join(map(str, value))


def _label_rows(run: Path, rows: "TextRows", target: str, how: dict[str, Any], *, as_json: bool) -> None:
    """Label the rows, write them, and say what was found."""
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json, showing_loading, write_bytes
    from finewright.core.imports import garbage_collection_paused

    with showing_loading(str(run)), garbage_collection_paused():
        from finewright.data import writers
        from finewright.inference import labelling
        from finewright.runs.run import open_run

        opened = open_run(run)
        predictor = opened.with_interval(opened.fastest_predictor, how["interval"])  # loaded here, where its imports are cheaper
    with ScoringProgress(len(rows.texts)) as progress:
        labelled = opened.label_rows(rows, **how, on_progress=progress)
    new_notes = labelled.notes[len(rows.notes) :]
    if target == STANDARD_INPUT:
        import io

        content = io.BytesIO()
        new_notes += writers.write_table(content, labelled.table)
        write_bytes(content.getvalue())
    else:
        before = len(labelled.notes)
        labelled = labelled.written_to(Path(target))
        new_notes += labelled.notes[before:]
    if as_json:
        predictions, _ = labelling.predict_rows(predictor, rows.texts)
        if how["abstain"] is None:
            print_json({"predictions": predictions})
        else:
            predictions, left_out = labelling.leave_out_uncertain(predictions, opened.abstention_rule(how["abstain"]))
            print_json({"predictions": predictions, "abstain": left_out.as_json()})
    console = ErrorConsole() if as_json or target == STANDARD_INPUT else OutputConsole()
    show_summary(console, labelled, rows, notes=new_notes, keep_end=predictor.keep_end)


def show_summary(console: Any, labelled: "LabelledTable", rows: "TextRows", *, notes: list[str], keep_end: bool) -> None:
    """Print counts by label, how many rows need review and why, and the least certain rows."""
    from finewright.cli import progress
    from finewright.cli.console import clean
    from finewright.inference.labelling import describe_cut

    where = f", written to {labelled.output}" if labelled.output else ""
    console.print(f"{counted(labelled.num_rows, 'row')} of {clean(rows.name)}{clean(where)}", highlight=False, soft_wrap=True)
    width = max((len(label) for label in list(labelled.counts)[:MOST_LABELS]), default=0)
    for label, count in list(labelled.counts.items())[:MOST_LABELS]:
        share = f"{count / labelled.num_rows:.0%}"
        console.print(f"  {clean(shorten(label, 40)):<{min(width, 40)}}  {count:>9,}  {share:>4}", highlight=False)
    if len(labelled.counts) > MOST_LABELS:
        more = list(labelled.counts.values())[MOST_LABELS:]
        console.print(
            f"  {counted(sum(more), 'row has', 'rows have')} one of {counted(len(more), 'other label')}", highlight=False
        )
    sentences = [describe_empty(labelled.num_empty)]
    sentences.append(describe_cut(labelled.num_cut, limit=labelled.max_length, keep_end=keep_end))
    if labelled.abstention is not None:
        sentences.append(describe_abstention(labelled.abstention))
    if (how := labelled.options) is not None:
        verb = "needs" if labelled.num_review == 1 else "need"
        noun = "row" if labelled.num_review == 1 else "rows"
        changed_by = "--min-confidence" if how.abstain is None else "--abstain"
        threshold = f"confidence below {how.threshold:g} ({how.reason}; {changed_by} changes it)"
        sentences.append(f"{labelled.num_review:,} {noun} {verb} review: {threshold}")
    for sentence in [*notes, *sentences]:
        if sentence:
            progress.print_wrapped(console, sentence)
    if labelled.least_certain:
        console.print("  least certain first:", highlight=False)
    room = min(console.width, 80) if console.is_terminal else 80
    for line in labelled.least_certain:
        console.print(clean(_describe_uncertain(line, room=room)), highlight=False, soft_wrap=True)


def _describe_uncertain(line: dict[str, Any], *, room: int) -> str:
    """Return one line of at most `room` characters about a row that is not certain."""
    place = shorten_place(str(line["where"]), 20)
    other = f" or {shorten(line['second_label'], 14)} {line['second_confidence']:.2f}" if line["second_label"] else ""
    start = f"    {place}  {shorten(line['label'], 14)} {line['confidence']:.2f}{other}  "
    return start + shorten(" ".join(str(line["text"]).split()), max(8, room - len(start)))


def shorten(text: str, most: int, *, keep_end: bool = False) -> str:
    """Return a text in at most `most` characters."""
    if len(text) <= most:
        return text
    return f"…{text[1 - most :]}" if keep_end else f"{text[: most - 1]}…"


def shorten_place(where: str, most: int) -> str:
    """Return the place of a row in at most `most` characters: the row whole, and what fits of file or sheet."""
    if len(where) > most and ": " in where:
        where = where.rpartition(": ")[2]  # the file is named above
    start, row, number = where.rpartition(" row ")
    if len(where) > most and start:
        return f"{shorten(start, most - len(row + number))}{row}{number}"
    return shorten(where, most, keep_end=True)


def describe_empty(count: int) -> str:
    """Return the sentence about rows without a text; empty if there are none."""
    if not count:
        return ""
    return "1 row has no text: its answer is empty" if count == 1 else f"{count:,} rows have no text: their answers are empty"


def describe_abstention(left_out: "Abstention") -> str:
    """Return how many rows were answered, and how many of the answers will be right."""
    text = f"answered {left_out.num_answered:,} of {left_out.num_rows:,} {'row' if left_out.num_rows == 1 else 'rows'}"
    text += f" ({left_out.num_answered / left_out.num_rows:.1%})" if left_out.num_rows else ""
    if left_out.is_from_few_rows:
        few = counted(left_out.num_validation, "validation row is", "validation rows are")
        return f"{text}; {few} too few to expect an accuracy from"
    if left_out.expected_share_right is not None:
        rows = counted(left_out.num_validation, "validation row")
        return f"{text}; expected accuracy on answered rows {left_out.expected_share_right:.1%} ({rows})"
    return f"{text}; the run kept no confidences of validation rows, so these rows set the threshold: others have another one"


class ScoringProgress:
    """Shows how much is scored on standard error: a bar on a terminal, a line every ten seconds elsewhere.

    The time left comes from the share of the characters that is done, since a long text takes longer than a short one.
    """

    def __init__(self, num_rows: int, *, doing: str = "labelling", noun: str = "rows") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        from finewright.cli.console import ErrorConsole

        self.console = ErrorConsole()
        self.began = self.printed_at = time.monotonic()
        self.doing, self.noun = doing, noun
        columns = (TextColumn(f"  {doing}"), BarColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(f"{num_rows:,} {noun}", total=1.0)

    def __enter__(self) -> "ScoringProgress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, num_done: int, num_rows: int, share: float) -> None:
        """Take in that this share of the work is done."""
        said = self.describe(num_done, num_rows, share)
        self.bar.update(self.task, completed=share, description=said)
        if not self.console.is_terminal and time.monotonic() - self.printed_at > SECONDS_BETWEEN_LINES:
            self.printed_at = time.monotonic()
            self.console.print(f"  {self.doing} {said}", highlight=False, soft_wrap=True)

    def describe(self, num_done: int, num_rows: int, share: float) -> str:
        """Return rows done and the time left."""
        from finewright.cli.progress import format_duration

        took = time.monotonic() - self.began
        left = f", {format_duration(took / share * (1 - share))} left" if share > 0 and took > 1 else ""
        return f"{num_done:,}/{num_rows:,} {self.noun}{left}"
