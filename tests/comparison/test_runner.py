"""What a comparison does and does not do, with a worker pool that trains nothing."""

import ast
import json
import os
import shlex
import signal
from operator import itemgetter

import pytest

import finewright
from finewright.cli import signals
from finewright.comparison import resources, runner
from finewright.comparison.schema import Machine, MethodPlans, PlannedMethod
from finewright.core import units
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import Notice, RunFinished, RunStarted
from finewright.models import hub
from finewright.runs.folder import RunFolder
from support import tiny
from support.commands import call
from support.comparisons import plan_file
from support.fake_workers import FakePool, write

SMALL = Machine(device="cpu", cpu_count=4, memory_bytes=10**9)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("runner")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv", count=120)
    return root


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    """A fresh one for every test."""

    class Fresh(FakePool):
        fail: dict = {}
        requests: list = []

    monkeypatch.setattr(runner, "WorkerPool", Fresh)
    return Fresh


def compare(place, out, *, source="tickets.csv", events=None, **extra):
    heard = [] if events is None else events

    def on_event(event):
        heard.append(event.message if isinstance(event, Notice) else event)

    extra = {"methods": ["lora", "full"], "seeds": 2} | extra
    return finewright.compare(place / source, model=str(place / "gpt2"), output_dir=out, callbacks=[on_event], **extra)


def requested(pool, kind):
    return [request["id"] for request in pool.requests if request["kind"] == kind]


def test_every_method_size_and_seed_is_requested_once(place, tmp_path, pool):
    done = compare(place, tmp_path / "c", train_sizes=(10, "all"))
    wanted = {f"{name}-{size}-seed{seed}" for name in ("lora", "full", "scratch") for size in ("10", "all") for seed in (0, 1)}
    assert sorted(requested(pool, "train")) == sorted(wanted)
    assert sorted(requested(pool, "baseline")) == ["bag-of-words", "frozen-features", "majority"]
    assert sorted(requested(pool, "speed")) == ["speed of prediction"]
    assert [line.method for line in done.methods[:2]] == ["full", "lora"]
    assert {line.status for line in done.methods} == {"measured"}
    assert done.results["seeds"] == [0, 1]


def test_a_second_start_does_only_what_is_not_finished(place, tmp_path, pool):
    pool.fail = {"lora-all-seed1": "step 1: loss nan", "majority": "no rows"}
    events = []
    first = compare(place, tmp_path / "c", events=events)
    ended = {event.name: event for event in events if isinstance(event, RunFinished)}
    assert (ended["lora-all-seed1"].failed, ended["lora-all-seed1"].message) == (True, "step 1: loss nan")
    assert ended["full-all-seed0"].message == "validation accuracy 50.0%, 2 s"
    assert sorted(event.number for event in ended.values()) == list(range(1, 10))
    lines = {line.method: line for line in first.methods}
    assert (lines["lora"].status, lines["lora"].message) == ("partly measured", "step 1: loss nan")
    assert (lines["majority"].status, lines["majority"].message) == ("not measured", "no rows")
    pool.fail, pool.requests = {}, []
    (tmp_path / "c" / "runs" / "full-all-seed0" / "result.json").unlink()
    second = compare(place, tmp_path / "c")
    assert sorted(requested(pool, "train")) == ["full-all-seed0", "lora-all-seed1"]
    assert requested(pool, "baseline") == ["majority"]
    assert {line.status for line in second.methods} == {"measured"}
    pool.requests = []
    third = compare(place, tmp_path / "c")
    assert pool.requests == [], "nothing is left to do"
    assert third.results == second.results


def test_methods_beyond_the_budget_are_listed_and_not_run(place, tmp_path, pool):
    events = []
    done = compare(place, tmp_path / "c", events=events, memory_budget="200MB")
    lines = {line.method: line for line in done.methods}
    reason = "does not fit: planned peak 500 MB, the budget has 200 MB"
    assert lines["full"].message == lines["scratch"].message == reason
    assert f"full is not run: {reason}" in events
    assert {name.split("-")[0] for name in requested(pool, "train")} == {"lora"}
    assert done.results["budget_bytes"] == 200_000_000
    assert "budget</text>" in done.page.read_text()
    pool.requests = []
    compare(place, tmp_path / "c", memory_budget="1GB")
    assert {name.split("-")[0] for name in requested(pool, "train")} == {"full", "scratch"}, "with more room the others follow"
    pool.requests = []
    assert compare(place, tmp_path / "c", memory_budget="200MB").results["methods"][0]["method"] == "lora"
    assert pool.requests == []


def test_another_budget_has_its_own_plans(place, tmp_path, pool, monkeypatch):
    """The fake plan takes all the memory it may take, so that the plans for one limit do not hold for another."""

    def greedy(self, request):
        peak = min(500e6, units.parse_size(request["options"]["memory_budget"]))
        write(request["out"], MethodPlans(methods={request["method"]: PlannedMethod(plan=plan_file(peak=peak))}))

    monkeypatch.setattr(pool, "_plan", greedy)
    compare(place, tmp_path / "c", memory_budget="1GB", methods=["lora"], seeds=1)
    pool.requests = []
    done = compare(place, tmp_path / "c", memory_budget="200MB", methods=["lora"], seeds=1)
    planned = [request["options"]["memory_budget"] for request in pool.requests if request["kind"] == "plan"]
    assert planned == [units.format_bytes_exactly(2 * 10**8)] * 2
    assert requested(pool, "train") == [], "finished runs stay"
    assert {line.status for line in done.methods} == {"measured"}, "by the old plans nothing would fit"
    (note,) = [note for note in done.results["notes"] if "another memory limit" in note]
    assert note.endswith("lora-all-seed0, scratch-all-seed0.")
    pool.requests = []
    back = compare(place, tmp_path / "c", memory_budget="1GB", methods=["lora"], seeds=1)
    assert pool.requests == [], "what was planned for a limit is known"
    assert not any("another memory limit" in note for note in back.results["notes"])


def test_a_later_start_gives_its_runs_what_the_first_start_chose(place, tmp_path, pool, monkeypatch):
    pool.fail = {"lora-all-seed1": "ended by signal 9 (SIGKILL)"}
    compare(place, tmp_path / "c")
    before = {request["id"]: request["options"] for request in pool.requests if request["kind"] == "train"}
    pool.fail, pool.requests, events = {}, [], []
    monkeypatch.setattr(pool, "_machine", lambda self, request: write(request["out"], SMALL))
    done = compare(place, tmp_path / "c", events=events)
    (again,) = [request for request in pool.requests if request["kind"] == "train"]
    assert again["options"] == before["lora-all-seed1"]
    assert requested(pool, "plan") == requested(pool, "machine") == []
    assert "jobs = 4: as at the first start; threads of each = 1; memory of each = 8.00 GB" in events
    assert not any("Begun with" in note for note in done.results["notes"])
    assert "--jobs" not in done.results["command"]


def test_a_later_start_with_other_jobs_says_so(place, tmp_path, pool):
    pool.fail = {"lora-all-seed1": "ended by signal 9 (SIGKILL)"}
    compare(place, tmp_path / "c", jobs=4)
    pool.fail, pool.requests, events = {}, [], []
    done = compare(place, tmp_path / "c", jobs=2, events=events)
    assert "jobs = 2: as requested, begun with 4; threads of each = 1; memory of each = 8.00 GB" in events
    note = "Begun with 4 runs at a time, continued with 2 (--jobs), each with 1 of the threads throughout"
    assert any(line.startswith(note) for line in done.results["notes"])
    assert note in done.page.read_text()
    assert "--jobs 2" in done.results["command"]
    events.clear()
    again = compare(place, tmp_path / "c", jobs=3, events=events)
    assert again.results == done.results
    assert "nothing is left to run: --jobs 3 changes nothing, it was jobs = 2" in events


def test_what_could_not_be_planned_is_planned_again_with_what_is_left(place, tmp_path, pool):
    pool.fail = {"plan of full": "ended by signal 11 (SIGSEGV)", "majority": "no rows"}
    compare(place, tmp_path / "c")
    pool.fail, pool.requests = {}, []
    compare(place, tmp_path / "c")
    assert requested(pool, "plan") == ["plan of full"]
    assert requested(pool, "train") == ["full-all-seed0", "full-all-seed1"]


def test_what_could_not_be_planned_is_planned_again_when_all_else_is_finished(place, tmp_path, pool):
    """As after a package that a method needs was installed."""
    pool.fail = {"plan of full": "full needs a package, not installed here"}
    compare(place, tmp_path / "c")
    pool.requests = []
    done = compare(place, tmp_path / "c")
    assert [name for name in map(itemgetter("id"), pool.requests) if name != "data"] == ["plan of full"]
    lines = {line.method: line for line in done.methods}
    assert lines["full"].message == "full needs a package, not installed here"
    pool.fail, pool.requests = {}, []
    done = compare(place, tmp_path / "c")
    assert requested(pool, "train") == ["full-all-seed0", "full-all-seed1"]
    assert {line.status for line in done.methods} == {"measured"}


def test_a_start_in_which_nothing_fits_chooses_neither_jobs_nor_threads(place, tmp_path, pool):
    events = []
    with pytest.raises(UserError, match="no method could be measured"):
        compare(place, tmp_path / "c", memory_budget="1MB", jobs=3, events=events)
    assert not [line for line in events if "jobs" in line]
    done = compare(place, tmp_path / "c", memory_budget="1GB", events=events)
    assert "jobs = 4: 4 cores, 6 runs, memory for 6 of 1.00 GB; threads of each = 1" in events
    assert not any("Begun with" in note for note in done.results["notes"])
    assert {request["options"]["training"]["num_threads"] for request in pool.requests if request["kind"] == "train"} == {1}


def test_an_interrupted_comparison_names_the_command_that_resumes_it(place, tmp_path, pool, monkeypatch):
    """Ctrl-C reaches the command while its workers work."""
    monkeypatch.setattr(signals.STOP, "number", 0)

    def interrupted(self, request):
        if request["kind"] == "train":
            os.kill(os.getpid(), signal.SIGINT)
        return honest(self, request)

    honest = FakePool._perform
    monkeypatch.setattr(pool, "_perform", interrupted)
    words = ["compare", place / "tickets.csv", "--model", place / "gpt2", "--methods", "lora", "--seeds", "1"]
    code, out, err = call(*words, "--out", tmp_path / "c")
    assert (code, out) == (130, "")
    assert "stopping: runs under way save their step" in err
    said = err.index("stopped; finished runs are saved, resume with:")
    monkeypatch.setattr(signals.STOP, "number", 0)
    monkeypatch.setattr(pool, "_perform", honest)
    again = shlex.split(err[said:].splitlines()[1])
    assert again[:3] == ["finewright", "compare", str(place / "tickets.csv")]
    assert call(*again[1:])[0] == 0


def test_when_nothing_fits_it_is_an_error_and_a_page(place, tmp_path):
    with pytest.raises(
        UserError, match=r"no method could be measured:\n  lora: does not fit: planned peak 100 MB, the budget has 1\.00 MB"
    ):
        compare(place, tmp_path / "c", memory_budget="1MB")
    assert "Not measured" in (tmp_path / "c" / "report.html").read_text()


def test_weights_are_fetched_only_when_something_is_trained(place, tmp_path, pool, monkeypatch):
    asked_for, resolve = [], hub.resolve_model

    def watched(name, *, weights=True, **extra):
        asked_for.append(("weights" if weights else "config", requested(pool, "plan")))
        return resolve(name, weights=weights, **extra)

    monkeypatch.setattr(hub, "resolve_model", watched)
    with pytest.raises(UserError, match="no method could be measured"):
        compare(place, tmp_path / "none", memory_budget="1MB")
    assert asked_for == [("config", [])]
    asked_for.clear()
    pool.requests.clear()
    compare(place, tmp_path / "some")
    assert asked_for == [("config", []), ("weights", ["plan of lora", "plan of full", "plan of scratch"])]


def test_a_plan_that_crashes_excludes_only_its_own_method(place, tmp_path, pool):
    pool.fail = {"plan of full": "ended by signal 11 (SIGSEGV)"}
    done = compare(place, tmp_path / "c")
    assert {entry.method for entry in done.methods if entry.runs} == {"lora", "scratch"}
    assert "ended by signal 11 (SIGSEGV)" in json.dumps(done.results)
    assert not [*(tmp_path / "c").glob("plan-*.json"), *(tmp_path / "c").glob("machine*")]


def test_every_run_is_given_the_same_memory(place, tmp_path, pool):
    compare(place, tmp_path / "a", methods=["lora"], memory_budget="1GB")
    trained = [request for request in pool.requests if request["kind"] == "train"]
    assert {units.parse_size(request["options"]["memory_budget"]) for request in trained} == {10**9}
    assert [request["options"]["memory_budget"] for request in pool.requests if request["kind"] == "plan"] == [
        units.format_bytes_exactly(10**9)
    ] * 2
    pool.requests = []
    compare(place, tmp_path / "b", methods=["lora"])
    trained = [request for request in pool.requests if request["kind"] == "train"]
    assert {units.parse_size(request["options"]["memory_budget"]) for request in trained} == {8 * 10**9}, "all that is free"
    planned = [request["options"]["memory_budget"] for request in pool.requests if request["kind"] == "plan"]
    assert planned == [units.format_bytes_exactly(8 * 10**9)] * 2
    pool.requests = []
    done = compare(place, tmp_path / "c", methods=["lora"], options={"memory_budget": "200MB"})
    assert done.results["budget_bytes"] == 2 * 10**8
    assert "--budget 200MB" in done.results["command"]
    assert "scratch" not in str(requested(pool, "train"))


def test_what_does_not_fit_is_run_when_forced(place, tmp_path, pool):
    done = compare(place, tmp_path / "c", memory_budget="200MB", options={"force": True})
    assert {line.status for line in done.methods} == {"measured"}
    assert all(request["options"]["force"] for request in pool.requests if request["kind"] == "train")


@pytest.mark.parametrize(("jobs", "threads"), [(1, 4), (3, 1), (4, 1)])
def test_threads_are_divided_among_runs(place, tmp_path, pool, jobs, threads):
    events = []
    compare(place, tmp_path / "c", jobs=jobs, events=events)
    assert f"jobs = {jobs}: as requested; threads of each = {threads}" in events
    trains = [request for request in pool.requests if request["kind"] == "train"]
    assert {request["options"]["training"]["num_threads"] for request in trains} == {threads}


def test_jobs_are_chosen_by_cores_runs_and_memory_and_by_the_device(place, tmp_path, pool, monkeypatch):
    events = []
    compare(place, tmp_path / "a", events=events)
    assert "jobs = 4: 4 cores, 6 runs, memory for 6 of 1.00 GB; threads of each = 1" in events
    pool.device = "cuda"
    compare(place, tmp_path / "b", events=events)
    assert "jobs = 1: one cuda device; threads of each = 4" in events
    monkeypatch.setattr(resources, "OVERHEAD_PER_PROCESS_BYTES", 2_700_000_000)
    pool.device = "cpu"
    compare(place, tmp_path / "d", events=events)
    assert "jobs = 2: 4 cores, 6 runs, memory for 2 of 3.20 GB; threads of each = 2" in events


def test_a_search_sees_no_test_rows_and_its_best_options_are_used(place, tmp_path, pool):
    events = []
    done = compare(place, tmp_path / "c", events=events, search_trials=13, options={"lora.rank": 2})
    assert "search: 12 trials, 4 for each of 3 methods, the first with the defaults" in events
    trials = [request for request in pool.requests if request.get("discard_weights")]
    assert len(trials) == 12
    assert {request["data"] for request in trials} == {str(tmp_path / "c" / "splits" / "search")}
    assert not (tmp_path / "c" / "splits" / "search" / "test.jsonl").exists()
    assert all(request["options"]["data"]["test_fraction"] == 0 for request in trials)
    assert all(
        "rank" not in request["options"]["method"] or request["options"]["method"]["rank"] == 2
        for request in trials
        if request["method"] == "lora"
    )
    for method, record in done.results["search"].items():
        rates = [trial["params"].get("training.learning_rate", 0.0) for trial in record["trials"]]
        assert (len(rates), rates[0]) == (4, 0.0)
        used = [request for request in pool.requests if request["id"] == f"{method}-all-seed1"]
        assert used[0]["options"]["training"]["learning_rate"] == max(rates), "the fake pool likes high rates"
    assert ">Search<" in done.page.read_text()


def test_a_search_that_was_stopped_resumes(place, tmp_path, pool, monkeypatch):
    honest, count = FakePool._perform, []

    def stopping(self, request):
        count.append(1)
        if request.get("discard_weights") and len(count) > 8:
            raise SystemExit(130)
        return honest(self, request)

    monkeypatch.setattr(pool, "_perform", stopping)
    with pytest.raises(SystemExit):
        compare(place, tmp_path / "c", search_trials=12)
    before = {request["id"] for request in pool.requests if request.get("discard_weights")}
    monkeypatch.setattr(pool, "_perform", honest)
    pool.requests = []
    done = compare(place, tmp_path / "c", search_trials=12)
    after = {request["id"] for request in pool.requests if request.get("discard_weights")}
    assert before
    assert not before & after
    assert len(before | after) == 12
    assert all(len(record["trials"]) == 4 for record in done.results["search"].values())


def test_methods_that_did_not_fit_are_searched_when_they_do(place, tmp_path, pool):
    compare(place, tmp_path / "c", search_trials=6, memory_budget="200MB")
    assert {name.split()[0] for name in requested(pool, "train") if "trial" in name} == {"lora"}
    pool.requests, events = [], []
    done = compare(place, tmp_path / "c", search_trials=6, memory_budget="1GB", events=events)
    trials = [name for name in requested(pool, "train") if "trial" in name]
    assert {name.split()[0] for name in trials} == {"full", "scratch"}
    found = done.results["search"]
    assert {method: len(record["trials"]) for method, record in found.items()} == {"lora": 6, "full": 6, "scratch": 6}
    assert "search: 12 trials, 6 for each of 2 methods, as many as the others had" in events
    used = next(request["options"] for request in pool.requests if request["id"] == "full-all-seed0")
    assert used["training"]["learning_rate"] == max(
        trial["params"].get("training.learning_rate", 0) for trial in found["full"]["trials"]
    )
    pool.requests = []
    assert compare(place, tmp_path / "c", search_trials=6, memory_budget="1GB").results == done.results
    assert pool.requests == []


def test_runs_with_the_defaults_are_not_compared_with_searched_ones(place, tmp_path, pool):
    compare(place, tmp_path / "c", search_trials=9)
    saved = json.loads((tmp_path / "c" / "search.json").read_text())
    (tmp_path / "c" / "search.json").write_text(json.dumps({"methods": {"lora": saved["methods"]["lora"]}}))
    with pytest.raises(UserError, match="full-all-seed0, .*: trained before the options of this method were searched") as caught:
        compare(place, tmp_path / "c", search_trials=9)
    assert caught.value.code == ExitCode.MISMATCH


def test_the_defaults_stay_when_all_other_trials_fail(place, tmp_path, pool):
    pool.fail = {f"lora trial {index}": "out of memory" for index in range(1, 4)}
    done = compare(place, tmp_path / "c", search_trials=12)
    record = done.results["search"]["lora"]
    assert [trial["accuracy"] for trial in record["trials"]] == [0.5, None, None, None]
    assert record["best"]["params"] == {}


def test_a_search_without_validation_rows_is_refused(place, tmp_path):
    with pytest.raises(UserError, match="a search needs validation rows"):
        compare(place, tmp_path / "c", search_trials=12, options={"data.validation_fraction": 0.0})


def test_a_test_split_of_one_class_is_measured_and_reported(place, tmp_path):
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"where is parcel {i}?,shipping\n" for i in range(30)))
    done = compare(place, tmp_path / "c", test=tmp_path / "one.csv")
    assert done.verdict.startswith("Every test row has the label 'shipping'")
    assert any("every test row has the label 'shipping'" in finding["message"] for finding in done.results["findings"])
    assert done.methods[0].accuracy is not None


def test_changed_data_is_refused_before_any_work(place, tmp_path, pool):
    compare(place, tmp_path / "c")
    rows = (place / "tickets.csv").read_text().replace("charged twice 1,", "charged thrice 1,")
    (place / "changed.csv").write_text(rows)
    pool.requests = []
    with pytest.raises(UserError, match=r"- 1 of \w+: 'charged twice 1'[\s\S]*\+ 1 of \w+: 'charged thrice 1'") as caught:
        compare(place, tmp_path / "c", source="changed.csv")
    assert caught.value.code == ExitCode.MISMATCH
    with pytest.raises(UserError, match=r"options\.training\.max_steps: not given → 7"):
        compare(place, tmp_path / "c", options={"training.max_steps": 7})
    assert pool.requests == []


def test_the_folder_is_unlocked_after_an_error(place, tmp_path, pool, monkeypatch):
    monkeypatch.setattr(pool, "ask", lambda self, request, **extra: (_ for _ in ()).throw(UserError("stop")))
    for _ in range(2):
        with pytest.raises(UserError, match="stop"):
            compare(place, tmp_path / "c")
    free = RunFolder(tmp_path / "c")
    free.lock()
    free.release()


def test_options_of_one_method_reach_it_alone(place, tmp_path, pool):
    compare(place, tmp_path / "c", options={"lora.rank": 4, "full.training.learning_rate": 1e-5, "training.epochs": 2, "seed": 5})
    trains = {request["id"]: request["options"] for request in pool.requests if request["kind"] == "train"}
    assert set(trains) == {f"{name}-all-seed{seed}" for name in ("lora", "full", "scratch") for seed in (5, 6)}
    assert trains["lora-all-seed5"]["method"] == {"rank": 4}
    assert trains["full-all-seed6"]["training"]["learning_rate"] == 1e-5
    assert "method" not in trains["full-all-seed5"]
    assert all(options["training"]["epochs"] == 2 for options in trains.values())
    assert "learning_rate" not in trains["scratch-all-seed5"]["training"]


def test_starts_are_reported(place, tmp_path):
    events = []
    compare(place, tmp_path / "c", events=events)
    assert {event.name for event in events if isinstance(event, RunStarted)} >= {"majority", "lora-all-seed0"}


def test_results_are_plain_json(place, tmp_path):
    done = compare(place, tmp_path / "c")
    json.dumps(json.loads((tmp_path / "c" / "results.json").read_text()), allow_nan=False)
    assert done.results["command"].startswith("finewright compare ")
    assert done.results["data"]["rows"]["test"] == 18


ROWS = [{"text": f"{('where is my parcel', 'charged twice')[n % 2]} {n}", "label": n % 2} for n in range(90)]


def compare_rows(place, out, data, *labels, **extra):
    return finewright.compare(data, *labels, model=str(place / "gpt2"), output_dir=out, methods=["lora"], seeds=1, **extra)


def test_rows_in_memory_are_compared_and_known_again(place, tmp_path, pool):
    first = compare_rows(place, tmp_path / "c", ROWS)
    assert {row.status for row in first.methods} == {"measured"}
    trained = next(request for request in pool.requests if request["kind"] == "train")
    assert trained["data"] == str(tmp_path / "c" / "splits" / "all"), "every process reads the same files"
    pool.requests = []
    again = compare_rows(place, tmp_path / "c", [row["text"] for row in ROWS], [row["label"] for row in ROWS])
    assert (pool.requests, again.results) == ([], first.results)
    with pytest.raises(UserError, match=r"- 1 of \w+: 'charged twice 89' \(1\)\n  \+ 1 of \w+: 'charged thrice' \(1\)"):
        compare_rows(place, tmp_path / "c", [*ROWS[:-1], {"text": "charged thrice", "label": 1}])


def test_the_report_on_rows_in_memory_has_the_call_in_place_of_a_command(place, tmp_path):
    done = compare_rows(place, tmp_path / "c", ROWS, test={"text": ["where is it"] * 12, "label": [0] * 12}, options={"seed": 4})
    assert done.file.data.rows.test == 12
    call = done.results["command"]
    parsed = ast.parse(call, mode="eval").body
    named = {word.arg: word.value for word in parsed.keywords}
    assert (ast.unparse(parsed.func), ast.unparse(parsed.args[0])) == ("finewright.compare", "data")
    assert ast.unparse(named.pop("test")) == "test"
    values = {name: ast.literal_eval(value) for name, value in named.items()}
    assert values["methods"] == ["lora", "scratch"]
    assert (values["seeds"], values["train_sizes"], values["options"]) == (1, ["all"], {"seed": 4})
