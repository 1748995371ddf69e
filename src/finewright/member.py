"""One piece of a comparison's work, in a process of its own: plans, a run, a baseline, a measure of speed."""

import importlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finewright import (
    api,
    baselines,
    checks,
    config,
    disk,
    hardware,
    hub,
    methods,
    proof,
    prospect,
    quantization,
    shapes,
    tasks,
)
from finewright.config import DataKnobs, Settings
from finewright.errors import UserError
from finewright.run import RunFolder
from finewright.shared import Shared
from finewright.twin import Twin

Tell = Callable[[dict[str, Any]], None]

MOST_TEXTS = 128
"""Texts that the speed of predicting is measured on."""
_SECONDS_BETWEEN_WORDS = 0.5
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

_shared = Shared()
"""What the process that all others are copies of has read and tokenised."""


def prepare(request: dict[str, Any]) -> None:
    """Load what runs need, read every folder of `data` and tokenise every text, for all that come after."""
    for module in _NEEDED:
        importlib.import_module(module)
    source = hub.resolve(request["model"], weights=False)
    known = _shared.ids(source.name)
    for folder, knobs in request["data"]:
        dataset = _shared.read(folder, knobs=DataKnobs(**knobs))
        texts = {row.text: None for rows in (dataset.train, dataset.validation, dataset.test) for row in rows}
        new = [text for text in texts if text not in known]
        if new:
            tokenizer = shapes.shape(source, labels=dataset.labels).origin.tokenizer
            known.update(zip(new, tokenizer(new, verbose=False)["input_ids"], strict=True))


def perform(request: dict[str, Any], tell: Tell) -> None:
    """Do what is asked; what comes of it is in files when this returns."""
    kinds: dict[str, Callable[[dict[str, Any], Tell], None]] = {
        "machine": _machine,
        "plan": _plan,
        "train": _train,
        "baseline": _baseline,
        "speed": _speed,
    }
    kinds[request["kind"]](request, tell)


def _settings(request: dict[str, Any], knobs: dict[str, Any]) -> Settings:
    tree = {key: value for key, value in knobs.items() if key != "method"}
    return config.build(Settings, {"model": request["model"], **tree})


def _machine(request: dict[str, Any], tell: Tell) -> None:
    """Where the work will run, and what is free there."""
    machine = hardware.detect()
    answer = {"device": machine.device, "cpu_count": machine.cpu_count, "memory_bytes": hardware.free_bytes(machine.device)}
    path = Path(request["out"])
    RunFolder(path.parent).write_json(path, answer)


def _plan(request: dict[str, Any], tell: Tell) -> None:
    """What a way would cost with the memory that its knobs give it; one that cannot be planned is answered with the reason."""
    name, knobs = request["way"], request["knobs"]
    answer: dict[str, Any] = {"ways": {}, "findings": []}
    try:
        cost = forecast(request["data"], settings=_settings(request, knobs), name=name, knobs=knobs.get("method", {}))
        answer["ways"][name] = {"plan": cost["plan"], "choices": cost["choices"]}
        answer["findings"] = cost["findings"]
    except UserError as error:
        answer["ways"][name] = {"error": str(error)}
    path = Path(request["out"])
    RunFolder(path.parent).write_json(path, answer)


def forecast(source: str, *, settings: Settings, name: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """One way's plan on this data, without its weights; with what was chosen for it and what was found about the texts."""
    import torch

    method, machine = methods.make(name, knobs), hardware.detect()
    if method.needs and (absent := quantization.missing()):
        raise UserError(f"{name} wants {' and '.join(absent)}, not installed here", fix=quantization.INSTALL)
    torch.set_num_threads(settings.train.threads or machine.cpu_count)
    dataset, findings = _shared.read(source, knobs=settings.data), []
    labels = [row.label for row in dataset.train]
    task = tasks.infer(dataset.labels, training_labels=labels, class_weights=settings.train.class_weights)
    model = hub.resolve(settings.model, weights=False)
    given: dict[str, Any] = {"settings": settings, "machine": machine, "dataset": dataset, "task": task}
    found = prospect.look(model, method, report=findings.extend, known=_shared.ids(model.name), **given)
    findings += checks.look(dataset)
    return {
        "plan": found.forecast.as_json(),
        "choices": found.choices.made,
        "findings": [finding.as_json() for finding in findings],
    }


def _train(request: dict[str, Any], tell: Tell) -> None:
    """An ordinary run folder; one that was not finished is begun anew. `light`: only its numbers are kept."""
    twin = Twin(proof.answer)  # first of all: it must know nothing of what is trained here
    folder = RunFolder(Path(request["out"]))
    _clear_unfinished(folder)
    spoke_at = 0.0

    def hear(event: Any) -> None:
        nonlocal spoke_at
        kind = type(event).__name__
        if kind == "Stepped" and time.monotonic() - spoke_at >= _SECONDS_BETWEEN_WORDS:
            spoke_at = time.monotonic()
            tell({"event": "stepped", "step": event.step, "num_steps": event.num_steps})

    options = {"model": request["model"], "method": request["method"], "knobs": request["knobs"]}
    try:
        with proof.answered_by(twin):
            api.train(request["data"], out=folder.path, shared=_shared, listen=hear, **options)
    finally:
        twin.close()
    if request.get("light"):
        shutil.rmtree(folder.model)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _clear_unfinished(folder: RunFolder) -> None:
    """Take away what a run left that did not come to its end, and nothing else."""
    if not folder.path.is_dir() or folder.complete:
        return
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith(disk.DRAFT)}
    if strange := sorted(names - _OWN_NAMES):
        what = f"a run should go here, and the folder has something else: {', '.join(strange[:3])}"
        raise UserError(what, where=str(folder.path), fix="take it away, or another --out")
    folder.lock()  # refused while another process is at work here
    folder.release()
    if folder.path.exists():  # an empty one goes away with its lock
        shutil.rmtree(folder.path)


def _baseline(request: dict[str, Any], tell: Tell) -> None:
    """One baseline at every size of the training set."""
    knobs = _settings(request, request["knobs"])
    datasets = {size: _shared.read(folder, knobs=knobs.data) for size, folder in request["data"].items()}
    source = hub.resolve(request["model"])
    measured = baselines.measure(request["name"], datasets, source=source, settings=knobs, known=_shared.ids(source.name))
    path = Path(request["out"])
    path.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(path.parent).write_json(path, measured)


def _speed(request: dict[str, Any], tell: Tell) -> None:
    """Texts a second that a finished run predicts, tokenising included; the second pass counts."""
    run = api.open_run(request["run"])
    texts = [line["text"] for line in run.folder.read_lines(run.folder.predictions)][:MOST_TEXTS]
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
