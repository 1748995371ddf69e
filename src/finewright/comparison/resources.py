"""What every run of a comparison is given: memory, threads, and how many go side by side; the same at every later start."""

from collections.abc import Collection, Mapping
from typing import Any

from finewright.comparison.folder import ComparisonFolder
from finewright.core.units import format_bytes

ROOM_PER_PROCESS_BYTES = 500_000_000
"""What a process takes beside its plan: Python, PyTorch's code, the data."""
SAFE_SHARE = 0.8
"""Of the memory, which others use too."""


class ResourcePlan:
    """What plans.json holds. The plans of every budget are kept, so that one that was there before is not planned again.

    `budget_bytes`: what was asked for, 0: nothing. `asked_jobs`: as given now. `kept`: empty until the first start.
    """

    def __init__(self, folder: ComparisonFolder, *, budget_bytes: int, asked_jobs: int | None) -> None:
        self.folder, self.budget_bytes, self.asked_jobs = folder, budget_bytes, asked_jobs
        self.kept: dict[str, Any] = folder.read_json(folder.plans) if folder.plans.exists() else {}

    def write(self) -> None:
        """For this start and the next ones."""
        self.folder.write_json(self.folder.plans, self.kept)

    def note_machine(self, found: Mapping[str, Any]) -> None:
        """Device, cores and free memory of the first start; later ones go by them too."""
        for key, value in found.items():
            self.kept.setdefault(key, value)

    @property
    def threads(self) -> int:
        """Of each run; 0 before the first start."""
        return self.kept.get("threads", 0)

    @property
    def jobs(self) -> int:
        """How many runs go side by side."""
        return self.kept.get("jobs", 1)

    @property
    def limit_bytes(self) -> int:
        """Memory that each run may take: the budget or, without one, what was free at the first start; 0: unknown."""
        return self.budget_bytes or self.kept.get("memory_bytes", 0)

    @property
    def plans(self) -> dict[str, Any]:
        """`ways`: the plan of each within the limit, or its error; `findings`: what planning found about the texts."""
        return self.kept.get("limits", {}).get(str(self.limit_bytes), {"methods": {}, "findings": []})

    def covers(self, candidates: Collection[str]) -> bool:
        """Whether all of them have a plan within this limit."""
        return "limits" in self.kept and not self.unplanned(candidates)

    def unplanned(self, candidates: Collection[str]) -> list[str]:
        """Those without a plan within this limit; what could not be planned is tried again, its cause may be mended."""
        return [way for way in candidates if "plan" not in self.plans["methods"].get(way, {})]

    def add(self, found: Mapping[str, Any]) -> None:
        """What planning a way came to."""
        plans = self.kept.setdefault("limits", {}).setdefault(str(self.limit_bytes), self.plans)
        plans["methods"] |= found["methods"]
        plans["findings"] += [one for one in found["findings"] if one not in plans["findings"]]

    def reasons(self, candidates: Collection[str], *, forced: bool) -> dict[str, str]:
        """Why a way is not run: it cannot be planned, or needs more than it may take at its tightest."""
        limit = format_bytes(self.limit_bytes)
        has = f"the budget has {limit}" if self.budget_bytes else f"{limit} were free at the first start; --budget N plans anew"
        found = {}
        for way in candidates:
            answer = self.plans["methods"][way]
            if "error" in answer:
                found[way] = answer["error"]
            elif (peak := answer["plan"]["peak_memory_bytes"]) > self.limit_bytes and not forced:
                found[way] = f"does not fit: planned peak {format_bytes(peak)}, {has}"
        return found

    def choose_jobs(self, candidates: Collection[str], *, num_members: int) -> str:
        """Settle how many go side by side, and at the first start the threads of each; in words with the reason.

        As far as cores and memory go, on an accelerator one after the other. Later starts keep what the first one chose, but
        for another `--jobs`, or a limit within which fewer have room.
        """
        cores = self.kept["cpu_count"]
        peaks = [answer["plan"]["peak_memory_bytes"] for way, answer in self.plans["methods"].items() if way in candidates]
        each = max(peaks, default=0) + ROOM_PER_PROCESS_BYTES
        room = max(1, int(SAFE_SHARE * self.kept["memory_bytes"] / each))
        before, asked_before = self.kept.get("jobs"), self.kept.get("asked_jobs")
        if self.asked_jobs:
            jobs, reason = self.asked_jobs, "as asked for"
            reason += f", begun with {before}" if before and before != self.asked_jobs else ""
        elif before:
            jobs = before if asked_before else min(before, room)
            reason = "as at the first start" if jobs == before else f"room in memory for {room} of {format_bytes(each)}"
        elif self.kept["device"] != "cpu":
            jobs, reason = 1, f"one {self.kept['device']} device"
        else:
            jobs = max(1, min(cores, room, num_members))
            reason = f"{cores} cores, {num_members} runs, room in memory for {room} of {format_bytes(each)}"
        self.kept.setdefault("threads", max(1, cores // jobs))
        if before and before != jobs:
            self.kept["jobs_before"] = [*self.kept.get("jobs_before", []), before]
        self.kept |= {"jobs": jobs, "asked_jobs": self.asked_jobs or asked_before}
        memory = f"; memory of each = {format_bytes(self.limit_bytes)}" if before else ""
        return f"jobs = {jobs}: {reason}; threads of each = {self.threads}{memory}"

    def notes(self) -> list[str]:
        """What a reader of seconds and memory must know."""
        before = self.kept.get("jobs_before", [])
        if not before:
            return []
        then = ", then ".join(map(str, [*before[1:], self.jobs])) + (" (--jobs)" if self.kept.get("asked_jobs") else "")
        what = f"Begun with {before[0]} runs side by side, gone on with {then}"
        return [f"{what}, each with {self.threads} of the threads all along: seconds and memory are of runs of each kind."]
