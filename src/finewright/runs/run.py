"""A finished run, opened: its result, predictions, evaluation."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from finewright import tasks
from finewright.baselines.predictor import BaselinePredictor
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset
from finewright.inference.model import Model, Prediction, TextPredictor, choose_device
from finewright.runs import folder as run_folder
from finewright.runs import model_folder, request, schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import RunConfigFile, RunResult


class Run:
    """A finished run: `result`, `predict`, `evaluate`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.config = schema.read(RunConfigFile, folder.config)
        self._is_baseline = request.is_baseline(self.config.request)
        self._max_length = self.config.max_length or 0
        if not self._max_length and not self._is_baseline:
            what = "the run's config lacks max_length"
            raise UserError(what, where=str(folder.config), fix="train it again", code=ExitCode.MISMATCH)
        self._predictor: TextPredictor | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def result(self) -> RunResult:
        """What result.json holds: `run.result.metrics.test.accuracy`."""
        return schema.read(RunResult, self.folder.result)

    @property
    def predictor(self) -> TextPredictor:
        """The saved model on the CPU, loaded at first use."""
        if self._predictor is None:
            self._predictor = self._load("cpu")
        return self._predictor

    def _load(self, device: str) -> TextPredictor:
        model_folder.check_files(self.folder.model, self.result.files)
        if self._is_baseline:
            return BaselinePredictor.load(self.folder.model)
        from finewright.inference.predictor import Predictor  # here: a baseline predicts without PyTorch

        return Predictor.load(
            self.folder.model,
            limit=self._max_length,
            keep_end=self.config.settings["data"]["truncation_side"] == "left",
            bfloat16=self.config.bfloat16,
            device=device,
            task=self.config.task or tasks.DEFAULT,
        )

    def load(self, *, device: str = "auto") -> Model:
        """Load the model, ready to predict. `device`: `auto` takes the accelerator, where there is one."""
        return Model(self._load("cpu" if self._is_baseline else choose_device(device)), folder=self.folder.model)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for every text, in order; a text without a word is a `UserError`."""
        return Model(self.predictor, folder=self.folder.model).predict(texts)

    def evaluate(self, source: str | Path, *, options: DataConfig | None = None) -> dict[str, Any]:
        """Return metrics on the labelled rows of another file; raise `UserError` for labels that the model does not know."""
        rows, _ = dataset.read_rows(source, options=options or DataConfig())
        if self.predictor.labels:
            dataset.check_known_labels(rows, self.predictor.labels)
        found = self.predictor.evaluate(rows)
        return found.metrics() | {"worst_mistakes": found.worst_mistakes(rows)}


def open_run(path: str | PathLike[str]) -> Run:
    """Open a finished run."""
    return Run(run_folder.open_run(Path(path)))
