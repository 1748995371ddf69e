"""Memory and threads of each run of a comparison, and the number of runs at a time. Later starts keep them."""

from collections.abc import Collection
from typing import Any

from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.schema import Machine, MethodPlans, PlannedMethod, PlansFile
from finewright.core.units import format_bytes
from finewright.runs import schema

OVERHEAD_PER_PROCESS_BYTES = 500_000_000
"""Memory of a process beside its plan: Python, PyTorch's code, the data."""
SAFE_SHARE = 0.8
"""Share of the free memory that is used; other programs need some too."""


class ResourcePlan:
    """The content of plans.json. It has the plans for every memory limit so far, so that none is made twice.

    `budget_bytes`: the budget of this start, 0: none. `requested_jobs`: --jobs of this start. `saved`: empty until the first
    start.
    """

    def __init__(self, folder: ComparisonFolder, *, budget_bytes: int, requested_jobs: int | None) -> None:
        self.folder, self.budget_bytes, self.requested_jobs = folder, budget_bytes, requested_jobs
        self.saved = schema.read(PlansFile, folder.plans) if folder.plans.exists() else PlansFile()

    def write(self) -> None:
        """Write plans.json, for later starts."""
        self.folder.write(self.folder.plans, self.saved)

    def _save(self, **changes: Any) -> None:
        self.saved = self.saved.model_copy(update=changes)

    def note_machine(self, found: Machine) -> None:
        """Save device, cores and free memory of the first start. Later starts use the same values."""
        if not self.saved.device:
            self._save(**dict(found))

    @property
    def planning_jobs(self) -> int:
        """Number of methods planned at a time."""
        cores = self.saved.cpu_count
        return min(cores, self.requested_jobs or cores) if self.saved.device == "cpu" else 1

    @property
    def threads(self) -> int:
        """Threads of each run, 0 before the first start."""
        return self.saved.threads

    @property
    def jobs(self) -> int:
        """Number of runs at a time."""
        return self.saved.jobs or 1

    @property
    def limit_bytes(self) -> int:
        """Memory each run may take: the budget or, without one, what was free at the first start. 0: unknown."""
        return self.budget_bytes or self.saved.memory_bytes

    @property
    def plans(self) -> MethodPlans:
        """The plan of each method within the limit, or its error, and what planning found in the texts."""
        return self.saved.limits.get(str(self.limit_bytes), MethodPlans())

    def covers(self, candidates: Collection[str]) -> bool:
        """Whether all have a plan within this limit."""
        return bool(self.saved.limits) and not self.unplanned(candidates)

    def unplanned(self, candidates: Collection[str]) -> list[str]:
        """Return those without a plan within this limit. Those that failed are planned again: the cause may be gone."""
        return [name for name in candidates if self.plans.methods.get(name, PlannedMethod()).plan is None]

    def add(self, found: MethodPlans) -> None:
        """Add the plan of a method, or its error."""
        known = self.plans
        new = [finding for finding in found.findings if finding not in known.findings]
        plans = MethodPlans(methods=known.methods | found.methods, findings=known.findings + new)
        self._save(limits=self.saved.limits | {str(self.limit_bytes): plans})

    def reasons(self, candidates: Collection[str], *, forced: bool) -> dict[str, str]:
        """Return why a method is not run: it cannot be planned, or its smallest setup does not fit."""
        limit = format_bytes(self.limit_bytes)
        has = f"the budget has {limit}" if self.budget_bytes else f"{limit} were free at the first start; --budget N plans anew"
        found = {}
        for name in candidates:
            answer = self.plans.methods[name]
            if answer.plan is None:
                found[name] = answer.error
            elif (peak := answer.plan.peak_memory_bytes) > self.limit_bytes and not forced:
                found[name] = f"does not fit: planned peak {format_bytes(peak)}, {has}"
        return found

    def num_answers(self, candidates: Collection[str]) -> int | None:
        """Return how many test prompts every run answers: as many as the plan with the fewest; None before the plans are made,
        and if the task generates no answers."""
        found = [answer.num_answers for name, answer in self.plans.methods.items() if name in candidates]
        return min((number for number in found if number is not None), default=None)

    def choose_jobs(self, candidates: Collection[str], *, num_runs: int) -> str:
        """Choose the number of runs at a time and, at the first start, the threads of each. Return the choice and its reason.

        As many as cores and memory allow; on an accelerator one. Later starts keep this, unless `--jobs` is another or fewer
        fit into the memory.
        """
        cores, device = self.saved.cpu_count, self.saved.device
        plans = [answer.plan for name, answer in self.plans.methods.items() if name in candidates]
        each = max((plan.peak_memory_bytes for plan in plans if plan), default=0) + OVERHEAD_PER_PROCESS_BYTES
        num_fitting = max(1, int(SAFE_SHARE * self.saved.memory_bytes / each))
        before, requested_before = self.saved.jobs, self.saved.asked_jobs
        if self.requested_jobs:
            jobs, reason = self.requested_jobs, "as requested"
            reason += f", begun with {before}" if before and before != self.requested_jobs else ""
        elif before:
            jobs = before if requested_before else min(before, num_fitting)
            reason = "as at the first start" if jobs == before else f"memory for {num_fitting} of {format_bytes(each)}"
        elif device != "cpu":
            jobs, reason = 1, f"one {device} device"
        else:
            jobs = max(1, min(cores, num_fitting, num_runs))
            reason = f"{cores} cores, {num_runs} runs, memory for {num_fitting} of {format_bytes(each)}"
        earlier = [*self.saved.jobs_before, *([before] if before and before != jobs else [])]
        threads = self.threads or max(1, cores // jobs)
        self._save(threads=threads, jobs=jobs, asked_jobs=self.requested_jobs or requested_before, jobs_before=earlier)
        memory = f"; memory of each = {format_bytes(self.limit_bytes)}" if before else ""
        return f"jobs = {jobs}: {reason}; threads of each = {self.threads}{memory}"

    def notes(self) -> list[str]:
        """Describe what a reader of seconds and memory must know."""
        before = self.saved.jobs_before
        if not before:
            return []
        then = ", then ".join(map(str, [*before[1:], self.jobs])) + (" (--jobs)" if self.saved.asked_jobs else "")
        what = f"Begun with {before[0]} runs at a time, continued with {then}"
        return [f"{what}, each with {self.threads} of the threads throughout: seconds and memory are those of runs of each kind."]
