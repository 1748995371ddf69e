"""The model of a finished run, for Python: typed predictions, an array of probabilities, and the transformers model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np

from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError
from finewright.data.splits import Example
from finewright.inference.texts import check_text
from finewright.tasks.base import Evaluation, Task


class Prediction(TypedDict):
    """The predicted label of a text, its probability, and the probability of every label."""

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


class TextPredictor(Protocol):
    """What scores texts: a network with its tokenizer (`inference.predictor.Predictor`), or a baseline."""

    @property
    def task(self) -> Task:
        """The task it was trained for."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the scores."""

    @property
    def device(self) -> str:
        """Where it computes."""

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return the scores of texts, float32, shape (texts, labels)."""

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Evaluate labelled examples."""

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return label, its probability, and the probability of every label for each text, in order."""


class Model:
    """The model of a finished run, loaded on a device.

    Examples
    --------
    >>> model = finewright.load("runs/tickets-lora-seed0")  # doctest: +SKIP
    >>> model.predict(["where is my parcel?"])[0]["label"]  # doctest: +SKIP
    """

    def __init__(self, predictor: TextPredictor, *, folder: Path) -> None:
        self._predictor, self._folder = predictor, folder

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the columns of `predict_proba`."""
        return self._predictor.labels

    @property
    def device(self) -> str:
        """Device of the model."""
        return self._predictor.device

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for every text, in order.

        Raises
        ------
        UserError
            If `texts` is one string, or a text is empty.
        """
        return self._predictor.predict(_check_texts(texts))  # type: ignore[return-value]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probability of every label, float64, shape (texts, labels); refused if the task has no labels."""
        if not self.labels:
            name = self._predictor.task.name
            raise UserError(f"{name} has no labels, so there are no probabilities", where="predict_proba", fix="call predict")
        predictions = self.predict(texts)
        rows = [[prediction["probabilities"][label] for label in self.labels] for prediction in predictions]
        return np.array(rows, dtype=np.float64).reshape(len(predictions), len(self.labels))

    def to_transformers(self) -> tuple[Any, Any]:
        """Return (model, tokenizer) of transformers, loaded again from the run's folder; an adapter includes its base model.

        Raises
        ------
        UserError
            If the run is a baseline's: that is no network.
        """
        import transformers

        from finewright.inference.predictor import Predictor
        from finewright.models import adapter_folder

        if not isinstance(self._predictor, Predictor):
            what = "the model is a baseline, which is no network of transformers"
            raise UserError(what, where="to_transformers", fix="predict or predict_proba")

        tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder)
        network_class: Any = getattr(transformers, self._predictor.task.auto_model)
        if not adapter_folder.is_adapter(self._folder):
            return network_class.from_pretrained(self._folder).eval(), tokenizer
        from peft import PeftConfig, PeftModel

        base = adapter_folder.find_base(self._folder, PeftConfig.from_pretrained(str(self._folder)))
        config = transformers.AutoConfig.from_pretrained(adapter_folder.config_folder(self._folder))
        network = network_class.from_pretrained(base.path, config=config)
        return PeftModel.from_pretrained(network, str(self._folder)).eval(), tokenizer


def choose_device(device: str) -> str:
    """Return the device to predict on; `auto` is the accelerator if there is one."""
    if device == "auto":
        return hardware.detect().device
    if device.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}", where="device", fix="auto, cpu, cuda or mps")
    return device


def _check_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise UserError("wanted several texts, found one string", where="predict", fix="predict([text])", code=ExitCode.USAGE)
    plain = texts.tolist() if hasattr(texts, "tolist") else texts  # type: ignore[union-attr]
    return [check_text(text, f"text {number}") for number, text in enumerate(plain, start=1)]
