"""A finished run, opened: its result, predictions, evaluation."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset
from finewright.inference.predictor import Predictor, check_text
from finewright.runs import folder as run_folder
from finewright.runs import model_folder
from finewright.runs.folder import RunFolder
from finewright.tasks import metrics, text_classification


class Run:
    """A finished run: `result`, `predict`, `evaluate`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._config = folder.read_json(folder.config)
        missing = {"max_length", "settings", "precision"} - set(self._config)
        if missing:
            what = f"the run's config lacks {', '.join(sorted(missing))}"
            raise UserError(what, where=str(folder.config), fix="train it again", code=ExitCode.MISMATCH)
        self._predictor: Predictor | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def result(self) -> SimpleNamespace:
        """What result.json holds, by attribute: `run.result.metrics["test"]["accuracy"]`."""
        return SimpleNamespace(**self.folder.read_json(self.folder.result))

    @property
    def predictor(self) -> Predictor:
        """The saved model, loaded when first asked for."""
        if self._predictor is None:
            model_folder.check_files(self.folder.model, getattr(self.result, "files", {}))
            self._predictor = Predictor.load(
                self.folder.model,
                limit=self._config["max_length"],
                keep_end=self._config["settings"]["data"]["truncation_side"] == "left",
                bfloat16=self._config["precision"] == "bfloat16",
            )
        return self._predictor

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """`[{"text", "label", "probability", "probabilities"}]`, in the order given; a text without a word is a `UserError`."""
        if isinstance(texts, str):
            raise UserError("predict wants several texts, found one string", fix="run.predict([text])")
        return self.predictor.predict([check_text(text, f"text {number}") for number, text in enumerate(texts, start=1)])

    def evaluate(self, source: str | Path, *, options: DataConfig | None = None) -> dict[str, Any]:
        """Metrics on the labelled rows of another file; rows with labels the model does not know are a `UserError`."""
        rows, _ = dataset.read_rows(source, options=options or DataConfig())
        labels = self.predictor.labels
        dataset.check_known_labels(rows, labels)
        shares = text_classification.probabilities(self.predictor.score([row.text for row in rows]))
        measured = metrics.classification_metrics(shares, [labels.index(row.label) for row in rows], labels=labels)
        measured["worst_mistakes"] = text_classification.worst_mistakes(rows, shares, labels=labels)
        return measured


def open_run(path: str | Path) -> Run:
    """A finished run from its folder."""
    return Run(run_folder.open_run(Path(path)))
