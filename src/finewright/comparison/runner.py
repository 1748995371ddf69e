"""A comparison under way: what is planned, what is under way, what is finished and what failed."""

from collections.abc import Callable, Sequence
from typing import Any

from finewright import methods
from finewright.comparison import search as trial_search
from finewright.comparison import spec as comparison_spec
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.resources import ResourcePlan
from finewright.comparison.search import Trial, TrialRecord, nested, share_out, trials
from finewright.comparison.spec import BASELINES, ComparisonSpec, RunSpec, dotted, run_data_options
from finewright.core import config, units
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import RunFinished, RunProgress, RunStarted
from finewright.data.dataset import Dataset
from finewright.runs.folder import RunFolder
from finewright.runs.workers.pool import Event, JobSequence, Request, WorkerPool


class ComparisonRunner:
    """State of `comparison.compare`; each public method is one of its verbs."""

    provision: ResourcePlan

    def __init__(
        self, spec: ComparisonSpec, folder: ComparisonFolder, dataset: Dataset, *, on_event: Callable[[Any], None]
    ) -> None:
        self.spec, self.folder, self.dataset = spec, folder, dataset
        self.on_event = on_event
        self.reasons: dict[str, str] = {}
        """Why a way is not run, by its name."""
        self.failures: dict[str, str] = {}
        """Why a piece of work came to nothing, by its name."""
        self.found: dict[str, TrialRecord] = {}
        self._planning_threads = 0
        self.crew: WorkerPool | None = None
        self._number, self._total = 0, 0

    @property
    def candidates(self) -> list[str]:
        """Those that can be run."""
        return [way for way in self.spec.candidates if way not in self.reasons]

    def is_finished(self, *, budget_bytes: int, jobs: int | None) -> bool:
        """Whether nothing is left to do since the last time. `budget_bytes`: memory that a run may take, 0: what is free."""
        self.provision = ResourcePlan(self.folder, budget_bytes=budget_bytes, asked_jobs=jobs)
        if not self.provision.covers(self.spec.candidates):
            return False
        self.reasons = self._judged()
        paths = [self.folder.baseline(name) for name in BASELINES] + [self.folder.speed(way) for way in self.candidates]
        paths += [RunFolder(self.folder.run(member.name)).result for member in self.members()]
        kept = self._searched() if self.spec.search else {}
        if not all(path.exists() for path in paths) or (self.spec.search and not all(way in kept for way in self.candidates)):
            return False
        self.found = kept
        if jobs and jobs != self.provision.jobs:
            self.on_event(f"nothing is left to run: --jobs {jobs} changes nothing, it was jobs = {self.provision.jobs}")
        return True

    def start(self) -> None:
        """The process that all work comes from: everything loaded, the rows read, the texts tokenised, once for all."""
        self.crew = WorkerPool(self.folder.log, server="finewright.comparison.worker")
        places = [(str(self.folder.data(size)), self.options()["data"]) for size in self.spec.train_sizes]
        if self.spec.search:
            places.append((str(self.folder.search_data), self.options(test=False)["data"]))
        self.crew.ask({"id": "data", "kind": "prepare", "model": self.spec.model, "data": places})

    def close(self) -> None:
        """End the processes."""
        if self.crew:
            self.crew.close()

    def options(self, way: str = "", *, test: bool = True) -> dict[str, Any]:
        """Knobs of a run as a tree: the shared ones, the way's own, then what the search found best for it."""
        tree = config.merge_options(self.spec.options, self.spec.way_knobs.get(way, {}))
        if way in self.found and (best := self.found[way].best):
            tree = config.merge_options(tree, nested(best.params))
        tree = config.merge_options(tree, {"data": run_data_options(self.spec, self.dataset, test=test)})
        limit = self.provision.limit_bytes
        tree |= {"memory_budget": units.format_bytes_exactly(limit)} if limit else {}
        threads = tree.get("training", {}).get("num_threads", 0) or self.provision.threads or self._planning_threads
        return config.merge_options(tree, {"training": {"num_threads": threads}})

    def plan(self) -> None:
        """What every way costs on the largest training set; which ways fit; how many pieces of work go side by side.

        What the first start chose and planned holds for later ones: a plan made anew, when more or less memory may be free,
        would give the runs that are left other setups than those that are done.
        """
        assert self.crew is not None
        if "memory_bytes" not in self.provision.kept:
            self.crew.ask({"id": "machine", "kind": "machine", "out": str(self.folder.machine)})
            self.provision.note_machine(self.folder.read_json(self.folder.machine))
        candidates, cores = self.provision.unplanned(self.spec.candidates), self.provision.kept["cpu_count"]
        side_by_side = min(cores, self.provision.asked_jobs or cores) if self.provision.kept["device"] == "cpu" else 1
        self._planning_threads = max(1, cores // side_by_side)
        self.crew.work([_single(self._planning(way)) for way in candidates], jobs=side_by_side, hear=self._note_failure)
        for way in candidates:
            self.provision.add(self._planned(way))
        self.reasons = self._judged()
        for way, reason in self.reasons.items():
            self.on_event(f"{way} is not run: {reason}")
        if members := self.members():  # with none there is nothing to choose by, and the first choice stays
            self.on_event(self.provision.choose_jobs(self.candidates, num_members=len(members)))
        self.provision.write()
        for path in (self.folder.machine, *map(self.folder.plan, self.spec.candidates)):
            path.unlink(missing_ok=True)

    def _judged(self) -> dict[str, str]:
        return self.provision.reasons(self.spec.candidates, forced=self.spec.options.get("force", False))

    def _planning(self, way: str) -> Request:
        request = {"id": f"plan of {way}", "kind": "plan", "model": self.spec.model, "way": way, "options": self.options(way)}
        return request | {"data": str(self.folder.data(self.spec.main_size)), "out": str(self.folder.plan(way))}

    def _planned(self, way: str) -> dict[str, Any]:
        """What planning a way came to: its plan, or why there is none."""
        if f"plan of {way}" in self.failures:
            return {"methods": {way: {"error": self.failures.pop(f"plan of {way}")}}, "findings": []}
        return self.folder.read_json(self.folder.plan(way))

    def train(self) -> None:
        """Every baseline and every member that is not finished yet; one that fails leaves the others alone."""
        asked = [self._baseline(name) for name in BASELINES if not self.folder.baseline(name).exists()]
        asked += [self._member(member) for member in self.members() if not self._complete(member)]
        self._total, self._number = len(asked), 0
        self._work([_single(request) for request in asked])

    def members(self) -> list[RunSpec]:
        """Every run of the ways that can be run."""
        return comparison_spec.list_runs(self.spec, self.candidates)

    def _complete(self, member: RunSpec) -> bool:
        return RunFolder(self.folder.run(member.name)).complete

    def notes(self) -> list[str]:
        """What a reader must know of runs that were not made alike."""
        limit, other = self.provision.limit_bytes, []
        for member in filter(self._complete, self.members()):
            run = RunFolder(self.folder.run(member.name))
            budget = run.read_json(run.config)["settings"].get("memory_budget")
            if budget and units.parse_size(budget) != limit:
                other.append(member.name)
        told = [f"Made within another limit of memory, with the setup for it: {', '.join(other)}."] if other else []
        return self.provision.notes() + told

    def _baseline(self, name: str) -> Request:
        places = {size: str(self.folder.data(size)) for size in self.spec.train_sizes}
        request = {"id": name, "kind": "baseline", "name": name, "model": self.spec.model, "data": places}
        return request | {"options": self.options(), "out": str(self.folder.baseline(name))}

    def _member(self, member: RunSpec) -> Request:
        options = self.options(member.way) | {"seed": member.seed}
        request = {"id": member.name, "kind": "train", "model": self.spec.model, "method": member.way, "options": options}
        return request | {"data": str(self.folder.data(member.size)), "out": str(self.folder.run(member.name))}

    def search(self) -> None:
        """The same number of trials for every way, on validation; the best knobs of each are used from here on.

        Ways that did not fit when the others were searched get as many trials as those had.
        """
        self.found = self._searched()
        candidates = [way for way in self.candidates if way not in self.found]
        if not candidates:
            return
        self._require_untrained(candidates)
        number, which = share_out(self.spec.search, len(candidates)), "the first the defaults"
        if self.found:
            number, which = max(len(record.trials) for record in self.found.values()), "as many as the others had"
        self.on_event(f"search: {number * len(candidates)} trials, {number} for each of {len(candidates)} ways, {which}")
        self._total, self._number = number * len(candidates), 0
        self._work([self._trials(way, number=number) for way in candidates])
        self.folder.write_json(self.folder.searched, {way: record.as_json() for way, record in self.found.items()})

    def _searched(self) -> dict[str, TrialRecord]:
        """What an earlier start found."""
        kept = self.folder.read_json(self.folder.searched) if self.folder.searched.exists() else {}
        return {way: trial_search.TrialRecord.from_json(kept[way]) for way in self.spec.candidates if way in kept}

    def _require_untrained(self, candidates: Sequence[str]) -> None:
        """Runs with the defaults must not stand beside runs with searched knobs."""
        done = [member.name for member in self.members() if member.way in candidates and self._complete(member)]
        if done:
            what = f"{', '.join(done[:3])}: trained before the knobs of this way were searched"
            fix = "take these runs away and compare again"
            raise UserError(what, where=str(self.folder.path / "runs"), fix=fix, code=ExitCode.MISMATCH)

    def _trials(self, way: str, *, number: int) -> JobSequence:
        kind, tree = methods.get_method(way), config.merge_options(self.spec.options, self.spec.way_knobs.get(way, {}))
        place = self.folder.trial(way, 0).parent
        extra = {"fixed": set(dotted(tree)), "seed": self.spec.seeds[0], "lr": self._chosen(way, "training.learning_rate")}
        asking = trials(kind, number=number, folder=place, **extra)
        try:
            index, params = next(asking)
            while True:
                run = RunFolder(self.folder.trial(way, index))
                if not run.complete:
                    yield self._trial(way, index, params)
                index, params = asking.send(_outcome(run, params))
        except StopIteration as stop:
            self.found[way] = stop.value

    def _chosen(self, way: str, option: str) -> Any:
        """What planning chose for a knob that was left open."""
        return next(
            (one["value"] for one in self.provision.plans["methods"][way].get("choices", []) if one["option"] == option), None
        )

    def _trial(self, way: str, index: int, params: dict[str, Any]) -> Request:
        options = config.merge_options(self.options(way, test=False), nested(params)) | {"seed": self.spec.seeds[0]}
        request = {"id": f"{way} trial {index}", "kind": "train", "model": self.spec.model, "method": way, "options": options}
        return request | {"data": str(self.folder.search_data), "out": str(self.folder.trial(way, index)), "light": True}

    def measure_speeds(self) -> None:
        """How fast a run of each way predicts; one after the other, with nothing beside it."""
        asked = []
        for way in self.candidates:
            mine = [member for member in self.members() if member.way == way and member.size == self.spec.main_size]
            done = [member.name for member in mine if self._complete(member)]
            if done and not self.folder.speed(way).exists():
                request = {"id": f"speed of {way}", "kind": "speed", "run": str(self.folder.run(done[0]))}
                asked.append(request | {"threads": 0, "out": str(self.folder.speed(way))})
        if asked:
            assert self.crew is not None
            self.crew.work([_single(request) for request in asked], jobs=1, hear=self._note_failure)

    def _work(self, lanes: Sequence[JobSequence]) -> None:
        if lanes:
            assert self.crew is not None
            self.crew.work([self._announced(lane) for lane in lanes], jobs=self.provision.jobs, hear=self._hear)

    def _announced(self, lane: JobSequence) -> JobSequence:
        """The same lane; its beginnings are told."""
        outcome = None
        while True:
            try:
                request = next(lane) if outcome is None else lane.send(outcome)
            except StopIteration:
                return
            self.on_event(RunStarted(request["id"]))
            outcome = yield request

    def _hear(self, event: Event) -> None:
        name = event["id"]
        if event["event"] == "stepped":
            self.on_event(RunProgress(name, event["step"], event["num_steps"]))
            return
        if event["event"] == "said":
            self.on_event(f"{name}: {event['message']}")
            return
        self._note_failure(event)
        if event["event"] in ("done", "failed"):
            self._number += 1
            failed = event["event"] == "failed"
            message = event["message"] if failed else self._said_of(name)
            self.on_event(RunFinished(name, self._number, self._total, message, failed))

    def _note_failure(self, event: Event) -> None:
        if event["event"] == "failed":
            self.failures[event["id"]] = event["message"]

    def _said_of(self, name: str) -> str:
        run = RunFolder(self.folder.run(name))
        if not run.complete:
            return ""
        result = run.read_json(run.result)
        measured = result["metrics"].get("validation")
        accuracy = f"validation accuracy {measured['accuracy']:.3f}, " if measured else ""
        return f"{accuracy}{result['train_seconds']:.0f} s"


def _single(request: Request) -> JobSequence:
    yield request


def _outcome(run: RunFolder, params: dict[str, Any]) -> Trial:
    if not run.complete:
        return Trial(params, None)
    measured = run.read_json(run.result)["metrics"]["validation"]
    return Trial(params, measured["accuracy"], measured["loss"])
