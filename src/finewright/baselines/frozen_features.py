"""A regression on the hidden states of a pre-trained model, none of whose weights is trained: logistic, or ridge for numbers.

Shape suffixes: N texts, H hidden size, K rows of coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from finewright import tasks
from finewright.baselines import regression, saving
from finewright.baselines.base import Baseline, BaselineModel, FittedBaseline
from finewright.baselines.pair_features import compare_vectors
from finewright.baselines.regression import Candidate
from finewright.baselines.saving import SavedBase, SavedFrozenFeatures
from finewright.core import files, hardware
from finewright.core.config import option
from finewright.core.errors import ExitCode, UserError
from finewright.data.text_pairs import TextInput, are_pairs, input_of, split_pairs
from finewright.models import hub, provenance
from finewright.models.head_spec import HeadSpec

if TYPE_CHECKING:
    import torch

    from finewright.core.config import RunConfig
    from finewright.data.dataset import Dataset
    from finewright.data.layout import PackedLayout
    from finewright.models.prepared import PreparedModel
    from finewright.tasks.base import Task

State = Literal["head", "mean", "apart"]
STATES: tuple[State, ...] = ("head", "mean")
"""The hidden state that a head reads, and the mean of those of all tokens."""
PAIR_STATES: tuple[State, ...] = (*STATES, "apart")
"""Those of pairs of texts: besides, the mean states of both texts, each read alone, compared."""
_READ_FILES = ("config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model")
"""Files of a base, besides its weights, that its hidden states depend on."""


@dataclass(frozen=True)
class FrozenEncoder:
    """A frozen model on the CPU that turns texts into vectors. `limit`: tokens of a text that are read.

    `known`: uncut token ids of texts that its tokenizer has seen. `vectors`: by state and text, of texts to `remember`.
    """

    source: hub.ModelSource
    prepared_model: "PreparedModel"
    tokenizer: Any
    limit: int
    keep_end: bool
    bfloat16: bool
    known: dict[str, list[int]] = field(default_factory=dict)
    vectors: dict[State, dict[TextInput, np.ndarray]] = field(default_factory=lambda: {state: {} for state in PAIR_STATES})

    @classmethod
    def load(
        cls,
        source: hub.ModelSource,
        *,
        head_spec: HeadSpec,
        max_length: int | None,
        usual_length: int,
        keep_end: bool,
        bfloat16: bool,
        known: dict[str, list[int]] | None = None,
    ) -> "FrozenEncoder":
        """Load a model. `max_length`: most tokens of a text, None for the lower one of `usual_length` and the model's own."""
        from finewright.models import loading, prepared
        from finewright.models.architectures.base import max_text_length

        base = loading.load_model(source, head_spec=head_spec)
        network = base.network.eval()
        prepared_model = prepared.PreparedModel(network=network, trainable_module=network, architecture=base.architecture)
        if bfloat16:
            prepared.use_bfloat16(prepared_model)
        limit = min(max_length or usual_length, max_text_length(network.config, base.architecture))
        return cls(source, prepared_model, base.origin.tokenizer, limit, keep_end, bfloat16, {} if known is None else known)

    @classmethod
    def for_task(
        cls, source: hub.ModelSource, *, task: "Task", settings: "RunConfig", known: dict[str, list[int]]
    ) -> "FrozenEncoder":
        """Load a model in the precision and with the limits that a fine-tuning method would have."""
        precision, _ = hardware.choose_precision(settings.training.precision, hardware=hardware.detect())
        return cls.load(
            source,
            head_spec=task.head_spec,
            max_length=settings.data.max_length,
            usual_length=task.default_max_length,
            keep_end=settings.data.truncation_side == "left",
            bfloat16=precision == "bfloat16",
            known=known,
        )

    @property
    def num_parameters(self) -> int:
        """Parameters of the model without its head."""
        body = self.prepared_model.network.get_submodule(self.prepared_model.architecture.body)
        return sum(parameter.numel() for parameter in body.parameters())

    def describe_state(self, state: State) -> str:
        """Return a hidden state in words."""
        if state == "mean":
            return "the mean of all tokens' states"
        if state == "apart":
            return "the difference and the product of both texts' mean states"
        return "the last token's state" if self._reads_last else "the first token's state"

    @property
    def _reads_last(self) -> bool:
        return self.prepared_model.architecture.is_causal

    def remember(self, texts: Sequence[TextInput]) -> None:
        """Compute and keep the vectors of texts, each once."""
        texts = list(dict.fromkeys(texts))
        for state, rows in self.encode(texts).items():
            self.vectors[state].update(zip(texts, rows, strict=True))

    def recall(self, state: State, texts: Sequence[TextInput]) -> np.ndarray:
        """Return the vectors of texts, float32, shape (N, H); computed now where they were not remembered."""
        if new := [text for text in texts if text not in self.vectors[state]]:
            self.remember(new)
        return np.stack([self.vectors[state][text] for text in texts])

    def encode(self, texts: Sequence[TextInput]) -> dict[State, np.ndarray]:
        """Return the vectors of texts by state, float32, shape (N, H); of pairs `apart` too, shape (N, 2H)."""
        found = self._encode(texts)
        if are_pairs(texts):
            first, second = (self._encode(column)["mean"] for column in split_pairs(texts))
            found["apart"] = compare_vectors(first, second)
        return found

    def _encode(self, texts: Sequence[TextInput]) -> dict[State, np.ndarray]:
        import torch

        from finewright.data import packing
        from finewright.inference.scoring import EVALUATION_TOKENS
        from finewright.models import forward

        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end, known=self.known)
        size = self.prepared_model.network.config.hidden_size
        found: dict[State, np.ndarray] = {state: np.zeros((len(texts), size), dtype=np.float32) for state in STATES}
        with torch.inference_mode(), HiddenStates(self.prepared_model) as states:
            for rows in packing.evaluation_batches(encoded.lengths, budget=EVALUATION_TOKENS):
                batch = packing.collate(encoded, rows)
                forward.compute_logits(self.prepared_model, batch.ids, batch.layout)
                pooled = _pool(states.pop(), batch.layout, last=self._reads_last)
                for state, values in zip(STATES, pooled, strict=True):
                    found[state][list(batch.rows)] = values.numpy()
        return found


class HiddenStates:
    """Collects the output of the body of a network within a `with` block, one tensor per micro-batch."""

    def __init__(self, prepared_model: "PreparedModel") -> None:
        self._body = prepared_model.network.get_submodule(prepared_model.architecture.body)

    def __enter__(self) -> "list[torch.Tensor]":
        found: list[torch.Tensor] = []
        self._hook = self._body.register_forward_hook(lambda module, args, out: found.append(out.last_hidden_state.float()))
        return found

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def _pool(states: "torch.Tensor", layout: "PackedLayout", *, last: bool) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return (state that the head reads, mean state), both of shape (N, H). `states`: packed, or one row per text."""
    import torch

    if states.shape[0] == 1:
        texts = list(states[0].split(list(layout.lengths)))
    else:
        texts = [row[:length] for row, length in zip(states, layout.lengths, strict=True)]
    assert [len(text) for text in texts] == list(layout.lengths), "the body returns the state of every token"
    return torch.stack([text[-1 if last else 0] for text in texts]), torch.stack([text.mean(dim=0) for text in texts])


class FrozenFeaturesModel(BaselineModel):
    """Fitted frozen features. `tensors`: `mean` and `scale` (H,), `coefficients` (K, H), `intercept` (K,)."""

    kind: ClassVar[str] = "frozen-features"

    def __init__(self, settings: SavedFrozenFeatures, tensors: dict[str, np.ndarray], encoder: FrozenEncoder) -> None:
        self.settings, self.labels, self.task = settings, settings.labels, settings.task
        self._tensors, self.encoder = tensors, encoder

    @property
    def num_parameters(self) -> int:
        """Coefficients and intercepts; mean and scale are computed, not fitted."""
        return int(self._tensors["coefficients"].size + self._tensors["intercept"].size)

    @property
    def num_frozen_parameters(self) -> int:
        """Parameters of the frozen model without its head."""
        return self.settings.base_parameters

    def score(self, texts: Sequence[TextInput]) -> np.ndarray:
        """Return what the task reads, float32, shape (N, C)."""
        states_NH = self.encoder.encode(texts)[self.settings.state].astype(np.float64)
        scaled_NH = (states_NH - self._tensors["mean"]) / self._tensors["scale"]
        # not `@`, whose last bits depend on the number of threads
        decisions_NK = np.einsum("nh,kh->nk", scaled_NH, self._tensors["coefficients"].astype(np.float64))
        decisions_NK = decisions_NK + self._tensors["intercept"]
        return regression.make_scores(decisions_NK, self.settings)

    def estimate(self, scores_NC: np.ndarray) -> np.ndarray:
        """Return the probabilities of labels, or numbers in standard deviations, shape (N, C)."""
        return regression.estimate(scores_NC, self.settings)

    def save(self, folder: Path) -> None:
        """Write settings with the digests of the base as JSON, numbers as tensors. The base stays where it is."""
        saving.write(folder, self.settings, self._tensors)


class FrozenFeatures(Baseline):
    """Logistic or ridge regression on the hidden states of a frozen pre-trained model."""

    title: ClassVar[str] = "the frozen model's features"
    reads: ClassVar[str] = "the hidden states of the frozen model"
    summary: ClassVar[str] = f"logistic or ridge regression on {reads}"
    reads_model: ClassVar[bool] = True
    run_options: ClassVar[tuple[str, ...]] = (
        "data.max_length",
        "data.truncation_side",
        "training.precision",
        "training.num_threads",
    )

    state: Literal["auto", "head", "mean", "apart"] = option(
        "auto",
        "the state that a head would read, or the mean over all tokens; apart: of pairs, both texts read alone and compared; "
        "auto: what is better on rows that are held out",
    )
    C: float | None = option(
        None,
        "scikit-learn's C, the inverse of the regularisation, for numbers 1 / alpha; chosen on rows that are held out when not "
        "given",
        low=1e-6,
        high=1e6,
    )

    def fit(self, dataset: "Dataset", *, task: str, encoder: FrozenEncoder | None = None) -> FittedBaseline:
        """Fit on the training rows. Vectors are scaled to mean 0 and standard deviation 1 over them."""
        assert encoder is not None, "this baseline reads a model"
        from sklearn.preprocessing import StandardScaler

        train, validation = ([input_of(row) for row in rows] for rows in (dataset.train, dataset.validation))
        if self.state == "apart" and not are_pairs(train):
            what = "apart is the state of pairs of texts, and these are single ones"
            raise UserError(what, where="method.state", fix="leave it out")
        known = PAIR_STATES if are_pairs(train) else STATES
        states = known if self.state == "auto" else (self.state,)
        scalers, candidates = {}, []
        for state in states:
            scalers[state] = StandardScaler().fit(encoder.recall(state, train))
            matrices = [
                scalers[state].transform(encoder.recall(state, texts)) if texts else None for texts in (train, validation)
            ]
            candidates.append(Candidate(encoder.describe_state(state), *matrices))
        best = regression.fit_best(candidates, dataset, C=self.C)
        state = states[best.number]
        scaler: Any = scalers[state]
        settings = SavedFrozenFeatures(
            task=task,
            labels=dataset.labels,
            base=_describe_base(encoder.source),
            state=state,
            max_length=encoder.limit,
            truncation_side="left" if encoder.keep_end else "right",
            precision="bfloat16" if encoder.bfloat16 else "float32",
            base_parameters=encoder.num_parameters,
            **best.settings(),
        )
        model = FrozenFeaturesModel(settings, {"mean": scaler.mean_, "scale": scaler.scale_, **best.tensors()}, encoder)
        return FittedBaseline(
            model,
            best.chosen,
            ({} if self.state != "auto" else {"method.state": state}) | ({} if self.C is not None else {"method.C": best.C}),
            best.validation_accuracy,
            lambda texts: best.estimate(scaler.transform(encoder.recall(state, texts))),
            reason=regression.describe_reason(dataset),
        )

    @classmethod
    def load(cls, folder: Path) -> FrozenFeaturesModel:
        """Load saved features and the model that they are of. Raise `UserError` if that model is gone or was changed."""
        shapes = {"mean": 1, "scale": 1, "coefficients": 2, "intercept": 1}
        settings, tensors = saving.read(folder, SavedFrozenFeatures, shapes)
        columns = tensors["coefficients"].shape[1]
        saving.check_columns(folder, tensors, columns, also=("mean", "scale"))
        encoder = FrozenEncoder.load(
            _find_base(settings.base),
            head_spec=_head_spec(settings),
            max_length=settings.max_length,
            usual_length=settings.max_length,
            keep_end=settings.truncation_side == "left",
            bfloat16=settings.precision == "bfloat16",
        )
        size = encoder.prepared_model.network.config.hidden_size
        saving.check_columns(folder, tensors, size * (2 if settings.state == "apart" else 1), also=())
        return FrozenFeaturesModel(settings, tensors, encoder)


def _head_spec(settings: SavedFrozenFeatures) -> HeadSpec:
    task = tasks.get_task(settings.task)
    return HeadSpec(task.auto_model, task.peft_task_type, task.reads, settings.labels, task.problem_type)


def _describe_base(source: hub.ModelSource) -> SavedBase:
    """Return what identifies a base: its commit, or the SHA-256 of every file that its hidden states depend on."""
    place = "" if source.revision or source.name == hub.EMBEDDED else source.name
    return SavedBase(
        name=source.name, revision=source.revision, place=place, files={} if source.revision else _base_digests(source.path)
    )


def _base_digests(folder: Path) -> dict[str, str]:
    read = {path.name: path for pattern in _READ_FILES for path in sorted(folder.glob(pattern)) if path.is_file()}
    return {**provenance.weight_digests(folder), **{name: files.sha256(path) for name, path in sorted(read.items())}}


def _find_base(base: SavedBase) -> hub.ModelSource:
    """Return where a saved base is now. Raise `UserError` if it is gone or is not the one that was read."""
    try:
        source = hub.resolve_model(base.place or base.name, revision=base.revision)
    except UserError as error:
        what = f"the base model of these features cannot be loaded: {error.what}"
        raise UserError(what, where=base.place or base.name, fix=error.fix, code=error.code) from None
    found: Mapping[str, str] = {} if base.revision else _base_digests(source.path)
    changed = sorted(name for name in {*base.files, *found} if base.files.get(name) != found.get(name))
    if changed:
        what = f"the base model is not the one these features are of: {', '.join(changed)} differs"
        fix = "bring the old files back, or train again"
        raise UserError(what, where=source.name, fix=fix, code=ExitCode.MISMATCH)
    return source
