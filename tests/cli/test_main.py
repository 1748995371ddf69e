"""The commands as a user types them."""

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from finewright import methods
from finewright.cli import main
from support import tiny
from support.commands import FAST, call


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


@pytest.fixture(scope="module")
def finished(place):
    out = place / "finished"
    code = call("train", place / "tickets.csv", "--model", place / "gpt2", "--method", "lora", "--out", out, *FAST)[0]
    assert code == 0
    return out


def test_train_reports_decisions_and_result(place, tmp_path):
    words = ["train", place / "tickets.csv", "--model", place / "gpt2", "--out", tmp_path / "run", "--verbose", *FAST]
    code, out, err = call(*words)
    assert code == 0
    assert out == ""
    for said in (
        "full: suits a small model (",
        "no test file: 8 of 60 rows held out, stratified by label, seed 0",
        "training.learning_rate = ",
        "training.precision = ",
        "validation accuracy",
        " trained ",
        "always predicting the",
        "verified: a new process loads it and gets equal scores",
        "unseen texts right (95% interval ",
        f"finewright predict {tmp_path / 'run'}",
    ):
        assert said in err, said


def test_without_asking_for_more_few_lines_come_before_training(place, tmp_path):
    words = ["train", place / "tickets.csv", "--model", place / "gpt2", "--method", "lora", "--out", tmp_path / "run", *FAST]
    err = call(*words)[2]
    before, _, _ = err.partition("validation accuracy")
    assert len(before.splitlines()) <= 10, before
    assert "training.learning_rate = " not in err


def test_json_is_one_clean_object(place, tmp_path):
    words = [
        "train",
        place / "tickets.csv",
        "--model",
        place / "gpt2",
        "--method",
        "full",
        "--out",
        tmp_path / "run",
        "--json",
        *FAST,
    ]
    code, out, _ = call(*words, "--seed", "3", "--lr", "2e-3")
    result = json.loads(out)
    assert code == 0
    assert (result["method"], result["seed"], result["steps"], result["run"]) == ("full", 3, 12, str(tmp_path / "run"))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["training"]["learning_rate"] == 2e-3


def test_a_toml_file_and_flags_over_it(place, tmp_path):
    text = f'model = "{place / "gpt2"}"\nmethod = {{name = "lora", rank = 2}}\n[training]\nmax_steps = 3\nepochs = 7\n'
    (tmp_path / "run.toml").write_text(text)
    code, _, err = call(
        "train", place / "tickets.csv", "--config", tmp_path / "run.toml", "--epochs", "5", "--out", tmp_path / "run"
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert code == 0, err
    assert config["method_options"]["rank"] == 2
    assert (config["settings"]["training"]["max_steps"], config["settings"]["training"]["epochs"]) == (3, 5)


def test_predict_from_words_file_and_standard_input(finished, tmp_path, monkeypatch):
    code, out, _ = call("predict", finished, "where is my parcel", "charged twice", "--json")
    predictions = json.loads(out)["predictions"]
    assert code == 0
    assert [line["text"] for line in predictions] == ["where is my parcel", "charged twice"]
    for line in predictions:
        assert sum(line["probabilities"].values()) == pytest.approx(1)
        assert line["probability"] == max(line["probabilities"].values()) == line["probabilities"][line["label"]]
    (tmp_path / "texts.csv").write_text("text\nwhere is my parcel\ncharged twice\n")
    from_file = json.loads(call("predict", finished, "--file", tmp_path / "texts.csv", "--json")[1])["predictions"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("where is my parcel\n\ncharged twice\n"))
    from_stdin = json.loads(call("predict", finished, "--json")[1])["predictions"]
    assert from_file == predictions
    assert from_stdin[0] == predictions[0]
    assert (from_stdin[1]["text"], from_stdin[1]["label"]) == ("", None), "one answer for each line"
    assert from_stdin[2:] == predictions[1:]
    assert "charged twice" in call("predict", finished, "charged twice")[1]


def test_evaluate_measures_other_rows(finished, place):
    code, out, _ = call("evaluate", finished, place / "tickets.csv", "--json")
    measured = json.loads(out)
    assert code == 0
    assert measured["num_rows"] == 60
    text = call("evaluate", finished, place / "tickets.csv")[1]
    assert re.search(r"^accuracy \d+\.\d% \(95% interval \d+\.\d% to \d+\.\d%, 60 rows\)$", text, re.MULTILINE)
    assert "precision" in text


def test_evaluate_without_data_measures_the_test_rows_of_the_run_again(finished, place, tmp_path):
    code, out, err = call("evaluate", finished, "--json", "-o", tmp_path / "rows.csv")
    assert code == 0, err
    measured, result = json.loads(out), json.loads((finished / "result.json").read_text())["metrics"]["test"]
    assert (measured["num_rows"], measured["accuracy"]) == (result["num_rows"], result["accuracy"])
    assert measured["loss"] == pytest.approx(result["loss"], abs=1e-5)
    assert f"{result['num_rows']} test rows of the run, from {place / 'tickets.csv'}" in " ".join(err.split())
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == result["num_rows"] + 1
    code, _, err = call("evaluate", finished, "--label-column", "label")
    assert (code, "data.label_column says how a file is read" in err) == (2, True)


def test_test_rows_that_changed_or_are_gone_are_refused(place, tmp_path):
    data, out = tmp_path / "mine.csv", tmp_path / "run"
    data.write_text((place / "tickets.csv").read_text())
    call("train", data, "--method", "bag-of-words", "--out", out)
    assert call("evaluate", out)[0] == 0
    data.write_text(data.read_text() + "one more,billing\n")
    code, _, err = call("evaluate", out)
    assert (code, "the data of the run has changed since" in err, "finewright evaluate RUN FILE" in err) == (3, True, True)
    data.unlink()
    code, _, err = call("evaluate", out)
    assert (code, "the data of the run is no file here" in err, "Traceback" in err) == (3, True, False)
    none = tmp_path / "without"
    data.write_text((place / "tickets.csv").read_text())
    call("train", data, "--method", "bag-of-words", "--out", none, "--set", "data.test_fraction=0")
    assert "the run has no test rows" in call("evaluate", none)[2]


def test_data_sets_of_the_program_are_named_as_for_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", "tickets", "--method", "bag-of-words", "--out", "run")[0] == 0
    own, named = (json.loads(call("evaluate", "run", *more, "--json")[1]) for more in ((), ("tickets",)))
    assert own["accuracy"] == named["accuracy"]
    code, out, err = call("predict", "run", "tickets")
    assert code == 0, err
    assert "'tickets': the test rows of the data set of that name that comes with finewright" in " ".join(err.split())
    assert len((tmp_path / "tickets.labelled.csv").read_text().splitlines()) == own["num_rows"] + 1
    assert json.loads(call("predict", "run", "tickets", "reviews", "--json")[1])["predictions"][1]["text"] == "reviews"
    import finewright

    assert len(finewright.open_run("run").predict("topics")) > 50
    (tmp_path / "topics").write_text("mine\n")
    assert len(finewright.open_run("run").predict("topics")) == 1, "a file of that name goes first"


def test_evaluate_refuses_labels_the_model_does_not_know(finished, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,billing\ny,unknown\n")
    code, _, err = call("evaluate", finished, tmp_path / "a.csv")
    assert code == 3
    assert "a.csv:3: the model does not know the label 'unknown'" in err


def test_runs_are_listed_and_shown(finished):
    listed = json.loads(call("runs", "--root", finished.parent, "--json")[1])["runs"]
    assert [line["state"] for line in listed] == ["finished"]
    assert "because" in call("runs", "show", finished)[1]
    assert json.loads(call("runs", "show", finished, "--json")[1])["method"] == "lora"
    assert call("runs", "show")[0] == 2


def test_methods_are_listed_with_their_options():
    text, table = call("methods")[1], json.loads(call("methods", "--json")[1])["methods"]
    assert [method["method"] for method in table] == methods.method_names()
    for method in table:
        assert method["summary"] in text
        assert all(option["option"] in text for option in method["options"])
    assert "training.learning_rate" in call("options")[1]


def test_baselines_are_listed_apart_from_the_methods():
    text, table = call("methods")[1], json.loads(call("methods", "--json")[1])["baselines"]
    assert "few-shot" in text.partition("Baselines of language models")[2]
    assert [baseline["method"] for baseline in table] == ["bag-of-words", "frozen-features"]
    before, _, after = text.partition("Baselines")
    for baseline in table:
        assert baseline["method"] not in before
        assert baseline["summary"] in after
        assert all(option["option"] in after for option in baseline["options"])


@pytest.mark.parametrize(("data", "words"), [("reviews", ["value", "low", "high"]), ("entities", ["amount: €77"])])
def test_a_baseline_of_other_tasks_is_trained_shown_and_asked_too(tmp_path, data, words):
    out, table = tmp_path / "run", tmp_path / "new.csv"
    code, _, said = call("train", data, "--method", "bag-of-words", "--out", out, "--set", "method.C=1")
    assert code == 0, said
    assert "because" not in call("runs", "show", out)[1], "nothing was chosen"
    code, shown, _ = call("predict", out, "I paid €77 for it")
    assert code == 0
    assert all(word in shown for word in words)
    table.write_text("text\nI paid €77 for it\nthe room was cold\n")
    assert call("predict", out, table, "-o", tmp_path / "out.csv")[0] == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3
    assert call("evaluate", out)[0] == 0


def test_a_baseline_is_trained_shown_and_asked_like_any_run(tmp_path):
    data, out = tmp_path / "t.csv", tmp_path / "run"
    tiny.tickets(data, count=80)
    assert call("train", data, "--method", "bag-of-words", "--out", out, "--set", "method.max_ngram=1")[0] == 0
    assert call("train", data, "--method", "bag-of-words", "--out", out)[0] == 4
    assert call("train", data, "--method", "bag-of-words", "--epochs", "3", "--out", tmp_path / "other")[0] == 2
    (listed,) = json.loads(call("runs", "--root", tmp_path, "--json")[1])["runs"]
    assert (listed["method"], listed["state"], listed["model"]) == ("bag-of-words", "finished", "")
    code, shown = call("runs", "show", out)[:2]
    assert code == 0
    assert "majority accuracy" in shown
    assert "tokens/s" not in shown
    assert json.loads(call("predict", out, "a card", "--json")[1])["predictions"][0]["text"] == "a card"
    assert json.loads(call("evaluate", out, data, "--json")[1])["num_rows"] == 80
    assert call("export", out)[0] == 2
    assert call("plan", data, "--method", "bag-of-words")[0] == 2


def test_doctor_prints_json():
    names = [line["name"] for line in json.loads(call("doctor", "--json")[1])["diagnoses"]]
    assert {"device", "precision", "torch", "datasets"} <= set(names)
    assert "avx" in call("doctor")[1] or "bfloat16" in call("doctor")[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "nothing.csv"], 3, "no such file"),
        (["train"], 2, "wanted DATA to train on, or --resume RUN to resume"),
        (["train", "{tickets}", "--resume", "{finished}"], 2, "nothing else can be given with it"),
        (["train", "--resume", "nowhere"], 2, "no run here"),
        (["train", "{tickets}", "--change", "lr=1"], 2, "--change lr=1 is given without a run"),
        (["train", "--resume", "{finished}", "--budget", "8GB"], 2, "nothing else can be given with it"),
        (["train", "--resume", "{finished}", "--force"], 2, "nothing else can be given with it"),
        (["train", "{tickets}", "--method", "lorra"], 2, "did you mean 'lora'?"),
        (["train", "{tickets}", "--set", "method=5"], 2, "wanted the name of a method, found 5"),
        (["train", "{tickets}", "--set", "training.learning_rat=1"], 2, "did you mean 'learning_rate'?"),
        (["train", "{tickets}", "--set", "method.rnak=1"], 2, "did you mean 'rank'?"),
        (["train", "{tickets}", "--model", "./not-there"], 2, "no such model folder"),
        (["train", "{tickets}", "--label-column", "team"], 3, "no column 'team'; the columns are text, label"),
        (["train", "{tickets}", "--config", "none.toml"], 2, "no such config file"),
        (["predict", "no-run", "x"], 2, "no run here"),
        (["evaluate", "{finished}", "none.csv"], 3, "no such file"),
        (["predict", "{finished}", " "], 3, "an empty text has no label"),
        (["tarin"], 2, "No such command"),
        (["knobs"], 2, "No such command 'knobs'. Did you mean 'options'?"),
        (["train", "{tickets}", "--learning-rate", "1"], 2, "No such option: --learning-rate"),
        (["train", "{tickets}", "--epochs", "many"], 2, "Invalid value for '--epochs'"),
    ],
)
def test_a_user_error_is_one_message_and_an_exit_code(finished, place, words, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled = [word.format(tickets=place / "tickets.csv", finished=finished) for word in words]
    got, out, err = call(*filled)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 12


def test_a_failed_run_leaves_no_folder_that_blocks_the_next_run(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", place / "tickets.csv", "--model", "./not-there", "--out", "mine")[0] == 2
    code, _, err = call("train", place / "tickets.csv", "--model", place / "gpt2", "--method", "full", "--out", "mine", *FAST)
    assert code == 0, err


def test_control_characters_in_the_data_do_not_reach_the_terminal(finished):
    text = call("predict", finished, "\x1b[31mred\x1b[0m [bold]x[/bold]")[1]
    assert "\x1b[31m" not in text
    assert "[bold]x[/bold]" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)])
def test_a_signal_stops_with_its_exit_code_and_a_message(place, tmp_path, number, code):
    """In a process of its own, once it is at work: the step is saved, and the command that is offered goes on from it."""
    words = ["train", place / "tickets.csv", "--model", place / "gpt2", "--method", "lora", "--out", tmp_path / "run"]
    words += ["--set", "training.epochs=500", "--set", "data.validation_fraction=0"]  # an evaluation would stop at once
    child = subprocess.Popen(
        [sys.executable, "-m", "finewright.cli.main", *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists() and child.poll() is None:
        time.sleep(0.1)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (code, "")
    assert "stopping after this step; once more stops at once" in err
    assert "Traceback" not in err
    step = max(int(path.name.removeprefix("step-")) for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    command = f"finewright train --resume {tmp_path / 'run'}"
    assert err.splitlines()[-2:] == [f"stopped; step {step:,} is saved, resume with:", f"  {command}"]
    if number == signal.SIGTERM:
        code, out, err = call(*shlex.split(command)[1:], "--change", f"max_steps={step + 3}", "--json")
        assert (code, json.loads(out)["steps"], json.loads(out)["sessions"]) == (0, step + 3, 2)
        assert f"continues after step {step:,}, from step-{step:08d}" in err


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (MemoryError(), 6, "out of memory → smaller --set training.tokens_per_micro_batch=N"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 6, "out of memory"),
        (OSError(28, "No space left on device", "x.json"), 7, "No space left on device"),
        (KeyError("surprise"), 1, "KeyError: 'surprise'"),
    ],
)
def test_other_errors_are_one_message(monkeypatch, fault, code, message):
    def broken():
        raise fault

    monkeypatch.setattr(main, "app", broken)
    got, out, err = call()
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_the_list_of_commands_needs_neither_pydantic_nor_rich():
    code = "import sys; sys.argv = ['finewright', '--help']; from finewright.cli import main as cli\n"
    code += "try: cli.main()\nexcept SystemExit: print({'torch', 'pydantic', 'rich', 'numpy'} & set(sys.modules))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip().endswith("set()")


def test_help_needs_no_torch_and_shows_an_example():
    code = "import sys; sys.argv = ['finewright', 'train', '--help']; from finewright.cli import main as cli\n"
    code += "try: cli.main()\nexcept SystemExit: print('torch' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip().endswith("False")
    assert "Example: finewright train" in outcome.stdout


def test_the_folder_of_a_run_names_no_method_that_was_not_asked_for(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", place / "tickets.csv", "--model", place / "gpt2", *FAST, "--json"]
    assert json.loads(call(*words)[1])["run"] == "runs/tickets-seed0"
