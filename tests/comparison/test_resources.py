"""Memory, threads and jobs of runs, which later starts keep."""

import json

import pytest

from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.resources import ResourcePlan
from finewright.comparison.schema import FindingRow, Machine, MethodPlans, PlannedMethod, PlansFile
from support.comparisons import plan_file

MACHINE = Machine(device="cpu", cpu_count=4, memory_bytes=8 * 10**9)
CUT = FindingRow(code="cut", message="cut", rows=["t.csv:3"], fix="shorten")


@pytest.fixture
def folder(tmp_path):
    return ComparisonFolder(tmp_path)


def start(folder, *, budget=0, jobs=None, peak=1e9, runs=8):
    """Start a comparison of one method. Return (resource plan, message)."""
    made = ResourcePlan(folder, budget_bytes=budget, requested_jobs=jobs)
    made.note_machine(MACHINE)
    if made.unplanned(["lora"]):
        made.add(MethodPlans(methods={"lora": PlannedMethod(plan=plan_file(peak=peak))}, findings=[CUT]))
    message = made.choose_jobs(["lora"], num_runs=runs)
    made.write()
    return made, message


def test_later_starts_keep_what_the_first_one_chose(folder):
    first, message = start(folder)
    assert message == "jobs = 4: 4 cores, 8 runs, memory for 4 of 1.50 GB; threads of each = 1"
    again, _ = start(folder, runs=1)
    assert (again.jobs, again.threads, again.limit_bytes) == (first.jobs, first.threads, 8e9) == (4, 1, 8e9)
    assert again.covers(["lora"])
    assert not again.covers(["lora", "full"])
    assert (again.notes(), again.plans.findings) == ([], [CUT])


def test_within_another_limit_no_more_runs_at_a_time_than_fit(folder):
    start(folder, budget=2 * 10**9)
    wide, message = start(folder, budget=6 * 10**9, peak=5e9)
    assert message == "jobs = 1: memory for 1 of 5.50 GB; threads of each = 1; memory of each = 6.00 GB"
    (note,) = wide.notes()
    assert note.startswith("Begun with 4 runs at a time, continued with 1, each with 1 of the threads throughout")
    assert start(folder, budget=2 * 10**9)[0].jobs == 1


def test_requested_jobs_stay(folder):
    start(folder, jobs=8)
    again, message = start(folder)
    assert message.startswith("jobs = 8: as at the first start")
    assert again.saved.asked_jobs == 8


def test_notes_name_jobs_in_order(folder):
    start(folder, jobs=2)
    start(folder, jobs=1)
    (note,) = start(folder, jobs=2)[0].notes()
    assert note.startswith("Begun with 2 runs at a time, continued with 1, then 2 (--jobs), each with 2 of the threads")


def test_what_does_not_fit_the_free_memory_is_reported_with_the_fix(folder):
    made, _ = start(folder, peak=9e9)
    assert made.reasons(["lora"], forced=False) == {
        "lora": "does not fit: planned peak 9.00 GB, 8.00 GB were free at the first start; --budget N plans anew"
    }


def test_reading_changes_nothing(folder):
    made = ResourcePlan(folder, budget_bytes=0, requested_jobs=None)
    assert (made.plans, made.covers(["lora"]), made.unplanned(["lora"])) == (MethodPlans(), False, ["lora"])
    assert made.saved == PlansFile()


def test_each_limit_has_its_own_plans(folder):
    start(folder, budget=10**9, peak=9e8)
    tight, _ = start(folder, budget=10**8, peak=2e8)
    reason = "does not fit: planned peak 200 MB, the budget has 100 MB"
    assert tight.reasons(["lora"], forced=False) == {"lora": reason}
    assert tight.reasons(["lora"], forced=True) == {}
    assert ResourcePlan(folder, budget_bytes=10**9, requested_jobs=None).reasons(["lora"], forced=False) == {}


def test_plans_of_an_earlier_version_are_made_again_with_its_jobs(folder):
    old = {**MACHINE.model_dump(), "methods": {}, "findings": [], "jobs": 2, "threads": 2}
    folder.plans.write_text(json.dumps(old))
    assert not ResourcePlan(folder, budget_bytes=0, requested_jobs=None).covers([])
    made, _ = start(folder)
    assert (made.jobs, made.threads) == (2, 2)
