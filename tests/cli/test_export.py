"""`finewright export` as a person types it."""

import json

import pytest

from support import tiny
from support.commands import FAST, call


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    for method in ("lora", "full"):
        words = ["--model", root / "gpt2", "--method", method, "--out", root / method]
        assert call("train", root / "tickets.csv", *words, *FAST)[0] == 0
    return root


def test_the_merge_reports_what_it_changed(place):
    code, out, err = call("export", place / "lora", "--out", place / "merged")
    assert code == 0
    assert err.startswith("exporting ")
    assert "0 of" in out
    assert (place / "merged" / "model.safetensors").exists()


def test_json_is_one_object(place):
    code, out, _ = call("export", place / "lora", "--out", place / "again", "--json")
    assert code == 0
    assert json.loads(out)["changed"] == 0


def test_both_bases_are_reported(place):
    pytest.importorskip("bitsandbytes")
    words = ["--model", place / "gpt2", "--method", "qlora", "--out", place / "qlora"]
    assert call("train", place / "tickets.csv", *words, *FAST)[0] == 0
    code, out, _ = call("export", place / "qlora")
    assert code == 0
    assert "base              dequantised: it changes the scores least" in out
    assert "the published base instead:" in out
    assert out.count("differ by at most") == 2
    code, out, err = call("export", place / "lora", "--base", "dequantised", "--out", place / "none")
    assert (code, out) == (2, "")
    assert "there is no other" in err


@pytest.mark.parametrize("run", ["full", "absent"])
def test_what_cannot_be_merged_is_one_message(place, run):
    code, out, err = call("export", place / run)
    assert code != 0
    assert out == ""
    assert "Traceback" not in err


def test_an_occupied_folder_is_left_alone(place):
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("x")
    code, _, err = call("export", place / "lora", "--out", place / "mine")
    assert code != 0
    assert "mine" in err
    assert (place / "mine" / "thesis.txt").read_text() == "x"
