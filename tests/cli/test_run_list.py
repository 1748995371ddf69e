"""`finewright runs`: list, show, compare, tag and remove what is on disk, without training anything."""

import io
import json
import sys
from pathlib import Path

import pytest

from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.schema import ComparisonSpecFile
from finewright.runs import schema
from finewright.runs.folder import RUN_FILES, RunFolder
from finewright.runs.schema import ChecksFile, RequestRecord, RunConfigFile
from support import made
from support.commands import call
from support.comparisons import run_result


def make_run(path, *, finished=True, rank=8, lr=1e-3, source="a.csv", **result):
    """Write a run folder."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    request = RequestRecord(source=source, test=None, settings={}, method="lora", method_options={})
    settings = {"seed": 0, "training": {"learning_rate": None, "epochs": 2.0}}
    choices = [{"option": "training.learning_rate", "value": lr, "reason": "because"}]
    known = {"settings": settings, "method": "lora", "method_options": {"rank": rank}, "choices": choices}
    known |= {"model": {"name": "owner/tiny"}, "labels": ["a", "b"], "data_fingerprint": "f" * 20, "max_length": 64}
    schema.write(folder.config, RunConfigFile.model_validate({"request": request, **known}))
    schema.write(folder.checks, ChecksFile(findings=[]))
    if finished:
        schema.write(folder.result, run_result("lora", **result))
    return folder


def make_comparison(path):
    """Write the folder of a finished comparison."""
    found = made.results_file(made.standing(made.usual()), path)
    asked = {"data": "a.csv", "test": None, "model": "mini", "candidates": ["lora", "full"], "seeds": [0], "train_sizes": ["all"]}
    asked |= {"search": 0, "options": {}, "method_options": {}}
    data = {"fingerprint": "f", "rows": {"train": 1, "validation": 1, "test": 1}, "labels": ["a"]}
    folder = ComparisonFolder(path)
    spec = ComparisonSpecFile.model_validate({"asked": asked, "data": data, "model": {"name": "mini"}})
    schema.write(folder.spec, spec)
    schema.write(folder.results, found)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which a demo and a training were run."""
    monkeypatch.chdir(tmp_path)
    make_comparison(tmp_path / "runs" / "demo")
    make_run(tmp_path / "runs" / "demo" / "runs" / "lora-all-seed0")
    make_run(tmp_path / "runs" / "mine", rank=16, lr=2e-3, source="b.csv", steps=30)
    make_run(tmp_path / "runs" / "begun", finished=False)
    return tmp_path


def listed(*words):
    code, out, err = call("runs", *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_everything_below_the_folder_is_listed(place):
    found = listed()
    assert [(line["run"], line["state"]) for line in found["runs"]] == [
        ("runs/begun", "unfinished"),
        ("runs/demo/runs/lora-all-seed0", "finished"),
        ("runs/mine", "finished"),
    ]
    ((demo),) = found["comparisons"]
    assert (demo["comparison"], demo["state"], demo["methods"]) == ("runs/demo", "finished", ["lora", "full"])
    assert (demo["best"], demo["best_accuracy"]) == ("lora", pytest.approx(0.9, abs=0.1))
    assert {type(line["accuracy"]) for line in found["runs"] if line["state"] == "finished"} == {float}
    assert {type(line["seconds"]) for line in found["runs"] if line["state"] == "finished"} == {float}
    out = call("runs")[1]
    for said in ("runs/demo", "runs/demo/runs/lora-all-seed0", "lora, full", "80.0%", "tiny"):
        assert said in out, said
    assert "owner/" not in out
    assert "tags" not in out


def test_a_folder_without_runs_says_so(place):
    code, out, _ = call("runs", "--root", "nowhere")
    assert (code, out) == (0, "no runs below nowhere\n")
    assert listed("--root", "nowhere") == {"runs": [], "comparisons": []}


def test_a_damaged_comparison_does_not_hide_the_others(place):
    (place / "runs" / "demo" / "results.json").write_text("{")
    assert [line["state"] for line in listed()["comparisons"]] == ["damaged"]


def test_the_error_for_a_wrong_path_names_runs_of_comparisons_too(place):
    assert "known runs: runs/begun, runs/demo/runs/lora-all-seed0, runs/mine" in call("runs", "show", "runs/x")[2]


def test_a_tag_is_kept_listed_filtered_and_removed(place):
    assert json.loads(call("runs", "tag", "runs/mine", "best", "--json")[1])["tags"] == ["best"]
    assert call("runs", "tag", "runs/mine", "for Ada")[1] == "runs/mine: best, for Ada\n"
    assert call("runs", "tag", "runs/demo", "best")[0] == 0
    assert [line["tags"] for line in listed()["runs"]] == [[], [], ["best", "for Ada"]]
    found = listed("--tag", "best")
    assert [line["run"] for line in found["runs"]] == ["runs/mine"]
    assert [line["comparison"] for line in found["comparisons"]] == ["runs/demo"]
    assert "best, for Ada" in call("runs")[1]
    assert listed("--tag", "other") == {"runs": [], "comparisons": []}
    assert "no run with the tag 'other'" in call("runs", "--tag", "other")[1]
    for name in ("best", "for Ada"):
        assert call("runs", "tag", "runs/mine", name, "--remove")[0] == 0
    assert not (place / "runs" / "mine" / "tags.json").exists()
    code, _, err = call("runs", "tag", "runs/mine", "best", "--remove")
    assert (code, "no tag 'best' here" in err) == (2, True)


def test_a_tag_file_is_one_of_the_files_of_a_run():
    assert "tags.json" in RUN_FILES


@pytest.mark.parametrize("name", ["", "  ", "a,b", "a\nb", "x" * 61])
def test_a_tag_that_no_list_could_show_is_refused(place, name):
    code, _, err = call("runs", "tag", "runs/mine", name)
    assert (code, "wanted a tag of 1 to 60 printable characters" in err) == (2, True)


def test_the_difference_of_two_runs(place):
    words = ("runs", "diff", "runs/demo/runs/lora-all-seed0", "runs/mine")
    found = json.loads(call(*words, "--json")[1])
    options = {line["name"]: (line["first"], line["second"]) for line in found["options"]}
    assert options == {"training.learning_rate": (1e-3, 2e-3), "method.rank": (8, 16)}
    assert {line["name"]: (line["first"], line["second"]) for line in found["data"]} == {"source": ("a.csv", "b.csv")}
    assert [line["name"] for line in found["metrics"]] == ["steps"]
    out = call(*words)[1]
    for said in ("A  runs/demo", "method.rank", "16", "0.002", "b.csv"):
        assert said in out, said
    assert "no option, row or metric differs" in call("runs", "diff", "runs/mine", "runs/mine")[1]
    assert "the run did not finish" in call("runs", "diff", "runs/mine", "runs/begun")[2]


def test_the_difference_is_readable_without_lists_dicts_and_long_paths(place):
    long = {"accuracy_ci95": (0.123456789, 0.98765432), "majority_accuracy": 0.5}
    for name, source, width in (("a", place / "a.csv", 0.1), ("b", Path("/elsewhere/b.csv"), 0.2)):
        folder = make_run(place / "runs" / name, source=str(source))
        result = json.loads(folder.result.read_text())
        result["metrics"]["test"] |= long | {"accuracy_ci95": [width, 0.98765432]}
        folder.result.write_text(json.dumps(result))
    out = call("runs", "diff", "runs/a", "runs/b")[1]
    assert "0.2 to 0.9877" in out
    assert "[" not in out
    assert "{" not in out
    assert [word for word in out.split() if word.startswith("/")] == []
    assert "b.csv" in out


def test_a_comparison_is_shown(place):
    code, out, _ = call("runs", "show", "runs/demo")
    assert (code, "lora" in out) == (0, True)
    results = json.loads((place / "runs" / "demo" / "results.json").read_text())
    assert " ".join(results["verdict"].split())[:40] in " ".join(out.split())
    assert json.loads(call("runs", "show", "runs/demo", "--json")[1])["verdict"] == results["verdict"]
    (place / "runs" / "demo" / "results.json").unlink()
    code, _, err = call("runs", "show", "runs/demo")
    assert (code, "the comparison did not finish" in err) == (4, True)


def test_runs_and_comparisons_are_removed(place):
    code, out, _ = call("runs", "rm", "runs/mine", "runs/begun", "--yes")
    assert code == 0
    assert out.startswith("removed runs/mine (")
    assert json.loads(call("runs", "rm", "runs/demo", "-y", "--json")[1])["removed"] == ["runs/demo"]
    assert list((place / "runs").iterdir()) == []


def test_removal_is_confirmed_in_a_terminal(place, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for answer, stays in (("n\n", True), ("y\n", False)):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        code, _, err = call("runs", "rm", "runs/mine")
        assert "runs/mine  run, " in err
        assert ((place / "runs" / "mine").exists(), code) == (stays, 1 if stays else 0)


def test_without_a_terminal_nothing_is_removed_unasked(place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, _, err = call("runs", "rm", "runs/mine")
    assert (code, "add --yes" in err) == (2, True)
    assert (place / "runs" / "mine").is_dir()


def test_a_run_that_a_process_works_in_is_not_removed(place):
    busy = RunFolder(place / "runs" / "begun")
    busy.lock()
    try:
        code, _, err = call("runs", "rm", "runs/begun", "--yes")
        assert (code, "locked by pid" in err, "stop it first" in err) == (4, True, True)
    finally:
        busy._lock.close()
    assert (place / "runs" / "begun").is_dir()


@pytest.mark.parametrize("path", ["runs", ".", "runs/nothing", "runs/mine/config.json"])
def test_a_folder_that_is_no_run_is_not_removed_nor_is_any_named_beside_it(place, path):
    code, _, err = call("runs", "rm", "runs/mine", path, "--yes")
    wrong = "is a file; wanted the folder of a run" if path.endswith(".json") else "no run here"
    assert (code, wrong in err) == (2, True)
    assert (place / "runs" / "mine" / "result.json").is_file()


@pytest.mark.parametrize("kind", ["unfinished", "adapter", "finished"])
def test_a_run_that_another_one_needs_is_removed_only_with_it_or_by_force(place, kind):
    first, later = place / "runs" / "mine", place / "runs" / "later"
    run = make_run(later, finished=kind != "unfinished")
    config = json.loads(run.config.read_text())
    run.config.write_text(json.dumps(config | {"model": {"name": str(first)}}))
    if kind == "adapter":
        run.model.mkdir()
        (run.model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(first / "model")}))
    code, _, err = call("runs", "rm", first, "--yes")
    if kind == "finished":  # a whole model of its own
        assert code == 0
        return
    assert (code, "the base of later" in err, "--force" in err, first.exists()) == (2, True, True, True)
    assert call("runs", "rm", first, later, "--yes")[0] == 0
    assert not first.exists()
    assert not later.exists()


def test_a_run_with_files_of_someone_else_is_not_removed(place):
    (place / "runs" / "mine" / "notes.txt").write_text("x")
    code, _, err = call("runs", "rm", "runs/mine", "--yes")
    assert (code, "it also holds notes.txt" in err) == (2, True)
    assert (place / "runs" / "mine" / "result.json").is_file()


def test_a_link_to_a_run_elsewhere_loses_the_link_alone(place):
    (place / "runs" / "mine").rename(place / "elsewhere")
    (place / "runs" / "link").symlink_to(place / "elsewhere")
    assert call("runs", "rm", "runs/link", "--yes")[0] == 0
    assert not (place / "runs" / "link").is_symlink()
    assert (place / "elsewhere" / "result.json").is_file()


def test_every_file_that_a_comparison_writes_is_known():
    folder = ComparisonFolder(Path("x"))
    attributes = [getattr(folder, name) for name in vars(folder) if name not in ("path", "_lock")]
    places = [*attributes, folder.data("all"), folder.plan("lora"), folder.run("a"), folder.trial("lora", 1)]
    places += [folder.baseline("majority"), folder.speed("lora"), folder.search_data]
    assert {place.relative_to(folder.path).parts[0] for place in places} <= folder.file_names
