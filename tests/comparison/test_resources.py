"""What runs are given, and that later starts give the same."""

import json

import pytest

from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.resources import ResourcePlan

MACHINE = {"device": "cpu", "cpu_count": 4, "memory_bytes": 8e9}


@pytest.fixture
def folder(tmp_path):
    return ComparisonFolder(tmp_path)


def start(folder, *, budget=0, jobs=None, peak=1e9, members=8):
    """One start of a comparison of one way: (provision, what was said)."""
    made = ResourcePlan(folder, budget_bytes=budget, asked_jobs=jobs)
    made.note_machine(MACHINE)
    if made.unplanned(["lora"]):
        made.add({"methods": {"lora": {"plan": {"peak_memory_bytes": peak}}}, "findings": [{"code": "cut"}]})
    said = made.choose_jobs(["lora"], num_members=members)
    made.write()
    return made, said


def test_the_first_start_settles_and_later_ones_keep(folder):
    first, said = start(folder)
    assert said == "jobs = 4: 4 cores, 8 runs, room in memory for 4 of 1.50 GB; threads of each = 1"
    again, _ = start(folder, members=1)
    assert (again.jobs, again.threads, again.limit_bytes) == (first.jobs, first.threads, 8e9) == (4, 1, 8e9)
    assert again.covers(["lora"])
    assert not again.covers(["lora", "full"])
    assert (again.notes(), again.plans["findings"]) == ([], [{"code": "cut"}])


def test_within_another_limit_no_more_go_side_by_side_than_have_room(folder):
    start(folder, budget=2 * 10**9)
    wide, said = start(folder, budget=6 * 10**9, peak=5e9)
    assert said == "jobs = 1: room in memory for 1 of 5.50 GB; threads of each = 1; memory of each = 6.00 GB"
    (note,) = wide.notes()
    assert note.startswith("Begun with 4 runs side by side, gone on with 1, each with 1 of the threads all along")
    assert start(folder, budget=2 * 10**9)[0].jobs == 1


def test_jobs_that_were_asked_for_stay(folder):
    start(folder, jobs=8)
    again, said = start(folder)
    assert said.startswith("jobs = 8: as at the first start")
    assert again.kept["asked_jobs"] == 8


def test_jobs_are_told_in_the_order_they_had(folder):
    start(folder, jobs=2)
    start(folder, jobs=1)
    (note,) = start(folder, jobs=2)[0].notes()
    assert note.startswith("Begun with 2 runs side by side, gone on with 1, then 2 (--jobs), each with 2 of the threads")


def test_what_does_not_fit_what_was_free_is_told_with_the_way_out(folder):
    made, _ = start(folder, peak=9e9)
    assert made.reasons(["lora"], forced=False) == {
        "lora": "does not fit: planned peak 9.00 GB, 8.00 GB were free at the first start; --budget N plans anew"
    }


def test_looking_changes_nothing(folder):
    made = ResourcePlan(folder, budget_bytes=0, asked_jobs=None)
    assert (made.plans, made.covers(["lora"]), made.unplanned(["lora"])) == ({"methods": {}, "findings": []}, False, ["lora"])
    assert made.kept == {}


def test_each_limit_is_judged_by_its_own_plans(folder):
    start(folder, budget=10**9, peak=9e8)
    tight, _ = start(folder, budget=10**8, peak=2e8)
    reason = "does not fit: planned peak 200 MB, the budget has 100 MB"
    assert tight.reasons(["lora"], forced=False) == {"lora": reason}
    assert tight.reasons(["lora"], forced=True) == {}
    assert ResourcePlan(folder, budget_bytes=10**9, asked_jobs=None).reasons(["lora"], forced=False) == {}


def test_what_an_earlier_version_kept_is_planned_anew_with_its_jobs(folder):
    old = {**MACHINE, "methods": {}, "findings": [], "jobs": 2, "threads": 2}
    folder.plans.write_text(json.dumps(old))
    assert not ResourcePlan(folder, budget_bytes=0, asked_jobs=None).covers([])
    made, _ = start(folder)
    assert (made.jobs, made.threads) == (2, 2)
