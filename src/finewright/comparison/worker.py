"""One piece of a comparison's work, in a process of its own: plans, a run, a baseline, a measure of speed."""

import contextlib
import importlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from finewright import api, methods
from finewright.comparison import baselines
from finewright.comparison.spec import TIMED_TEXTS
from finewright.core import config, files, hardware
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import StepCompleted
from finewright.core.interrupts import PATIENCE_S, StopRequest
from finewright.data import checks
from finewright.data.dataset import DatasetCache
from finewright.models import frozen_cache, hub, meta, quantization
from finewright.planning import method_plan
from finewright.runs import verify
from finewright.runs.folder import RunFolder
from finewright.runs.run import open_run
from finewright.runs.workers import fork_server
from finewright.runs.workers.clean_process import CleanProcess
from finewright.tasks import text_classification

Tell = Callable[[dict[str, Any]], None]

_SECONDS_BETWEEN_WORDS = 0.5
_SECONDS_FOR_A_STEP = PATIENCE_S - 5
"""How long a termination waits for a step to end; what is left is for saving the one before."""
_SECONDS_FOR_AN_END = PATIENCE_S + 5
"""By then a process that was asked to end is gone."""
_OWN_NAMES = {
    ".lock",
    "config.json",
    "plan.json",
    "checks.json",
    "metrics.jsonl",
    "timings.jsonl",
    "checkpoints",
    "model",
    "predictions.jsonl",
}

_NEEDED = ("peft", "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics", "torch._dynamo")
"""What every run would load for itself when it comes to it, seconds each time."""

_shared = DatasetCache()
"""What the process that all others are copies of has read and tokenised."""


def prepare(request: dict[str, Any]) -> None:
    """Load what runs need, read every folder of `data` and tokenise every text, for all that come after."""
    for module in _NEEDED:
        importlib.import_module(module)
    source = hub.resolve_model(request["model"], weights=False)
    known = _shared.ids(source.name)
    for folder, options in request["data"]:
        dataset = _shared.read(folder, options=DataConfig(**options))
        texts = {row.text: None for rows in (dataset.train, dataset.validation, dataset.test) for row in rows}
        new = [text for text in texts if text not in known]
        if new:
            tokenizer = meta.meta_model(source, labels=dataset.labels).origin.tokenizer
            known.update(zip(new, tokenizer(new, verbose=False)["input_ids"], strict=True))


def perform(request: dict[str, Any], notify: Tell) -> None:
    """Do what is asked; what comes of it is in files when this returns."""
    kinds: dict[str, Callable[[dict[str, Any], Tell], None]] = {
        "machine": _machine,
        "plan": _plan,
        "train": _train,
        "baseline": _baseline,
        "speed": _speed,
    }
    kinds[request["kind"]](request, notify)


def _settings(request: dict[str, Any], options: dict[str, Any]) -> RunConfig:
    tree = {key: value for key, value in options.items() if key != "method"}
    return config.build_options(RunConfig, {"model": request["model"], **tree})


def _machine(request: dict[str, Any], notify: Tell) -> None:
    """Where the work will run, and what is free there."""
    machine = hardware.detect()
    answer = {"device": machine.device, "cpu_count": machine.cpu_count, "memory_bytes": hardware.free_bytes(machine.device)}
    path = Path(request["out"])
    RunFolder(path.parent).write_json(path, answer)


def _plan(request: dict[str, Any], notify: Tell) -> None:
    """What a way would cost with the memory that its knobs give it; one that cannot be planned is answered with the reason."""
    name, options = request["way"], request["options"]
    answer: dict[str, Any] = {"methods": {}, "findings": []}
    try:
        cost = training_plan(request["data"], settings=_settings(request, options), name=name, options=options.get("method", {}))
        answer["methods"][name] = {"plan": cost["plan"], "choices": cost["choices"]}
        answer["findings"] = cost["findings"]
    except UserError as error:
        answer["methods"][name] = {"error": str(error)}
    path = Path(request["out"])
    RunFolder(path.parent).write_json(path, answer)


def training_plan(source: str, *, settings: RunConfig, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """One way's plan on this data, without its weights; with what was chosen for it and what was found about the texts."""
    import torch

    method, machine = methods.build_method(name, options), hardware.detect()
    if method.needs and (absent := quantization.missing_packages()):
        raise UserError(f"{name} wants {' and '.join(absent)}, not installed here", fix=quantization.INSTALL)
    torch.set_num_threads(settings.training.num_threads or machine.cpu_count)
    dataset, findings = _shared.read(source, options=settings.data), []
    labels = [row.label for row in dataset.train]
    task = text_classification.infer_task(dataset.labels, training_labels=labels, class_weights=settings.training.class_weights)
    model = hub.resolve_model(settings.model, weights=False)
    given: dict[str, Any] = {"settings": settings, "machine": machine, "dataset": dataset, "task": task}
    found = method_plan.plan_method(model, method, report=findings.extend, known=_shared.ids(model.name), **given)
    findings += checks.check_dataset(dataset)
    return {
        "plan": found.training_plan.as_json(),
        "choices": found.choices.made,
        "findings": [finding.as_json() for finding in findings],
    }


def _train(request: dict[str, Any], notify: Tell) -> None:
    """An ordinary run folder; one that was begun goes on, or begins anew where it cannot. `light`: only its numbers are kept."""
    twin = CleanProcess(verify.answer)  # first of all: it must know nothing of what is trained here
    folder = RunFolder(Path(request["out"]))
    extra = {"model": request["model"], "method": request["method"], "options": request["options"]}
    try:
        speaker = _Speaker(notify, goes_on=_was_begun(folder))
        with verify.verifying_with(twin), _stoppable() as stop:
            train = partial(
                api.train, request["data"], out=folder.path, shared=_shared, on_event=speaker.hear, stop=stop, **extra
            )
            try:
                train()
            except UserError as error:
                if error.code != ExitCode.MISMATCH or not speaker.goes_on or speaker.stepped:
                    raise
                notify({"event": "said", "message": f"cannot go on and begins anew: {error.what}"})
                _clear(folder)
                train()
    finally:
        twin.close()
    if request.get("light"):
        shutil.rmtree(folder.model)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)


class _Speaker:
    """Passes on how far a run is. `goes_on`: it was begun in an earlier life."""

    def __init__(self, notify: Tell, *, goes_on: bool) -> None:
        self.notify, self.goes_on, self.stepped = notify, goes_on, False
        self._spoke_at = 0.0

    def hear(self, event: Any) -> None:
        """An event of the run, or a sentence; of these only that it waits."""
        if event == frozen_cache.WAITS:
            self.notify({"event": "said", "message": event})
        if not isinstance(event, StepCompleted):
            return
        if self.goes_on and not self.stepped and event.step > 1:
            self.notify({"event": "said", "message": f"goes on after step {event.step - 1:,}"})
        self.stepped = True
        if time.monotonic() - self._spoke_at >= _SECONDS_BETWEEN_WORDS:
            self._spoke_at = time.monotonic()
            self.notify({"event": "stepped", "step": event.step, "num_steps": event.num_steps})


@contextlib.contextmanager
def _stoppable() -> Iterator[StopRequest]:
    """Inside, a termination lets the step end and saves it: so it is that whoever asked for the work ends it.

    A step that takes too long is dropped and the one before saved.
    """
    stop = StopRequest()

    def heard(number: int, _: Any) -> None:
        stop.wait_at_most(_SECONDS_FOR_A_STEP)
        stop.request(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, heard)
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _was_begun(folder: RunFolder) -> bool:
    """Whether an unfinished run here got to a checkpoint; what is no run's, or is at work, is a `UserError`."""
    if not folder.path.is_dir() or folder.complete:
        return False
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith(files.DRAFT)}
    if strange := sorted(names - _OWN_NAMES):
        what = f"a run should go here, and the folder has something else: {', '.join(strange[:3])}"
        raise UserError(what, where=str(folder.path), fix="take it away, or another --out")
    _lock(folder)
    begun = folder.begun
    folder.release()
    return begun


def _lock(folder: RunFolder) -> None:
    """Hold it; a process of a comparison that was killed may need a moment to save its step and end."""
    until = time.monotonic() + _SECONDS_FOR_AN_END
    while True:
        try:
            return folder.lock()
        except UserError as error:
            if error.code != ExitCode.MISMATCH or time.monotonic() > until:
                raise
            time.sleep(0.1)


def _clear(folder: RunFolder) -> None:
    """Take away a run of ours."""
    folder.lock()  # refused while another process is at work here
    shutil.rmtree(folder.path)
    folder.release()


def _baseline(request: dict[str, Any], notify: Tell) -> None:
    """One baseline at every size of the training set."""
    options = _settings(request, request["options"])
    datasets = {size: _shared.read(folder, options=options.data) for size, folder in request["data"].items()}
    source = hub.resolve_model(request["model"])
    measured = baselines.measure(request["name"], datasets, source=source, settings=options, known=_shared.ids(source.name))
    path = Path(request["out"])
    path.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(path.parent).write_json(path, measured)


def _speed(request: dict[str, Any], notify: Tell) -> None:
    """Texts a second that a finished run predicts, tokenising included; the second pass counts."""
    run = open_run(request["run"])
    texts = [line["text"] for line in run.folder.read_lines(run.folder.predictions)][:TIMED_TEXTS]
    import torch

    if request["threads"]:
        torch.set_num_threads(request["threads"])
    run.predictor.score(texts)
    began = time.monotonic()
    run.predictor.score(texts)
    seconds = time.monotonic() - began
    path = Path(request["out"])
    path.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(path.parent).write_json(path, {"texts_per_second": len(texts) / seconds, "num_texts": len(texts)})


if __name__ == "__main__":
    fork_server.serve_and_exit(perform, prepare)
