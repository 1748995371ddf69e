"""The model of a finished run, for Python: typed predictions, an array of probabilities, and the transformers model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from finewright.core import hardware
from finewright.core.argument_names import naming_arguments
from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.core.quiet import peft_quiet
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.data.inputs import find_text_rows
from finewright.inference import labelling
from finewright.inference.abstention import CoverageCurve, make_rule
from finewright.inference.text_predictor import TextPredictor


class Prediction(TypedDict):
    """The predicted label of a text, its probability, and the probability of every label; None and {} for an empty text.

    `text_pair`: of a model of pairs, the second text; `text` is the first one then.
    """

    text: str
    text_pair: NotRequired[str]
    label: str | None
    probability: float | None
    probabilities: dict[str, float]


class Model:
    """The model of a finished run, loaded on a device.

    Examples
    --------
    >>> model = finewright.load("runs/tickets-lora-seed0")  # doctest: +SKIP
    >>> model.predict(["where is my parcel?"])[0]["label"]  # doctest: +SKIP
    """

    def __init__(
        self,
        predictor: TextPredictor,
        *,
        folder: Path,
        options: DataConfig | None = None,
        columns: Columns = NO_COLUMNS,
        curve: CoverageCurve | None = None,
        with_interval: Callable[[TextPredictor, float], TextPredictor] = lambda predictor, level: predictor,
    ) -> None:
        """Use a predictor. `options`, `columns`: how rows with several columns were read in training. `curve`: how certain the
        model is of the validation rows. `with_interval`: returns the predictor with intervals of another level."""
        self._predictor, self._folder = predictor, folder
        self._options, self._columns = options or DataConfig(), columns
        self._curve, self._with_interval = curve, with_interval

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the columns of `predict_proba`."""
        return self._predictor.labels

    @property
    def classes_(self) -> np.ndarray:
        """Label names as scikit-learn gives them, in the order of the columns of `predict_proba`."""
        return np.array(self.labels, dtype=str)

    @property
    def device(self) -> str:
        """Device of the model."""
        return self._predictor.device

    @naming_arguments()
    def predict(self, texts: Any, *, abstain: float | None = None, interval: float | None = None) -> list[Prediction]:
        """Return a prediction for every row, in order; its label is None where there is no text.

        Parameters
        ----------
        texts
            Texts in a list, Series or array; a DataFrame, a list of dicts, a dict of columns or of one row, which need the text
            column of training; or the path of a file. A model of pairs takes `(first, second)` in place of a text, and dicts with
            `text` and `text_pair` too.
        abstain
            Share of rows to answer: with 0.9 the least certain tenth has no label. The threshold is that of the validation rows,
            or, in a run without any, of these rows.
        interval
            Share of predicted numbers that lie between `low` and `high`; 0.9 when it is None. Only a regression has intervals.

        Raises
        ------
        UserError
            If `texts` is one string that is no file, the text column is missing, or something is no text.
        """
        rule = None if abstain is None else make_rule(abstain, curve=self._curve, task=self._predictor.task)
        predictor = self._predictor if interval is None else self._with_interval(self._predictor, interval)
        rows = find_text_rows(texts, options=self._options, trained=self._columns)
        predictions = labelling.predict_rows(predictor, rows.texts)[0]
        return predictions if rule is None else labelling.leave_out_uncertain(predictions, rule)[0]  # type: ignore[return-value]

    def predict_proba(self, texts: Any) -> np.ndarray:
        """Return the probability of every label, float64, shape (rows, labels); NaN in rows without a text.

        `texts`: as in `predict`. Raise `UserError` if the task has no labels.
        """
        if not self.labels or not self._predictor.task.labels_texts:
            name = self._predictor.task.name
            of_texts = " of whole texts" if self.labels else ""
            raise UserError(
                f"{name} has no labels{of_texts}, so there are no probabilities", where="predict_proba", fix="call predict"
            )
        return labelling.find_probabilities(
            self._predictor, find_text_rows(texts, options=self._options, trained=self._columns).texts
        )

    def to_transformers(self) -> tuple[Any, Any]:
        """Return (model, tokenizer) of transformers, loaded again from the run's folder; an adapter includes its base model.

        Raises
        ------
        UserError
            If the run is a baseline's, which is no network, or no class of transformers has the model's head.
        """
        import transformers

        from finewright.inference.predictor import Predictor
        from finewright.models import adapter_folder, sentence_folder
        from finewright.models.meta import quiet_libraries

        if not isinstance(self._predictor, Predictor):
            what = "the model is a baseline, which is no network of transformers"
            raise UserError(what, where="to_transformers", fix="predict or predict_proba")
        if sentence_folder.has_head(self._folder):
            what = (
                "no class of transformers has this model's head, which reads a mean or another state than its architecture's own"
            )
            raise UserError(what, where="to_transformers", fix="to_sentence_transformer()")
        auto_model: Any = getattr(transformers, self._predictor.task.auto_model)
        with quiet_libraries():  # a base without its head is no news: the adapter brings it
            tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder)
            if not adapter_folder.is_adapter(self._folder):
                return auto_model.from_pretrained(self._folder).eval(), tokenizer
            with peft_quiet():
                from peft import PeftConfig, PeftModel

            base = adapter_folder.find_base(self._folder, PeftConfig.from_pretrained(str(self._folder)))
            config = transformers.AutoConfig.from_pretrained(adapter_folder.config_folder(self._folder))
            network = auto_model.from_pretrained(base.path, config=config)
            return PeftModel.from_pretrained(network, str(self._folder)).eval(), tokenizer

    def to_sentence_transformer(self) -> Any:
        """Return the `SentenceTransformer` whose `encode` gives the scores of the labels, loaded again from the run's folder.

        Raises
        ------
        UserError
            If the head is one that transformers has a class for, or the package sentence-transformers is missing.
        """
        from finewright.models import sentence_folder

        where = "to_sentence_transformer"
        if not sentence_folder.has_head(self._folder):
            raise UserError("the model is not a sentence-transformers folder", where=where, fix="to_transformers()")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            what = "the package sentence-transformers is not installed"
            raise UserError(what, where=where, fix="pip install sentence-transformers") from None
        return SentenceTransformer(str(self._folder), device="cpu")


def choose_device(device: str) -> str:
    """Return the device to predict on; `auto` is the accelerator if there is one."""
    if device == "auto":
        return hardware.detect().device
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}", where="device", fix="auto, cpu, cuda or mps")
    if kind == "cpu":
        return device
    import torch  # here: a baseline predicts without it

    if not getattr(torch, kind).is_available():
        raise UserError(f"PyTorch finds no {kind} device here", where="device", fix="auto, or cpu")
    return device
