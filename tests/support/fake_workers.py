"""A worker pool that trains nothing: it writes the files of real work, at once and in this process."""

import json
from pathlib import Path

from finewright.comparison.folder import write_json
from finewright.runs.folder import RunFolder

PEAKS = {"lora": 100e6, "freeze": 150e6, "prompt": 120e6, "full": 500e6, "scratch": 500e6}
SHARES = {"lora": 0.9, "full": 0.92, "freeze": 0.85, "prompt": 0.8, "scratch": 0.6}


class FakePool:
    """`fail`: message by id of the requests that fail. `requests`: all, in order."""

    fail: dict[str, str] = {}
    requests: list[dict] = []
    device = "cpu"

    def __init__(self, log, *, server):
        self.log = log

    def ask(self, request, *, on_event=lambda event: None):
        self._perform(request)

    def work(self, lanes, *, jobs, on_event):
        self.jobs = jobs
        for lane in lanes:
            outcome = None
            while True:
                try:
                    request = next(lane) if outcome is None else lane.send(outcome)
                except StopIteration:
                    break
                outcome = self._perform(request)
                on_event(outcome)

    def close(self):
        pass

    def _perform(self, request):
        self.requests.append(request)
        if request["id"] in self.fail:
            return {"id": request["id"], "event": "failed", "message": self.fail[request["id"]], "code": 2}
        kinds = {"machine": self._machine, "plan": self._plan, "train": _train, "baseline": _baseline, "speed": _speed}
        kinds.get(request["kind"], lambda request: None)(request)
        return {"id": request["id"], "event": "done"}

    def _machine(self, request):
        write(request["out"], {"device": self.device, "cpu_count": 4, "memory_bytes": 8e9})

    def _plan(self, request):
        method = request["method"]
        candidates = {method: {"plan": {"peak_memory_bytes": PEAKS[method]}, "choices": []}}
        write(request["out"], {"findings": [], "methods": candidates})


def write(path, value):
    write_json(Path(path), value)


def _test_rows(folder):
    path = Path(folder) / "test.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _train(request):
    run, method, options = RunFolder(Path(request["out"])), request["method"], request["options"]
    run.path.mkdir(parents=True, exist_ok=True)
    rows, train = _test_rows(request["data"]), (Path(request["data"]) / "train.jsonl").read_text().splitlines()
    labels = sorted({json.loads(line)["label"] for line in train})
    right = [(index * 7 + options["seed"]) % 100 < 100 * SHARES[method] for index in range(len(rows))]
    predicted = [
        row["label"] if hit else next(one for one in labels if one != row["label"]) for row, hit in zip(rows, right, strict=True)
    ]
    lines = [
        {"text": a["text"], "label": a["label"], "predicted": b, "probability": 0.9} for a, b in zip(rows, predicted, strict=True)
    ]
    run.write_lines(run.predictions, lines)
    run.append(run.metrics, {"step": 6, "epoch": 1.0, "loss": 0.5, "lr": 1e-3, "grad_norm": 1.0})
    run.append(run.timings, {"step": 6, "seconds": 2.0})
    run.write_json(run.config, {"settings": options})
    rate = options.get("training", {}).get("learning_rate", 0.0)
    measured = {"validation": {"accuracy": 0.5 + min(rate, 0.4), "loss": 0.5}}
    measured |= {"test": {"calibration_error": 0.1}} if rows else {}
    result = {
        "method": method,
        "seed": options["seed"],
        "metrics": measured,
        "num_train": len(train),
        "best_step": 6,
        "train_seconds": 2.0,
    }
    result |= {
        "trainable_parameters": 1000,
        "total_parameters": 10_000,
        "trainable_fraction": 0.1,
        "artifact_bytes": int(PEAKS[method]),
    }
    result |= {"peak_memory_bytes": PEAKS[method], "planned_peak_memory_bytes": PEAKS[method], "planned_seconds": 2.2}
    run.write_json(run.result, result)


def _baseline(request):
    sizes = {}
    for size, folder in request["data"].items():
        rows = _test_rows(folder)
        made = {"predicted": [rows[0]["label"]] * len(rows), "probability": [0.5] * len(rows), "parameters": 3, "chosen": "C = 1"}
        sizes[size] = made | {"train_seconds": 0.1, "num_train": 10, "metrics": {"calibration_error": 0.0}}
    write(request["out"], {"sizes": sizes})


def _speed(request):
    write(request["out"], {"texts_per_second": 100.0})
