"""Questions about the learner's own runs: every answer is computed, never written down."""

import json
import math
import random

import pytest

import made_runs
from finewright import own_questions, yours
from finewright.metrics import paired_p_value, wilson

ONE_RUN = 12
"""Kinds that one finished run is enough for, at least."""


def asked(root):
    return {one.id: one for one in own_questions.make(yours.together(yours.find(root)))}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    made_runs.several(root)
    return asked(root)


def test_there_are_enough_of_them(questions, tmp_path):
    assert len(questions) >= 18
    made_runs.finished(tmp_path)
    assert len(asked(tmp_path)) >= ONE_RUN
    assert asked(tmp_path / "none") == {}


def test_each_has_one_right_answer_and_explains_all(questions):
    for one in questions.values():
        assert 3 <= len(one.options) <= 4
        assert sum(option.ok for option in one.options) == 1
        assert len({option.text for option in one.options}) == len(one.options)
        assert all(option.why.strip() for option in one.options)
        assert one.key.startswith("runs/")


def test_another_run_has_other_answers(tmp_path):
    made_runs.finished(tmp_path / "a", "lora", accuracy=0.9, seed=1)
    made_runs.finished(
        tmp_path / "b", "lora", accuracy=0.7, seed=2, trainable_parameters=80_000, head_parameters=999,
        total_parameters=9_000_000, artifact_bytes=777_000, num_train=500, steps=200, best_step=126,
    )  # fmt: skip
    first, second = asked(tmp_path / "a"), asked(tmp_path / "b")
    computed = (
        "trained-share",
        "frozen-count",
        "head-size",
        "wrong-rows",
        "own-interval",
        "file-size",
        "kept-step",
        "messages-a-step",
    )
    for kind in computed:
        assert first[kind].right.text != second[kind].right.text, kind


def test_answers_are_what_the_files_say(tmp_path):
    run = made_runs.finished(tmp_path, "freeze", accuracy=0.8)
    result = json.loads((run / "result.json").read_text())
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    right = sum(row["label"] == row["predicted"] for row in rows)
    low, high = wilson(right, len(rows))
    wanted = {
        "trained-share": f"{result['trainable_parameters'] / result['total_parameters']:.3%}",
        "frozen-count": f"{result['total_parameters'] - result['trainable_parameters']:,}",
        "head-size": "3 labels x 256 numbers a token's state has",
        "own-first-loss": f"about {math.log(3):.2f}",
        "wrong-rows": str(len(rows) - right),
        "own-interval": f"{low:.1%} to {high:.1%}",
        "file-size": f"{result['artifact_bytes'] / 1e6:,.2f} MB",
        "largest-part": "activations",
        "kept-step": "those of step 63",
        "own-reason": "the default of freeze",
        "messages-a-step": "about 15.9",
        "plan-and-measured": "Within 10 % of the plan",
    }
    found = asked(tmp_path)
    assert {kind: found[kind].right.text for kind in wanted} == wanted
    hardest = min(result["metrics"]["test"]["per_class"].items(), key=lambda pair: pair[1]["f1"])[0]
    assert found["hardest-label"].right.text == hardest


@pytest.mark.parametrize(
    ("planned", "measured", "answer"),
    [(100, 100, "Within"), (100, 130, "More than 10 % above"), (100, 70, "More than 10 % below"), (0, 70, None)],
)
def test_plan_and_measured(tmp_path, planned, measured, answer):
    made_runs.finished(tmp_path, planned_peak_memory_bytes=planned << 20, peak_memory_bytes=measured << 20)
    found = asked(tmp_path).get("plan-and-measured")
    assert found.right.text.startswith(answer) if answer else found is None


@pytest.mark.parametrize(("majority", "answer"), [(0.3, "Yes"), (0.99, "No"), (None, "It cannot be told")])
def test_better_than_the_majority(tmp_path, majority, answer):
    run = made_runs.finished(tmp_path, accuracy=0.8)
    result = json.loads((run / "result.json").read_text())
    test = result["metrics"]["test"]
    just_below = (test["accuracy_ci95"][0] + test["accuracy"]) / 2  # higher than the majority, and yet nobody can tell
    test["majority_accuracy"] = just_below if majority is None else majority
    (run / "result.json").write_text(json.dumps(result))
    assert asked(tmp_path)["own-majority"].right.text.startswith(answer)


@pytest.mark.parametrize("other", [0.86, 0.3])
def test_two_runs_are_told_apart_only_when_the_test_says_so(tmp_path, other):
    made_runs.finished(tmp_path, "lora", accuracy=0.88)
    made_runs.finished(tmp_path, "full", accuracy=other)
    group = {one.label: one for one in yours.together(yours.find(tmp_path))}
    ahead = max(group.values(), key=lambda one: one.measured.accuracy).label
    # Rows of different truths stand beside each other here; the test looks only at right and wrong.
    p = paired_p_value(group["lora"].right(), group["full"].right())
    wanted = f"{ahead} is better" if p < 0.05 else "Nobody can say from these messages"
    assert asked(tmp_path)["told-apart"].right.text == wanted
    assert (p < 0.05) == (other == 0.3)


def test_side_by_side(questions):
    assert questions["which-fits"].right.text == "prompt"
    assert questions["how-many-times"].right.text == f"about {7_000_000 / 6_000:,.1f} times as many"
    assert questions["pretraining-worth"].right.text.startswith("+")


def test_strange_numbers_make_no_question_and_no_error(tmp_path):
    """Whatever the numbers are, a question is right or is not asked."""
    rng = random.Random(0)
    for turn in range(25):
        root = tmp_path / str(turn)
        odd = [0, 1, 2, 3, 10**12, 768]
        changes = {
            "trainable_parameters": rng.choice(odd), "head_parameters": rng.choice(odd), "total_parameters": rng.choice(odd[1:]),
            "artifact_bytes": rng.choice(odd), "steps": rng.choice(odd[1:]), "best_step": rng.choice(odd),
            "epochs": rng.choice((0.01, 9.0)),
            "planned_peak_memory_bytes": rng.choice(odd), "peak_memory_bytes": rng.choice(odd), "num_train": rng.choice(odd[1:]),
        }  # fmt: skip
        for method in rng.sample(["lora", "full", "scratch", "prompt"], rng.randint(1, 4)):
            made_runs.finished(root, method, accuracy=rng.choice((0.0, 0.5, 1.0)), **changes)
        for one in asked(root).values():
            assert sum(option.ok for option in one.options) == 1
