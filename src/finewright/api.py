"""The verbs for Python: train, open a run, predict."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finewright import choices, config, data, evaluate, methods, metrics, pipeline, results, run, survey
from finewright.config import DataKnobs, Settings
from finewright.errors import ExitCode, UserError
from finewright.methods.base import AbstractMethod
from finewright.shared import Shared
from finewright.stop import Stop


class Run:
    """A finished run: `result`, `predict`, `evaluate`."""

    def __init__(self, folder: run.RunFolder) -> None:
        self.folder = folder
        self._config = folder.read_json(folder.config)
        missing = {"max_length", "settings", "precision"} - set(self._config)
        if missing:
            what = f"the run's config lacks {', '.join(sorted(missing))}"
            raise UserError(what, where=str(folder.config), fix="train it again", code=ExitCode.MISMATCH)
        self._predictor: evaluate.Predictor | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def result(self) -> SimpleNamespace:
        """What result.json holds, by attribute: `run.result.metrics["test"]["accuracy"]`."""
        return SimpleNamespace(**self.folder.read_json(self.folder.result))

    @property
    def predictor(self) -> evaluate.Predictor:
        """The saved model, loaded when first asked for."""
        if self._predictor is None:
            results.require_whole(self.folder.model, getattr(self.result, "files", {}))
            self._predictor = evaluate.Predictor.load(
                self.folder.model,
                limit=self._config["max_length"],
                keep_end=self._config["settings"]["data"]["keep_end"],
                bfloat16=self._config["precision"] == "bfloat16",
            )
        return self._predictor

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """`[{"text", "label", "probability", "probabilities"}]`, in the order given; a text without a word is a `UserError`."""
        if isinstance(texts, str):
            raise UserError("predict wants several texts, found one string", fix="run.predict([text])")
        return self.predictor.predict(
            [evaluate.require_text(text, f"text {number}") for number, text in enumerate(texts, start=1)]
        )

    def evaluate(self, source: str | Path, *, knobs: DataKnobs | None = None) -> dict[str, Any]:
        """Metrics on the labelled rows of another file; rows with labels the model does not know are a `UserError`."""
        rows, _ = data.read_rows(source, knobs=knobs or DataKnobs())
        labels = self.predictor.labels
        data.require_known(rows, labels)
        shares = evaluate.probabilities(self.predictor.score([row.text for row in rows]))
        measured = metrics.classification(shares, [labels.index(row.label) for row in rows], labels=labels)
        measured["worst_mistakes"] = evaluate.worst_mistakes(rows, shares, labels=labels)
        return measured


def _settings(model: str | Path, knobs: Mapping[str, Any] | None) -> tuple[Settings, dict[str, Any]]:
    """All knobs but the way's, and the way's."""
    tree: dict[str, Any] = {}
    for key, value in (knobs or {}).items():
        config.insert(tree, key, value)
    method_knobs = tree.pop("method", {})
    return config.build(Settings, {"model": str(model), **tree}), method_knobs


def train(  # noqa: PLR0913  one keyword for each thing a run can be given
    source: str | Path,
    *,
    model: str | Path = config.DEFAULT_MODEL,
    method: AbstractMethod | type[AbstractMethod] | str = methods.AUTO,
    test: str | Path | None = None,
    out: str | Path | None = None,
    knobs: Mapping[str, Any] | None = None,
    shared: Shared | None = None,
    listen: Callable[[Any], None] = lambda event: None,
    stop: Stop | None = None,
) -> Run:
    """Fine-tune `model` on labelled text. `knobs`: dotted or nested names, for instance `{"train.lr": 1e-4, "seed": 1}`.

    With `out`, an unfinished run of the same order goes on, and a finished one is handed back. `shared`: rows and token ids
    that other runs of this process need too.
    """
    settings, method_knobs = _settings(model, knobs)
    for name, value in (("data", str(source)), ("model", settings.model)):
        if not value.strip() or "\0" in value:
            raise UserError(f"wanted the {name}, found {value!r}", where=name, fix="a path or a hub id")
    if isinstance(method, str):
        ways = choices.candidates(method, knobs=method_knobs)
    elif method_knobs:
        raise UserError(
            "knobs of the method are given twice", where="method", fix="give them to its class, or name the method by a string"
        )
    else:
        ways = [method() if isinstance(method, type) else method]
    place = Path(out) if out else None
    options: dict[str, Any] = {"shared": shared, "listen": listen, "stop": stop}
    return Run(pipeline.train(source, settings=settings, ways=ways, test=test, out=place, **options))


def resume(
    path: str | Path,
    *,
    changes: Sequence[str] = (),
    listen: Callable[[Any], None] = lambda event: None,
    stop: Stop | None = None,
) -> Run:
    """Go on with the unfinished run at `path`. `changes`: `knob=value` for what may change inside a run, such as `lr=1e-4`."""
    return Run(pipeline.resume(Path(path), changes=changes, listen=listen, stop=stop))


def plan(
    source: str | Path | None = None,
    *,
    model: str | Path = config.DEFAULT_MODEL,
    method: AbstractMethod | type[AbstractMethod] | str = "all",
    num_labels: int = 2,
    knobs: Mapping[str, Any] | None = None,
    looking: Callable[[str, int, int], None] = lambda way, number, total: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> survey.Survey:
    """What every way (or one) would cost, and which fits: from the model's config alone, nothing is loaded.

    `knobs={"budget": "8GB"}`: memory that may be taken; without it, what this machine has free.
    """
    settings, method_knobs = _settings(model, knobs)
    if isinstance(method, str):
        kinds = methods.by_preference() if method in ("all", methods.AUTO) else [methods.kind(method)]
        if len(kinds) > 1 and method_knobs:
            raise UserError("knobs of a way want one way", where="method", fix="--method NAME, see `finewright methods`")
        ways = [methods.make(kind.name(), method_knobs) for kind in kinds]
    else:
        ways = [method() if isinstance(method, type) else method]
    return survey.take(source, ways=ways, settings=settings, num_labels=num_labels, looking=looking, progress=progress)


def open_run(path: str | Path) -> Run:
    """A finished run from its folder."""
    return Run(run.open_run(Path(path)))


def predict(path: str | Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Predictions of the run at `path`."""
    return open_run(path).predict(texts)
