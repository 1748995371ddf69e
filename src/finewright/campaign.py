"""A comparison under way: what is planned, what is under way, what is finished and what failed."""

from collections.abc import Callable, Sequence
from typing import Any

from finewright import config, memory, methods, roster, search
from finewright.crew import Crew, Event, Lane, Request
from finewright.data import Dataset
from finewright.dossier import Folder
from finewright.events import MemberBegan, MemberEnded, MemberStepped
from finewright.memory import in_words
from finewright.roster import Member, Spec
from finewright.run import RunFolder

ROOM_PER_PROCESS_BYTES = 500_000_000
"""What a process takes beside its plan: Python, PyTorch's code, the data."""
SAFE_SHARE = 0.8
"""Of the memory, which others use too."""


class Campaign:
    """State of `comparison.compare`; each public method is one of its verbs."""

    def __init__(self, spec: Spec, folder: Folder, dataset: Dataset, *, budget_bytes: int, listen: Callable[[Any], None]) -> None:
        self.spec, self.folder, self.dataset = spec, folder, dataset
        self.budget_bytes = budget_bytes
        self.listen = listen
        self.plans: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}
        """Why a way is not run, by its name."""
        self.failures: dict[str, str] = {}
        """Why a piece of work came to nothing, by its name."""
        self.found: dict[str, search.Record] = {}
        self.jobs, self.threads = 1, 0
        self.crew: Crew | None = None
        self._number, self._total = 0, 0

    @property
    def ways(self) -> list[str]:
        """Those that can be run."""
        return [way for way in self.spec.ways if way not in self.reasons]

    @property
    def limit_bytes(self) -> int:
        """Memory that each run may take: the budget or, without one, what was free when the ways were planned; 0: unknown."""
        return self.budget_bytes or self.plans.get("memory_bytes", 0)

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What planning found about the texts: those that are cut."""
        return self.plans.get("findings", [])

    def is_finished(self) -> bool:
        """Whether nothing is left to do since the last time."""
        if not self.folder.plans.exists() or (self.spec.search and not self.folder.searched.exists()):
            return False
        self.plans = self.folder.read_json(self.folder.plans)
        self._judge()
        paths = [self.folder.baseline(name) for name in roster.BASELINES] + [self.folder.speed(way) for way in self.ways]
        paths += [RunFolder(self.folder.run(member.name)).result for member in self.members()]
        if not all(path.exists() for path in paths):
            self.reasons = {}
            return False
        self.jobs, self.threads = self.plans["jobs"], self.plans["threads"]
        if self.spec.search:
            self.search()
        return True

    def start(self) -> None:
        """The process that all work comes from: everything loaded, the rows read, the texts tokenised, once for all."""
        self.crew = Crew(self.folder.log)
        places = [(str(self.folder.data(size)), self.knobs()["data"]) for size in self.spec.train_sizes]
        if self.spec.search:
            places.append((str(self.folder.search_data), self.knobs(test=False)["data"]))
        self.crew.ask({"id": "data", "kind": "prepare", "model": self.spec.model, "data": places})

    def close(self) -> None:
        """End the processes."""
        if self.crew:
            self.crew.close()

    def knobs(self, way: str = "", *, test: bool = True) -> dict[str, Any]:
        """Knobs of a run as a tree: the shared ones, the way's own, then what the search found best for it."""
        tree = config.merge(self.spec.knobs, self.spec.way_knobs.get(way, {}))
        if way in self.found and (best := self.found[way].best):
            tree = config.merge(tree, search.nested(best.params))
        tree = config.merge(tree, {"data": roster.member_data_knobs(self.spec, self.dataset, test=test)})
        tree |= {"budget": memory.exactly(self.limit_bytes)} if self.limit_bytes else {}
        given = tree.get("train", {}).get("threads", 0)
        return config.merge(tree, {"train": {"threads": given or self.threads}})

    def plan(self, *, jobs: int | None) -> None:
        """What every way costs on the largest training set; which ways fit; how many pieces of work go side by side."""
        assert self.crew is not None
        self.crew.ask({"id": "machine", "kind": "machine", "out": str(self.folder.machine)})
        self.plans = self.folder.read_json(self.folder.machine) | {"findings": [], "ways": {}}
        cores = self.plans["cpu_count"]
        side_by_side = min(cores, jobs or cores) if self.plans["device"] == "cpu" else 1
        self.threads = max(1, cores // side_by_side)
        self.crew.work([_single(self._planning(way)) for way in self.spec.ways], jobs=side_by_side, hear=self._note_failure)
        for found in map(self._planned, self.spec.ways):
            self.plans["ways"] |= found["ways"]
            self.plans["findings"] += [one for one in found["findings"] if one not in self.plans["findings"]]
        self._judge()
        for way, reason in self.reasons.items():
            self.listen(f"{way} is not run: {reason}")
        self._choose_jobs(jobs)
        self.folder.write_json(self.folder.plans, {**self.plans, "jobs": self.jobs, "threads": self.threads})
        for path in (self.folder.machine, *map(self.folder.plan, self.spec.ways)):
            path.unlink(missing_ok=True)

    def _planning(self, way: str) -> Request:
        request = {"id": f"plan of {way}", "kind": "plan", "model": self.spec.model, "way": way, "knobs": self.knobs(way)}
        return request | {"data": str(self.folder.data(self.spec.main_size)), "out": str(self.folder.plan(way))}

    def _planned(self, way: str) -> dict[str, Any]:
        """What planning a way came to: its plan, or why there is none."""
        if f"plan of {way}" in self.failures:
            return {"ways": {way: {"error": self.failures.pop(f"plan of {way}")}}, "findings": []}
        return self.folder.read_json(self.folder.plan(way))

    def _judge(self) -> None:
        """Which ways cannot be planned, or need more than they may take at their tightest."""
        limit, forced = self.limit_bytes, self.spec.knobs.get("force", False)
        has = "the budget has" if self.budget_bytes else "free on this machine are"
        for way, answer in self.plans["ways"].items():
            if "error" in answer:
                self.reasons[way] = answer["error"]
            elif (peak := answer["plan"]["peak_memory_bytes"]) > limit and not forced:
                self.reasons[way] = f"does not fit: planned peak {in_words(peak)}, {has} {in_words(limit)}"

    def _choose_jobs(self, jobs: int | None) -> None:
        """Side by side as far as cores and memory go; on an accelerator one after the other."""
        members = len(self.members())
        cores, memory = self.plans["cpu_count"], self.plans["memory_bytes"]
        peaks = [answer["plan"]["peak_memory_bytes"] for way, answer in self.plans["ways"].items() if way in self.ways]
        each = max(peaks, default=0) + ROOM_PER_PROCESS_BYTES
        room = max(1, int(SAFE_SHARE * memory / each))
        if jobs:
            self.jobs, reason = jobs, "as asked for"
        elif self.plans["device"] != "cpu":
            self.jobs, reason = 1, f"one {self.plans['device']} device"
        else:
            self.jobs = max(1, min(cores, room, members))
            reason = f"{cores} cores, {members} runs, room in memory for {room} of {in_words(each)}"
        self.threads = max(1, cores // self.jobs)
        self.listen(f"jobs = {self.jobs}: {reason}; threads of each = {self.threads}")

    def train(self) -> None:
        """Every baseline and every member that is not finished yet; one that fails leaves the others alone."""
        asked = [self._baseline(name) for name in roster.BASELINES if not self.folder.baseline(name).exists()]
        asked += [self._member(member) for member in self.members() if not RunFolder(self.folder.run(member.name)).complete]
        self._total, self._number = len(asked), 0
        self._work([_single(request) for request in asked])

    def members(self) -> list[Member]:
        """Every run of the ways that can be run."""
        return roster.members(self.spec, self.ways)

    def _baseline(self, name: str) -> Request:
        places = {size: str(self.folder.data(size)) for size in self.spec.train_sizes}
        request = {"id": name, "kind": "baseline", "name": name, "model": self.spec.model, "data": places}
        return request | {"knobs": self.knobs(), "out": str(self.folder.baseline(name))}

    def _member(self, member: Member) -> Request:
        knobs = self.knobs(member.way) | {"seed": member.seed}
        request = {"id": member.name, "kind": "train", "model": self.spec.model, "method": member.way, "knobs": knobs}
        return request | {"data": str(self.folder.data(member.size)), "out": str(self.folder.run(member.name))}

    def search(self) -> None:
        """The same number of trials for every way, on validation; the best knobs of each are used from here on."""
        if self.folder.searched.exists():
            kept = self.folder.read_json(self.folder.searched)
            self.found = {way: search.Record.from_json(kept[way]) for way in self.spec.ways if way in kept}
            return
        number = search.share_out(self.spec.search, len(self.ways))
        self.listen(
            f"search: {number * len(self.ways)} trials, {number} for each of {len(self.ways)} ways, the first the defaults"
        )
        self._total, self._number = number * len(self.ways), 0
        self._work([self._trials(way, number=number) for way in self.ways])
        self.folder.write_json(self.folder.searched, {way: record.as_json() for way, record in self.found.items()})

    def _trials(self, way: str, *, number: int) -> Lane:
        kind, tree = methods.kind(way), config.merge(self.spec.knobs, self.spec.way_knobs.get(way, {}))
        place = self.folder.trial(way, 0).parent
        options = {"fixed": set(roster.dotted(tree)), "seed": self.spec.seeds[0], "lr": self._chosen(way, "train.lr")}
        asking = search.trials(kind, number=number, folder=place, **options)
        try:
            index, params = next(asking)
            while True:
                run = RunFolder(self.folder.trial(way, index))
                if not run.complete:
                    yield self._trial(way, index, params)
                index, params = asking.send(_outcome(run, params))
        except StopIteration as stop:
            self.found[way] = stop.value

    def _chosen(self, way: str, knob: str) -> Any:
        """What planning chose for a knob that was left open."""
        return next((one["value"] for one in self.plans["ways"][way].get("choices", []) if one["knob"] == knob), None)

    def _trial(self, way: str, index: int, params: dict[str, Any]) -> Request:
        knobs = config.merge(self.knobs(way, test=False), search.nested(params)) | {"seed": self.spec.seeds[0]}
        request = {"id": f"{way} trial {index}", "kind": "train", "model": self.spec.model, "method": way, "knobs": knobs}
        return request | {"data": str(self.folder.search_data), "out": str(self.folder.trial(way, index)), "light": True}

    def measure_speeds(self) -> None:
        """How fast a run of each way predicts; one after the other, with nothing beside it."""
        asked = []
        for way in self.ways:
            done = [member.name for member in self.members() if member.way == way and member.size == self.spec.main_size]
            done = [name for name in done if RunFolder(self.folder.run(name)).complete]
            if done and not self.folder.speed(way).exists():
                request = {"id": f"speed of {way}", "kind": "speed", "run": str(self.folder.run(done[0]))}
                asked.append(request | {"threads": 0, "out": str(self.folder.speed(way))})
        if asked:
            assert self.crew is not None
            self.crew.work([_single(request) for request in asked], jobs=1, hear=self._note_failure)

    def _work(self, lanes: Sequence[Lane]) -> None:
        if lanes:
            assert self.crew is not None
            self.crew.work([self._announced(lane) for lane in lanes], jobs=self.jobs, hear=self._hear)

    def _announced(self, lane: Lane) -> Lane:
        """The same lane; its beginnings are told."""
        outcome = None
        while True:
            try:
                request = next(lane) if outcome is None else lane.send(outcome)
            except StopIteration:
                return
            self.listen(MemberBegan(request["id"]))
            outcome = yield request

    def _hear(self, event: Event) -> None:
        name = event["id"]
        if event["event"] == "stepped":
            self.listen(MemberStepped(name, event["step"], event["num_steps"]))
            return
        self._note_failure(event)
        if event["event"] in ("done", "failed"):
            self._number += 1
            failed = event["event"] == "failed"
            message = event["message"] if failed else self._said_of(name)
            self.listen(MemberEnded(name, self._number, self._total, message, failed))

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


def _single(request: Request) -> Lane:
    yield request


def _outcome(run: RunFolder, params: dict[str, Any]) -> search.Trial:
    if not run.complete:
        return search.Trial(params, None)
    measured = run.read_json(run.result)["metrics"]["validation"]
    return search.Trial(params, measured["accuracy"], measured["loss"])
