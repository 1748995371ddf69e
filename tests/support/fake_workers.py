"""A worker pool that trains nothing: it writes the files of real work, at once and in this process."""

from pathlib import Path

from finewright.comparison.schema import BaselineFile, Machine, MethodPlans, PlannedMethod, SpeedFile, SplitLine
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import MetricsLine, PredictionLine, RequestRecord, RunConfigFile, TimingsLine
from support.comparisons import baseline_result, plan_file, run_result, split_metrics

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
        write(request["out"], Machine(device=self.device, cpu_count=4, memory_bytes=8 * 10**9))

    def _plan(self, request):
        method = request["method"]
        write(request["out"], MethodPlans(methods={method: PlannedMethod(plan=plan_file(method, PEAKS[method]))}))


def write(path, artifact):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    schema.write(Path(path), artifact)


def _rows(folder, split):
    path = Path(folder) / f"{split}.jsonl"
    return schema.read_lines(SplitLine, path) if path.exists() else []


def _train(request):
    run, method, options = RunFolder(Path(request["out"])), request["method"], request["options"]
    run.path.mkdir(parents=True, exist_ok=True)
    rows, train = (_rows(request["data"], split) for split in ("test", "train"))
    labels = sorted({row.label for row in train})
    right = [(index * 7 + options["seed"]) % 100 < 100 * SHARES[method] for index in range(len(rows))]
    predicted = [
        row.label if hit else next(one for one in labels if one != row.label) for row, hit in zip(rows, right, strict=True)
    ]
    lines = [
        PredictionLine(text=a.text, label=a.label, predicted=b, probability=0.9) for a, b in zip(rows, predicted, strict=True)
    ]
    run.write_lines(run.predictions, lines)
    run.append(MetricsLine(step=6, epoch=1.0, loss=0.5, lr=1e-3, grad_norm=1.0))
    run.append(TimingsLine(step=6, seconds=2.0))
    asked = RequestRecord(source="t.csv", test=None, settings=options, method=method, method_options={})
    run.write(run.config, RunConfigFile(request=asked, settings=options))
    rate = options.get("training", {}).get("learning_rate") or 0.0
    measured = {"validation": split_metrics(0.5 + min(rate, 0.4))} | ({"test": split_metrics()} if rows else {})
    peak = int(PEAKS[method])
    sizes = {"artifact_bytes": peak, "peak_memory_bytes": peak, "planned_peak_memory_bytes": peak}
    result = run_result(method, seed=options["seed"], metrics=measured, num_train=len(train), **sizes)
    run.write(run.result, result)


def _baseline(request):
    rows = {size: _rows(folder, "test") for size, folder in request["data"].items()}
    sizes = {size: baseline_result([found[0].label] * len(found)) for size, found in rows.items()}
    write(request["out"], BaselineFile(sizes=sizes))


def _speed(request):
    for out in request["outs"].values():
        write(out, SpeedFile(texts_per_second=100.0, num_texts=10, threads=1))
