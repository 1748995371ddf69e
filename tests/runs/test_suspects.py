"""Doubtful labels, near-duplicates and rows to label of a run, on made texts with planted errors."""

import json
import random
import shutil

import pytest

import finewright as fw
from finewright.core.errors import UserError
from finewright.data.splits import Example
from finewright.runs import rows_to_label, schema, suspects
from finewright.runs.schema import RunConfigFile

WORDS = {
    "shipping": ["parcel", "courier", "tracking", "doorstep", "depot", "package"],
    "billing": ["invoice", "charge", "refund", "receipt", "payment", "bank"],
    "account": ["password", "login", "profile", "email", "username", "locked"],
}
FILLERS = ["please", "today", "again", "still", "hello", "urgent", "thanks", "why", "about", "question"]


def make_rows(num_rows, *, seed=0):
    """Rows of all labels in turn, with words of their label."""
    dice, labels = random.Random(seed), list(WORDS)
    rows = []
    for number in range(num_rows):
        label = labels[number % len(labels)]
        words = [*dice.sample(WORDS[label], 3), *dice.sample(FILLERS, 4), f"n{number}"]
        dice.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path, rows):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


PLANTED = (4, 33, 62, 91)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A run on rows of which four have a wrong label, two of a rare label, and two nearly the same text."""
    root = tmp_path_factory.mktemp("noisy")
    rows = make_rows(120)
    for place in PLANTED:
        text, label = rows[place]
        rows[place] = text, "billing" if label != "billing" else "account"
    rows += [("something else entirely", "other"), ("nothing of that kind", "other")]
    rows += [(f"{rows[0][0]} too", "account")]
    run = fw.train(write_csv(root / "rows.csv", rows), method="bag-of-words", output_dir=root / "run")
    return run, rows


def text_of(rows, place):
    return rows[place][0]


def test_planted_errors_are_ranked_first(noisy):
    run, rows = noisy
    found = run.find_suspects()
    wrong = {text_of(rows, place) for place in PLANTED} | {f"{rows[0][0]} too"}
    assert wrong <= {row.text for row in found.rows[:6]}  # the sixth is what the near-duplicate contradicts
    truth = dict(make_rows(120))
    for row in (row for row in found.rows if row.text in wrong):
        assert row.label_probability < row.probability
        if row.text in truth:
            assert row.predicted == truth[row.text] != row.label
    assert 3 <= found.num_suspects == sum(row.is_suspect for row in found.rows) <= 8
    assert [row.label_probability for row in found.rows] == sorted(row.label_probability for row in found.rows)


def test_rows_of_all_splits_are_judged_and_named(noisy):
    run, rows = noisy
    found = run.find_suspects()
    assert {row.split for row in found.rows} == {"train", "validation", "test"}
    assert len(found.rows) == len(rows) - 2
    where = {row.text: row.where for row in found.rows}
    assert where[rows[4][0]] == "rows.csv:6"
    assert "2 rows are not judged, as the label has fewer than 5 rows: other" in found.notes
    assert any("by words alone" in note for note in found.notes)


def test_near_duplicates_with_other_labels_are_shown_in_pairs(noisy):
    run, rows = noisy
    found = run.find_suspects()
    (pair,) = found.near_duplicates
    assert pair.texts == (rows[0][0], f"{rows[0][0]} too") or pair.texts == (f"{rows[0][0]} too", rows[0][0])
    assert sorted(pair.labels) == ["account", "shipping"]
    by_text = {row.text: row for row in found.rows}
    assert by_text[rows[0][0]].near_duplicate == by_text[f"{rows[0][0]} too"].where
    assert by_text[rows[0][0]].similarity == pair.similarity
    assert by_text[rows[5][0]].near_duplicate is None


def test_the_result_is_the_same_each_time_and_json_ready(noisy):
    run, _ = noisy
    first, second = (json.dumps(run.find_suspects().as_json(), allow_nan=False) for _ in range(2))
    assert first == second


def test_other_rows_can_be_judged(noisy, tmp_path):
    run, _ = noisy
    rows = make_rows(60, seed=5)
    rows[7] = (rows[7][0], "account" if rows[7][1] != "account" else "billing")
    found = run.find_suspects(write_csv(tmp_path / "more.csv", rows))
    assert found.rows[0].text == rows[7][0]
    assert found.rows[0].where == "more.csv:9"
    assert {row.split for row in found.rows} == {""}
    in_memory = run.find_suspects([text for text, _ in rows], [label for _, label in rows])
    assert in_memory.rows[0].text == rows[7][0]


def test_data_that_has_changed_is_not_judged(noisy, tmp_path):
    run, rows = noisy
    shutil.copytree(run.path, tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["request"]["source"] = str(write_csv(tmp_path / "rows.csv", rows[:-1]))
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"cannot be read again: .*rows.csv\n.*finewright suspects RUN FILE"):
        fw.open_run(tmp_path / "run").find_suspects()


def test_a_run_on_rows_in_memory_needs_them_again(tmp_path):
    texts, labels = zip(*make_rows(60), strict=True)
    run = fw.train(list(texts), list(labels), method="bag-of-words", output_dir=tmp_path / "run")
    with pytest.raises(UserError, match="cannot be read again"):
        run.find_suspects()
    assert len(run.find_suspects(list(texts), list(labels)).rows) == 60


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (make_rows(18), "wanted at least 20 rows of labels that have 5 or more, found 18"),
        ([(text, "a") for text, _ in make_rows(30)], "wanted rows of at least two labels, found 'a' alone"),
        (
            [(text, "a") for text, _ in make_rows(30)] + [("one more", "b")],
            r"found 'a' alone \(1 other has fewer than 5 rows\)",
        ),
        ([(f"{'!?.,' * (number % 3 + 1)}", "ab"[number % 2]) for number in range(30)], "no words in the texts"),
    ],
    ids=["few", "one label", "one label with enough rows", "no words"],
)
def test_too_little_to_judge_by_is_said(noisy, tmp_path, rows, message):
    run, _ = noisy
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    with pytest.raises(UserError, match=message):
        run.find_suspects(tmp_path / "rows.jsonl")


def test_a_task_without_one_label_a_row_is_refused(noisy):
    run, _ = noisy
    config = run.config.model_copy(update={"task": "text-generation"})
    with pytest.raises(UserError, match="one label each, found the task text-generation"):
        suspects.check_task(config, where="runs/x")


def test_states_of_the_base_model_are_used(message_run):
    found = message_run.find_suspects()
    assert not [note for note in found.notes if "words alone" in note]
    assert len(found.rows) == sum(message_run.config.labels.count(row.label) for row in found.rows)


def test_a_base_that_is_gone_or_knows_labels_is_not_used(message_run):
    from finewright.runs.base_features import load_base_encoder

    named = schema.ModelName(name="no/such-model-anywhere")
    encoder, reason = load_base_encoder(message_run.config.model_copy(update={"model": named}))
    assert encoder is None
    assert reason.startswith("its base model cannot be loaded")
    encoder, reason = load_base_encoder(message_run.config.model_copy(update={"lineage": [{"run": "earlier"}]}))
    assert (encoder, reason) == (None, "its model was trained on other data before, and may know the labels")
    assert isinstance(message_run.config, RunConfigFile)


def test_uncertain_rows_that_differ_are_to_be_labelled(noisy):
    run, rows = noisy
    clear = [text for text, _ in make_rows(40, seed=9)]
    unclear = ["parcel invoice hello", "password courier question", "login charge today"]
    found = run.choose_rows_to_label([*clear, *unclear, unclear[0].upper(), rows[0][0], None], 3)
    assert {row.text for row in found.rows} <= {*clear, *unclear}
    assert {row.text for row in found.rows} & {*unclear}
    every = run.choose_rows_to_label([*clear, *unclear], 43).rows
    assert len({row.text for row in every}) == 43
    assert sum(row.margin for row in found.rows) / 3 < sum(row.margin for row in every) / 43
    assert found.num_candidates == 43
    assert [row.margin for row in found.rows] == sorted(row.margin for row in found.rows)
    assert found.rows[0].probability == pytest.approx(run.predict([found.rows[0].text])[0]["probability"], abs=1e-4)


def test_all_rows_are_to_be_labelled_where_there_are_few(noisy):
    run, _ = noisy
    found = run.choose_rows_to_label(["parcel invoice", "login"], 20)
    assert {row.text for row in found.rows} == {"parcel invoice", "login"}


@pytest.mark.parametrize(
    ("texts", "num", "message"),
    [
        ([None, " "], 3, "nothing to label: no row has a text"),
        (["x"], 0, "wanted 1 to 1,000 rows to label, found 0"),
        (["x"], rows_to_label.MOST_ROWS + 1, "found 1,001"),
    ],
)
def test_nothing_to_choose_is_said(noisy, texts, num, message):
    run, _ = noisy
    with pytest.raises(UserError, match=message):
        run.choose_rows_to_label(texts, num)


def test_texts_with_a_label_are_not_labelled_again(noisy):
    run, rows = noisy
    with pytest.raises(UserError, match="the run's data has the text of every row already"):
        run.choose_rows_to_label([rows[0][0].upper()], 3)


def test_of_pairs_it_is_said_that_their_relation_is_hardly_seen(noisy):
    rows = [
        Example(
            f"room {number}\npool {number}",
            "yes" if number % 2 else "no",
            f"row {number}",
            pair=(f"room {number}", f"pool {number}"),
        )
        for number in range(40)
    ]
    config = noisy[0].config
    found = suspects.find_suspects(config, rows, [""] * len(rows))
    assert any(note.startswith("pairs are judged by their words") for note in found.notes)
