"""The embedded model on the embedded data, every way: what one learns from it in about two minutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import api, hub, methods, metrics, plots, run
from finewright.methods.base import AbstractMethod

DATA = Path(__file__).parent / "content" / "tickets"
MESSAGES = (
    "The parcel says delivered but my porch is empty, can you find out where it went?",
    "you took the money twice for the same tent, please sort it",
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Began:
    """The run of a way starts: number `number` of `total`."""

    method: type[AbstractMethod]
    number: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """What the demo made. `runs`: in the order of `ways`; `verdict`: what the numbers say; `predictions`: for MESSAGES."""

    folder: Path
    runs: list[api.Run]
    verdict: list[str]
    picture: Path
    predictions: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Everything by name, JSON-ready."""
        runs = [{"run": str(one.path), **vars(one.result)} for one in self.runs]
        paths = {"folder": str(self.folder), "picture": str(self.picture)}
        return {"runs": runs, "verdict": " ".join(self.verdict), **paths, "predictions": self.predictions}


def ways() -> list[type[AbstractMethod]]:
    """Every way that needs nothing beyond the plain installation, the preferred one first."""
    return [kind for kind in methods.by_preference() if not kind.needs]


def play(*, out: Path | None = None, knobs: dict[str, Any] | None = None, listen: Callable[[Any], None]) -> Outcome:
    """Train every way on the same rows, put them side by side, draw the picture, predict."""
    folder = run.new_folder(out=out, name="demo")
    chosen, runs = ways(), []
    for number, method in enumerate(chosen, start=1):
        listen(Began(method, number, len(chosen)))
        place = folder / method.name()
        runs.append(api.train(DATA, model=hub.EMBEDDED, method=method, out=place, knobs=knobs, listen=listen))
    picture = folder / "accuracy.png"
    results = [one.result for one in runs]
    plots.accuracy_by_share(
        [_point(result, kind) for result, kind in zip(results, chosen, strict=True)],
        picture,
        title=f"{DATA.name}: {results[0].num_train:,} messages, model {results[0].model}",
        majority=results[0].metrics["test"]["majority_accuracy"],
    )
    predictions = runs[0].predict(MESSAGES)
    return Outcome(folder, runs, verdict(runs, chosen), picture, predictions)


def _point(result: Any, kind: type[AbstractMethod]) -> plots.Point:
    test = result.metrics["test"]
    interval = (test["accuracy_ci95"][0], test["accuracy_ci95"][1])
    return plots.Point(result.method, result.trainable_fraction, test["accuracy"], interval, kind.weights == "random")


def verdict(runs: Sequence[api.Run], kinds: Sequence[type[AbstractMethod]]) -> list[str]:
    """What pre-training was worth to the preferred way, and what that way gives up against training the most."""
    pairs = list(zip(runs, kinds, strict=True))
    tuned = [one for one, kind in pairs if kind.weights != "random"]
    preferred, most = tuned[0], max(tuned, key=lambda one: one.result.trainable_parameters)
    return [*(_worth(preferred, one) for one, kind in pairs if kind.weights == "random"), _given_up(preferred, most)]


def _worth(tuned: api.Run, baseline: api.Run) -> str:
    points = 100 * (_accuracy(tuned) - _accuracy(baseline))
    if _p_value(tuned, baseline) >= SIGNIFICANT:
        return f"Whether pre-training was worth anything cannot be told from these rows ({_pair(tuned, baseline)})."
    was = "worth" if points > 0 else "a loss of"
    return f"Pre-training was {was} {abs(points):.0f} points of accuracy ({_pair(tuned, baseline)})."


def _given_up(preferred: api.Run, most: api.Run) -> str:
    if _p_value(preferred, most) >= SIGNIFICANT:
        relation = "cannot be told apart here from"
    else:
        relation = f"is {'better' if _accuracy(preferred) > _accuracy(most) else 'worse'} here than"
    times = most.result.artifact_bytes / preferred.result.artifact_bytes
    saved = f", and what it saves is {times:.0f} times smaller" if times >= 2 else ""
    trains = f"{preferred.result.method} trains {preferred.result.trainable_fraction:.2%} of the parameters"
    return f"{trains} and {relation} {most.result.method} ({_pair(preferred, most)}){saved}."


def _pair(one: api.Run, other: api.Run) -> str:
    named = ", ".join(f"{run.result.method} {_accuracy(run):.1%}" for run in (one, other))
    return f"{named}, p = {_p_value(one, other):.2g}"


def _p_value(one: api.Run, other: api.Run) -> float:
    return metrics.paired_p_value(_right(one), _right(other))


def _accuracy(one: api.Run) -> float:
    return one.result.metrics["test"]["accuracy"]


def _right(one: api.Run) -> list[bool]:
    return [line["label"] == line["predicted"] for line in one.folder.read_lines(one.folder.predictions)]
