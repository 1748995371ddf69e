"""`suspects`: what is shown, what is written, and what is refused."""

import csv
import json

import pytest

from finewright.data.dataset import read_table
from support.commands import call

TEXTS = [f"parcel number {number} is lost" for number in range(20)], [f"I was charged twice for {number}" for number in range(20)]
PLANTED, ALIKE = "parcel with the blue garden chair is lost", "parcel with the blue garden chairs is lost"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("suspects")
    rows = [(text, label) for texts, label in zip(TEXTS, ("shipping", "billing"), strict=True) for text in texts]
    rows += [(PLANTED, "billing"), (ALIKE, "shipping")]
    (root / "t.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    (root / "new.csv").write_text("id,text\n1,lost and charged\n2,parcel number 99 is lost\n3,\n")
    code, _, err = call("train", root / "t.csv", "--method", "bag-of-words", "--out", root / "run")
    assert code == 0, err
    return root


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_most_doubtful_row_is_shown_first(place):
    code, out, err = call("suspects", place / "run")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].endswith("of 42 rows looks like another label than it has")
    assert lines[2].split()[:3] == ["t.csv:42", "billing", "shipping"]
    assert "parcel with the blue garden" in lines[2]
    rows = lines[2 : 2 + 10]
    assert all(line.startswith("  t.csv:") and len(line) <= 80 for line in rows)
    assert lines[12].startswith("1 pair of texts is nearly the same, with different labels")
    assert sorted(line.split()[0] for line in lines[13:]) == ["t.csv:42", "t.csv:43"]
    assert "by words alone" in err


def test_all_rows_are_written(place, tmp_path):
    code, _, err = call("suspects", place / "run", "-o", tmp_path / "s.csv")
    assert code == 0, err
    assert f"42 rows written to {tmp_path / 's.csv'}" in err
    rows = read_csv(tmp_path / "s.csv")
    assert len(rows) == 42
    first = rows[0]
    assert (first["rank"], first["where"], first["text"], first["label"]) == ("1", "t.csv:42", PLANTED, "billing")
    assert (first["predicted"], first["is_suspect"]) == ("shipping", "true")
    assert float(first["label_probability"]) < 0.5 < float(first["probability"])
    assert first["near_duplicate"] == "t.csv:43"
    assert 0.75 <= float(first["similarity"]) < 1
    assert all((row["near_duplicate"] == "") == (row["text"] not in (PLANTED, ALIKE)) for row in rows)
    assert read_table(tmp_path / "s.csv").columns[:6] == ("rank", "where", "split", "text", "label", "predicted")


def test_json_has_all_rows_and_pairs(place):
    code, out, _ = call("suspects", place / "run", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["num_rows"] == len(found["rows"]) == 42
    assert found["rows"][0]["text"] == PLANTED
    assert found["num_suspects"] == sum(row["is_suspect"] for row in found["rows"]) >= 1
    assert {*found["near_duplicates"][0]} == {"similarity", "where", "labels", "texts"}
    assert found["notes"]


def test_rows_to_label_next(place, tmp_path):
    code, out, err = call("suspects", place / "run", "--unlabelled", place / "new.csv", "--num", 1, "-o", tmp_path / "n.csv")
    assert code == 0, err
    assert "1 row to label next, of 2 different texts" in out
    assert "lost and charged" in out
    (row,) = read_csv(tmp_path / "n.csv")
    assert (row["id"], row["where"]) == ("1", "new.csv:2")
    assert {"predicted", "probability", "margin"} <= {*row}
    code, out, _ = call("suspects", place / "run", "--unlabelled", place / "new.csv", "--json")
    assert [one["where"] for one in json.loads(out)["rows"]] == ["new.csv:2", "new.csv:3"]


def test_a_page_has_rows_and_pairs_and_no_markup_of_the_data(place, tmp_path):
    code, _, err = call("suspects", place / "run", "-o", tmp_path / "s.html")
    assert code == 0, err
    page = (tmp_path / "s.html").read_text()
    assert page.index(PLANTED) < page.index("parcel number 3 is lost")
    assert "Nearly the same text, different labels" in page
    assert call("suspects", place / "run", "-o", tmp_path / "s.html")[0] == 2
    (tmp_path / "new.txt").write_text("lost <script>alert(1)</script>\ncharged\n")
    words = ["--unlabelled", tmp_path / "new.txt", "-o", tmp_path / "s.html", "--force"]
    code, _, err = call("suspects", place / "run", *words)
    assert code == 0, err
    page = (tmp_path / "s.html").read_text()
    assert "<script" not in page
    assert "lost &lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["t.csv", "--unlabelled", "new.csv"], 2, "labelled rows (t.csv) and unlabelled ones (new.csv) are both given"),
        (["--num", "5"], 2, "--num: it says how many unlabelled rows to choose"),
        (["--unlabelled", "new.csv", "--num", "0"], 2, "wanted 1 to 1,000 rows to label, found 0"),
        (["--unlabelled", "missing.csv"], 3, "missing.csv"),
        (["-o", "-"], 2, "standard output has the table"),
        (["-o", "t.csv"], 2, "the file exists already"),
        (["-o", "nowhere/s.csv"], 2, "no folder nowhere"),
        (["-o", "nowhere/s.html"], 2, "no folder nowhere"),
        (["-o", "s.doc"], 2, "cannot write the format 'doc'"),
        (["missing.csv"], 3, "missing.csv"),
        (["new.csv"], 3, "label"),
    ],
)
def test_what_is_refused_is_one_message(place, monkeypatch, words, code, message):
    monkeypatch.chdir(place)
    found, out, err = call("suspects", "run", *words)
    assert (found, out) == (code, "")
    assert message in err
    assert "should not happen" not in err


def test_a_folder_without_a_run_is_refused(tmp_path):
    code, _, err = call("suspects", tmp_path)
    assert code == 2
    assert "no run here" in err


def test_data_that_is_gone_is_one_message(place, tmp_path):
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["request"]["source"] = str(tmp_path / "gone.csv")
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    code, _, err = call("suspects", tmp_path / "run")
    assert code == 3
    assert "the data of the run cannot be read again" in err
    assert "finewright suspects RUN FILE" in err
