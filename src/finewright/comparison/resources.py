"""Memory and threads of each run of a comparison, and the number of runs at a time. Later starts keep them."""

from collections.abc import Collection, Mapping
from typing import Any

from finewright.comparison.folder import ComparisonFolder
from finewright.core.units import format_bytes

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
        self.saved: dict[str, Any] = folder.read_json(folder.plans) if folder.plans.exists() else {}

    def write(self) -> None:
        """Write plans.json, for later starts."""
        self.folder.write_json(self.folder.plans, self.saved)

    def note_machine(self, found: Mapping[str, Any]) -> None:
        """Save device, cores and free memory of the first start. Later starts use the same values."""
        for key, value in found.items():
            self.saved.setdefault(key, value)

    @property
    def has_machine(self) -> bool:
        """Whether an earlier start saved device, cores and free memory."""
        return "memory_bytes" in self.saved

    @property
    def cores(self) -> int:
        """CPU cores at the first start."""
        return self.saved["cpu_count"]

    @property
    def planning_jobs(self) -> int:
        """Number of methods planned at a time."""
        return min(self.cores, self.requested_jobs or self.cores) if self.saved["device"] == "cpu" else 1

    @property
    def threads(self) -> int:
        """Threads of each run, 0 before the first start."""
        return self.saved.get("threads", 0)

    @property
    def jobs(self) -> int:
        """Number of runs at a time."""
        return self.saved.get("jobs", 1)

    @property
    def last_requested_jobs(self) -> int | None:
        """The last --jobs of any start."""
        return self.saved.get("asked_jobs")

    @property
    def limit_bytes(self) -> int:
        """Memory each run may take: the budget or, without one, what was free at the first start. 0: unknown."""
        return self.budget_bytes or self.saved.get("memory_bytes", 0)

    @property
    def plans(self) -> dict[str, Any]:
        """`methods`: the plan of each within the limit, or its error. `findings`: what planning found in the texts."""
        return self.saved.get("limits", {}).get(str(self.limit_bytes), {"methods": {}, "findings": []})

    def covers(self, candidates: Collection[str]) -> bool:
        """Whether all have a plan within this limit."""
        return "limits" in self.saved and not self.unplanned(candidates)

    def unplanned(self, candidates: Collection[str]) -> list[str]:
        """Return those without a plan within this limit. Those that failed are planned again: the cause may be gone."""
        return [name for name in candidates if "plan" not in self.plans["methods"].get(name, {})]

    def add(self, found: Mapping[str, Any]) -> None:
        """Add the plan of a method, or its error."""
        plans = self.saved.setdefault("limits", {}).setdefault(str(self.limit_bytes), self.plans)
        plans["methods"] |= found["methods"]
        plans["findings"] += [one for one in found["findings"] if one not in plans["findings"]]

    def reasons(self, candidates: Collection[str], *, forced: bool) -> dict[str, str]:
        """Return why a method is not run: it cannot be planned, or its smallest setup does not fit."""
        limit = format_bytes(self.limit_bytes)
        has = f"the budget has {limit}" if self.budget_bytes else f"{limit} were free at the first start; --budget N plans anew"
        found = {}
        for name in candidates:
            answer = self.plans["methods"][name]
            if "error" in answer:
                found[name] = answer["error"]
            elif (peak := answer["plan"]["peak_memory_bytes"]) > self.limit_bytes and not forced:
                found[name] = f"does not fit: planned peak {format_bytes(peak)}, {has}"
        return found

    def choose_jobs(self, candidates: Collection[str], *, num_runs: int) -> str:
        """Choose the number of runs at a time and, at the first start, the threads of each. Return the choice and its reason.

        As many as cores and memory allow; on an accelerator one. Later starts keep this, unless `--jobs` is another or fewer
        fit into the memory.
        """
        cores = self.cores
        peaks = [answer["plan"]["peak_memory_bytes"] for name, answer in self.plans["methods"].items() if name in candidates]
        each = max(peaks, default=0) + OVERHEAD_PER_PROCESS_BYTES
        num_fitting = max(1, int(SAFE_SHARE * self.saved["memory_bytes"] / each))
        before, requested_before = self.saved.get("jobs"), self.last_requested_jobs
        if self.requested_jobs:
            jobs, reason = self.requested_jobs, "as requested"
            reason += f", begun with {before}" if before and before != self.requested_jobs else ""
        elif before:
            jobs = before if requested_before else min(before, num_fitting)
            reason = "as at the first start" if jobs == before else f"memory for {num_fitting} of {format_bytes(each)}"
        elif self.saved["device"] != "cpu":
            jobs, reason = 1, f"one {self.saved['device']} device"
        else:
            jobs = max(1, min(cores, num_fitting, num_runs))
            reason = f"{cores} cores, {num_runs} runs, memory for {num_fitting} of {format_bytes(each)}"
        self.saved.setdefault("threads", max(1, cores // jobs))
        if before and before != jobs:
            self.saved["jobs_before"] = [*self.saved.get("jobs_before", []), before]
        self.saved |= {"jobs": jobs, "asked_jobs": self.requested_jobs or requested_before}
        memory = f"; memory of each = {format_bytes(self.limit_bytes)}" if before else ""
        return f"jobs = {jobs}: {reason}; threads of each = {self.threads}{memory}"

    def notes(self) -> list[str]:
        """Describe what a reader of seconds and memory must know."""
        before = self.saved.get("jobs_before", [])
        if not before:
            return []
        then = ", then ".join(map(str, [*before[1:], self.jobs])) + (" (--jobs)" if self.last_requested_jobs else "")
        what = f"Begun with {before[0]} runs at a time, continued with {then}"
        return [f"{what}, each with {self.threads} of the threads throughout: seconds and memory are those of runs of each kind."]
