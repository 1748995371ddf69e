"""The trained model on the test rows: metrics, predictions, and of a language model generated answers and choices."""

from typing import TYPE_CHECKING, Any

from finewright.data.text_pairs import add_pairs
from finewright.inference import scoring
from finewright.runs import answers, choices
from finewright.runs.calibration import Calibration
from finewright.runs.context import RunContext
from finewright.runs.schema import CalibrationRecord

if TYPE_CHECKING:
    from finewright.runs.stages import SelectedMethod, TrainedRun


def score_test_rows(
    context: RunContext, selected: "SelectedMethod", trained: "TrainedRun", calibrated: Calibration
) -> tuple[dict[str, Any], CalibrationRecord | None]:
    """Return the metrics by split, and what calibration changed on the test rows; write predictions.jsonl."""
    best, rows, folder = trained.session.state.progress.best, selected.dataset.test, context.folder
    measured: dict[str, Any] = {"validation": calibrated.metrics or best.metrics} if best else {}
    if not rows:
        return measured, calibrated.record(None)
    with context.meter.measure():
        evaluation = scoring.evaluate_split(trained.prepared.model, selected.planned.splits["test"], task=calibrated.task)
    measured["test"] = evaluation.metrics() | {"worst_mistakes": evaluation.worst_mistakes(rows)}
    lines = add_pairs(evaluation.prediction_lines(rows), rows)
    if selected.task.generates:
        lines = _measure_answers(context, selected, trained, lines, measured=measured["test"])
    folder.write_predictions(lines)
    return measured, calibrated.record(evaluation)


def _measure_answers(
    context: RunContext,
    selected: "SelectedMethod",
    trained: "TrainedRun",
    lines: list[dict[str, Any]],
    *,
    measured: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return the prediction lines with generated answers and choices; add to `measured` how good these are."""
    model, tokenizer = trained.prepared.model, trained.prepared.base.origin.tokenizer
    progress, limit = trained.session.state.progress, selected.planned.limit
    test = answers.choose_test(selected.dataset, selected.planned.splits["train"], settings=context.settings)
    if test.rows:
        with context.meter.measure():
            said = answers.generate(context, model, tokenizer, test, limit=limit, doing="after training")
        lines, measured["answers"], measured["worst_mistakes"] = answers.add_answers(lines, test, said, progress.untuned_answers)
    asked = choices.choose_test(selected.dataset.test)
    if asked.rows:
        with context.meter.measure():
            chosen = choices.answer(context, model, tokenizer, asked, limit=limit, doing="after training")
        lines, measured["choices"] = choices.add_choices(lines, asked, chosen, progress.untuned_choices)
    return lines
