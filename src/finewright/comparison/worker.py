"""The work of a comparison, each piece in a process of its own: a plan, a run, a baseline, the speed of prediction."""

import contextlib
import importlib
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from finewright import api, methods, tasks
from finewright.comparison import answer_baselines, baselines, label_set_baselines, number_baselines, tag_baselines
from finewright.comparison.schema import BaselineFile, FindingRow, Machine, MethodPlans, PlannedMethod, SpeedFile
from finewright.comparison.spec import SPEED_ROUNDS, TIMED_TEXTS
from finewright.core import config, files, hardware
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import Notice, StepCompleted
from finewright.core.interrupts import PATIENCE_S, StopRequest
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.dataset import DatasetCache
from finewright.data.text_pairs import as_input
from finewright.data.tokenization import strip_added_start
from finewright.models import hub, meta, quantization, torch_compat
from finewright.planning import method_plan
from finewright.planning.method_plan import MethodPlan
from finewright.runs import answers, schema, verify
from finewright.runs.folder import RUN_FILES, RunFolder
from finewright.runs.run import open_run
from finewright.runs.schema import Artifact, PredictionLine
from finewright.runs.workers import fork_server
from finewright.runs.workers.clean_process import CleanProcess

Request = dict[str, Any]
Notify = Callable[[dict[str, Any]], None]

_MEASURES: dict[RowKind, Callable[..., BaselineFile]] = {
    "labelled": baselines.measure,
    "multi-label": label_set_baselines.measure,
    "number": number_baselines.measure,
    "tagged-tokens": tag_baselines.measure,
    "conversation": answer_baselines.measure,
}
"""What measures the baselines that `spec.baselines_for` names, by the kind of the rows."""
_SECONDS_BETWEEN_EVENTS = 0.5
_SECONDS_FOR_A_STEP = PATIENCE_S - 5
"""How long a termination waits for a step to end. The rest of the time is for saving the step before."""
_SECONDS_FOR_AN_END = PATIENCE_S + 5
"""By then a process that was asked to end has ended."""

_PRELOADED = ("peft", "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics")
"""Modules that every run uses."""


class Worker:
    """Prepares once, then performs requests in forked copies of this process. `cache`: what they all share."""

    def __init__(self) -> None:
        self.cache = DatasetCache()

    def prepare(self, request: Request) -> None:
        """Load libraries, read every folder of `data` and tokenise every text, for all requests that follow."""
        load_libraries()
        source = hub.resolve_model(request["model"], weights=False)
        known = self.cache.ids(source.name)
        for folder, options in request["data"]:
            kind = tasks.get_task(request.get("task", tasks.DEFAULT))
            dataset = self.cache.read(folder, options=DataConfig(**options), row_kind=kind.row_kind)
            if kind.reads != "pooled":  # only tokens of whole conversations, or with the places of words, are used
                continue
            parts = (dataset.train, dataset.validation, dataset.test)
            texts = {row.text: None for rows in parts for row in rows if row.pair is None}
            if any(text not in known for text in texts):
                task = kind.for_labels(dataset.labels)
                tokenizer = meta.meta_model(source, head_spec=task.head_spec).origin.tokenizer
                new = [text for text in strip_added_start(tokenizer, list(texts)) if text not in known]
                known.update(zip(new, tokenizer(new, verbose=False)["input_ids"], strict=True))

    def perform(self, request: Request, notify: Notify) -> None:
        """Do what the request says. The results are in files when this returns."""
        if request["kind"] == "train":
            _train(request, notify, cache=self.cache)
            return
        if request["kind"] == "speed":
            _measure_speeds(request)
            return
        compute: dict[str, Callable[[Request], Artifact]] = {
            "machine": _describe_machine,
            "plan": partial(_plan, cache=self.cache),
            "baseline": partial(_measure_baseline, cache=self.cache),
        }
        out = Path(request["out"])
        files.make_folder(out.parent)
        schema.write(out, compute[request["kind"]](request))


def load_libraries() -> None:
    """Load what each run would load for itself, which takes seconds."""
    for module in _PRELOADED:
        importlib.import_module(module)
    torch_compat.load_compiler()


def _settings(request: Request) -> RunConfig:
    tree = {key: value for key, value in request["options"].items() if key != "method"}
    return config.build_options(RunConfig, {"model": request["model"], **tree})


def _describe_machine(request: Request) -> Machine:
    machine = hardware.detect()
    free = hardware.free_bytes(machine.device)
    return Machine(device=machine.device, cpu_count=machine.cpu_count, memory_bytes=free)


def _plan(request: Request, *, cache: DatasetCache) -> MethodPlans:
    """Plan a method within the memory that its options give it. A plan that cannot be made becomes an error in the answer."""
    name = request["method"]
    try:
        found, findings = plan_method(request, cache=cache)
        plan: dict[str, Any] = {"plan": found.training_plan.as_json(), "choices": found.choices.made}
        settings = _settings(request)
        if tasks.get_task(settings.task).generates:
            plan["num_answers"] = len(answers.choose_test(found.dataset, found.splits["train"], settings=settings).rows)
        planned = PlannedMethod.model_validate(plan)
        return MethodPlans(methods={name: planned}, findings=[FindingRow.model_validate(one.as_json()) for one in findings])
    except UserError as error:
        return MethodPlans(methods={name: PlannedMethod(error=str(error))})


def plan_method(request: Request, *, cache: DatasetCache) -> tuple[MethodPlan, list[Finding]]:
    """Plan a method on this data without its weights. Return the plan, and findings about the texts."""
    settings = _settings(request)
    method = methods.build_method(request["method"], request["options"].get("method", {}))
    if method.needs and (missing := quantization.missing_packages()):
        raise UserError(f"{method.name()} needs {' and '.join(missing)}, not installed here", fix=quantization.INSTALL)
    return method_plan.plan_from_source(request["data"], method, settings=settings, datasets=cache)


def _train(request: Request, notify: Notify, *, cache: DatasetCache) -> None:
    """Make an ordinary run. One that was begun resumes, or starts again where it cannot."""
    clean = CleanProcess(verify.answer)  # first: it must know nothing of what is trained here
    folder = RunFolder(Path(request["out"]))
    try:
        progress = _Progress(notify, resumes=_was_begun(folder))
        with verify.verifying_with(clean), _stoppable() as stop:
            train = partial(
                api.train,
                request["data"],
                model=request["model"],
                method=request["method"],
                options=request["options"],
                output_dir=folder.path,
                cache=cache,
                callbacks=[progress],
                stop=stop,
            )
            try:
                train()
            except UserError as error:
                if error.code != ExitCode.MISMATCH or not progress.resumes or progress.stepped:
                    raise
                notify({"event": "said", "message": f"cannot resume, starts again: {error.what}"})
                _remove(folder)
                train()
    finally:
        clean.close()
    if request.get("discard_weights"):
        shutil.rmtree(folder.model)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)


class _Progress:
    """Reports how far a run is. `resumes`: an earlier process began it."""

    def __init__(self, notify: Notify, *, resumes: bool) -> None:
        self.notify, self.resumes, self.stepped = notify, resumes, False
        self._notified_at = 0.0

    def __call__(self, event: Any) -> None:
        """Report steps, and of the run's messages only that it waits for another run."""
        if isinstance(event, Notice) and event.code == "waiting":
            self.notify({"event": "said", "message": event.message})
        if not isinstance(event, StepCompleted):
            return
        if self.resumes and not self.stepped and event.step > 1:
            self.notify({"event": "said", "message": f"resumes after step {event.step - 1:,}"})
        self.stepped = True
        if time.monotonic() - self._notified_at >= _SECONDS_BETWEEN_EVENTS:
            self._notified_at = time.monotonic()
            self.notify({"event": "stepped", "step": event.step, "num_steps": event.num_steps})


@contextlib.contextmanager
def _stoppable() -> Iterator[StopRequest]:
    """Turn SIGTERM into a stop request within this block: the step ends and is saved.

    A step that takes too long is dropped, and the one before is saved.
    """
    stop = StopRequest()

    def request_stop(number: int, _: Any) -> None:
        stop.wait_at_most(_SECONDS_FOR_A_STEP)
        stop.request(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, request_stop)
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _was_begun(folder: RunFolder) -> bool:
    """Whether an unfinished run here has a checkpoint. Raise `UserError` if the folder is no run's, or in use."""
    if not folder.path.is_dir() or folder.complete:
        return False
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith(files.DRAFT)}
    if foreign := sorted(names - RUN_FILES):
        what = f"a run should go here, and the folder has something else: {', '.join(foreign[:3])}"
        raise UserError(what, where=str(folder.path), fix="remove it, or choose another --out")
    _lock(folder)
    begun = folder.has_checkpoint
    folder.release()
    return begun


def _lock(folder: RunFolder) -> None:
    """Lock the run. The process of a comparison that was killed may need a moment to save its step and end."""
    until = time.monotonic() + _SECONDS_FOR_AN_END
    while True:
        try:
            return folder.lock()
        except UserError as error:
            if error.code != ExitCode.MISMATCH or time.monotonic() > until:
                raise
            time.sleep(0.1)


def _remove(folder: RunFolder) -> None:
    """Remove a run, unless another process works in it."""
    folder.lock()
    shutil.rmtree(folder.path)
    folder.release()


def _measure_baseline(request: Request, *, cache: DatasetCache) -> BaselineFile:
    """Measure one baseline at every size of the training set."""
    settings = _settings(request)
    torch.set_num_threads(settings.training.num_threads or 1)  # what the other runs at the same time leave
    kind = tasks.get_task(settings.task).row_kind
    datasets = {size: cache.read(folder, options=settings.data, row_kind=kind) for size, folder in request["data"].items()}
    source = hub.resolve_model(request["model"])
    return _MEASURES[kind](request["name"], datasets, source=source, settings=settings, known=cache.ids(source.name))


def _measure_speeds(request: Request) -> None:
    """Measure how many texts per second each run predicts, tokenisation included, and write a file for each.

    With one thread, so that no number depends on how threads share the cores, and in turn, so that what else the machine does
    slows all runs alike. Models that do not fit into half of the free memory together are measured one after the other.
    """
    runs = {name: open_run(path) for name, path in request["runs"].items()}
    together = sum(4 * run.result.total_parameters for run in runs.values()) < hardware.free_bytes("cpu") / 2
    torch.set_num_threads(1)
    for group in [[*runs]] if together else [[name] for name in runs]:
        predictors = {name: open_run(request["runs"][name]).predictor for name in group}
        texts, seconds = {}, {name: list[float]() for name in group}
        for name in group:
            lines = schema.read_lines(PredictionLine, runs[name].folder.predictions)
            texts[name] = [line.text if line.pair is None else as_input(line.pair) for line in lines][:TIMED_TEXTS]
        for _ in range(SPEED_ROUNDS + 1):
            for name in group:
                began = time.monotonic()
                predictors[name].score(texts[name])
                seconds[name].append(time.monotonic() - began)
        for name in group:
            fast = len(texts[name]) / statistics.median(seconds[name][1:])  # the first prediction is a warm-up
            out = Path(request["outs"][name])
            files.make_folder(out.parent)
            schema.write(out, SpeedFile(texts_per_second=fast, num_texts=len(texts[name]), threads=torch.get_num_threads()))


if __name__ == "__main__":
    worker = Worker()
    fork_server.serve_and_exit(worker.perform, worker.prepare)
