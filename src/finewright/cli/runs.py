"""The commands that use a finished run: evaluate, predict."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import DATA_FLAGS, READ_FLAGS, Json, OptionFlags, Set, data_config


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(epilog="Example: finewright evaluate runs/tickets-lora-seed0 new.csv")(evaluate)
    app.command(epilog="Example: finewright predict runs/tickets-lora-seed0 'where is my parcel?'")(predict)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Argument(help="A file with labelled rows.")],
    flags: Annotated[dict[str, Any], DATA_FLAGS],
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run on other labelled rows."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.run import open_run

    measured = open_run(run).evaluate(data, options=data_config(flags, assignments=assignments))
    if as_json:
        print_json(measured)
        return
    console = OutputConsole()
    low, high = measured["accuracy_ci95"]
    interval = f"95% interval {low:.1%} to {high:.1%}, {measured['num_rows']:,} rows"
    console.print(f"accuracy {measured['accuracy']:.1%} ({interval})", highlight=False)
    console.print(
        f"macro F1 {measured['macro_f1']:.1%}   loss {measured['loss']:.3f}   majority class {measured['majority_accuracy']:.1%}",
        highlight=False,
    )
    rows = [
        [name, *(f"{v[key]:.3f}" for key in ("precision", "recall", "f1")), str(v["num_rows"])]
        for name, v in measured["per_class"].items()
    ]
    console.print(progress.rows_table(["label", "precision", "recall", "F1", "rows"], rows))
    worst = [[w["label"], w["predicted"], f"{w['probability']:.2f}", w["text"][:80]] for w in measured["worst_mistakes"]]
    if worst:
        console.print(progress.rows_table(["worst mistakes: label", "predicted", "probability", "text"], worst))


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    flags: Annotated[dict[str, Any], OptionFlags(only=READ_FLAGS)],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, standard input is read, one per line.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with texts.")] = None,
    as_json: Json = False,
) -> None:
    """Predict the labels of texts with a run."""
    from finewright.cli.console import OutputConsole, print_json, read_lines
    from finewright.core.imports import garbage_collection_paused
    from finewright.data import dataset

    read = dataset.read_texts(file, options=data_config(flags)) if file else texts or read_lines()
    with garbage_collection_paused():
        from finewright.runs.run import open_run

        opened = open_run(run)
        assert opened.predictor.labels  # loaded here, where its imports are cheaper
    predictions = opened.predict(read)
    if as_json:
        print_json({"predictions": predictions})
        return
    from finewright.cli import progress

    rows = [[line["label"], f"{line['probability']:.3f}", line["text"]] for line in predictions]
    OutputConsole().print(progress.rows_table(["label", "probability", "text"], rows))
