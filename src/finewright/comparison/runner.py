"""A comparison under way: what is planned, running, finished and failed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finewright import methods, tasks
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.resources import ResourcePlan
from finewright.comparison.schema import Machine, MethodPlans, PlannedMethod, SearchFile
from finewright.comparison.search import Params, Trial, TrialRecord, nest_options, propose_trials, trials_per_method
from finewright.comparison.spec import ComparisonSpec, RunSpec, list_runs, run_data_options
from finewright.core import config, units
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import Notice, RunFinished, RunProgress, RunStarted
from finewright.data.dataset import Dataset
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.request import flatten
from finewright.runs.schema import RunConfigFile, RunResult
from finewright.runs.workers.pool import Event, JobSequence, Request, WorkerPool


class ComparisonRunner:
    """State of `comparison.compare`. Each public method is one of its steps."""

    resources: ResourcePlan

    def __init__(
        self, spec: ComparisonSpec, folder: ComparisonFolder, dataset: Dataset, *, on_event: Callable[[Any], None]
    ) -> None:
        self.spec, self.folder, self.dataset = spec, folder, dataset
        self.on_event = on_event
        self.reasons: dict[str, str] = {}
        """Why a method is not run, by its name."""
        self.failures: dict[str, str] = {}
        """Why a request failed, by its id."""
        self.records: dict[str, TrialRecord] = {}
        """What the search found, by method."""
        self._planning_threads = 0
        self.pool: WorkerPool | None = None
        self._number, self._total = 0, 0

    @property
    def candidates(self) -> list[str]:
        """The methods that can be run."""
        return [method for method in self.spec.candidates if method not in self.reasons]

    def is_finished(self, *, budget_bytes: int, jobs: int | None) -> bool:
        """Whether earlier starts left nothing to do. `budget_bytes`: memory that a run may take, 0: what is free."""
        self.resources = ResourcePlan(self.folder, budget_bytes=budget_bytes, requested_jobs=jobs)
        if not self.resources.covers(self._trainable):
            return False
        self.reasons = self._reasons_against()
        paths = [self.folder.baseline(name) for name in self.spec.baselines]
        paths += [self.folder.speed(name) for name in self.candidates] if self._measures_speed else []
        paths += [RunFolder(self.folder.run(run.name)).result for run in self.runs()]
        records = self._read_records() if self.spec.search else {}
        is_searched = not self.spec.search or all(method in records for method in self.candidates)
        if not is_searched or not all(path.exists() for path in paths):
            return False
        self.records = records
        if jobs and jobs != self.resources.jobs:
            what = f"nothing is left to run: --jobs {jobs} changes nothing, it was jobs = {self.resources.jobs}"
            self.on_event(Notice(what))
        return True

    def start(self) -> None:
        """Start the process that all others are forked from. It loads the libraries, reads the rows, tokenises the texts."""
        self.pool = WorkerPool(self.folder.log, server="finewright.comparison.worker")
        places = [(str(self.folder.data(size)), self.options()["data"]) for size in self.spec.train_sizes]
        if self.spec.search:
            places.append((str(self.folder.search_data), self.options(test=False)["data"]))
        self.pool.ask({"id": "data", "kind": "prepare", "model": self.spec.model, "task": self.spec.task.name, "data": places})

    def close(self) -> None:
        """End the processes."""
        if self.pool:
            self.pool.close()

    def options(self, method: str = "", *, test: bool = True) -> dict[str, Any]:
        """Return the options of a run as a tree: shared ones, then those of the method, then the best that the search found."""
        tree = config.merge_options(self.spec.options, self.spec.method_options.get(method, {}))
        if method in self.records and (best := self.records[method].best):
            tree = config.merge_options(tree, nest_options(best.params))
        tree = config.merge_options(tree, {"data": run_data_options(self.spec, self.dataset, test=test)})
        limit = self.resources.limit_bytes
        tree |= {"memory_budget": units.format_bytes_exactly(limit)} if limit else {}
        tree["task"] = self.spec.task.name
        if (number := self.resources.num_answers(self._trainable)) is not None:  # all answer the same rows
            tree = config.merge_options(tree, {"training": {"num_generated": number}})
        threads = tree.get("training", {}).get("num_threads", 0) or self.resources.threads or self._planning_threads
        return config.merge_options(tree, {"training": {"num_threads": threads, "baselines": "off"}})  # it measures them itself

    def plan(self) -> None:
        """Plan each method on the largest training set; decide which methods fit and how many runs go at a time.

        Later starts keep what the first one chose and planned. A new plan, when more or less memory is free, would give the
        runs that are left another setup than those that are finished.
        """
        assert self.pool is not None
        if not self.resources.saved.device:
            self.pool.ask({"id": "machine", "kind": "machine", "out": str(self.folder.machine)})
            self.resources.note_machine(schema.read(Machine, self.folder.machine))
        candidates = self.resources.unplanned(self._trainable)
        jobs = self.resources.planning_jobs
        self._planning_threads = max(1, self.resources.saved.cpu_count // jobs)
        self.pool.work([_single(self._plan_request(name)) for name in candidates], jobs=jobs, on_event=self._note_failure)
        for name in candidates:
            self.resources.add(self._read_plan(name))
        self.reasons = self._reasons_against()
        for name, reason in self.reasons.items():
            self.on_event(Notice(f"{name} is not run: {reason}"))
        if runs := self.runs():  # without any, nothing can be chosen, and the first choice stays
            self.on_event(Notice(self.resources.choose_jobs(self.candidates, num_runs=len(runs))))
        self.resources.write()
        for path in (self.folder.machine, *map(self.folder.plan, self.spec.candidates)):
            path.unlink(missing_ok=True)

    def _reasons_against(self) -> dict[str, str]:
        fitting = self.resources.reasons(self._trainable, forced=self.spec.options.get("force", False))
        return {name: reason for name in self.spec.candidates if (reason := self._untrainable.get(name) or fitting.get(name))}

    @property
    def _untrainable(self) -> dict[str, str]:
        """Why a method cannot train the task, by its name."""
        reasons = {name: self.spec.task.why_not(methods.get_method(name)()) for name in self.spec.candidates}
        return {name: reason for name, reason in reasons.items() if reason}

    @property
    def _trainable(self) -> list[str]:
        """The methods that can train the task."""
        return [name for name in self.spec.candidates if name not in self._untrainable]

    @property
    def _measures_speed(self) -> bool:
        """Whether the time of a prediction is that of scoring a text; an answer takes as long as it is long."""
        return not self.spec.task.generates

    def _plan_request(self, method: str) -> Request:
        data, out = str(self.folder.data(self.spec.main_size)), self.folder.plan(method)
        request = self._request(f"plan of {method}", "plan", options=self.options(method), data=data, out=out)
        return request | {"method": method}

    def _read_plan(self, method: str) -> MethodPlans:
        """Return the plan of a method, or why there is none."""
        if f"plan of {method}" in self.failures:
            return MethodPlans(methods={method: PlannedMethod(error=self.failures.pop(f"plan of {method}"))})
        return schema.read(MethodPlans, self.folder.plan(method))

    def train(self) -> None:
        """Run every baseline and every run that is not finished yet. If one fails, the others continue."""
        requests = [self._baseline_request(name) for name in self.spec.baselines if not self.folder.baseline(name).exists()]
        requests += [self._train_request(run) for run in self.runs() if not self._is_complete(run)]
        self._total, self._number = len(requests), 0
        self._work([_single(request) for request in requests])

    def runs(self) -> list[RunSpec]:
        """Every run of the methods that can be run."""
        return list_runs(self.spec, self.candidates)

    def _is_complete(self, run: RunSpec) -> bool:
        return RunFolder(self.folder.run(run.name)).complete

    def notes(self) -> list[str]:
        """Describe which runs were made under other conditions than the rest."""
        limit, other = self.resources.limit_bytes, []
        for spec in filter(self._is_complete, self.runs()):
            budget = schema.read(RunConfigFile, RunFolder(self.folder.run(spec.name)).config).settings.get("memory_budget")
            if budget and units.parse_size(budget) != limit:
                other.append(spec.name)
        notes = [f"Made within another memory limit, with the setup for it: {', '.join(other)}."] if other else []
        return self.resources.notes() + notes

    def _baseline_request(self, name: str) -> Request:
        data = {size: str(self.folder.data(size)) for size in self.spec.train_sizes}
        request = self._request(name, "baseline", options=self.options(), data=data, out=self.folder.baseline(name))
        return request | {"name": name}

    def _train_request(self, run: RunSpec) -> Request:
        data, options = str(self.folder.data(run.size)), self.options(run.method) | {"seed": run.seed}
        request = self._request(run.name, "train", options=options, data=data, out=self.folder.run(run.name))
        return request | {"method": run.method}

    def _request(self, name: str, kind: str, *, options: dict[str, Any], data: str | dict[str, str], out: Path) -> Request:
        return {"id": name, "kind": kind, "model": self.spec.model, "options": options, "data": data, "out": str(out)}

    def search(self) -> None:
        """Run the same number of trials for each method, on validation. From here on its best options are used.

        A method that did not fit when the others were searched gets as many trials as those had.
        """
        self.records = self._read_records()
        candidates = [name for name in self.candidates if name not in self.records]
        if not candidates:
            return
        self._check_untrained(candidates)
        number, which = trials_per_method(self.spec.search, num_methods=len(candidates)), "the first with the defaults"
        if self.records:
            number, which = max(len(record.trials) for record in self.records.values()), "as many as the others had"
        what = f"search: {number * len(candidates)} trials, {number} for each of {len(candidates)} methods, {which}"
        self.on_event(Notice(what))
        self._total, self._number = number * len(candidates), 0
        self._work([self._trial_requests(name, number=number) for name in candidates])
        self.folder.write(self.folder.searched, SearchFile(methods=self.records))

    def _read_records(self) -> dict[str, TrialRecord]:
        """Return what an earlier start found."""
        saved = schema.read(SearchFile, self.folder.searched).methods if self.folder.searched.exists() else {}
        return {name: saved[name] for name in self.spec.candidates if name in saved}

    def _check_untrained(self, candidates: Sequence[str]) -> None:
        """Raise `UserError` if there are runs with the defaults: they cannot be compared with runs after a search."""
        done = [run.name for run in self.runs() if run.method in candidates and self._is_complete(run)]
        if done:
            what = f"{', '.join(done[:3])}: trained before the options of this method were searched"
            fix = "remove these runs and compare again"
            raise UserError(what, where=str(self.folder.path / "runs"), fix=fix, code=ExitCode.MISMATCH)

    def _trial_requests(self, method: str, *, number: int) -> JobSequence:
        fixed = config.merge_options(self.spec.options, self.spec.method_options.get(method, {}))
        proposals = propose_trials(
            methods.get_method(method),
            number=number,
            folder=self.folder.trial(method, 0).parent,
            fixed=set(flatten(fixed)),
            seed=self.spec.seeds[0],
            learning_rate=self._planned_choice(method, "training.learning_rate"),
        )
        try:
            index, params = next(proposals)
            while True:
                run = RunFolder(self.folder.trial(method, index))
                if not run.complete:
                    yield self._trial_request(method, index, params)
                index, params = proposals.send(_read_trial(run, params))
        except StopIteration as stop:
            self.records[method] = stop.value

    def _planned_choice(self, method: str, option: str) -> Any:
        """Return what planning chose for an option that was left open."""
        choices = self.resources.plans.methods[method].choices
        return next((choice.value for choice in choices if choice.option == option), None)

    def _trial_request(self, method: str, index: int, params: Params) -> Request:
        data, out = str(self.folder.search_data), self.folder.trial(method, index)
        options = config.merge_options(self.options(method, test=False), nest_options(params)) | {"seed": self.spec.seeds[0]}
        request = self._request(f"{method} trial {index}", "train", options=options, data=data, out=out)
        return request | {"method": method, "discard_weights": True}

    def measure_speeds(self) -> None:
        """Measure how fast a run of each method predicts: all in one process, in turn, with nothing beside it."""
        if not self._measures_speed:
            return
        runs, outs = {}, {}
        for name in self.candidates:
            done = [
                run for run in self.runs() if (run.method, run.size) == (name, self.spec.main_size) and self._is_complete(run)
            ]
            if done:
                runs[name], outs[name] = str(self.folder.run(done[0].name)), str(self.folder.speed(name))
        if not all(Path(out).exists() for out in outs.values()):
            assert self.pool is not None
            request = {"id": "speed of prediction", "kind": "speed", "runs": runs, "outs": outs}
            self.pool.work([_single(request)], jobs=1, on_event=self._note_failure)

    def _work(self, sequences: Sequence[JobSequence]) -> None:
        if sequences:
            assert self.pool is not None
            self.pool.work([self._announce(one) for one in sequences], jobs=self.resources.jobs, on_event=self._handle_event)

    def _announce(self, sequence: JobSequence) -> JobSequence:
        """Yield the same requests, and report the start of each."""
        outcome = None
        while True:
            try:
                request = next(sequence) if outcome is None else sequence.send(outcome)
            except StopIteration:
                return
            self.on_event(RunStarted(request["id"]))
            outcome = yield request

    def _handle_event(self, event: Event) -> None:
        name = event["id"]
        if event["event"] == "stepped":
            self.on_event(RunProgress(name, event["step"], event["num_steps"]))
            return
        if event["event"] == "said":
            self.on_event(Notice(f"{name}: {event['message']}"))
            return
        self._note_failure(event)
        if event["event"] in ("done", "failed"):
            self._number += 1
            failed = event["event"] == "failed"
            message = event["message"] if failed else self._describe_result(name)
            self.on_event(RunFinished(name, self._number, self._total, message, failed))

    def _note_failure(self, event: Event) -> None:
        if event["event"] == "failed":
            self.failures[event["id"]] = event["message"]

    def _describe_result(self, name: str) -> str:
        run = RunFolder(self.folder.run(name))
        if not run.complete:
            return ""
        result = schema.read(RunResult, run.result)
        validation = result.metrics.validation
        metric = tasks.get_task(result.task).decisive_metric(validation.model_dump() if validation else {})
        shown = metric.format(getattr(validation, metric.name)) if validation else ""
        score = f"validation {metric.name} {shown}, " if shown else ""
        return f"{score}{result.train_seconds:.0f} s"


def _single(request: Request) -> JobSequence:
    yield request


def _read_trial(run: RunFolder, params: Params) -> Trial:
    if not run.complete:
        return Trial(params, None)
    result = schema.read(RunResult, run.result)
    validation = result.metrics.validation
    assert validation is not None, "a search has validation rows"
    metric = tasks.get_task(result.task).decisive_metric(validation.model_dump())
    if not metric.higher_is_better:
        return Trial(params, None, validation.loss, by_loss=True)
    return Trial(params, getattr(validation, metric.name), validation.loss)
