"""A finished run, opened: its result, predictions, evaluation, doubtful labels."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright import tasks
from finewright.baselines.predictor import BaselinePredictor
from finewright.core.argument_names import naming_arguments
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.hardware import Precision
from finewright.core.units import counted
from finewright.data import writers
from finewright.data.columns import Columns
from finewright.data.dataset import LabelledRows
from finewright.data.inputs import TextRows, find_text_rows, read_text_rows
from finewright.data.tables import to_table
from finewright.inference import labelling
from finewright.inference.abstention import AbstentionRule, CoverageCurve, check_one_threshold, make_rule
from finewright.inference.evaluation_table import EvaluatedRows, build_evaluation_table
from finewright.inference.label_sets import LabelSetOptions
from finewright.inference.labelling import LabelledTable, LabellingOptions
from finewright.inference.model import Model, Prediction, choose_device
from finewright.inference.text_predictor import OnProgress, TextPredictor
from finewright.runs import calibration, intervals, model_folder, reading, request, schema, thresholds
from finewright.runs import folder as run_folder
from finewright.runs.folder import RunFolder
from finewright.runs.schema import CalibrationFile, RunConfigFile, RunResult

if TYPE_CHECKING:
    import numpy as np

    from finewright.inference.generation import Generation
    from finewright.inference.generation import OnProgress as OnAnswers
    from finewright.inference.language_model import LanguageModel
    from finewright.runs.rows_to_label import RowsToLabel
    from finewright.runs.suspects import Suspects


class Run:
    """A finished run: `result`, `predict`, `predict_file`, `evaluate`, `load`, `find_suspects`, `choose_rows_to_label`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.config = schema.read(RunConfigFile, folder.config)
        self._is_baseline = request.is_baseline(self.config.request)
        self._max_length = self.config.max_length or 0
        self._truncation_side = (self.config.settings.get("data") or {}).get("truncation_side")
        if not self._is_baseline and not (self._max_length and self._truncation_side):
            what = "the run's config lacks max_length or data.truncation_side"
            raise UserError(what, where=str(folder.config), fix="train it again", code=ExitCode.MISMATCH)
        self._predictor: TextPredictor | None = None
        self._accelerated: TextPredictor | None = None

    def __repr__(self) -> str:
        """Return path, method, model and how good it is."""
        try:
            result = self.result
        except UserError:
            return f"Run({str(self.path)!r}, damaged)"
        measured = result.metrics.test or result.metrics.validation
        metric = tasks.get_task(result.task).decisive_metric({} if measured is None else measured.model_dump())
        split = "test" if result.metrics.test else "validation"
        value = getattr(measured, metric.name, None)
        shown = "" if value is None else f", {split} {metric.name} {metric.format(value)}"
        trained = f"{result.method} on {result.model}" if result.model else result.method  # a baseline may read none
        return f"Run({str(self.path)!r}, {trained}, {counted(len(self.config.labels), 'label')}{shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to open it again: a copy in another process reads the same folder."""
        return open_run, (str(self.path.absolute()),)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def result(self) -> RunResult:
        """What result.json holds: `run.result.metrics.test.accuracy`."""
        return schema.read(RunResult, self.folder.result)

    @property
    def columns(self) -> Columns:
        """Columns of the training rows."""
        return reading.trained_columns(self.config)

    @property
    def classes_(self) -> "np.ndarray":
        """Label names as scikit-learn gives them, in the order of the columns of `predict_proba`."""
        return self._model.classes_

    @property
    def predictor(self) -> TextPredictor:
        """The saved model on the CPU, loaded at first use."""
        if self._predictor is None:
            self._predictor = self._load("cpu")
        return self._predictor

    @property
    def fastest_predictor(self) -> TextPredictor:
        """The saved model on the accelerator, where there is one, loaded at first use."""
        device = "cpu" if self._is_baseline else choose_device("auto")
        if device == "cpu":
            return self.predictor
        if self._accelerated is None:
            self._accelerated = self._load(device)
        return self._accelerated

    @cached_property
    def _calibration(self) -> CalibrationFile | None:
        return calibration.read_calibration(self.folder.model)

    @property
    def _curve(self) -> CoverageCurve | None:
        """How certain the model is of its validation rows; None in runs without any, and in those of earlier versions."""
        return calibration.to_curve(self._calibration)

    def _load(self, device: str) -> TextPredictor:
        model_folder.check_files(self.folder.model, self.result.files)
        predictor = self._load_uncalibrated(device)
        task = intervals.add_intervals(predictor.task, self.folder.model, level=None)
        if task.fits_thresholds:
            task = thresholds.with_saved_thresholds(task, self.folder.model)
        elif self._calibration is not None:
            task = task.with_temperature(self._calibration.temperature)
        return replace(predictor, task=task)

    def _load_uncalibrated(self, device: str) -> TextPredictor:
        if self._is_baseline:
            return BaselinePredictor.load(self.folder.model)
        from finewright.inference.predictor import Predictor  # here: a baseline predicts without PyTorch

        return Predictor.load(
            self.folder.model,
            limit=self._max_length,
            keep_end=self._truncation_side == "left",
            bfloat16=self.config.bfloat16,
            device=device,
            task=self.config.task or tasks.DEFAULT,
            data_options=self.config.settings.get("data") if self._reads_tokens else None,
        )

    @property
    def _reads_tokens(self) -> bool:
        """Whether the run's options of reading rows decide which tokens are scored."""
        return tasks.get_task(self.config.task or tasks.DEFAULT).is_language_model()

    @property
    def generates(self) -> bool:
        """Whether the run trained a language model, which is asked for answers instead of labels."""
        return tasks.get_task(self.config.task or tasks.DEFAULT).generates

    @cached_property
    def language_model(self) -> "LanguageModel":
        """The saved language model on the fastest device, loaded at first use. Raise `UserError` if the run labels texts."""
        return self.load_language_model(device="auto")

    @naming_arguments()
    def load_language_model(self, *, device: str = "auto", precision: Precision = "auto") -> "LanguageModel":
        """Load the language model, ready to generate. `device`: as in `load`. `precision`: of the matrix products, `float32` or
        `bfloat16`; `auto` is that of the training where the hardware is fast in it."""
        if not self.generates:
            what = "the run labels texts, so its model generates none"
            raise UserError(what, where=str(self.path), fix="predict")
        from finewright.inference import language_model

        return language_model.load_language_model(self.path, device=choose_device(device), precision=precision)

    def generate(self, prompts: Any, **options: Any) -> "list[Generation]":
        """Return the model's answer to each prompt; the arguments are those of `LanguageModel.generate`."""
        return self.language_model.generate(prompts, **options)

    def chat(self, messages: Any, **options: Any) -> str:
        """Return the model's answer to a conversation; the arguments are those of `LanguageModel.chat`."""
        return self.language_model.chat(messages, **options)

    @naming_arguments()
    def load(self, *, device: str = "auto") -> Model:
        """Load the model, ready to predict. `device`: `auto` takes the accelerator, where there is one.

        Raise `UserError` if it is a language model.
        """
        self._check_predicts("load")
        return self._as_model(self._load("cpu" if self._is_baseline else choose_device(device)))

    def _check_predicts(self, where: str) -> None:
        if self.generates:
            what = "the run trained a language model, which has answers, not labels"
            raise UserError(what, where=where, fix="generate(prompts), chat(messages) or load_language_model()")

    def _as_model(self, predictor: TextPredictor) -> Model:
        options = reading.data_options(self.config)
        own = {"folder": self.folder.model, "columns": self.columns, "curve": self._curve}
        return Model(predictor, options=options, with_interval=self.with_interval, **own)

    @property
    def _model(self) -> Model:
        return self._as_model(self.predictor)

    @naming_arguments()
    def predict(self, texts: Any, *, abstain: float | None = None, interval: float | None = None) -> list[Prediction]:
        """Return a prediction for every row, in order; its label is None where there is no text. The arguments are those of
        `Model.predict`: with `abstain=0.9` the least certain tenth of the rows has no label either; with `interval=0.95` that
        share of predicted numbers lies between `low` and `high`."""
        self._check_predicts("predict")
        return self._model.predict(texts, abstain=abstain, interval=interval)

    @naming_arguments()
    def predict_proba(self, texts: Any) -> "np.ndarray":
        """Return the probability of every label, shape (rows, labels), in the order of `classes_`; NaN without a text."""
        return self._model.predict_proba(texts)

    @naming_arguments()
    def predict_file(  # noqa: PLR0913  one keyword for each flag of the command
        self,
        path: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        *,
        min_confidence: float | None = None,
        otherwise: str | None = None,
        top_k: int = 0,
        abstain: float | None = None,
        interval: float | None = None,
        probabilities: bool = False,
        force: bool = False,
        options: DataConfig | Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> LabelledTable:
        """Label all rows of a file and write them to another one with all their columns.

        Parameters
        ----------
        path
            A table, or a file with one text a line.
        output
            Where to write, in the format that its name tells; `new.labelled.csv` beside `new.csv` when it is None.
        min_confidence
            Confidence below which a row needs review; what was measured on the validation rows when it is None.
        otherwise
            Label of rows that need review; that of the model when it is None.
        top_k
            How many labels with their confidence to add as `label_1`, `confidence_1` and so on.
        abstain
            Share of rows to answer, in place of `min_confidence`: with 0.9 the least certain tenth gets no label.
        interval
            Share of predicted numbers that lie between `low` and `high`; 0.9 when it is None.
        probabilities
            Add a column with the probability of each label, where a row has any number of labels.
        force
            Replace an existing file.
        options
            How the file is read, where that differs from training.
        on_progress
            Called after each batch with the rows done, all rows, and the share of the work that is done.

        Returns
        -------
        LabelledTable
            Rows, counts by label, and the least certain rows. Its `output` is the file.

        Raises
        ------
        UserError
            If the file cannot be read or written, or the output exists.
        """
        rows = read_text_rows(Path(path), options=reading.data_options(self.config, options), trained=self.columns)
        target = Path(output) if output is not None else writers.name_output(Path(path), rows.table, added="labelled")
        writers.check_output(target, rows.table, force=force)
        how: dict[str, Any] = {"min_confidence": min_confidence, "otherwise": otherwise, "top_k": top_k, "abstain": abstain}
        how |= {"interval": interval, "probabilities": probabilities}
        labelled = self.label_rows(rows, **how, on_progress=on_progress)
        return labelled.written_to(target)

    def label_rows(
        self,
        rows: TextRows,
        *,
        min_confidence: float | None = None,
        otherwise: str | None = None,
        top_k: int = 0,
        abstain: float | None = None,
        interval: float | None = None,
        probabilities: bool = False,
        on_progress: OnProgress | None = None,
    ) -> LabelledTable:
        """Return rows that were read with their answers; the arguments are those of `predict_file`."""
        given: dict[str, Any] = {"min_confidence": min_confidence, "otherwise": otherwise, "top_k": top_k, "abstain": abstain}
        how = self.labelling_options(**given, probabilities=probabilities)
        predictor = self.with_interval(self.fastest_predictor, interval)
        return labelling.label_rows(predictor, rows, how, on_progress=on_progress)

    def with_interval(self, predictor: TextPredictor, level: float | None) -> TextPredictor:
        """Return a predictor of this run whose intervals hold this share of new rows; None: as it is. Raise `UserError` if the
        share is none, or cannot be given."""
        if level is None:
            return predictor
        return replace(predictor, task=intervals.add_intervals(predictor.task, self.folder.model, level=level))

    def abstention_rule(self, share: float) -> AbstentionRule:
        """Return the rule that answers this share of the rows. Raise `UserError` if it is none, or there are no confidences."""
        return make_rule(share, curve=self._curve, task=tasks.get_task(self.config.task or tasks.DEFAULT))

    def labelling_options(
        self,
        *,
        min_confidence: float | None = None,
        otherwise: str | None = None,
        top_k: int = 0,
        abstain: float | None = None,
        probabilities: bool = False,
    ) -> LabellingOptions | LabelSetOptions | None:
        """Return how rows are labelled; None for a task without labels. The threshold is the run's unless it is given."""
        rule = None if abstain is None else self.abstention_rule(abstain)
        check_one_threshold(abstain, min_confidence=min_confidence)
        make = partial(LabellingOptions, otherwise=otherwise, top_k=top_k)
        kind = tasks.get_task(self.config.task or tasks.DEFAULT)
        is_about_one = min_confidence is not None or otherwise is not None or bool(top_k)
        if kind.fits_thresholds:
            if is_about_one:
                what = f"{self.config.task} has a threshold for each label, and no one confidence of a row"
                fix = "leave out --min-confidence, --else and --top-k; --probabilities adds the probability of each label"
                raise UserError(what, where="predict", fix=fix)
            return LabelSetOptions(self.columns.label_separator, probabilities)
        if probabilities:
            what = "--probabilities is for runs with several labels per text"
            raise UserError(what, where="predict", fix=f"--top-k {max(1, len(self.config.labels))} adds every label")
        if not self.config.labels or not kind.labels_texts:
            if is_about_one:
                of_texts = " of whole texts" if self.config.labels else ""
                what = f"{self.config.task} has no labels{of_texts}, so there is no confidence"
                raise UserError(what, where="predict", fix="leave out --min-confidence, --else and --top-k")
            return None
        if min_confidence is not None:
            return make(min_confidence, "as given")
        if rule is not None:
            return make(0.0, "", abstain=rule)
        if (found := self.result.review) is not None:
            return make(found.threshold, found.reason)
        return make(DEFAULT_THRESHOLD, "assumed: the run did not measure it")

    @naming_arguments()
    def evaluate(
        self,
        data: Any = None,
        labels: Any = None,
        *,
        options: DataConfig | Mapping[str, Any] | None = None,
        abstain: float | None = None,
        num_generated: int | None = None,
    ) -> dict[str, Any]:
        """Return metrics on other labelled rows, or on the run's own test rows, with the worst mistakes.

        Parameters
        ----------
        data
            The path of a file, a DataFrame, a `datasets.Dataset`, a list of dicts, or texts with `labels`. The run's own test
            rows, read again, when it is None.
        options
            How the rows are read, such as `{"drop_unseen_labels": True}`; else as in training.
        abstain
            Share of rows to answer: `abstain` of the result says how many were, and the accuracy on these.
        num_generated
            Rows that a language model answers, so that `answers` of the result measures them; as many as take little time when
            it is None.

        Raises
        ------
        UserError
            If a row has no text or no label, or one that the model does not know.
        """
        rule = None if abstain is None else self.abstention_rule(abstain)
        rows = self.read_labelled_rows(data, labels, options=options)
        return self.evaluate_rows(rows, abstain=rule, num_generated=num_generated).metrics

    def read_labelled_rows(
        self, data: Any = None, labels: Any = None, *, options: DataConfig | Mapping[str, Any] | None = None
    ) -> LabelledRows:
        """Return the rows that `evaluate` measures; the arguments are its own."""
        if data is None and labels is None:
            return reading.read_own_test_rows(self.config, where=str(self.path))
        return reading.read_evaluated_rows(to_table(data, labels) or data, self.config, options)

    def evaluate_rows(
        self,
        found: LabelledRows,
        *,
        abstain: AbstentionRule | None = None,
        num_generated: int | None = None,
        on_progress: "OnAnswers | None" = None,
    ) -> EvaluatedRows:
        """Return metrics on rows that were read, and the rows with what was predicted.

        `abstain`: measure what it answers too. `num_generated`: rows that a language model answers; as many as take little time
        when it is None. `on_progress`: called with the answers done, all answers and the tokens generated.
        """
        evaluated = self.predictor.evaluate(found.rows)
        evaluation = evaluated.evaluation
        record_of = {id(row): record for row, record in zip(found.rows, found.records, strict=True)}
        records = [record_of[id(row)] for row in evaluated.rows]
        found = replace(found, rows=evaluated.rows, records=records, notes=[*found.notes, *evaluated.notes])
        metrics = evaluation.metrics() | {"worst_mistakes": evaluation.worst_mistakes(found.rows)}
        lines = evaluation.prediction_lines(found.rows)
        if self.generates:
            from finewright.runs import answers, choices

            test, said = answers.answer_rows(self.predictor, found.rows, wanted=num_generated, on_progress=on_progress)  # type: ignore[arg-type]
            if said:
                lines, metrics["answers"], metrics["worst_mistakes"] = answers.add_answers(lines, test, said, None)
            asked, chosen = choices.answer_rows(self.predictor, found.rows)  # type: ignore[arg-type]
            if chosen is not None:
                lines, metrics["choices"] = choices.add_choices(lines, asked, chosen, None)
        if abstain is not None and (confidences := evaluation.row_confidences()) is not None:
            metrics["abstain"] = abstain.measure(*confidences)
        table = build_evaluation_table(found, evaluation, lines=lines)
        return EvaluatedRows(metrics, table, found.notes, evaluated.num_cut, self.predictor.limit)

    @naming_arguments()
    def find_suspects(
        self, data: Any = None, labels: Any = None, *, options: DataConfig | Mapping[str, Any] | None = None
    ) -> "Suspects":
        """Return the rows of the run's data in the order of how probably their label is wrong, and near-duplicates.

        Each label is judged by a classifier that did not see its row: the run's own model may have memorised its labels.

        Parameters
        ----------
        data
            Other labelled rows to judge, as in `evaluate`; those that the run was trained and measured on when it is None.
        options
            How `data` is read; else as in training.

        Raises
        ------
        UserError
            If the run's data cannot be read again, has too few rows, or its rows do not have one label each.
        """
        from finewright.runs import suspects

        rows, splits, notes = suspects.read_judged_rows(self.config, data, labels, where=str(self.path), options=options)
        found = suspects.find_suspects(self.config, rows, splits)
        return replace(found, notes=[*notes, *found.notes])

    @naming_arguments()
    def choose_rows_to_label(
        self,
        data: Any,
        num: int = 20,
        *,
        options: DataConfig | Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> "RowsToLabel":
        """Return the `num` unlabelled rows that are most worth labelling: the model is uncertain of them, and they differ.

        Parameters
        ----------
        data
            Rows as in `predict`. Those whose text the run's data has are left out, if it can be read again.
        num
            How many rows to choose, at most 1,000.
        options
            How `data` is read; else as in training.
        on_progress
            Called after each batch with the rows scored, all rows, and the share of the work that is done.

        Raises
        ------
        UserError
            If no row is left to choose, or the rows of the run do not have one label each.
        """
        from finewright.runs import rows_to_label, suspects

        suspects.check_task(self.config, where=str(self.path))
        rows_to_label.check_number(num)
        rows = find_text_rows(data, options=reading.data_options(self.config, options), trained=self.columns)
        again = reading.read_data_again(self.config)
        known = [] if again is None else [row.text for row in (*again.train, *again.validation, *again.test)]
        return rows_to_label.choose_rows_to_label(
            self.config, self.fastest_predictor, rows, num=num, known=known, on_progress=on_progress
        )


DEFAULT_THRESHOLD = 0.8
"""Confidence below which a row needs review, of runs that measured none."""


@naming_arguments()
def open_run(path: str | PathLike[str]) -> Run:
    """Open a finished run."""
    return Run(run_folder.open_run(run_folder.to_run_path(path)))
